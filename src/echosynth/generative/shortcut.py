"""Shortcuts: a denoiser that is told how far a step goes learns to take it in one (Frans et al. 2024, arXiv 2410.12557).

A large step is taught by two of half its length, which the same network takes. Steps here are those of `Bands.advance`, which draws what is Gaussian in the data exactly however large they
are; so the network is left with what is not. The least steps are those of the plain flow, which `flow_loss` teaches beside.
"""

import torch
from torch import Tensor

from echosynth.generative.flow import interpolate, shift_time, weighted_error
from echosynth.generative.samplers import advance
from echosynth.networks.denoiser import Condition, Denoiser
from echosynth.randomness import normal_like

FINEST = 3  # paths of 1, 2, 4 and 8 steps are taught; half a step of eight is taken for a velocity at a time


def shortcut_loss(denoiser: Denoiser, data: Tensor, condition: Condition, weight: Tensor, rng: torch.Generator, shift: float = 1.0, slow: float = 0.0) -> Tensor:
    """The error of one step against two of half its length, as `weighted_error` of velocities. data (B, T, C, h, w), weight (B, T) of the frames."""
    noise = normal_like(data, rng)
    paths = 2 ** torch.randint(FINEST + 1, (len(data),), generator=rng, device=rng.device)
    start = 1 - (torch.rand(len(data), generator=rng, device=rng.device) * paths).floor() / paths
    t, middle, after = (shift_time(start - part / paths, shift).to(data.device) for part in (0.0, 0.5, 1.0))
    finest = (paths == 2**FINEST).to(data.device)
    x = interpolate(data, noise, t)
    with torch.no_grad():
        half = advance(denoiser, x, _velocity(denoiser, x, t, middle, condition, finest), t, middle, condition)
        end = advance(denoiser, half, _velocity(denoiser, half, middle, after, condition, finest), middle, after, condition)
        target = denoiser.bands.bridge(condition.shown(x, t), end, t, after)
    return weighted_error(denoiser(x, t, condition, after) - target, weight, slow)


def _velocity(denoiser: Denoiser, x: Tensor, t: Tensor, until: Tensor, condition: Condition, finest: Tensor) -> Tensor:
    """That of a step, and for those that are `finest` (B,) the one at the time itself."""
    return denoiser(x, t, condition, torch.where(finest, t, until))
