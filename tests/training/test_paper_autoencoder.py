"""The paper's autoencoder: the losses by hand, the adaptive weight, and that each half trains itself alone."""

import pytest
import torch
from torch import nn

from echosynth.errors import InputError
from echosynth.networks.paper import PaperAutoencoder
from echosynth.networks.paper_config import SMALL, PaperConfig
from echosynth.training.paper_autoencoder import PaperAutoencoderTraining, PatchDiscriminator, Perceptual, gradient_distance, make_paper_loss, set_scale


@pytest.fixture(scope="module")
def model() -> PaperAutoencoderTraining:
    torch.manual_seed(0)
    return PaperAutoencoderTraining(PaperAutoencoder(PaperConfig(widths=SMALL)), None)


def frames(count: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_discriminator_is_the_published_one():
    assert sum(p.numel() for p in PatchDiscriminator().parameters()) == 1_088 + 131_328 + 524_800 + 2_098_176 + 8_193
    assert PatchDiscriminator()(torch.zeros(2, 1, 112, 112)).shape == (2, 1, 12, 12)


def test_gradient_distance_sees_edges_and_not_brightness():
    x = frames()
    assert gradient_distance(x, x + 0.3).abs().max() < 1e-6
    assert (gradient_distance(x, 0.5 * x) > 0.05).all()
    step = torch.zeros(1, 1, 8, 8)
    step[..., 4:] = 1  # one column of seven differs by 1 at the first scale: 1/7 of the horizontal differences, none of the vertical
    assert gradient_distance(step, torch.zeros_like(step), scales=1) == pytest.approx(1 / 14)


def test_discriminator_takes_part_from_its_start_and_neither_half_trains_the_other(model):
    loss, rng = make_paper_loss(start=0.5), torch.Generator().manual_seed(0)
    early = loss(model, {"frames": frames(), "done": 0.4}, rng)
    assert set(early) == {"loss", "l1", "perceptual", "kl"}
    late = loss(model, {"frames": frames(), "done": 0.5}, torch.Generator().manual_seed(0))
    torch.testing.assert_close(late["l1"], early["l1"])
    named = dict(model.named_parameters())
    for value, half in (("discriminator", "discriminator."), ("adversarial", "autoencoder.")):
        found = torch.autograd.grad(late[value], list(named.values()), retain_graph=True, allow_unused=True)
        moved = {name for name, grad in zip(named, found, strict=True) if grad is not None and grad.abs().sum() > 0}
        assert moved and all(name.startswith(half) for name in moved)


def test_adversarial_gradient_is_as_strong_as_the_likeness_times_the_weight(model):
    values = make_paper_loss(kl_weight=0.0, adversarial_weight=0.5, start=0.0)(model, {"frames": frames(), "done": 1.0}, torch.Generator().manual_seed(0))
    weight = model.autoencoder.network.decoder.conv_out.weight
    (likeness,) = torch.autograd.grad(values["l1"] + values["perceptual"], weight, retain_graph=True)
    (all_of_it,) = torch.autograd.grad(values["loss"], weight)
    assert (all_of_it - likeness).norm() == pytest.approx(0.5 * float(likeness.norm()), rel=0.05)


def test_scale_gives_unit_variance():
    torch.manual_seed(1)
    autoencoder = PaperAutoencoder(PaperConfig(widths=SMALL)).eval()
    set_scale(autoencoder, frames(8))
    with torch.no_grad():
        assert autoencoder.encode(frames(8)).std() == pytest.approx(1, abs=1e-3)


def test_perceptual_weights_are_a_file_of_the_users(tmp_path):
    torch.manual_seed(0)
    network = Perceptual()
    nn.init.normal_(network.features[0].weight)
    torch.save(network.state_dict() | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg16.pth")
    opened = Perceptual.open(tmp_path / "vgg16.pth")
    x = frames(1)
    assert opened(x, x).abs().max() == 0 and opened(x, -x) > 0 and not any(p.requires_grad for p in opened.parameters())
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for name, message in (("other.pth", "is missing for Perceptual"), ("missing.safetensors", "not a file of weights")):
        with pytest.raises(InputError, match=f"{name}: .*{message}"):
            Perceptual.open(tmp_path / name)
