"""Detector files: TorchScript written here goes through, whatever else is one clear line."""

import hashlib
import os

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from echosynth.config import preset
from echosynth.errors import InputError
from echosynth.metrics import detectors
from echosynth.metrics.detectors import I3D, Inception, open_detector, resize
from echosynth.run import configure

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")  # deprecated, and yet what the field's files are


class ToyI3D(nn.Module):
    """Called as StyleGAN-V's file is.

    Feature c is the mean of the clip scaled to [-1, 1], plus c; `scale` spoils it.
    """

    def __init__(self, features: int = 400, scale: float = 1.0):
        super().__init__()
        self.features, self.scale = features, scale

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        assert x.dim() == 5 and x.size(1) == 3 and x.size(3) == 224 and x.size(4) == 224 and return_features and resize
        if rescale:
            x = x / 127.5 - 1
        return (x.mean([1, 2, 3, 4])[:, None] + torch.arange(self.features)) * self.scale


class ToyInception(nn.Module):
    def forward(
        self, img: Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        assert img.dtype == torch.uint8 and img.size(1) == 3
        grey = img.float().mean([1, 2, 3])[:, None]
        return grey.expand(-1, 2048) if return_features else torch.softmax(grey * torch.linspace(0, 1, 1008), 1)


class Deaf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def saved(module: nn.Module, path):
    torch.jit.save(torch.jit.script(module), str(path))
    return path


def clips(frames=16, size=112, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (3, frames, size, size), dtype=np.uint8)


def test_a_file_goes_through(tmp_path):
    path = saved(ToyI3D(), tmp_path / "i3d.pt")
    detector = open_detector(f"i3d={path}", trusted=True)
    batch = clips()
    found = detector.features(batch, 50.0)
    assert found.shape == (3, 400) and found.dtype == np.float64 and detector.dims == 400
    assert found[:, 3] - 3 == pytest.approx(batch.mean((1, 2, 3)) / 127.5 - 1, abs=1e-3)
    assert detector.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and detector.name == "i3d"


def test_what_i3d_is_given():
    given = I3D.prepare(clips(size=300))
    assert (
        given.shape == (3, 3, 16, 224, 224) and given.dtype == torch.float32 and given.min() >= 0 and given.max() <= 255
    )
    assert torch.equal(given[:, 0], given[:, 2])


def test_inception_features_and_probabilities(tmp_path):
    detector = open_detector(f"inception={saved(ToyInception(), tmp_path / 'inception.pt')}", trusted=True)
    frames = clips(frames=1)
    assert detector.features(frames, 30.0)[:, 7] == pytest.approx(frames.mean((1, 2, 3)), abs=1e-3)
    assert detector.probabilities(frames).shape == (3, 1008) and detector.probabilities(frames).sum(1) == pytest.approx(
        1
    )
    assert Inception.prepare(frames).shape == (3, 3, 112, 112)
    large = Inception.prepare(clips(frames=1, size=400))
    assert large.shape == (3, 3, 299, 299) and large.dtype == torch.uint8


def test_made_smaller_without_aliases():
    """Stripes finer than the small picture can hold become grey; without antialiasing they would stay stripes."""
    stripes = torch.zeros(1, 1, 448, 448)
    stripes[..., ::2] = 200
    inner = resize(stripes, 160)[..., 5:-5, 5:-5]
    assert inner.std() < 0.1 * stripes.std() and inner.mean() == pytest.approx(100, abs=2)


@pytest.mark.parametrize(
    ("module", "what"),
    [
        (ToyI3D(features=10), r"gives \(2, 10\) where the i3d detector gives \(2, 400\)"),
        (ToyI3D(scale=float("nan")), "not finite"),
        (Deaf(), "cannot be called as the i3d detector with rescale, resize, return_features"),
        (ToyInception(), "cannot be called as the i3d detector"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, module, what):
    path = saved(module, tmp_path / "wrong.pt")
    with pytest.raises(InputError, match=what) as caught:
        open_detector(f"i3d={path}", trusted=True)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_missing_and_no_torchscript(tmp_path):
    with pytest.raises(InputError, match=r"absent\.pt: no such file; give"):
        open_detector(f"i3d={tmp_path / 'absent.pt'}", trusted=True)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("hello")
    for name in ("state.pt", "text.pt"):
        with pytest.raises(InputError, match="not a TorchScript file") as caught:
            open_detector(f"i3d={tmp_path / name}", trusted=True)
        assert "\n" not in str(caught.value)
    for option in ("i4d=x.pt", "i3d", "i3d="):
        with pytest.raises(InputError, match="--detector"):
            open_detector(option, trusted=True)


class Wicked(nn.Module):
    """Writes a file when it is called, which the restricted reader of weights could not do."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        torch.save(x.mean(), self.path)
        return x.mean([1, 2, 3, 4])[:, None] + torch.arange(400)


def test_what_is_not_trusted_is_not_opened(tmp_path):
    path = saved(Wicked(str(tmp_path / "written")), tmp_path / "i3d.pt")
    with pytest.raises(
        InputError,
        match=r"i3d\.pt: a TorchScript file can run any code .*--trust-detector .*evaluation\.trust_detectors=true",
    ):
        open_detector(f"i3d={path}", trusted=False)
    assert not (tmp_path / "written").exists()
    open_detector(f"i3d={path}", trusted=True)
    assert (tmp_path / "written").exists()


def test_a_study_says_so_before_anything_takes_long(tmp_path):
    given = f"evaluation.detectors=['i3d={tmp_path / 'i3d.pt'}']"
    with pytest.raises(InputError, match=r"i3d\.pt: a TorchScript file can run any code"):
        configure(preset("smoke"), options=[given])
    assert configure(preset("smoke"), options=[given, "evaluation.trust_detectors=true"]).evaluation.trust_detectors


def test_a_detector_is_a_regular_file_within_the_limit(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(InputError, match=r"pipe\.pt: not a regular file"):
        open_detector(f"i3d={tmp_path / 'pipe.pt'}", trusted=True)
    with open(tmp_path / "huge.pt", "wb") as file:
        file.truncate(detectors.MAX_BYTES + 1)
    with pytest.raises(InputError, match="at most"):
        open_detector(f"i3d={tmp_path / 'huge.pt'}", trusted=True)
