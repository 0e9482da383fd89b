"""The published networks: their sizes, their folders, what they refuse."""

import json

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file

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
    with pytest.raises(InputError, match=r"'conv_in.bias' has shape \(3,\)"):
        PaperImageModel.from_pretrained(tmp_path)


@pytest.fixture
def small(tmp_path):
    """A folder with a small image model, its configuration and its weights."""
    PaperImageModel(PaperGeneratorConfig(widths=SMALL, frames=1)).save_pretrained(tmp_path)
    return (
        tmp_path,
        json.loads((tmp_path / "config.json").read_text()),
        load_file(tmp_path / "diffusion_pytorch_model.safetensors"),
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"block_out_channels": [10**6] * 4}, "block_out_channels"),
        ({"block_out_channels": [4096] * 4, "layers_per_block": 20}, "parameters, where at most"),
        ({"layers_per_block": 10**5}, "layers_per_block"),
        ({"block_out_channels": [[[[32]]]]}, "block_out_channels"),
        ({"block_out_channels": "wide"}, "config.json"),
        ({"down_block_types": ["Unknown"] * 4}, "config.json"),
        ({"norm_eps": float("nan")}, "norm_eps"),
        ({"sample_size": float("-inf")}, "sample_size"),
        ({"sample_size": 10**400}, "sample_size"),
        ({"act_fn": {}}, "act_fn"),
        ({"add_attention": 2}, "add_attention"),
        ({"attention_head_dim": "8"}, "attention_head_dim"),
        ({"in_channels": 5}, "in_channels is 5, the published network has 4"),
        ({"_class_name": [1]}, "network without a name"),
        ({"norm_num_groups": 7}, "config.json"),
    ],
)
def test_a_configuration_that_no_network_has_is_refused_before_it_is_built(small, change, words):
    folder, about, _ = small
    (folder / "config.json").write_text(json.dumps(about | change))
    with pytest.raises(InputError) as caught:
        PaperImageModel.from_pretrained(folder)
    assert words in str(caught.value) and "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize("scale", [0, -1.0, None, "1", True])
def test_latents_are_scaled_by_a_positive_number(tmp_path, scale):
    PaperAutoencoder(PaperConfig(widths=SMALL)).save_pretrained(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(about | {"scaling_factor": scale}))
    with pytest.raises(InputError, match="scaling_factor"):
        PaperAutoencoder.from_pretrained(tmp_path)


def test_weights_that_are_not_finite_are_named(small):
    folder, _, state = small
    save_file(state | {"conv_in.bias": torch.full((32,), torch.nan)}, folder / "diffusion_pytorch_model.safetensors")
    with pytest.raises(InputError, match=r"'conv_in.bias' holds numbers that are not finite"):
        PaperImageModel.from_pretrained(folder)


def test_names_of_old_diffusers_are_understood_and_random_numbers_left_alone(small):
    folder, _, state = small
    old = {
        name.replace("to_q", "query")
        .replace("to_k", "key")
        .replace("to_v", "value")
        .replace("to_out.0", "proj_attn"): value
        for name, value in state.items()
    }
    assert old.keys() != state.keys()
    save_file(old, folder / "diffusion_pytorch_model.safetensors")
    before = torch.get_rng_state()
    opened = PaperImageModel.from_pretrained(folder).network.state_dict()
    assert opened.keys() == state.keys() and all(torch.equal(opened[name], state[name]) for name in state)
    assert torch.equal(torch.get_rng_state(), before)
