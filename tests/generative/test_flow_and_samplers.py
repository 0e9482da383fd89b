"""Rectified flow and its samplers against a Gaussian, for which the velocity has a closed form."""

from itertools import pairwise

import pytest
import torch

from echosynth.generative.flow import draw_times, flow_loss, interpolate, shift_time
from echosynth.generative.samplers import euler, exponential, heun, time_grid
from echosynth.networks.denoiser import Condition, Denoiser, DenoiserConfig

MEAN, SD = 0.7, 0.4


def gaussian_velocity(x, t, condition):
    """E[noise - data | x_t = x] for data ~ N(MEAN, SD^2): regression of a Gaussian on a Gaussian."""
    t = t.double().view(-1, 1, 1, 1, 1)
    variance = (1 - t) ** 2 * SD**2 + t**2
    return -MEAN + (t - (1 - t) * SD**2) / variance * (x - (1 - t) * MEAN)


def untold(batch: int) -> Condition:
    return Condition(torch.full((batch, 1), torch.nan))


def error_of(sampler, steps: int, **options) -> float:
    """The flow of a Gaussian maps noise z to MEAN + SD z."""
    z = torch.randn(4, 2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return float((sampler(gaussian_velocity, z, untold(4), steps, **options) - (MEAN + SD * z)).abs().max())


def test_euler_is_of_first_and_heun_of_second_order():
    euler_errors = [error_of(euler, steps) for steps in (40, 80, 160)]
    heun_errors = [error_of(heun, steps) for steps in (40, 80, 160)]
    for coarse, fine in pairwise(euler_errors):
        assert 1.8 < coarse / fine < 2.2
    for coarse, fine in pairwise(heun_errors):
        assert 3.5 < coarse / fine < 4.5
    assert heun_errors[0] < euler_errors[-1] < 0.02
    assert error_of(heun, 80, shift=2.0) < 1e-3


TINY = DenoiserConfig(channels=2, size=4, bands=(1, 1, 2, 4), dim=16, depth=1, heads=1)


@pytest.mark.parametrize("steps", [1, 3, 16])
def test_exponential_steps_draw_gaussian_frequencies_exactly(steps):
    """A new denoiser says nothing but its linear part, the velocity of Gaussian frequencies of its spread."""
    model = Denoiser(TINY).eval()
    model.bands.spread.copy_(torch.linspace(3, 0.1, 8))
    z = torch.randn(2, 8, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = model.bands.frames(model.bands.spread.view(-1, 1, 1, 1) * model.bands.spectrum(z))
    torch.testing.assert_close(exponential(model, z, untold(2), steps, shift=3.0), wanted, atol=1e-4, rtol=1e-4)
    assert (euler(model, z, untold(2), steps, shift=3.0) - wanted).abs().max() > 0.05


def test_exponential_steps_end_where_eulers_end():
    torch.manual_seed(0)
    model = Denoiser(TINY).eval()
    model.bands.spread.copy_(torch.linspace(2, 0.5, 8))
    for layer in (model.modulation, *model.bands.output):
        torch.nn.init.normal_(layer.weight, std=0.1)
    z, told = torch.randn(2, 8, 2, 4, 4), Condition(torch.rand(2, 1), torch.randn(2, 2, 4, 4))
    end = euler(model, z, told, 800, guidance=1.5)
    errors = [(exponential(model, z, told, steps, guidance=1.5) - end).abs().max() for steps in (10, 40)]
    assert errors[1] < 0.4 * errors[0]


def test_exponential_steps_keep_known_frames():
    torch.manual_seed(0)
    model = Denoiser(TINY).eval()
    known, mask = torch.randn(1, 8, 2, 4, 4), torch.arange(8)[None] < 3
    sample = exponential(model, torch.randn(1, 8, 2, 4, 4), Condition(torch.rand(1, 1), None, known, mask), 4)
    assert torch.equal(sample[:, :3], known[:, :3]) and sample.isfinite().all()
    blind = Condition(torch.rand(1, 1), None, torch.where(mask[:, :, None, None, None], known, torch.nan), mask)
    assert exponential(model, torch.randn(1, 8, 2, 4, 4), blind, 4).isfinite().all()


def test_time_grid_runs_from_noise_to_data():
    assert time_grid(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert time_grid(2, shift=3.0) == pytest.approx([1.0, 0.75, 0.0])
    assert shift_time(torch.tensor(0.5), 1.0) == 0.5


def test_steps_are_reported_and_counted():
    for sampler, forwards in ((euler, 5), (heun, 10)):
        calls, seen = [], []

        def velocity(x, t, condition, calls=calls):
            calls.append(float(t[0]))
            return torch.zeros_like(x)

        z = torch.ones(1, 1, 1, 1, 1)
        out = sampler(velocity, z, untold(1), 5, on_step=lambda k, x, seen=seen: seen.append((k, x)))
        assert len(calls) == forwards and calls[0] == 1.0
        assert [k for k, _ in seen] == [0, 1, 2, 3, 4] and torch.equal(seen[-1][1], out)


def test_guidance_goes_past_the_told_velocity_and_one_costs_nothing():
    calls = []

    def velocity(x, t, condition):
        calls.append(condition.labels)
        return torch.where(condition.labels.isnan(), 1.0, 3.0).view(-1, 1, 1, 1, 1).expand_as(x)

    told = Condition(torch.tensor([[0.5]]))
    z = torch.zeros(1, 1, 1, 1, 1)
    assert euler(velocity, z, told, 1) == -3.0 and len(calls) == 1
    assert euler(velocity, z, told, 1, guidance=2.0) == -(1 + 2 * (3 - 1))
    assert euler(velocity, z, told, 1, guidance=0.0) == -1.0
    assert told.labels.item() == 0.5


def test_the_closed_form_velocity_has_the_least_loss():
    data = MEAN + SD * torch.randn(4000, 1, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    weight = torch.ones(4000, 1)

    def loss(factor: float) -> float:
        rng = torch.Generator().manual_seed(1)
        return float(flow_loss(lambda x, t, c: factor * gaussian_velocity(x, t, c).float(), data, untold(4000), weight, rng))

    assert loss(1.0) < min(loss(0.9), loss(1.1))


def test_loss_is_the_weighted_mean_over_frames():
    data = torch.randn(3, 4, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    loss = flow_loss(lambda x, t, condition: x.cumsum(1), data, untold(3), weight, torch.Generator().manual_seed(2))  # every frame sees those before it

    rng = torch.Generator().manual_seed(2)
    noise, t = torch.randn(data.shape, generator=rng), draw_times(3, rng)
    by_frame = (interpolate(data, noise, t).cumsum(1) - (noise - data)).square().mean((2, 3, 4))
    torch.testing.assert_close(loss, (by_frame * weight).sum() / 7)


def test_slow_errors_count_more_and_the_minimum_stays():
    def loss(error, slow, known=0):
        data = torch.zeros(1, 8, 1, 1, 1)
        weight = (torch.arange(8) >= known).float()[None]
        rng = torch.Generator().manual_seed(0)
        noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(0))
        return float(flow_loss(lambda x, t, c: noise + error.view(1, 8, 1, 1, 1), data, untold(1), weight, rng, slow=slow, span=4))

    stays, changes = torch.ones(8), torch.tensor([1.0, -1] * 4)
    assert loss(stays, 0.0) == pytest.approx(1) and loss(stays, 0.5) == pytest.approx(1 + 0.5 * 4)
    assert loss(changes, 0.5) == pytest.approx(1)
    assert loss(stays, 0.5, known=4) == pytest.approx(1 + 0.5 * 4)  # known frames count for nothing

    data = MEAN + SD * torch.randn(2000, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    losses = [
        float(flow_loss(lambda x, t, c, f=f: f * gaussian_velocity(x, t, c).float(), data, untold(2000), torch.ones(2000, 4), torch.Generator().manual_seed(1), slow=2.0))
        for f in (0.9, 1.0, 1.1)
    ]
    assert losses[1] < min(losses[0], losses[2])


def test_times_are_logit_normal():
    t = draw_times(20_000, torch.Generator().manual_seed(0))
    logit = torch.logit(t)
    assert abs(logit.mean()) < 0.03 and abs(logit.std() - 1) < 0.03
    assert draw_times(20_000, torch.Generator().manual_seed(0), shift=3.0).mean() > 0.6


def test_folded_guidance_rests_at_the_guided_velocity():
    """A network of one number a condition, trained by the loss: the labelled one ends at v_null + w (v_told - v_null)."""
    numbers = torch.zeros(2, requires_grad=True)  # labelled, not

    def constant(x, t, condition):
        return numbers[condition.labels[:, 0].isnan().long()].view(-1, 1, 1, 1, 1) + 0 * x

    data = torch.cat((torch.full((4000, 1, 1, 1, 1), -3.0), torch.full((4000, 1, 1, 1, 1), -1.0)))  # the mean velocities are minus these, 3 and 1
    labels, rng = Condition(torch.tensor([[0.5]] * 4000 + [[torch.nan]] * 4000)), torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD([numbers], lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        flow_loss(constant, data, labels, torch.ones(8000, 1), rng, guidance=2.0).backward()
        optimizer.step()
    assert numbers.tolist() == pytest.approx([1 + 2 * (3 - 1), 1], abs=0.1)
