"""Training the paper's autoencoder: L1 + perceptual + KL + patch discriminator with an adaptive weight (Esser et al. 2021, arXiv 2012.09841; Rombach et al. 2022, arXiv 2112.10752).

    L = |y - x| + perceptual(y, x) + kl_weight KL / pixels + [from `start` on] lambda adversarial,    lambda = weight |grad of the first two| / |grad of adversarial|

with the gradients of the decoder's last weight. Losses are means over pixels, not sums, so a share of the published scale; ratios are as published.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from echosynth.networks.base import load_weights, read_state
from echosynth.networks.paper import PaperAutoencoder
from echosynth.randomness import normal_like

_VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)  # VGG-16 (Simonyan & Zisserman 2015), "M" halves
_SEEN_AFTER = (3, 8, 15, 22, 29)  # layers of it whose features count, after their ReLU


class PatchDiscriminator(nn.Module):
    """The 3-layer PatchGAN (Isola et al. 2017): (N, 1, H, W) -> one score a patch, high for what it takes for an original."""

    def __init__(self, width: int = 64, layers: int = 3):
        super().__init__()
        modules: list[nn.Module] = [nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for k in range(1, layers + 1):
            before, after = width * min(2 ** (k - 1), 8), width * min(2**k, 8)
            modules += [nn.Conv2d(before, after, 4, 2 if k < layers else 1, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*modules, nn.Conv2d(after, 1, 4, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        return self.layers(frames).float()


class Perceptual(nn.Module):
    """Distance of the normalised features of VGG-16 (Zhang et al. 2018, LPIPS, with even weights): frames (N, 1, H, W) in [-1, 1] -> (N,)."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in _VGG:
            layers += [nn.MaxPool2d(2)] if width == "M" else [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = channels if width == "M" else width
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("sd", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def open(cls, path: Path) -> "Perceptual":
        """From a file of torchvision's VGG-16: safetensors, or a state dict that is read without running any code. Raises InputError when it does not fit."""
        network = cls()
        load_weights(network, {name: value for name, value in read_state(path).items() if name.startswith("features.")}, str(path))
        return network.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        distance, both = 0.0, (torch.cat((first, second)).expand(-1, 3, -1, -1) - self.mean) / self.sd
        for number, layer in enumerate(self.features):
            both = layer(both)
            if number in _SEEN_AFTER:
                x, y = F.normalize(both, dim=1).chunk(2)
                distance = distance + (x - y).square().sum(1).mean((1, 2))
        return distance


def gradient_distance(first: Tensor, second: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference of the gradients at several scales, which stands in for `Perceptual` where there are no weights: (N, 1, H, W) twice -> (N,)."""
    total = first.new_zeros(len(first))
    for _ in range(scales):
        for axis in (2, 3):
            total = total + (first.diff(dim=axis) - second.diff(dim=axis)).abs().mean((1, 2, 3))
        first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
    return total / (2 * scales)


class PaperAutoencoderTraining(nn.Module):
    """The autoencoder and its discriminator, trained by one optimiser: each sees the other's weights as constants. The perceptual network, if any, is not trained."""

    def __init__(self, autoencoder: PaperAutoencoder, perceptual: Perceptual | None):
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, PatchDiscriminator()
        self.perceptual = perceptual


def make_paper_loss(kl_weight: float = 1e-6, adversarial_weight: float = 0.5, start: float = 0.3) -> Callable[[PaperAutoencoderTraining, dict, torch.Generator], dict[str, Tensor]]:
    """The loss for `fit`. A batch is {"frames": (N, 1, H, W) in [-1, 1], "done": fraction}; the discriminator takes part from the fraction `start` of the steps on."""

    def loss(model: PaperAutoencoderTraining, batch: dict, rng: torch.Generator) -> dict[str, Tensor]:
        real, network = batch["frames"], model.autoencoder.network
        posterior = model.autoencoder.posterior(real)
        latents = posterior.mean + posterior.std * normal_like(posterior.mean, rng)
        fake = network.decode(latents).sample.float().mean(1, keepdim=True)
        perceptual = gradient_distance(fake, real) if model.perceptual is None else model.perceptual(fake, real)
        values = {"l1": (fake - real).abs().mean(), "perceptual": perceptual.mean(), "kl": posterior.kl().mean() / real[0].numel()}
        likeness = values["l1"] + values["perceptual"]
        total = likeness + kl_weight * values["kl"]
        if batch["done"] >= start:
            constant = {name: p.detach() for name, p in model.discriminator.named_parameters()}
            values["adversarial"] = -functional_call(model.discriminator, constant, fake).mean()
            total = total + adversarial_weight * _balance(likeness, values["adversarial"], network.decoder.conv_out.weight) * values["adversarial"]
            scores = model.discriminator(torch.cat([real, fake.detach()]))
            values["discriminator"] = 0.5 * (F.relu(1 - scores[: len(real)]).mean() + F.relu(1 + scores[len(real) :]).mean())
            total = total + values["discriminator"]
        return {"loss": total} | values

    return loss


def _balance(likeness: Tensor, adversarial: Tensor, weight: Tensor) -> Tensor:
    """|grad likeness| / |grad adversarial| at the decoder's last weight, at most 1e4."""
    first, second = (torch.autograd.grad(value, weight, retain_graph=True)[0].norm() for value in (likeness, adversarial))
    return (first / (second + 1e-4)).clamp(max=1e4).detach()


@torch.no_grad()
def set_scale(autoencoder: PaperAutoencoder, frames: Tensor) -> None:
    """Sets the scaling factor so that the latents of frames (N, 1, H, W) have unit variance, as the diffusion wants them (Rombach et al. 2022, section G)."""
    means = torch.cat([autoencoder.posterior(part).mean.float() for part in frames.split(16)])
    autoencoder.network.register_to_config(scaling_factor=float(1 / means.std()))
