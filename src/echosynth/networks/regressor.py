"""A compact regressor of the ejection fraction from two seconds of pixels.

EF is an amplitude: how far the cavity's size falls within a beat. So every place of a frame is shared out among regions, the regions' areas are traces over time, and what counts is how far their logarithms
swing: as it is, not against each other, or the amplitude would be lost.
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from echosynth.cohort.video import to_square
from echosynth.networks.base import Network, NetworkConfig

_SHARP = 2.0  # of the borders between regions
_TOGETHER = 8  # windows in one go: of a video of the paper's there are a hundred


class RegressorConfig(NetworkConfig):
    """A window is `frames` frames of `size` x `size` pixels at `fps`: two seconds, one slow beat and a half."""

    kind: Literal["compact"] = "compact"
    size: int = Field(56, ge=16, le=4096, multiple_of=8)
    frames: int = Field(32, ge=4, le=4096)
    fps: float = Field(16.0, gt=0, le=10_000)
    width: int = Field(32, ge=8, le=4096, multiple_of=8)
    features: int = Field(32, ge=1, le=4096, description="features that the Frechet distance is taken on: few, so that a hundred clips give a covariance")
    dropout: float = Field(0.1, ge=0, lt=1)


class Dropout(nn.Module):
    """nn.Dropout by a generator of its own, `rng`, which the training sets at every step: regressors train side by side in threads, which share the global one."""

    def __init__(self, share: float):
        super().__init__()
        self.share, self.rng = share, torch.default_generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        return x * (torch.rand(x.shape, generator=self.rng, device=self.rng.device).to(x) >= self.share) / (1 - self.share)


class Regressor(Network):
    """Clips (B, T, S, S) in [-1, 1] -> EF (B,) in [0, 1]."""

    Config: ClassVar = RegressorConfig
    memory_format = torch.channels_last

    def __init__(self, config: RegressorConfig):
        super().__init__(config)
        w, d = config.width, config.features
        self.frame = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(16, w, 3, padding=1),
            nn.GroupNorm(4, w),
            nn.SiLU(),
            nn.Conv2d(w, w, 3, padding=1),
            nn.GroupNorm(4, w),
            nn.SiLU(),
            nn.Conv2d(w, 2 * w, 3, padding=1),
            nn.GroupNorm(4, 2 * w),
            nn.SiLU(),
        )
        self.regions = nn.Conv2d(2 * w, d, 1)
        self.place = nn.Sequential(nn.Conv2d(4 * w, w, 3, padding=1), nn.GroupNorm(4, w), nn.SiLU())  # what moves where
        self.smooth = nn.Conv1d(d, d, 5, padding=2, padding_mode="reflect", groups=d)  # a trace is steadier than speckle
        nn.init.constant_(self.smooth.weight, 0.2)
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(2 * w)])
        self.dropout = Dropout(config.dropout)
        self.mix = nn.Sequential(nn.Linear(3 * d + 2 * w, 2 * w), nn.SiLU(), self.dropout, nn.Linear(2 * w, d))
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(d, 1))

    def features(self, clips: Tensor) -> Tensor:
        """Features (B, D) of clips (B, T, S, S), before the last layer."""
        (b, t, s, _), d = clips.shape, self.config.features
        x = self.frame(clips.reshape(b * t, 1, s, s).contiguous(memory_format=torch.channels_last))
        areas = (d * torch.softmax(_SHARP * self.regions(x), 1)).mean((2, 3)).clamp(min=1e-4)
        traces = self.smooth(areas.log().view(b, t, -1).transpose(1, 2))  # (B, D, T); a swing of the logarithm is a ratio, as EF is
        swing = torch.cat([_plateau(traces) + _plateau(-traces), traces.std(2)], 1)
        swing = (swing + 3e-3).log() + 3  # from about -3 to 3
        maps = x.view(b, t, *x.shape[1:])
        mean = maps.mean(1)
        spread = ((maps - mean[:, None]).square().sum(1) / (t - 1) + 1e-12).sqrt()  # torch.std is a seventh of a training step on a CPU
        maps = self.place(torch.cat([mean, spread], 1))
        where = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
        return self.mix(torch.cat([swing, self.norms[0](traces.mean(2)), self.norms[1](where)], 1))

    def forward(self, clips: Tensor) -> Tensor:
        return torch.sigmoid(self.head(self.features(clips)).squeeze(1).float())

    def windows(self, clip: np.ndarray, fps: float, most: int = 5) -> Tensor:
        """What of a clip uint8 (T', H, W) is read, (N, T, S, S)."""
        return windows(clip, fps, self.config, most)


def _plateau(traces: Tensor) -> Tensor:
    """(B, D) mean of the highest eighth of each trace (B, D, T): a single frame that stands out is no end-diastole."""
    return traces.topk(max(1, traces.shape[2] // 8), dim=2).values.mean(2)


def window_indices(start: float, config: RegressorConfig, source_fps: float, frames: int, speed: float = 1.0) -> np.ndarray:
    """Frame numbers (T,) of a window that begins `start` seconds into a clip of `frames` frames at `source_fps`.

    Past its end the clip is played backwards and forwards again (a mirrored beat has the same EF, and no jump as a loop has). `speed` > 1 plays faster.
    """
    wanted = np.round((start + np.arange(config.frames) * speed / config.fps) * source_fps).astype(int)
    if frames == 1:
        return np.zeros_like(wanted)
    folded = wanted % (2 * frames - 2)
    return np.minimum(folded, 2 * frames - 2 - folded)


def window_starts(config: RegressorConfig, source_fps: float, frames: int, most: int) -> np.ndarray:
    """Starts in seconds of evenly spread windows that together cover a clip: just enough, at least 2, at most `most`; one for a clip that is longer than a window by less than a frame of it."""
    room = (frames - 1) / source_fps - (config.frames - 1) / config.fps
    if room < 1 / config.fps:
        return np.zeros(1)
    count = min(most, max(2, int(np.ceil(room / (config.frames / config.fps))) + 1))
    return np.linspace(0, room, count)


def windows(clip: np.ndarray, fps: float, config: RegressorConfig, most: int = 5) -> Tensor:
    """The windows (N, T, S, S) in [-1, 1] that cover a clip uint8 (T', H, W)."""
    starts = window_starts(config, fps, len(clip), most)
    frames = np.stack([window_indices(start, config, fps, len(clip)) for start in starts])
    used, where = np.unique(frames, return_inverse=True)
    small = to_square(clip[used], config.size)
    return torch.from_numpy(small[where.reshape(frames.shape)]).float() / 127.5 - 1


@torch.inference_mode()
def predict_ef(regressor: Network, clip: np.ndarray, fps: float) -> float:
    """EF in percent of a clip uint8 (T, H, W): the mean over windows that cover it. Deterministic."""
    device = next(regressor.parameters()).device
    return 100 * float(torch.cat([regressor(part.to(device)) for part in regressor.windows(clip, fps).split(_TOGETHER)]).mean())
