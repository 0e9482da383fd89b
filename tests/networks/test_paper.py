"""The published networks: their sizes, their folders, what they refuse."""

import pytest
import torch
from diffusers import UNet2DModel

from echosynth.errors import InputError
from echosynth.networks.denoiser import Condition
from echosynth.networks.paper import PaperAutoencoder, PaperImageModel, PaperVideoModel
from echosynth.networks.paper_config import SMALL, PaperConfig, PaperGeneratorConfig


def millions(network: torch.nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def test_sizes_are_the_published_ones():
    with torch.device("meta"):
        assert millions(PaperVideoModel(PaperGeneratorConfig())) == pytest.approx(143.8, abs=0.05)
        assert millions(PaperImageModel(PaperGeneratorConfig(frames=1))) == pytest.approx(70, abs=1)
        assert millions(PaperAutoencoder(PaperConfig())) == pytest.approx(62, abs=1)


@torch.no_grad()
def test_image_model_is_a_diffusers_folder(tmp_path):
    torch.manual_seed(0)
    model = PaperImageModel(PaperGeneratorConfig(widths=SMALL, frames=1)).eval()
    model.save_pretrained(tmp_path)
    x, t, told = torch.randn(2, 1, 4, 14, 14), torch.tensor([3, 700]), Condition(torch.zeros(2, 0))
    assert torch.equal(PaperImageModel.from_pretrained(tmp_path)(x, t, told), model(x, t, told))
    assert type(UNet2DModel.from_pretrained(tmp_path)) is UNet2DModel
    with pytest.raises(InputError, match=r"not a UNetSpatioTemporalConditionModel.*holds a UNet2DModel"):
        PaperVideoModel.from_pretrained(tmp_path)


@torch.no_grad()
def test_video_model_looks_at_the_anchor_and_the_ef():
    torch.manual_seed(0)
    model = PaperVideoModel(PaperGeneratorConfig(widths=SMALL)).eval()
    x, t, anchor = torch.randn(1, 4, 4, 14, 14), torch.tensor([500]), torch.randn(1, 4, 14, 14)
    was = model(x, t, Condition(torch.tensor([[0.3]]), anchor))
    assert was.shape == x.shape
    assert (model(x, t, Condition(torch.tensor([[0.8]]), anchor)) - was).abs().max() > 1e-5
    assert (model(x, t, Condition(torch.tensor([[0.3]]), anchor + 1)) - was).abs().max() > 1e-3
    assert model(x, t, Condition(torch.tensor([[torch.nan]]), anchor)).isfinite().all()


def test_what_is_no_such_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a UNet2DModel"):
        PaperImageModel.from_pretrained(tmp_path)


@torch.no_grad()
def test_autoencoder_has_our_contract(tmp_path):
    torch.manual_seed(0)
    model = PaperAutoencoder(PaperConfig(widths=SMALL)).eval()
    clips = torch.rand(2, 1, 112, 112) * 2 - 1
    latents = model.encode(clips)
    assert latents.shape == (2, 4, 14, 14) and model.decode(latents).shape == clips.shape
    model.save_pretrained(tmp_path)
    again = PaperAutoencoder.from_pretrained(tmp_path)
    assert torch.equal(again.encode(clips), latents) and again.config == model.config


def test_a_weight_too_many_or_too_few_is_named(tmp_path):
    from safetensors.torch import load_file, save_file

    PaperImageModel(PaperGeneratorConfig(widths=SMALL, frames=1)).save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    save_file(state | {"extra.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"'extra.weight' is unknown"):
        PaperImageModel.from_pretrained(tmp_path)
    del state["conv_in.bias"]
    save_file(state, path)
    with pytest.raises(InputError, match=r"'conv_in.bias' is missing"):
        PaperImageModel.from_pretrained(tmp_path)
    save_file(state | {"conv_in.bias": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="not a UNet2DModel"):
        PaperImageModel.from_pretrained(tmp_path)
