"""The denoiser's contract: shapes, what it may look at and what it may not."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from echosynth.networks.denoiser import Condition, Denoiser, DenoiserConfig, _attend

TINY = DenoiserConfig(channels=3, size=4, bands=(1, 1, 2, 4), dim=16, depth=2, heads=2)


def random_denoiser(config: DenoiserConfig = TINY) -> Denoiser:
    """A denoiser whose zero-initialised layers are not zero, so that everything can matter."""
    torch.manual_seed(0)
    model = Denoiser(config).eval()
    for layer in (model.modulation, *model.bands.output):
        nn.init.normal_(layer.weight, std=0.3)
    model.bands.spread.copy_(torch.linspace(2, 0.5, config.frames))
    if model.embed_labels is not None:
        nn.init.normal_(model.embed_labels.null)
    return model


def inputs(frames: int = 8, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, Condition]:
    rng = torch.Generator().manual_seed(1)
    x, anchor, known = (torch.randn(batch, *shape, 3, 4, 4, generator=rng) for shape in ((frames,), (), (frames,)))
    return x, torch.rand(batch, generator=rng), Condition(torch.rand(batch, 1, generator=rng), anchor, known, torch.rand(batch, frames, generator=rng) < 0.5)


@torch.no_grad()
def test_shape_follows_the_input_and_the_start_is_the_best_linear_guess():
    x, t, condition = inputs()
    assert random_denoiser()(x, t, condition).shape == x.shape
    alone = Condition(condition.labels, condition.anchor)
    with pytest.raises(AssertionError):
        random_denoiser()(x[:, :4], t, alone)
    d = ((1 - t).square() + t.square())[:, None, None, None, None]
    assert torch.allclose(Denoiser(TINY)(x, t, alone), (2 * t - 1)[:, None, None, None, None] / d * x, atol=1e-6)


@torch.no_grad()
def test_one_frame_without_labels_is_the_image_model():
    model = random_denoiser(TINY.model_copy(update={"bands": (1,), "labels": 0}))
    assert not any("bands" in block.layers for block in model.blocks)
    assert model(torch.randn(5, 1, 3, 4, 4), torch.rand(5), Condition(torch.zeros(5, 0))).shape == (5, 1, 3, 4, 4)


@torch.no_grad()
def test_everything_told_matters_and_samples_do_not_mix():
    model = random_denoiser()
    x, t, condition = inputs()
    was = model(x, t, condition)
    for changed in (
        Condition(condition.labels + 0.1, condition.anchor, condition.known, condition.mask),
        Condition(condition.labels, condition.anchor + 0.1, condition.known, condition.mask),
        Condition(condition.labels, condition.anchor, condition.known + 0.1, condition.mask),
        Condition(condition.labels, condition.anchor, condition.known, ~condition.mask),
        Condition(condition.labels, None, condition.known, condition.mask),
    ):
        assert (model(x, t, changed) - was).abs().amax((1, 2, 3, 4)).min() > 1e-3
    assert (model(x, t + 0.1, condition) - was).abs().amax() > 1e-3
    other = x.clone()
    other[1] += 1
    torch.testing.assert_close(model(other, t, condition)[0], was[0])


@torch.no_grad()
def test_known_frames_replace_the_noisy_ones_and_unknown_ones_are_not_looked_at():
    model = random_denoiser()
    x, t, condition = inputs()
    told = condition.mask[:, :, None, None, None]
    was = model(x, t, condition)
    assert torch.equal(model(torch.where(told, 7.0, x), t, condition), was)
    hidden = Condition(condition.labels, condition.anchor, torch.where(told, condition.known, torch.nan), condition.mask)
    assert torch.equal(model(x, t, hidden), was)
    nothing = Condition(condition.labels, condition.anchor, condition.known, torch.zeros_like(condition.mask))
    assert torch.equal(model(x, t, nothing), model(x, t, Condition(condition.labels, condition.anchor)))


@torch.no_grad()
def test_a_label_that_is_not_told_is_the_learned_null():
    model = random_denoiser()
    x, t, condition = inputs()
    untold = Condition(torch.full((2, 1), torch.nan), condition.anchor)
    was = model(x, t, untold)
    assert was.isfinite().all()
    # The features of EF = 0.3 in the place of the learned ones make "not told" the same as EF = 0.3.
    model.embed_labels.null.copy_(model.embed_labels.fourier(torch.tensor([0.3])))
    torch.testing.assert_close(model(x, t, untold), model(x, t, Condition(torch.full((2, 1), 0.3), condition.anchor)))
    assert not torch.allclose(model(x, t, untold), was, atol=1e-3)


@torch.no_grad()
def test_attention_among_bands_stays_in_its_place_and_in_space_in_its_band():
    for name, fixed in (("space", 1), ("bands", 2)):
        attention = random_denoiser().blocks[0].layers[name]
        tokens = torch.randn(2, 4, 4, 16)
        other = tokens.clone()
        other[0, 1, 2] += 1
        changed = (attention(other) - attention(tokens)).abs().amax(-1)[0] > 1e-6
        assert changed.sum() == 4 and changed.select(fixed - 1, (1, 2)[fixed - 1]).all()


def test_written_out_attention_is_the_fused_one():
    q, k, v = torch.randn(3, 2, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    fused = nn.functional.scaled_dot_product_attention(q, k, v)
    for single in (True, False):
        torch.testing.assert_close(_attend(q, k, v, single), fused)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert _attend(q, k, v, single=True).dtype == torch.float32
        assert (_attend(q, k, v, single=False) - fused).abs().max() < 0.02


def test_save_and_open_again(tmp_path):
    model = random_denoiser()
    model.save_pretrained(tmp_path)
    x, t, condition = inputs()
    with torch.no_grad():
        assert torch.equal(Denoiser.from_pretrained(tmp_path)(x, t, condition), model(x, t, condition))


def test_a_configuration_that_does_not_fit_is_refused():
    for wrong in ({"size": 5}, {"bands": ()}, {"bands": (2, 0)}, {"heads": 3}):
        with pytest.raises(ValidationError):
            DenoiserConfig(**{**TINY.model_dump(), **wrong})


def test_a_window_of_another_length_goes_on_from_the_weights():
    model = random_denoiser(TINY)
    longer = model.fitted(TINY.model_copy(update={"bands": (1, 1, 2, 8), "margin": 1}))
    assert longer.config.frames == 12 and model.fitted(TINY.model_copy(update={"margin": 1})) is model
    for name, weight in longer.state_dict().items():
        if not name.startswith("bands."):
            assert torch.equal(weight, model.state_dict()[name])
    # the slow bands are as wide as before and keep their weights; a wide one says at each place what it said there
    assert torch.equal(longer.bands.output[2].weight, model.bands.output[2].weight) and torch.equal(longer.bands.embed[2].weight, model.bands.embed[2].weight)
    wide, before = (net.bands.output[3].weight.unflatten(0, (-1, TINY.channels * TINY.patch**2)) for net in (longer, model))
    assert torch.equal(wide[[0, 1, 6, 7, 8]], before[[0, 0, 3, 3, 4]])
    assert torch.equal(longer.bands.embed_mask.weight[:, :8], model.bands.embed_mask.weight) and not longer.bands.embed_mask.weight[:, 8:].any()
    # frequency 3 of twelve frames lasts as long as 2 of eight
    assert longer.bands.spread[3] == model.bands.spread[2] and longer.bands.spread[0] == pytest.approx(float(model.bands.spread[0]) * 1.5**0.5)
    for other in ({"bands": (1, 1, 2, 4, 4)}, {"bands": (1, 1, 2, 8), "dim": 32}):
        assert model.fitted(TINY.model_copy(update=other)) is None
