"""Released weights: what is taken in, what is refused, and that nothing in a file is run."""

import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from echosynth.errors import InputError
from echosynth.importing import convert
from echosynth.networks.base import read_state
from echosynth.networks.paper import PaperAutoencoder, PaperImageModel, PaperVideoModel
from echosynth.networks.paper_config import PaperConfig, PaperGeneratorConfig, PaperReidConfig
from echosynth.networks.resnet import Siamese

TINY = {"widths": (32, 32, 32, 32), "layers": 1}


@pytest.fixture
def released(tmp_path):
    """A folder in the released layout with tiny random networks: safetensors, a .bin, and a .pth of a wrapped siamese state dict."""
    torch.manual_seed(0)
    folder = tmp_path / "released"
    PaperAutoencoder(PaperConfig(**TINY)).save_pretrained(folder / "vae")
    PaperImageModel(PaperGeneratorConfig(**TINY, frames=1)).save_pretrained(folder / "lidm_dynamic")
    PaperVideoModel(PaperGeneratorConfig(**TINY)).save_pretrained(folder / "lvdm")
    weights = folder / "lvdm" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), folder / "lvdm" / "diffusion_pytorch_model.bin")
    weights.unlink()
    (folder / "reidentification_dynamic").mkdir()
    torch.save({"state_dict": Siamese(PaperReidConfig()).state_dict()}, folder / "reidentification_dynamic" / "best_network.pth")
    return folder


def test_all_four_come_out_as_safetensors_with_the_same_numbers(released, tmp_path):
    found = convert(released, tmp_path / "out", "dynamic")
    assert {name: network["kind"] for name, network in found.items()} == dict.fromkeys(("autoencoder", "image", "video", "reid"), "paper")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".pth", ".bin", ".pt")]
    for name, kind, source in (("image", PaperImageModel, "lidm_dynamic/diffusion_pytorch_model.safetensors"), ("video", PaperVideoModel, "lvdm/diffusion_pytorch_model.bin")):
        ours, theirs = kind.from_pretrained(tmp_path / "out" / name).network.state_dict(), read_state(released / source)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert Siamese.from_pretrained(tmp_path / "out" / "reid").config == PaperReidConfig(**found["reid"])


class Wicked:
    def __reduce__(self):
        return os.system, ("touch run-by-a-pickle",)


def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(released, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Wicked()}, released / "reidentification_dynamic" / "best_network.pth")
    with pytest.raises(InputError, match=r"best_network.pth: a pickle that wants to run code"):
        convert(released, tmp_path / "out", "dynamic")
    assert not (tmp_path / "run-by-a-pickle").exists()


def test_weights_that_do_not_fit_are_named(released, tmp_path):
    path = released / "lvdm" / "diffusion_pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    for change, message in (({"spare.weight": torch.zeros(1)}, "'spare.weight' is unknown"), ({"conv_in.bias": torch.zeros(3)}, r"'conv_in.bias' has shape \(3,\)")):
        torch.save(state | change, path)
        with pytest.raises(InputError, match=message):
            convert(released, tmp_path / "out", "dynamic")
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="not a state dict"):
        convert(released, tmp_path / "out", "dynamic")
    path.write_bytes(b"not a file of weights")
    with pytest.raises(InputError, match=r"diffusion_pytorch_model.bin"):
        convert(released, tmp_path / "out", "dynamic")


def test_what_is_missing_is_named(released, tmp_path):
    with pytest.raises(InputError, match=r"lidm_pediatric_a4c: no config.json"):
        convert(released, tmp_path / "out", "pediatric_a4c")
    save_file({"x": torch.zeros(1)}, released / "reidentification_dynamic" / "another.safetensors")
    with pytest.raises(InputError, match="2 files of weights"):
        convert(released, tmp_path / "out", "dynamic")
