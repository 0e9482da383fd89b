"""What a generator predicts decides how it is trained and drawn from: the velocity of a rectified flow (ours), or v of a diffusion (the paper's).

diffusers is imported only where a network of the paper is met: it takes seconds.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from echosynth.generative.flow import flow_loss
from echosynth.generative.long_video import STRIDE, stream_video, windowed
from echosynth.generative.samplers import euler, exponential
from echosynth.generative.shortcut import shortcut_loss
from echosynth.networks.denoiser import Condition, Denoiser

FEW = 4  # samples: of fewer, a share is a matter of chance
Generator = Any  # Denoiser, or PaperImageModel or PaperVideoModel of networks/paper.py


def loss_of(model: Generator, data: Tensor, condition: Condition, weight: Tensor, rng: torch.Generator, slow: float = 0.0, shortcuts: float = 0.0) -> Tensor:
    """The objective of `model` on data (B, T, C, h, w) with weight (B, T) of each frame; `slow` (flow.py) and `shortcuts`, the share of the samples that teach large steps, are for flows."""
    if isinstance(model, Denoiser):
        large = _share(shortcuts, len(data), rng)
        total = data.new_zeros(())
        for rows, objective in ((slice(large, None), partial(flow_loss, guidance=model.config.guidance)), (slice(0, large), shortcut_loss)):
            if count := len(data[rows]):
                total = total + count * objective(model, data[rows], condition.of(rows), weight[rows], rng, model.config.time_shift, slow)
        return total / len(data)
    from echosynth.generative.diffusion import diffusion_loss

    return diffusion_loss(model, data, condition, weight, rng)


def _share(share: float, count: int, rng: torch.Generator) -> int:
    """How many of `count` samples are a share of them: the nearest number and one at least, or of a few samples those on whom a coin falls so."""
    return max(round(share * count), share > 0) if count >= FEW or not share else int((torch.rand(count, generator=rng, device=rng.device) < share).sum())


def draw_images(model: Generator, noise: Tensor, steps: int, rngs: list[torch.Generator]) -> Tensor:
    """Noise (B, C, h, w) -> latent frames (B, C, h, w); row i takes what further noise it needs from rngs[i]."""
    condition = Condition(labels=noise.new_zeros(len(noise), model.config.labels))
    if isinstance(model, Denoiser):
        return exponential(model, noise[:, None], condition, steps, shift=model.config.time_shift)[:, 0]
    from echosynth.generative.diffusion import sample

    return sample(model, noise[:, None], condition, steps, rngs)[:, 0]


def stream_videos(
    model: Generator,
    noise: Callable[[int], Tensor],
    anchor: Tensor,
    labels: Tensor,
    frames: int,
    steps: int,
    guidance: float,
    rngs: list[torch.Generator],
    overlapping: bool = False,
) -> Iterator[Tensor]:
    """Latent videos of anchors (B, C, h, w) and labels (B, L), piece by piece (B, n, C, h, w), `frames` in all; noise(k) is that of window k (B, config.frames, C, h, w).

    What is longer than the model's window is continued, window after window (a flow yields each as soon as it is drawn), or, with `overlapping`, computed in windows that overlap, as
    published.
    """
    if isinstance(model, Denoiser) and not overlapping:
        yield from stream_video(model, noise, anchor, labels, frames, steps, guidance=guidance)
        return
    if isinstance(model, Denoiser):
        margin = model.config.margin
        start = _joined(noise, model.config.frames, frames + 2 * margin)
        drawn = euler(windowed(model, model.config.frames), start, Condition(labels, anchor), steps, guidance=guidance, shift=model.config.time_shift)
        yield drawn[:, margin : margin + frames]
        return
    from echosynth.generative.diffusion import continued, sample

    if not overlapping:
        yield continued(model, noise, anchor, labels, frames, steps, rngs, guidance=guidance)
    else:
        start = _joined(noise, model.config.frames, frames)
        yield sample(windowed(model, model.config.frames), start, Condition(labels, anchor), steps, rngs, guidance=guidance)[:, :frames]


def draw_videos(*args, **options) -> Tensor:
    """The whole videos (B, frames, C, h, w) of `stream_videos`, whose arguments it takes."""
    return torch.cat(list(stream_videos(*args, **options)), 1)


def _joined(noise: Callable[[int], Tensor], window: int, frames: int) -> Tensor:
    """The noise of windows that overlap and together reach `frames`: of each but the first the part that the one before does not reach."""
    parts = [noise(0)]
    while sum(part.shape[1] for part in parts) < frames:
        parts.append(noise(len(parts))[:, :STRIDE])
    return torch.cat(parts, 1)
