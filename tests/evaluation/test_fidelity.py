"""Likeness of two toy cohorts: detectors that the user supplies go through, every figure has its floor or a reason, and a cohort of other hearts is farther than one of the same."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from echosynth.cohort.echonet import read_cohort, write_filelist
from echosynth.cohort.video import write_clip
from echosynth.evaluation.appearance import appearance
from echosynth.evaluation.fidelity import distances, likeness
from echosynth.metrics.encoders import InDomain
from echosynth.networks.regressor import Regressor, RegressorConfig
from toy_hearts import beating_ellipse

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit")


class I3D(nn.Module):
    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> torch.Tensor:
        return x.mean([1, 2, 3, 4])[:, None] + torch.arange(400)


class Inception(nn.Module):
    def forward(self, img: torch.Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        grey = img.float().mean([1, 2, 3])[:, None]
        return grey.expand(-1, 2048) if return_features else torch.softmax(grey * torch.linspace(0, 1, 1008), 1)


def a_cohort(folder, seed, gain=1.0, clips=56, frames=16):
    rng, rows = np.random.default_rng(seed), []
    for i in range(clips):
        name, ef = f"C{i:03d}", float(rng.uniform(20, 75))
        clip = (gain * beating_ellipse(ef, rng, frames=frames, fps=32.0, size=32)).clip(0, 255).astype(np.uint8)
        write_clip(folder / "Videos" / f"{name}.avi", clip, 32.0)
        rows.append(dict(name=name, ef=ef, esv=np.nan, edv=np.nan, height=32, width=32, fps=32.0, frames=frames, split=("TRAIN", "VAL", "TEST")[i % 3]))
    write_filelist(folder, pd.DataFrame(rows))
    return read_cohort(folder)


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    root = tmp_path_factory.mktemp("fidelity")
    return a_cohort(root / "real", 1, clips=112), a_cohort(root / "same", 2), a_cohort(root / "other", 3, gain=0.5)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return InDomain(Regressor(RegressorConfig(size=32, width=8, features=4)), "ab" * 32)


def test_detectors_go_through(cohorts, encoder, tmp_path):
    files = {kind: str(tmp_path / f"{kind}.pt") for kind in ("i3d", "inception")}
    torch.jit.save(torch.jit.script(I3D()), files["i3d"])
    torch.jit.save(torch.jit.script(Inception()), files["inception"])
    real, same, _ = cohorts
    metrics, coverage = likeness(real, real.clips, same, encoder, tuple(f"{kind}={path}" for kind, path in files.items()), 0, trusted=True)
    assert metrics["fvd_16.frechet"] is None and "401 needed" in metrics["fvd_16.frechet_reason"] and metrics["fvd_16.samples"] == 56
    assert metrics["fvd_128.frechet"] is None and "no real clip of 128 frames" in metrics["fvd_128.frechet_reason"]
    assert isinstance(metrics["fvd_16.kid"], float) and len(metrics["fvd_16.encoder"]) == 64
    assert metrics["fid.samples"] == 896 and "2049 needed" in metrics["fid.frechet_reason"]
    assert "needed" in metrics["fid.inception_score_reason"] and len(metrics["fid.encoder"]) == 64 and metrics["video.encoder"] == "ab" * 32
    assert metrics["video.frechet"] > 0 and metrics["video.frechet_floor"] > 0 and metrics["coverage.patients"] <= 1
    assert set(coverage["kind"]) == {"EF"} and coverage["clips"].sum() == 112 and coverage["made"].sum() == pytest.approx(1, abs=0.2)


def test_another_gain_is_farther_than_the_floor(cohorts, encoder):
    real, same, other = cohorts
    near, far = ({**likeness(real, real.clips, one, encoder, (), 0)[0], **appearance(real, real.clips, one, 32.0, 112, (), 0)[0]} for one in (same, other))
    for key in ("video.frechet", "appearance.radiomics", "appearance.speckle_spectrum", "appearance.temporal_spectrum"):
        assert far[key] > 2 * near[key] and far[key] > 2 * far[f"{key}_floor"], key
        assert near[key] < near[f"{key}_floor"] + 5 * near[f"{key}_floor_sd"] + 0.2 * near[f"{key}_floor"], key


def test_joins_are_looked_at_where_there_are_any(cohorts):
    real, same, _ = cohorts
    assert "seams.quantile" not in appearance(real, real.clips, same, 32.0, 4, (), 0)[0]
    metrics, table, motion = appearance(real, real.clips, same, 32.0, 4, (10,), 0)
    assert 0 <= metrics["seams.quantile"] <= 1 and metrics["seams.ratio"] > 0
    assert len(table) == 8 and set(table.columns) & {"name", "patient"} == set() and set(motion["kind"]) == {"real", "synthetic"}


def test_two_samples_of_one_distribution_lie_at_the_floor(encoder):
    rng = np.random.default_rng(0)
    real, synthetic = rng.standard_normal((200, 4)), rng.standard_normal((150, 4))
    metrics = distances("x", real, np.arange(200), synthetic, encoder, 0)
    assert abs(metrics["x.frechet"] - metrics["x.frechet_floor"]) < 4 * metrics["x.frechet_floor_sd"]
    assert metrics["x.kid_low"] < 0 < metrics["x.kid_high"] and metrics["x.frechet_infinity_low"] < 0.05
    for name in ("precision", "recall", "density", "coverage"):
        assert metrics[f"x.{name}"] == pytest.approx(metrics[f"x.{name}_floor"], abs=0.1)
    assert not [key for key in metrics if key.endswith("_reason")]
