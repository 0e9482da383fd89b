"""Videos of any length: the first window from an anchor, each further one a continuation of the frames before it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from echosynth.generative.flow import Velocity
from echosynth.generative.samplers import OnStep, exponential
from echosynth.networks.denoiser import Condition, Denoiser

OVERLAP = 16  # frames that a continued window is told
STRIDE = 32  # frames from one overlapping window to the next, as published


def stream_video(
    denoiser: Denoiser,
    noise: Callable[[int], Tensor],
    anchor: Tensor,
    labels: Tensor,
    frames: int,
    steps: int,
    guidance: float = 1.0,
    overlap: int = OVERLAP,
    on_step: OnStep | None = None,
    sampler: Callable[..., Tensor] = exponential,
) -> Iterator[Tensor]:
    """Yields the new frames of each window, (B, n, C, h, w), until `frames` are there; memory does not grow with the length.

    `noise(k)` is the noise of window k, always a whole window (B, denoiser.config.frames, C, h, w); anchor (B, C, h, w); labels (B, L). Window 0 shows the anchor's
    heart at a free phase. Each later window is told the last `overlap` frames as known ones at its start, keeps the anchor, and yields what comes after them. The first and last `denoiser.config.margin`
    frames that are not told are thrown away, but for this: into its first new frames a window fades from the last ones of the window before it, which show the same moments, or the first would be seen as a jump.
    """
    window, margin = denoiser.config.frames, denoiser.config.margin
    assert 0 < overlap <= window - 2 * margin and overlap < window - margin and frames > 0
    done = k = 0
    tail = beyond = None
    while done < frames:
        known = mask = None
        start = noise(k)
        if tail is not None:
            known, mask = torch.zeros_like(start), torch.zeros(start.shape[:2], dtype=torch.bool, device=start.device)
            known[:, :overlap], mask[:, :overlap] = tail, True
        condition = Condition(labels, anchor, known, mask)
        sample = sampler(denoiser, start, condition, steps, on_step=on_step, guidance=guidance, shift=denoiser.config.time_shift)
        fresh = sample[:, overlap if k else margin : window - margin]
        if beyond is not None:
            fresh = torch.cat((torch.lerp(beyond, fresh[:, :margin], _fade(margin, fresh)), fresh[:, margin:]), 1)
        beyond = sample[:, window - margin :]
        tail = (fresh if tail is None else torch.cat((tail, fresh), 1))[:, -overlap:]
        yield fresh[:, : frames - done]
        done += fresh.shape[1]
        k += 1


def _fade(frames: int, like: Tensor) -> Tensor:
    """Weights (1, frames, 1, 1, 1) of what is faded in, along half a cosine: so the first and the last of them hardly differ from one side alone."""
    return ((1 - torch.cos(torch.pi * torch.arange(1, frames + 1, device=like.device) / (frames + 1))) / 2).view(1, -1, 1, 1, 1)


def windowed(denoise: Velocity, window: int = 64, stride: int = STRIDE) -> Velocity:
    """The published way to long videos: a network of `window` frames predicts windows that overlap, the first is kept whole, of each later one what the one before it does not reach.

    For T = window + k stride frames; all windows are computed at every step, and half of each later one is thrown away; `stream_video` does otherwise.
    """

    def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        frames = x.shape[1]
        assert frames >= window and (frames - window) % stride == 0, f"{frames} frames: want {window} and a multiple of {stride} more"
        parts = [denoise(x[:, first : first + window], t, condition) for first in range(0, frames - window + 1, stride)]
        return torch.cat([parts[0], *(part[:, window - stride :] for part in parts[1:])], 1)

    return predict
