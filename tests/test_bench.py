"""The verb `bench`: what is measured is real work in a process of its own; what is made of it is arithmetic."""

import json

import pytest

from echosynth import bench
from echosynth.config import preset
from echosynth.errors import InputError


def test_our_own_clip_is_measured_from_noise_to_file():
    found = bench._alone("clip", "compact")
    assert found["seconds"] == pytest.approx(sum(found["parts"].values())) and set(found["parts"]) == {"image", "video", "decode", "write"}
    options = preset("demo").synthesis
    assert found["steps"] == f"{options.image_steps} of {options.image_steps} and {options.steps} of {options.steps}" and 100 < found["memory_mb"] < 3000


def test_medians_and_ratios_are_of_pairs(tmp_path, monkeypatch):
    told = {"compact": iter([1.0, 2.0, 4.0]), "paper": iter([100.0, 600.0, 400.0])}
    monkeypatch.setattr(bench, "_alone", lambda name, recipe: {"seconds": next(told[recipe]), "steps": "2 of 64", "memory_mb": 100.0 if recipe == "compact" else 800.0})
    found = bench.bench(["clip"], tmp_path, 3)["clip"]
    assert found["compact"]["seconds"] == 2.0 and found["paper"]["seconds"] == 400.0 and found["ratios"] == [100.0, 300.0, 100.0] and found["times_as_quick"] == 100.0
    kept = json.loads((tmp_path / "clip.json").read_text())
    assert kept["memory_ratio"] == 8.0 and kept["paper"]["steps"] == "2 of 64" and "noise to file" in kept["measure"] and kept["machine"]["threads"] >= 1


def test_an_unknown_measure_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="clip, clips, encode"):
        bench.bench(["speed"], tmp_path, 1)
