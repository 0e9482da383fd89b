"""Latent videos as bands of temporal frequencies: what the denoiser's tokens are cut from, and how its output becomes a velocity.

A heart beats: its motion is a few strong, slow frequencies, while speckle is spread evenly over many. In a token of some frames motion drowns in noise, and every token decides for
itself where in the beat it is; in the window's cosine transform a beat is a few tokens well above the noise (what that is worth: python -m benchmarks.ablations choices, "bands of eight frequencies").
"""

import math
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn


class Bands(nn.Module):
    """Windows of T = sum(widths) frames <-> one token a band and place. Arithmetic on spectra is in float32.

    The velocity is preconditioned per frequency as Karras et al. 2022 (arXiv 2206.00364) do for data of one variance. For X = (1 - t) data + t noise with data of standard deviation s it
    is v = (t - (1 - t) s^2) / d X + s / sqrt(d) output with d = t^2 + (1 - t)^2 s^2: the best linear guess is given, and what the network is to add has unit variance.
    """

    spread: Tensor  # (T,) standard deviation of each frequency in the data; measured before a training from nothing (`measure`)

    def __init__(self, widths: tuple[int, ...], channels: int, patch: int, dim: int):
        super().__init__()
        self.channels, self.patch, self.area = channels, patch, channels * patch**2
        self.edges = list(pairwise(accumulate(widths, initial=0)))
        self.register_buffer("basis", cosine_basis(sum(widths)), persistent=False)
        self.register_buffer("spread", torch.ones(sum(widths)))
        self.embed = nn.ModuleList(nn.Linear(width * 2 * self.area, dim) for width in widths)  # noisy, known
        self.embed_mask = nn.Linear(sum(widths), dim, bias=False)
        self.output = nn.ModuleList(nn.Linear(dim, (width + 1) * self.area) for width in widths)
        for layer in self.output:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def spectrum(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (B, T, ...): orthonormal DCT-II along time, frequency k at k/2 cycles a window."""
        with torch.autocast(x.device.type, enabled=False):
            return torch.tensordot(self.basis, x.float(), ([1], [1])).transpose(0, 1)

    def frames(self, spectrum: Tensor) -> Tensor:
        """The inverse of `spectrum`."""
        with torch.autocast(spectrum.device.type, enabled=False):
            return torch.tensordot(self.basis, spectrum.float(), ([0], [1])).transpose(0, 1)

    def measure(self, data: Tensor) -> None:
        """Takes `spread` from clean latents (B, T, C, h, w)."""
        self.spread.copy_(self.spectrum(data).square().mean((0, 2, 3, 4)).sqrt().clamp(min=1e-3))

    @torch.no_grad()
    def start_from(self, other: "Bands") -> None:
        """Takes the weights of as many bands of windows of another length: each frequency those of its place in the band, and the spread of the other's frequency of as many cycles a second."""
        length, before = len(self.spread), len(other.spread)
        place = torch.arange(length) * before / length
        low = place.long().clamp(max=before - 1)
        self.spread.copy_(torch.lerp(other.spread[low], other.spread[(low + 1).clamp(max=before - 1)], place - low))
        self.spread[0] = other.spread[0] * math.sqrt(length / before)  # the sum of a constant grows with the length, noise does not
        shared = min(length, before)
        self.embed_mask.weight.zero_()[:, :shared] = other.embed_mask.weight[:, :shared]
        for mine, theirs, (first, end), (their_first, their_end) in zip(self.embed, other.embed, self.edges, other.edges, strict=True):
            width, their_width = end - first, their_end - their_first
            rows = _stretched(their_width, width)
            weight = theirs.weight.unflatten(1, (their_width, -1))[:, rows] * math.sqrt(their_width / width)
            mine.weight.copy_(weight.flatten(1))
            mine.bias.copy_(theirs.bias)
        for mine, theirs, (first, end), (their_first, their_end) in zip(self.output, other.output, self.edges, other.edges, strict=True):
            width, their_width = end - first, their_end - their_first
            rows = torch.cat([_stretched(their_width, width), torch.tensor([their_width])])  # the last is the gain
            for part in ("weight", "bias"):
                getattr(mine, part).copy_(getattr(theirs, part).unflatten(0, (their_width + 1, -1))[rows].flatten(0, 1))

    def tokens(self, x: Tensor, t: Tensor, known: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy x, known frames (B, T, C, h, w; zero where not known) and mask (B, T) -> tokens (B, bands, places, D) and the spectrum of x, for `velocity`."""
        spectrum, spread = self.spectrum(x), self.spread.view(-1, 1, 1, 1)
        told = self.spectrum(known) / spread.clamp(min=0.3)  # some frames of a video have no spectrum as even as the whole
        inputs = torch.cat((spectrum / self._total(t).sqrt(), told), 2)
        tokens = [embed(patches(inputs[:, low:high], self.patch)) for embed, (low, high) in zip(self.embed, self.edges, strict=True)]
        return torch.stack(tokens, 1) + self.embed_mask(mask)[:, None, None], spectrum

    def velocity(self, tokens: Tensor, spectrum: Tensor, t: Tensor) -> Tensor:
        """Tokens (B, bands, places, D) and the spectrum of the noisy x -> velocity (B, T, C, h, w) float32.

        A band's output is a number for each of its frequencies and a gain on what it was given, one a channel and pixel: where there is less motion or speckle than elsewhere, as outside the
        sector, more of x is noise, and a gain says so of many frequencies at once.
        """
        parts = []
        for i, (layer, (low, high)) in enumerate(zip(self.output, self.edges, strict=True)):
            additive, gain = self._images(layer(tokens[:, i]).float(), high - low + 1, spectrum.shape[-1]).split((high - low, 1), 1)
            parts.append(additive + gain * spectrum[:, low:high] / self._total(t)[:, low:high].sqrt())
        return self.frames(self._linear(t) * spectrum + self.spread.view(-1, 1, 1, 1) / self._total(t).sqrt() * torch.cat(parts, 1))

    def advance(self, x: Tensor, velocity: Tensor, t: Tensor, after: Tensor) -> Tensor:
        """Follows the flow of x (B, T, C, h, w) from times t to `after`, (B,) each, taking the network's output, not its velocity, for constant meanwhile.

        With xi = X / sqrt(d) and theta = atan2(t, (1 - t) s) the flow is d xi / d theta = output (`velocity` solved for it), for d theta / dt = s / d. So Gaussian data of this spread are
        drawn exactly whatever the number of steps, whereas Euler's method shrinks what is weaker than the noise at its last steps: the flicker of speckle. At s = 1 it is the
        rotation of Salimans & Ho 2022 (arXiv 2202.00512, appendix D); of exponential integrators it is the first order (Hochbruck & Ostermann 2010).
        """
        spectrum, total, total_after = self.spectrum(x), self._total(t), self._total(after)
        output = (self.spectrum(velocity) - self._linear(t) * spectrum) * total.sqrt() / self.spread.view(-1, 1, 1, 1)
        return self.frames(total_after.sqrt() * (spectrum / total.sqrt() + (self._angle(after) - self._angle(t)) * output))

    def bridge(self, x: Tensor, end: Tensor, t: Tensor, after: Tensor) -> Tensor:
        """The inverse of `advance`: the velocity (B, T, C, h, w) that takes x at times t to `end` at `after`, (B,) each, in one step."""
        spectrum, total = self.spectrum(x), self._total(t)
        output = (self.spectrum(end) / self._total(after).sqrt() - spectrum / total.sqrt()) / (self._angle(after) - self._angle(t))
        return self.frames(self._linear(t) * spectrum + self.spread.view(-1, 1, 1, 1) / total.sqrt() * output)

    def _linear(self, t: Tensor) -> Tensor:
        """(B, T, 1, 1, 1): the best linear guess of the velocity, a multiple of x_t."""
        time, variance = t.view(-1, 1, 1, 1, 1), self.spread.square().view(-1, 1, 1, 1)
        return (time - (1 - time) * variance) / self._total(t)

    def _angle(self, t: Tensor) -> Tensor:
        """(B, T, 1, 1, 1): theta of `advance`."""
        time = t.view(-1, 1, 1, 1, 1)
        return torch.atan2(time.expand(-1, len(self.spread), 1, 1, 1), (1 - time) * self.spread.view(-1, 1, 1, 1))

    def _total(self, t: Tensor) -> Tensor:
        """(B, T, 1, 1, 1) variance of the frequencies of x_t."""
        t = t.view(-1, 1, 1, 1, 1)
        return t.square() + ((1 - t) * self.spread.view(-1, 1, 1, 1)).square()

    def _images(self, tokens: Tensor, count: int, size: int) -> Tensor:
        """The inverse of `patches`: (B, places, count C patch^2) -> (B, count, C, size, size)."""
        p, side = self.patch, size // self.patch
        x = tokens.view(-1, side, side, count, self.channels, p, p)
        return x.permute(0, 3, 4, 1, 5, 2, 6).reshape(-1, count, self.channels, size, size)


def _stretched(source: int, target: int) -> Tensor:
    """(target,) which of `source` places lies where each of `target` places does."""
    return ((torch.arange(target) + 0.5) * source / target).long()


def cosine_basis(count: int) -> Tensor:
    """(count, count) orthonormal DCT-II: row k is cos(pi (n + 1/2) k / count), scaled to unit length."""
    n = torch.arange(count, dtype=torch.float64, device="cpu")
    basis = torch.cos(math.pi * (n + 0.5) * n[:, None] / count)
    return (basis / basis.norm(dim=1, keepdim=True)).float()


def patches(x: Tensor, patch: int) -> Tensor:
    """(B, n, C, h, w) -> (B, h w / patch^2, n C patch^2): all of a place in one row."""
    b, n, c, h, w = x.shape
    x = x.reshape(b, n, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 3, 5, 1, 2, 4, 6).reshape(b, (h // patch) * (w // patch), -1)
