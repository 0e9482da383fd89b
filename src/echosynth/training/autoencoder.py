"""Training the autoencoder: frames held in memory, and a loss that wants the texture of speckle back and not its mean.

L = |y - x| + (y - x)^2 + spectrum_weight * spectrum + adversarial_weight * adversarial. Errors of single pixels alone are least for a smoothed picture: the position of a
speckle grain that the latents have no room for is best not guessed. The spectrum asks for as much energy at each frequency and place as the original has; a small patch
discriminator (Isola et al. 2017, hinge loss of Lim & Ye 2017) asks that it look like speckle.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from echosynth.cohort.video import read_frames, to_square
from echosynth.networks.autoencoder import Autoencoder, to_unit
from echosynth.progress import progress
from echosynth.randomness import normal_like, numpy_rng

_PATCH, _STRIDE = 16, 8  # pixels, of the spectrum's patches
_FLOOR = 0.02  # sd of what counts as black in a spectrum, on the scale of [-1, 1]


class Discriminator(nn.Module):
    """Patch discriminator: frames (N, 1, H, W) to one score a patch (N, 1, H/8, W/8), high for what it takes for an original.

    Beside the frame it sees the frame minus its local mean, amplified: texture is a small part of a frame's contrast, and without it the discriminator hardly
    learns to see smoothing.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(8, width, 3, padding=1)]
        for inputs in (width, 2 * width):
            layers += [nn.GroupNorm(4, inputs), nn.LeakyReLU(0.2), nn.Conv2d(inputs, 2 * width, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers, nn.GroupNorm(4, 2 * width), nn.LeakyReLU(0.2), nn.Conv2d(2 * width, 1, 3, padding=1))
        self.to(memory_format=torch.channels_last)

    def forward(self, frames: Tensor) -> Tensor:
        frames = frames.float()
        texture = frames - F.avg_pool2d(frames, 5, 1, 2, count_include_pad=False)
        return self.layers(torch.cat((frames, 5 * texture), 1).contiguous(memory_format=torch.channels_last)).float()


class AutoencoderTraining(nn.Module):
    """The autoencoder and its discriminator, trained by one optimiser: each sees the other's weights as constants."""

    def __init__(self, autoencoder: Autoencoder, freeze_encoder: bool):
        super().__init__()
        self.autoencoder, self.discriminator, self.freeze_encoder = autoencoder, Discriminator(), freeze_encoder
        autoencoder.encoder.requires_grad_(not freeze_encoder)

    def train(self, mode: bool = True) -> "AutoencoderTraining":
        super().train(mode)
        if self.freeze_encoder:
            self.autoencoder.encoder.eval()
            self.autoencoder.standardise.eval()
        return self


def make_loss(spectrum_weight: float, adversarial_weight: float, adversarial_start: float) -> Callable[[AutoencoderTraining, dict, torch.Generator], dict[str, Tensor]]:
    """The loss for `fit`. A batch is {"frames": (N, 1, H, W) in [-1, 1], "done": fraction}.

    The discriminator learns from the first step on and the decoder heeds it when the fraction `adversarial_start` of the steps is done: one that knows texture by then pulls at texture, while
    two beginners chase each other round brightness and contrast.
    """

    def loss(model: AutoencoderTraining, batch: dict, rng: torch.Generator) -> dict[str, Tensor]:
        real, autoencoder = batch["frames"], model.autoencoder
        latents = autoencoder.encode(real)
        level = autoencoder.config.noise * torch.rand(len(latents), 1, 1, 1, generator=rng, device=rng.device)  # down to none, so that texture does not hang on it
        fake = autoencoder.decode(latents + level.to(latents.device) * normal_like(latents, rng))
        error = fake - real
        values = {"l1": error.abs().mean(), "mse": error.square().mean(), "spectrum": (log_spectrum(fake) - log_spectrum(real)).abs().mean()}
        total = values["l1"] + values["mse"] + spectrum_weight * values["spectrum"]
        if adversarial_weight:
            discriminator = model.discriminator
            scores = discriminator(torch.cat([real, fake.detach()]))
            values["discriminator"] = F.relu(1 - scores[: len(real)]).mean() + F.relu(1 + scores[len(real) :]).mean()
            # Adam makes the discriminator's steps independent of the weight; without it its gradient would rule the clipping of both.
            total = total + adversarial_weight * values["discriminator"]
            if batch["done"] >= adversarial_start:
                constant = {name: p.detach() for name, p in discriminator.named_parameters()}
                values["adversarial"] = -functional_call(discriminator, constant, fake).mean()
                total = total + adversarial_weight * values["adversarial"]
        return {"loss": total} | values

    return loss


def log_spectrum(frames: Tensor) -> Tensor:
    """Log-amplitude spectra of Hann-windowed 16 x 16 patches, 8 pixels apart: (N, 1, H, W) -> (N, patches, 16, 9)."""
    window = torch.hann_window(_PATCH, device=frames.device)
    window = window[:, None] * window
    patches = frames[:, 0].float().unfold(1, _PATCH, _STRIDE).unfold(2, _PATCH, _STRIDE).flatten(1, 2) * window
    power = torch.view_as_real(torch.fft.rfft2(patches)).square().sum(-1)
    return 0.5 * torch.log(power + _FLOOR**2 * window.square().sum())


def draw_frames(videos: Sequence[tuple[Path, int]], count: int, size: int, seed: int) -> np.ndarray:
    """About `count` frames uint8 (N, size, size), the same number of each video, drawn without repetition; shorter videos give all they have.

    `videos` are paths with numbers of frames. Raises InputError when a video cannot be read.
    """
    each = max(1, -(-count // len(videos)))
    drawn = []
    with progress("frames for the autoencoder", len(videos)) as advance:
        for clip, (path, frames) in enumerate(videos):
            chosen = numpy_rng(seed, "autoencoder frames", clip).choice(frames, min(each, frames), replace=False)
            drawn.append(to_square(read_frames(path, np.sort(chosen)), size))
            advance()
    return np.concatenate(drawn)


def make_batch(frames: np.ndarray, batch_size: int, steps: int, seed: int) -> Callable[[range], dict]:
    """The batches for `fit` from frames uint8 (N, H, W): random frames, their gain and contrast changed by up to 10 %."""

    def batch(samples: range) -> dict:
        chosen = []
        for sample in samples:
            rng = numpy_rng(seed, "autoencoder batch", sample)
            frame = frames[rng.integers(len(frames))]
            gain, contrast = rng.uniform(0.9, 1.1, 2)
            levels = np.clip(gain * (np.arange(256) / 255) ** contrast, 0, 1).astype(np.float32)
            chosen.append(levels[frame])
        return {"frames": torch.from_numpy(np.stack(chosen))[:, None] * 2 - 1, "done": samples.start // batch_size / steps}

    return batch


@torch.no_grad()
def standardise(autoencoder: Autoencoder, frames: np.ndarray, most: int = 2048) -> None:
    """Sets the mean and the variance that `encode` takes out to those of these frames, uint8 (N, H, W): in training they lag behind the averaged weights."""
    device = next(autoencoder.parameters()).device
    some = torch.from_numpy(frames[np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int)])
    raw = torch.cat([autoencoder.encoder(to_unit(part.to(device))).float() for part in some.split(32)])
    autoencoder.standardise.running_mean.copy_(raw.mean((0, 2, 3)))
    autoencoder.standardise.running_var.copy_(raw.var((0, 2, 3)))
