"""The published diffusion against numbers of the published implementation (tests/golden), and its own closed forms."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from echosynth.generative.diffusion import continued, diffusion_loss, sample, scheduler
from echosynth.generative.long_video import windowed
from echosynth.generative.objective import draw_videos
from echosynth.networks.denoiser import Condition
from echosynth.networks.paper import PaperImageModel, PaperVideoModel

GOLDEN = Path(__file__).parents[1] / "golden"


def case(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> bool:
    return float((found - wanted).abs().max() / wanted.abs().max()) < tolerance


def test_images_are_those_of_the_published_sampler():
    golden = case("lidm_case")
    model = PaperImageModel.from_pretrained(GOLDEN / "lidm")
    rng = torch.Generator().manual_seed(int(golden["global_seed_before_loop"]))
    steps = len(golden["timesteps"])
    assert scheduler("ddpm", steps).timesteps.tolist() == golden["timesteps"].tolist()
    found = sample(model, golden["initial_noise"][:, None], Condition(torch.zeros(2, 0)), steps, rng)
    assert close(found[:, 0], golden["final_latents"], 1e-3)


@pytest.mark.parametrize("frames", [64, 128])
def test_videos_are_those_of_the_published_sampler(frames):
    golden = case(f"lvdm_case_{frames}")
    model = windowed(PaperVideoModel.from_pretrained(GOLDEN / "lvdm"))
    noise, told = golden["initial_noise"].transpose(1, 2), Condition(golden["lvef"].float()[:, None], golden["conditioning_latent"])
    first = int(golden["timesteps"][0])
    with torch.no_grad():
        assert close(model(noise, torch.tensor([first]), told).transpose(1, 2), golden["first_prediction"], 1e-4)
    rng = torch.Generator().manual_seed(int(golden["global_seed_before_loop"]))
    assert close(sample(model, noise, told, len(golden["timesteps"]), rng).transpose(1, 2), golden["final_latents"], 1e-3)


def test_the_right_velocity_has_the_least_loss_and_ddim_follows_it_to_the_data():
    """Data that are one point: v = (sqrt(abar) x - x0) / sqrt(1 - abar) in closed form."""
    point = torch.full((4, 1, 2, 3, 3), 0.6)
    table = scheduler("ddpm", 1).alphas_cumprod

    def velocity(x, t, condition, factor=1.0):
        a = table[t.long()].view(-1, 1, 1, 1, 1)
        return factor * (a.sqrt() * x - point[: len(x)]) / (1 - a).sqrt()

    told = Condition(torch.zeros(4, 0))
    losses = [float(diffusion_loss(lambda x, t, c, f=f: velocity(x, t, c, f), point, told, torch.ones(4, 1), torch.Generator().manual_seed(0))) for f in (0.9, 1.0, 1.1)]
    assert losses[1] < 1e-8 < min(losses[0], losses[2])
    drawn = sample(velocity, torch.randn(4, 1, 2, 3, 3), told, 50, torch.Generator(), kind="ddim")
    assert torch.allclose(drawn, point, atol=0.02)


def test_windows_are_stitched_as_published():
    seen = []

    def denoise(x, t, condition):
        seen.append(x[0, 0, 0, 0, 0].item())
        return x + 100 * len(seen)

    x = torch.arange(16.0).view(1, 16, 1, 1, 1)
    out = windowed(denoise, window=8, stride=4)(x, torch.zeros(1), None).flatten()
    assert seen == [0, 4, 8]
    assert torch.equal(out, torch.cat([x.flatten()[:8] + 100, x.flatten()[8:12] + 200, x.flatten()[12:] + 300]))
    with pytest.raises(AssertionError, match="18 frames"):
        windowed(denoise, window=8, stride=4)(torch.zeros(1, 18, 1, 1, 1), torch.zeros(1), None)


def test_a_continuation_is_told_the_last_frames_at_every_noise_level():
    """Data that are a ramp, in closed form; what the network is shown at the beginning of the second window."""
    table, point, shown = scheduler("ddpm", 1).alphas_cumprod, 0.1 * torch.arange(8.0).view(1, 8, 1, 1, 1), []

    class Ramp:
        config = SimpleNamespace(frames=8)

        def __call__(self, x, t, condition):
            a = table[t.long()].view(-1, 1, 1, 1, 1)
            shown.append((float(a), x[0, :2]))
            return (a.sqrt() * x - point) / (1 - a).sqrt()

    noise = lambda k: torch.full((1, 8, 2, 3, 3), 1.0 + k)  # noqa: E731
    out = continued(Ramp(), noise, torch.zeros(1, 2, 3, 3), torch.zeros(1, 1), 13, 20, [torch.Generator().manual_seed(0)], overlap=2)
    assert out.shape == (1, 13, 2, 3, 3) and len(shown) == 40
    means = out[0].mean((1, 2, 3))
    assert torch.allclose(means[:8], point.flatten(), atol=0.02) and torch.allclose(means[8:], point.flatten()[2:7], atol=0.02)
    for a, frames in shown[20:]:
        torch.testing.assert_close(frames, a**0.5 * out[0, 6:8] + (1 - a) ** 0.5 * 2.0)


def test_both_ways_to_long_videos_give_the_frames_asked_for():
    model = PaperVideoModel.from_pretrained(GOLDEN / "lvdm")
    anchor, labels = torch.zeros(1, 4, 14, 14), torch.full((1, 1), 0.5)
    noise = lambda k: torch.randn(1, 64, 4, 14, 14, generator=torch.Generator().manual_seed(k))  # noqa: E731
    for overlapping in (False, True):
        assert draw_videos(model, noise, anchor, labels, 70, 1, 1.0, [torch.Generator().manual_seed(0)], overlapping).shape == (1, 70, 4, 14, 14)
