"""study.yaml as hostile text, and options that no study has: one line each that names the option."""

import contextlib
import os
import time

import pytest
import yaml

from echosynth.config import MAX_YAML, PRESETS, parse, preset, read_yaml
from echosynth.errors import InputError


def told(function, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 2000
    return str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_study_writes_is_read(tmp_path, name):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(preset(name).model_dump(mode="json"), sort_keys=False))
    assert parse(read_yaml(path), str(path)) == preset(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 10_000, "nested too deeply"),
        ("- " * 10_000, "nested too deeply"),
        ("a: &x [1, 1]\nb: [*x, *x]\n", "line 1: an anchor or alias"),
        ("a: 1\nb: *x\n", "line 2: an anchor or alias"),
        ("&x a: 1\n", "anchor"),
        ("a: [\n", "damaged"),
        ("a: !!python/object/apply:os.system [true]\n", "damaged"),
        ("? {a: 1}\n: 2\n", "damaged"),
        ("a: 2024-99-99\n", "damaged"),
        ("a: " + "9" * 5000, "damaged"),
        ("a: \x00", "damaged"),
        ("- a\n", "not a mapping"),
        ("text", "not a mapping"),
        ("", "not a mapping"),
        ("a: 1\n---\na: 2\n", "damaged"),
        ("x" * (MAX_YAML + 1), "at most"),
    ],
)
def test_whatever_is_no_mapping_of_options_is_one_line(tmp_path, text, words):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    assert words in (line := told(read_yaml, path)) and str(path) in line


def test_bytes_that_are_no_text_and_files_that_are_none(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_bytes(b"a: \xff\n")
    assert "damaged" in told(read_yaml, path)
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in told(read_yaml, path)
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "missing.yaml")


def test_scalars_that_are_hard_to_make_out_do_not_take_long(tmp_path):
    path, began = tmp_path / "study.yaml", time.process_time()
    for text in (
        "1:" * 100_000 + "1",
        "1_" * 100_000,
        "." * 200_000,
        "-" * 200_000,
        "0x" + "f" * 200_000,
        '"' + "\\n" * 100_000 + '"',
    ):
        path.write_text(f"a: {text}\n")
        with contextlib.suppress(InputError):
            read_yaml(path)
    assert time.process_time() - began < 60


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ("video", "fps", float("inf")),
        ("video", "fps", float("nan")),
        ("autoencoder", "spectrum_weight", float("nan")),
        ("evaluation", "curve", [1.0, float("inf")]),
        ("dp", "epsilon", float("inf")),
        ("synthesis", "videos", 10**12),
        ("synthesis", "frames", {}),
        ("synthesis", "ef", []),
        ("synthesis", "ef", "x" * 10_000),
        ("evaluation", "detectors", "i3d=x.pt"),
        ("evaluation", "seeds", "\x1b[31m"),
        ("joint", "others", [{}]),
    ],
)
def test_an_option_of_another_kind_is_named(section, option, value):
    values = preset("smoke").model_dump(mode="json")
    values[section][option] = value
    assert f"option {section}.{option}" in told(parse, values, "study.yaml")


@pytest.mark.parametrize(
    "values", [{}, {1: 2}, {"autoencoder": []}, {"seed": 2**64}, {"\x1b[31m\n": 1}, {"network": {"network": {}}}]
)
def test_whole_sections_of_another_kind(values):
    assert "study.yaml: option" in told(
        parse, preset("smoke").model_dump(mode="json") | values if values else {}, "study.yaml"
    )


@pytest.mark.parametrize(
    ("stage", "option", "value"),
    [
        ("video", "dim", 10**6),
        ("video", "depth", 10**5),
        ("video", "guidance", float("inf")),
        ("autoencoder", "widths", [10**6, 8]),
    ],
)
def test_sizes_of_networks_have_limits(stage, option, value):
    values = preset("smoke").model_dump(mode="json")
    values[stage]["network"][option] = value
    assert f"option {stage}.network.{option}" in told(parse, values, "study.yaml")
