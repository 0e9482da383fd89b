"""Bands of temporal frequencies: the transform, the preconditioning, and what the output layer can say."""

import pytest
import torch

from echosynth.networks.bands import Bands, cosine_basis, patches

WIDTHS = (1, 1, 2, 4)


def bands(spread: float | None = None) -> Bands:
    torch.manual_seed(0)
    made = Bands(WIDTHS, channels=3, patch=2, dim=5)
    if spread:
        made.spread.fill_(spread)
    return made


def test_transform_keeps_energy_and_turns_back():
    basis = cosine_basis(64)
    torch.testing.assert_close(basis @ basis.T, torch.eye(64), atol=1e-5, rtol=0)
    x = torch.randn(2, 8, 3, 4, 4)
    spectrum = bands().spectrum(x)
    torch.testing.assert_close(spectrum.square().sum(), x.square().sum())
    torch.testing.assert_close(bands().frames(spectrum), x, atol=1e-5, rtol=0)
    n = torch.arange(8)
    beat = torch.cos(torch.pi * (n + 0.5) * 2 / 8).view(1, 8, 1, 1, 1)  # one cycle a window is frequency 2
    assert bands().spectrum(beat).flatten().abs().argmax() == 2 and bands().spectrum(beat).square().sum() == pytest.approx(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bands().spectrum(x.bfloat16().float()), bands().spectrum(x.bfloat16()))


def test_patches_hold_the_pixels_of_their_place_and_turn_back():
    x = torch.randn(2, 8, 3, 4, 6)[..., :4]
    rows = patches(x, 2)
    assert rows.shape == (2, 4, 96)
    assert torch.equal(rows[1, 1].view(8, 3, 2, 2), x[1, :, :, 0:2, 2:4])
    assert torch.equal(bands()._images(rows, 8, 4), x)


def test_spread_is_the_standard_deviation_of_each_frequency():
    made, wanted = bands(), torch.tensor([7.0, 1, 1, 0.5, 0.5, 0.2, 0.2, 0.1])
    made.measure(made.frames(wanted.view(-1, 1, 1, 1) * torch.randn(400, 8, 3, 4, 4)))
    torch.testing.assert_close(made.spread, wanted, rtol=0.05, atol=0)
    made.measure(torch.zeros(2, 8, 3, 4, 4))
    assert (made.spread > 0).all()


@pytest.mark.parametrize("spread", [0.2, 1.0, 5.0])
def test_a_network_that_says_nothing_gives_the_best_linear_guess_and_is_left_unit_variance(spread):
    made, rng = bands(spread), torch.Generator().manual_seed(0)
    data, noise = spread * torch.randn(300, 8, 3, 4, 4, generator=rng), torch.randn(300, 8, 3, 4, 4, generator=rng)
    nothing = torch.zeros(300, 4, 4, 5)
    for t in (0.05, 0.5, 0.95):
        x, at = (1 - t) * data + t * noise, torch.full((300,), t)
        with torch.no_grad():
            rest = noise - data - made.velocity(nothing, made.spectrum(x), at)
        assert abs((rest * x).mean()) < 0.02 * rest.std() * x.std()  # nothing linear in x is left
        assert abs(rest.std() * (t**2 + (1 - t) ** 2 * spread**2) ** 0.5 / spread - 1) < 0.01


@torch.no_grad()
def test_a_gain_silences_what_has_no_data_in_it():
    """Where the data are zero, x is noise alone, of which 1/t is the velocity; the additive output of a narrow token could not repeat 38 frequencies of it."""
    made, t = bands(0.5), torch.tensor([0.4])
    d = t**2 + (1 - t) ** 2 * 0.25
    for layer in made.output:
        layer.bias[-12:] = (1 / t - (t - (1 - t) * 0.25) / d) * d / 0.5  # the last of width + 1 parts
    noise = torch.randn(1, 8, 3, 4, 4)
    velocity = made.velocity(torch.zeros(1, 4, 4, 5), made.spectrum(t * noise), t)
    torch.testing.assert_close(velocity, noise, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_tokens_see_unit_variance_whatever_the_time():
    made = bands()
    made.spread.copy_(torch.linspace(7, 0.1, 8))
    for layer in made.embed:  # passes on its first five noisy numbers
        layer.weight.copy_(torch.eye(5, layer.in_features))
        layer.bias.zero_()
    data = made.frames(made.spread.view(-1, 1, 1, 1) * torch.randn(2000, 8, 3, 4, 4))
    for t in (0.1, 0.9):
        x, at = (1 - t) * data + t * torch.randn_like(data), torch.full((2000,), t)
        tokens, _ = made.tokens(x, at, torch.zeros_like(x), torch.zeros(2000, 8))
        torch.testing.assert_close(tokens.square().mean((0, 2, 3)), torch.ones(4), rtol=0.05, atol=0)
