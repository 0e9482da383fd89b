"""Rectified flow: straight paths from data to noise (Liu et al. 2022, arXiv 2209.03003; Lipman et al. 2022, arXiv 2210.02747).

x_t = (1 - t) data + t noise,   velocity = noise - data,   t in [0, 1]
"""

from collections.abc import Callable

import torch
from torch import Tensor

from echosynth.networks.denoiser import Condition
from echosynth.randomness import normal_like

Velocity = Callable[[Tensor, Tensor, Condition], Tensor]  # x (B, T, C, h, w), t (B,), condition -> velocity, shape of x


def shift_time(t: Tensor, shift: float) -> Tensor:
    """t -> s t / (1 + (s - 1) t): spends more of the path near the noise where s > 1 (Esser et al. 2024, eq. 23, arXiv 2403.03206)."""
    return shift * t / (1 + (shift - 1) * t)


def draw_times(count: int, rng: torch.Generator, shift: float = 1.0) -> Tensor:
    """(count,) logit-normal(0, 1) times: most often the middle of the path (Esser et al. 2024, section 3.1)."""
    return shift_time(torch.randn(count, generator=rng, device=rng.device).sigmoid(), shift)


def interpolate(data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t for data and noise (B, ...) and t (B,)."""
    return torch.lerp(data, noise, t.view(-1, *[1] * (data.ndim - 1)))


def flow_loss(
    denoiser: Velocity, data: Tensor, condition: Condition, weight: Tensor, rng: torch.Generator, shift: float = 1.0, slow: float = 0.0, guidance: float = 1.0, span: int = 4
) -> Tensor:
    """Flow matching loss: the mean over frames, weighted by `weight` (B, T), of the squared error of the velocity (`weighted_error`).

    data (B, T, C, h, w). Errors in frames of weight 0 (padding, known frames) do not count.

    `guidance` w above 1 folds classifier-free guidance into the labelled velocity v itself: its target gets (1 - 1/w) (v - v_null) more, which at v = v_null + w (v_told - v_null) is
    where it rests (Tang et al. 2025, arXiv 2502.12154). One more forward, without gradient, in training; one less at every step of a sampler.
    """
    noise = normal_like(data, rng)
    t = draw_times(len(data), rng, shift).to(data.device)
    x, target = interpolate(data, noise, t), noise - data
    velocity = denoiser(x, t, condition)
    if guidance > 1:
        with torch.no_grad():
            target = target + (1 - 1 / guidance) * (velocity - denoiser(x, t, condition.untold()))
    return weighted_error(velocity - target, weight, slow, span)


def weighted_error(error: Tensor, weight: Tensor, slow: float = 0.0, span: int = 4) -> Tensor:
    """The mean square of errors (B, T, C, h, w) over frames with weights (B, T).

    `slow` adds the squared error of the means over `span` successive frames, `span` times, so that an error that stays counts 1 + slow * span and one that changes from
    frame to frame 1: motion counts more than speckle, whose changes nobody can foretell. Any such positive definite form has the same minimum, the mean velocity.
    """
    total = (error.square().mean((2, 3, 4)) * weight).sum()
    if slow:
        whole = error.shape[1] // span * span
        means = (error * weight[:, :, None, None, None])[:, :whole].unflatten(1, (-1, span)).mean(2)
        total = total + slow * span**2 * means.square().mean((2, 3, 4)).sum()
    return total / weight.sum().clamp(min=1e-6)
