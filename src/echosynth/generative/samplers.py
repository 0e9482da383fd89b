"""Samplers: plain functions that follow a rectified flow from noise (t = 1) to data (t = 0).

    euler(denoiser, noise, condition, steps=16)        # one forward a step, error O(1 / steps)
    heun(denoiser, noise, condition, steps=8)          # two forwards a step, error O(1 / steps^2)
    exponential(denoiser, noise, condition, steps=16)  # one forward a step, exact for what is Gaussian in the data: the one that synthesis uses

`guidance` is the weight w of classifier-free guidance, v = v_null + w (v_told - v_null), where null means labels that are NaN (Ho & Salimans 2022,
arXiv 2207.12598); w = 1 is the conditional model itself; any other w costs about twice as much.
`on_step(k, x)` is called after each of the steps with the sample so far.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from echosynth.generative.flow import Velocity, shift_time
from echosynth.networks.denoiser import Condition, Denoiser

OnStep = Callable[[int, Tensor], None]


@torch.no_grad()
def euler(denoiser: Velocity, noise: Tensor, condition: Condition, steps: int, on_step: OnStep | None = None, guidance: float = 1.0, shift: float = 1.0) -> Tensor:
    """Euler's method. noise (B, T, C, h, w) -> sample, same shape."""
    velocity = guided(denoiser, condition, guidance)
    x, times = noise, time_grid(steps, shift)
    for k, (t, after) in enumerate(pairwise(times)):
        x = x + (after - t) * velocity(x, t)
        if on_step:
            on_step(k, x)
    return x


@torch.no_grad()
def heun(denoiser: Velocity, noise: Tensor, condition: Condition, steps: int, on_step: OnStep | None = None, guidance: float = 1.0, shift: float = 1.0) -> Tensor:
    """Heun's method: the mean of the velocities at both ends of the step. noise (B, T, C, h, w) -> sample, same shape."""
    velocity = guided(denoiser, condition, guidance)
    x, times = noise, time_grid(steps, shift)
    for k, (t, after) in enumerate(pairwise(times)):
        v = velocity(x, t)
        x = x + (after - t) / 2 * (v + velocity(x + (after - t) * v, after))
        if on_step:
            on_step(k, x)
    return x


@torch.no_grad()
def exponential(denoiser: Denoiser, noise: Tensor, condition: Condition, steps: int, on_step: OnStep | None = None, guidance: float = 1.0, shift: float = 1.0) -> Tensor:
    """The exponential Euler method on the denoiser's temporal frequencies (networks/bands.py, `advance`). noise (B, T, C, h, w) -> sample, same shape; known frames come out as they are."""
    velocity = guided(denoiser, condition, guidance)
    x, times = noise, time_grid(steps, shift)
    for k, (t, after) in enumerate(pairwise(x.new_tensor(times)[:, None].expand(-1, len(x)))):
        x = advance(denoiser, x, velocity(x, t, after), t, after, condition)
        if on_step:
            on_step(k, x)
    return x if condition.known is None else torch.where(condition.told, condition.known, x)


def advance(denoiser: Denoiser, x: Tensor, v: Tensor, t: Tensor, after: Tensor, condition: Condition) -> Tensor:
    """x (B, T, C, h, w) at times t, taken to `after` by the velocity v. Known frames are without noise all the way."""
    if condition.known is not None:
        x, v = condition.shown(x, t), torch.where(condition.told, -condition.known, v)
    return denoiser.bands.advance(x, v, t, after)


def time_grid(steps: int, shift: float = 1.0) -> list[float]:
    """steps + 1 times from 1 to 0, evenly spaced before `shift_time`."""
    assert steps > 0
    return shift_time(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift).tolist()


def guided(denoiser: Velocity, condition: Condition, guidance: float) -> Callable[..., Tensor]:
    """velocity(x, t) of the denoiser under `condition` with classifier-free guidance; what is told and what is not go through the network together.

    t is a number or (B,); velocity(x, t, until) asks a denoiser for a whole step.
    """
    both = condition.beside(condition.untold())

    def velocity(x: Tensor, t: float | Tensor, until: Tensor | None = None) -> Tensor:
        t = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(len(x))
        span = () if until is None else (until,)
        if guidance == 1.0:
            return denoiser(x, t, condition, *span)
        told, untold = denoiser(torch.cat((x, x)), torch.cat((t, t)), both, *(torch.cat((one, one)) for one in span)).chunk(2)
        return torch.lerp(untold, told, guidance)

    return velocity
