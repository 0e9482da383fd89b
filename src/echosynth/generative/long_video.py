"""Videos of any length: the first window from an anchor, each further one a continuation of the frames before it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from echosynth.generative.samplers import OnStep, euler
from echosynth.networks.denoiser import Condition, Denoiser


def stream_video(
    denoiser: Denoiser,
    noise: Callable[[int], Tensor],
    anchor: Tensor,
    labels: Tensor,
    frames: int,
    steps: int,
    guidance: float = 1.0,
    overlap: int = 16,
    on_step: OnStep | None = None,
    sampler: Callable[..., Tensor] = euler,
) -> Iterator[Tensor]:
    """Yields the new frames of each window, (B, n, C, h, w), until `frames` are there; memory does not grow with the length.

    `noise(k)` is the noise of window k, always a whole window (B, denoiser.config.frames, C, h, w); anchor (B, C, h, w); labels (B, L). Window 0 shows the anchor's
    heart at a free phase. Each later window is told the last `overlap` frames as known ones at its start, keeps the anchor, and yields what comes after them.
    """
    window = denoiser.config.frames
    assert 0 < overlap < window and frames > 0
    done = k = 0
    tail = None
    while done < frames:
        known = mask = None
        start = noise(k)
        if tail is not None:
            known, mask = torch.zeros_like(start), torch.zeros(start.shape[:2], dtype=torch.bool, device=start.device)
            known[:, :overlap], mask[:, :overlap] = tail, True
        sample = sampler(denoiser, start, Condition(labels, anchor, known, mask), steps, on_step=on_step, guidance=guidance, shift=denoiser.config.time_shift)
        fresh = sample[:, overlap if k else 0 :]
        tail = (fresh if tail is None else torch.cat((tail, fresh), 1))[:, -overlap:]
        yield fresh[:, : frames - done]
        done += fresh.shape[1]
        k += 1


def sample_video(
    denoiser: Denoiser,
    noise: Callable[[int], Tensor],
    anchor: Tensor,
    labels: Tensor,
    frames: int,
    steps: int,
    guidance: float = 1.0,
    overlap: int = 16,
    on_step: OnStep | None = None,
    sampler: Callable[..., Tensor] = euler,
) -> Tensor:
    """The whole video (B, frames, C, h, w) of `stream_video`."""
    return torch.cat(list(stream_video(denoiser, noise, anchor, labels, frames, steps, guidance, overlap, on_step, sampler)), 1)
