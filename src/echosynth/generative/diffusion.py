"""Denoising diffusion as EchoNet-Synthetic has it: v-prediction, 1,000 steps, linear betas (Ho et al. 2020, arXiv 2006.11239; Salimans & Ho 2022, arXiv 2202.00512).

Schedules and steps are those of diffusers' schedulers. The training noise has an offset, the same in all pixels of a channel, so that brightness is learnt as well.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from echosynth.generative.samplers import OnStep, guided
from echosynth.networks.denoiser import Condition
from echosynth.randomness import normal_like

_SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "prediction_type": "v_prediction", "timestep_spacing": "leading"}
_CLIP = {"clip_sample": True, "clip_sample_range": 4.0}
NOISE_OFFSET = 0.1

Denoise = Callable[[Tensor, Tensor, Condition], Tensor]  # x (B, T, C, h, w), t (B,) steps, condition -> v


def scheduler(kind: Literal["ddpm", "ddim"], steps: int) -> DDPMScheduler | DDIMScheduler:
    """diffusers' scheduler with the published schedule, set to `steps` sampling steps."""
    made = DDPMScheduler(**_SCHEDULE, **_CLIP, variance_type="fixed_small") if kind == "ddpm" else DDIMScheduler(**_SCHEDULE, **_CLIP)
    made.set_timesteps(steps)
    return made


def diffusion_loss(denoise: Denoise, data: Tensor, condition: Condition, weight: Tensor, rng: torch.Generator, offset: float = NOISE_OFFSET) -> Tensor:
    """The mean over frames, weighted by `weight` (B, T), of the squared error of v = sqrt(abar) noise - sqrt(1 - abar) data, at even times. data (B, T, C, h, w)."""
    noise = normal_like(data, rng) + offset * normal_like(data[..., :1, :1], rng)
    schedule = scheduler("ddpm", 1)
    t = torch.randint(len(schedule.alphas_cumprod), (len(data),), generator=rng, device=rng.device).to(data.device)
    error = denoise(schedule.add_noise(data, noise, t), t, condition) - schedule.get_velocity(data, noise, t)
    return (error.square().mean((2, 3, 4)) * weight).sum() / weight.sum().clamp(min=1e-6)


@torch.no_grad()
def sample(
    denoise: Denoise,
    noise: Tensor,
    condition: Condition,
    steps: int,
    rng: torch.Generator | list[torch.Generator],
    kind: Literal["ddpm", "ddim"] = "ddpm",
    guidance: float = 1.0,
    on_step: OnStep | None = None,
) -> Tensor:
    """Follows the published sampler from noise (B, T, C, h, w) to data. DDPM adds noise after all steps but the last, drawn as (B, C, T, h, w) from `rng` (or row i from the i-th generator); DDIM adds none."""
    velocity, schedule = guided(denoise, condition, guidance), scheduler(kind, steps)
    x, random = noise, {"generator": rng} if kind == "ddpm" else {}
    for k, t in enumerate(schedule.timesteps.tolist()):
        v = velocity(x, t)
        x = schedule.step(v.transpose(1, 2), t, x.transpose(1, 2), **random).prev_sample.transpose(1, 2)
        if on_step:
            on_step(k, x)
    return x


@torch.no_grad()
def continued(
    denoise: Any,
    noise: Callable[[int], Tensor],
    anchor: Tensor,
    labels: Tensor,
    frames: int,
    steps: int,
    rngs: list[torch.Generator],
    guidance: float = 1.0,
    overlap: int = 16,
) -> Tensor:
    """Our way to long videos with a diffusion that was never told frames at their place: (B, frames, C, h, w), window after window.

    Each later window begins with the last `overlap` frames: at every step they stand in it as they are at that noise level ("replacement", Ho et al. 2022, arXiv 2204.03458), with the window's own noise.
    No network is evaluated on frames that are thrown away but these.
    """
    window, condition, done = denoise.config.frames, Condition(labels, anchor), []
    schedule = scheduler("ddpm", steps)
    for k in range(1 + max(0, -(-(frames - window) // (window - overlap)))):
        start = noise(k)
        if not done:
            done.append(sample(denoise, start, condition, steps, rngs, guidance=guidance))
            continue
        known, own = torch.cat(done, 1)[:, -overlap:], start[:, :overlap]

        def at_its_place(x: Tensor, t: Tensor, told: Condition, known: Tensor = known, own: Tensor = own) -> Tensor:
            shown = schedule.add_noise(known, own, t.long())
            return denoise(torch.cat([shown, x[:, overlap:]], 1), t, told)

        done.append(sample(at_its_place, start, condition, steps, rngs, guidance=guidance)[:, overlap:])
    return torch.cat(done, 1)[:, :frames]
