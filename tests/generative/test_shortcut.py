"""Large steps taught by two of half their length."""

import torch

from echosynth.generative.objective import _share, loss_of
from echosynth.generative.samplers import exponential
from echosynth.generative.shortcut import shortcut_loss
from echosynth.networks.denoiser import Condition, Denoiser, DenoiserConfig

TINY = DenoiserConfig(channels=2, size=4, bands=(1, 1, 2, 4), dim=32, depth=2, heads=2, labels=0, time_shift=1.0)


def model(seed: int = 0) -> Denoiser:
    torch.manual_seed(seed)
    return Denoiser(TINY)


def untold(count: int) -> Condition:
    return Condition(torch.zeros(count, 0))


def test_where_large_steps_are_exact_there_is_nothing_to_learn():
    """A new network says nothing, and what it leaves out, the flow of Gaussian frequencies, is followed exactly."""
    new, data = model(), torch.randn(16, 8, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    new.bands.spread.copy_(torch.linspace(2, 0.3, 8))
    rng = torch.Generator().manual_seed(2)
    assert shortcut_loss(new, data, untold(16), torch.ones(16, 8), rng) < 1e-6
    known = Condition(torch.zeros(16, 0), None, data, torch.arange(8).expand(16, -1) < 3)
    assert shortcut_loss(new, data, known, (~known.mask).float(), rng) > 1e-4  # told frames are another matter: a step changes what the others have to agree with


def test_bridge_is_the_inverse_of_a_step():
    bands, rng = model().bands, torch.Generator().manual_seed(0)
    bands.spread.copy_(torch.linspace(2, 0.3, 8))
    x, v = torch.randn(2, 3, 8, 2, 4, 4, generator=rng)
    t, after = torch.tensor([1.0, 0.7, 0.3]), torch.tensor([0.6, 0.2, 0.0])
    torch.testing.assert_close(bands.bridge(x, bands.advance(x, v, t, after), t, after), v, atol=1e-4, rtol=1e-4)


def test_a_span_of_nothing_is_no_span():
    one, x, t = model(), torch.randn(2, 8, 2, 4, 4), torch.tensor([0.9, 0.4])
    for parameter in one.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    assert torch.equal(one(x, t, untold(2)), one(x, t, untold(2), t))
    assert not torch.equal(one(x, t, untold(2)), one(x, t, untold(2), t / 2))


def test_a_share_of_a_batch_is_always_as_large_and_of_a_few_samples_is_so_on_average():
    rng = torch.Generator().manual_seed(0)
    assert {_share(0.25, 16, rng) for _ in range(20)} == {4} and _share(0.01, 16, rng) == 1 and _share(0.0, 1, rng) == _share(0.0, 16, rng) == 0
    assert 0.2 < sum(_share(0.25, 1, rng) for _ in range(2000)) / 2000 < 0.3


def test_a_step_after_shortcuts_does_what_many_do():
    """Data are one of two pictures: a plain flow draws their mean in one step."""
    config = DenoiserConfig(channels=1, size=2, bands=(1,), dim=64, depth=2, heads=2, labels=0, time_shift=2.0)

    def trained(shortcuts: float) -> Denoiser:
        torch.manual_seed(0)
        one, rng = Denoiser(config), torch.Generator().manual_seed(0)
        optimizer = torch.optim.AdamW(one.parameters(), lr=3e-3)
        for _ in range(300):
            data = (2.0 * torch.randint(2, (128, 1, 1, 1, 1), generator=rng) - 1).expand(-1, 1, 1, 2, 2)
            optimizer.zero_grad()
            loss_of(one, data, untold(128), torch.ones(128, 1), rng, shortcuts=shortcuts).backward()
            optimizer.step()
        return one.eval()

    def errors(one: Denoiser, steps: int) -> float:
        noise = torch.randn(256, 1, 1, 2, 2, generator=torch.Generator().manual_seed(5))
        return float((exponential(one, noise, untold(256), steps, shift=2.0).mean((1, 2, 3, 4)).abs() - 1).abs().mean())

    plain, short = trained(0.0), trained(0.5)
    assert errors(plain, 16) < 0.1 and errors(short, 16) < 0.15
    assert errors(short, 1) < 0.5 * errors(plain, 1)
