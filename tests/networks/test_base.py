"""Networks from hostile folders: every file that no honest run writes is one line, and nothing is allocated, run or
waited for on the way to it.
"""

import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from echosynth.errors import InputError
from echosynth.networks import base
from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig
from echosynth.networks.base import read_state
from echosynth.networks.denoiser import Denoiser, DenoiserConfig
from echosynth.networks.paper_config import PaperConfig, PaperGeneratorConfig, PaperRegressorConfig, PaperReidConfig
from echosynth.networks.regressor import Regressor, RegressorConfig
from echosynth.networks.reid import ReidConfig, ReidEncoder
from echosynth.networks.segmenter import Segmenter, SegmenterConfig

TINY = {
    Autoencoder: AutoencoderConfig(widths=(8, 16), blocks=(1, 1), decoder_blocks=(1, 1)),
    Denoiser: DenoiserConfig(bands=(1, 1, 2), dim=16, depth=2, heads=2),
    ReidEncoder: ReidConfig(widths=(8, 16), blocks=(1, 1), embedding=8),
    Regressor: RegressorConfig(size=32, width=8, features=4),
    Segmenter: SegmenterConfig(size=32, width=8),
}
CONFIGS = (
    AutoencoderConfig,
    DenoiserConfig,
    ReidConfig,
    RegressorConfig,
    SegmenterConfig,
    PaperConfig,
    PaperGeneratorConfig,
    PaperReidConfig,
    PaperRegressorConfig,
)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    Autoencoder(TINY[Autoencoder]).save_pretrained(tmp_path)
    return tmp_path


def refused(folder, kind=Autoencoder):
    with pytest.raises(InputError) as caught:
        kind.from_pretrained(folder)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000 and str(folder) in message
    return message


def changed(folder, **weights):
    path = folder / "model.safetensors"
    save_file(load_file(path) | weights, path)


@pytest.mark.parametrize("kind", TINY)
def test_what_is_saved_is_opened_and_takes_the_random_numbers_it_always_took(kind, tmp_path):
    network = kind(TINY[kind])
    network.save_pretrained(tmp_path)
    torch.manual_seed(5)
    opened = kind.from_pretrained(tmp_path).state_dict()
    after = torch.get_rng_state()
    assert all(torch.equal(value, opened[name]) for name, value in network.state_dict().items())
    torch.manual_seed(5)
    kind(TINY[kind])
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.parametrize("config", CONFIGS)
def test_every_size_has_a_limit_and_no_number_is_endless(config):
    for name, field in config.model_fields.items():
        if name in ("kind", "frames") and not isinstance(field.default, int):
            continue
        endless = float("inf") if isinstance(field.default, float) else 10**9
        for value in (endless, (endless,) * len(field.default) if isinstance(field.default, tuple) else -(10**9)):
            with pytest.raises(ValidationError):
                config(**{name: value})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"widths": [1000000, 8]}', "widths.0"),
        ('{"blocks": [100000, 1]}', "blocks.0"),
        ('{"widths": [4096, 4096], "blocks": [128, 128]}', "parameters, where at most"),
        ('{"noise": NaN}', "noise"),
        ('{"noise": Infinity}', "noise"),
        ('{"latent_channels": ' + "9" * 5000 + "}", "config.json"),
        ('{"latent_channels": "many"}', "latent_channels"),
        ('{"widths": {}}', "widths"),
        ('{"kind": []}', "kind"),
        ('{"\\u001b[31m\\n": 1}', "?[31m?"),
        ("{}" * 2, "config.json"),
        ("[]", "valid dictionary"),
        ('"text"', "valid dictionary"),
        ("7", "valid dictionary"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"widths":' * 50_000, "config.json"),
        ("\ud800", "config.json"),
        ("", "config.json"),
        (" " * (base.MAX_CONFIG + 1), "at most"),
    ],
)
def test_a_configuration_of_any_other_kind_is_one_line(folder, content, words):
    (folder / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert words in refused(folder)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.full((16,), torch.nan), "holds numbers that are not finite"),
        (torch.tensor([0.0] * 15 + [torch.inf]), "holds numbers that are not finite"),
        (torch.full((16,), 1e300, dtype=torch.float64), "holds numbers that are not finite"),
        (torch.full((16,), torch.nan, dtype=torch.bfloat16), "holds numbers that are not finite"),
        (
            torch.zeros(16, dtype=torch.complex64),
            "holds numbers of a kind that no network has, Autoencoder wants floats",
        ),
        (
            torch.zeros(16, dtype=torch.float8_e4m3fn),
            "holds numbers of a kind that no network has, Autoencoder wants floats",
        ),
        (torch.zeros(16, dtype=torch.int32), "holds integers, Autoencoder wants floats"),
        (torch.zeros(16, dtype=torch.bool), "holds truth values, Autoencoder wants floats"),
        (torch.zeros(4, 4), r"has shape (4, 4), Autoencoder wants (16,)"),
    ],
)
def test_weights_that_are_no_weights_are_refused_by_their_name(folder, value, words):
    changed(folder, **{"encoder.4.bias": value})
    assert f"weight 'encoder.4.bias' {words}" in refused(folder)
    with pytest.raises(InputError, match=r"'encoder\.4\.bias'"):
        network = Autoencoder(TINY[Autoencoder])
        network.load_weights(network.state_dict() | {"encoder.4.bias": value}, "here")


def test_floats_where_integers_belong_are_refused(folder):
    changed(folder, **{"standardise.num_batches_tracked": torch.tensor(1.0)})
    assert "'standardise.num_batches_tracked' holds floats, Autoencoder wants integers" in refused(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_any_precision_are_opened(folder, dtype):
    network = Autoencoder.from_pretrained(folder)
    network.save_pretrained(folder, dtype)
    opened = Autoencoder.from_pretrained(folder).state_dict()
    assert all(
        torch.equal(value.to(dtype).to(value.dtype) if value.is_floating_point() else value, opened[name])
        for name, value in network.state_dict().items()
    )


def test_names_in_a_header_cannot_break_the_line(folder):
    changed(folder, **{"\x1b[31m\n" + "x" * 5000: torch.zeros(1)})
    assert "is unknown" in refused(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_only_a_regular_file_is_read_and_nothing_is_waited_for(folder, name):
    (folder / name).unlink()
    for make in (os.mkfifo, lambda path: os.symlink("/dev/zero", path)):
        make(folder / name)
        assert "not a regular file" in refused(folder)
        os.unlink(folder / name)
    (folder / name).mkdir()
    refused(folder)


def test_damaged_safetensors_are_one_line(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    for content in (
        b"",
        whole[:7],
        whole[: len(whole) // 2],
        (2**63).to_bytes(8, "little") + whole[8:],
        whole[:8] + b"x" * length + whole[8 + length :],
        bytes(len(whole)),
    ):
        path.write_bytes(content)
        assert "model.safetensors" in refused(folder)
    with open(path, "wb") as file:
        file.truncate(base.MAX_WEIGHTS + 1)
    assert "at most" in refused(folder)


def test_a_huge_network_is_refused_by_the_file_before_it_is_allocated(folder):
    """Gigabytes of weights by the configuration, a small file beside it: the memory of the process must not grow."""
    (folder / "config.json").write_text(
        json.dumps({"widths": [2048, 2048], "blocks": [1, 1], "decoder_blocks": [1, 1]})
    )
    code = (
        "import resource, sys; from pathlib import Path; from echosynth.networks.autoencoder import Autoencoder\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: Autoencoder.from_pretrained(Path(sys.argv[1]))\n"
        "except ValueError as error: print(error)\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert "wants (2048," in done.stdout


def zipped(path, pickled: bytes, compression=zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in (("data.pkl", pickled), ("version", "3\n"), ("byteorder", "little")):
            archive.writestr(f"archive/{name}", content)


def test_state_dicts_that_would_kill_or_fill_the_process_are_refused(tmp_path):
    path, deep = tmp_path / "weights.pt", b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s."
    zipped(path, deep)
    with pytest.raises(InputError, match="tuples"):
        read_state(path)
    path.write_bytes(deep)
    with pytest.raises(InputError, match="tuples"):
        read_state(path)
    zipped(path, b"\x80\x02}.", zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        read_state(path)
    zipped(path, b"\x80\x02}X" + (5 * 2**20).to_bytes(4, "little") + b"x" * 5 * 2**20 + b"K\x01s.")
    with pytest.raises(InputError, match="a description of"):
        read_state(path)
    zipped(path, b"\x80\x02}.")
    assert read_state(path) == {}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(1).expand(10**9), "larger than the file has numbers for"),
        (torch.tensor([1.0, torch.nan]), "not finite"),
        (torch.zeros(3, dtype=torch.complex64), "of a kind that no network has"),
        (torch.eye(3).to_sparse(), "of a kind that no network has"),
        (torch.zeros(3, device="meta"), "of a kind that no network has"),
    ],
)
def test_odd_tensors_in_a_state_dict_are_refused_by_their_name(tmp_path, legacy, value, words):
    path = tmp_path / "weights.pt"
    torch.save({"good": torch.zeros(2), "odd": value}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=f"'odd'.*{words}"):
        read_state(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_good_state_dicts_are_read(tmp_path, legacy):
    state = {
        "module.a": torch.randn(3, 4),
        "b": torch.arange(3),
        "empty": torch.zeros(0),
        "half": torch.randn(2).half(),
    }
    torch.save(state, tmp_path / "weights.pt", _use_new_zipfile_serialization=not legacy)
    save_file(state, tmp_path / "weights.safetensors")
    for name in ("weights.pt", "weights.safetensors"):
        found = read_state(tmp_path / name)
        assert found.keys() == {"a", "b", "empty", "half"} and torch.equal(found["a"], state["module.a"])


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_state_dict_is_a_regular_file_within_the_limit(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        read_state(path)
    path.unlink()
    with open(path, "wb") as file:
        file.truncate(base.MAX_WEIGHTS + 1)
    with pytest.raises(InputError, match="at most"):
        read_state(path)
