"""What becomes of files that nobody honest wrote, through the doors that users' files go through: weights and their
configurations, tables and videos.

python -m benchmarks.hostile OUT [--count 500] [--seed 0]      so many of either; a minute for a hundred on one core

Every case is a copy of good files with something done to it. A child process opens it, so that a hang, a crash or
memory is seen and known to be of this case. A case ends refused with one line, opened as the good one, opened with
other numbers (a flipped bit of a finite number: only a hash can find it), or opened otherwise; the last are printed,
as are tracebacks, hangs and crashes. OUT keeps hostile.json, a row a case.
"""

import argparse
import contextlib
import json
import os
import pickle
import re
import resource
import shutil
import struct
import subprocess
import sys
import threading
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path
from queue import Empty, Queue

import numpy as np

from echosynth.randomness import numpy_rng

SLOW, KILLED, STARTS, BATCH = 5.0, 30.0, 600.0, 100  # seconds; and cases for which one child serves
WEIGHTS, COHORTS = "weights", "tables and videos"
HUGE = [10**6, 10**9, 2**63, 10**400, -1, 0, 1e308, float("nan"), float("inf"), -float("inf"), 0.5]
ODD = [
    None,
    True,
    "",
    "7",
    "x" * 100_000,
    "\x1b[31m\n",
    "\ud800",
    {},
    [],
    [[]],
    [10**6] * 4,
    [1] * 10_000,
    {"a": {"b": []}},
]
NETWORKS = ("Autoencoder", "Denoiser", "ReidEncoder", "Regressor", "Segmenter")
PAPER = ("PaperAutoencoder", "PaperImageModel", "PaperVideoModel")
LARGE = ("Siamese", "PaperRegressor")


# Good files


def networks() -> dict:
    """Small networks of every kind, by the name of their class, that are drawn when asked for."""
    from echosynth.networks import autoencoder, denoiser, paper, regressor, reid, resnet, segmenter
    from echosynth.networks.paper_config import PaperConfig, PaperGeneratorConfig, PaperRegressorConfig, PaperReidConfig

    small = {"widths": (32, 32, 32, 32), "layers": 1}
    configs = {
        autoencoder.Autoencoder: autoencoder.AutoencoderConfig(widths=(8, 16), blocks=(1, 1), decoder_blocks=(1, 1)),
        denoiser.Denoiser: denoiser.DenoiserConfig(bands=(1, 1, 2), dim=16, depth=2, heads=2),
        reid.ReidEncoder: reid.ReidConfig(widths=(8, 16), blocks=(1, 1), embedding=8),
        regressor.Regressor: regressor.RegressorConfig(size=32, width=8, features=4),
        segmenter.Segmenter: segmenter.SegmenterConfig(size=32, width=8),
        paper.PaperAutoencoder: PaperConfig(**small),
        paper.PaperImageModel: PaperGeneratorConfig(**small, frames=1),
        paper.PaperVideoModel: PaperGeneratorConfig(**small),
        resnet.Siamese: PaperReidConfig(),
        resnet.PaperRegressor: PaperRegressorConfig(),
    }
    return {kind.__name__: (kind, config) for kind, config in configs.items()}


def make_good(good: Path) -> None:
    """Networks, state dicts and a cohort of four clips, as they should be."""
    import torch

    from echosynth.cohort.echonet import write_filelist, write_patients, write_tracings

    torch.manual_seed(0)
    for name, (kind, config) in networks().items():
        kind(config).save_pretrained(good / name)
    state = {f"layer.{k}.weight": torch.randn(8, 8) for k in range(4)} | {"steps": torch.tensor(7)}
    torch.save(state, good / "state.pt")
    torch.save(state, good / "legacy.pt", _use_new_zipfile_serialization=False)

    import pandas as pd

    names = list("ABCD")
    clips = pd.DataFrame({"name": names, "patient": [f"p{name}" for name in names]})
    clips["split"] = ["TRAIN", "TRAIN", "VAL", "TEST"]
    clips = clips.assign(ef=[60.0, 50.0, 40.0, 30.0], edv=100.0, esv=[40.0, 50.0, 60.0, 70.0])
    clips = clips.assign(fps=25.0, frames=12, height=48, width=48)
    for name, codec in zip(names, ("mjpeg", "mpeg4", "h264", "matroska"), strict=True):
        write_video(good / "cohort" / "Videos" / f"{name}.avi", codec)
    write_filelist(good / "cohort", clips)
    write_patients(good / "cohort", clips)
    lines = {"name": ["A"] * 4, "x1": 10.0, "y1": [10.0, 20, 10, 20], "x2": 30.0, "y2": [12.0, 22, 12, 22]}
    write_tracings(good / "cohort", pd.DataFrame(lines | {"frame": [0, 0, 6, 6]}))


def write_video(path: Path, codec: str) -> None:
    """Twelve frames: our own AVI, one of another codec, an MP4, or a Matroska."""
    import av

    from echosynth.cohort.video import write_clip

    y, x = np.mgrid[:48, :48]
    clip = np.stack([(2 * x + 3 * y + 5 * t) % 256 for t in range(12)]).astype(np.uint8)
    if codec == "mjpeg":
        write_clip(path, clip, 25)
        return
    coder, container = {"mpeg4": ("mpeg4", "avi"), "h264": ("libx264", "mp4"), "matroska": ("ffv1", "matroska")}[codec]
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(coder, rate=25)
        stream.width = stream.height = 48
        stream.pix_fmt = "gray" if coder == "ffv1" else "yuv420p"
        for image in clip:
            frame = av.VideoFrame.from_ndarray(image, format="gray")
            out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        out.mux(stream.encode())


# What is done to them


def pick(rng: np.random.Generator, values):
    return values[int(rng.integers(len(values)))]


def damage(path: Path, rng: np.random.Generator) -> str:
    """Anything that can befall any file."""
    kind = pick(
        rng,
        (
            "flip",
            "flip",
            "flip",
            "bytes",
            "cut",
            "zero",
            "append",
            "empty",
            "random",
            "gone",
            "pipe",
            "folder",
            "zeros",
            "null",
            "socket",
        ),
    )
    if kind in ("flip", "bytes", "cut", "zero", "append", "random"):
        data = bytearray(path.read_bytes())
        size = len(data)
        if kind == "flip":
            for at in rng.integers(0, pick(rng, (64, 512, size, size)), int(rng.integers(1, 20))):
                data[min(at, size - 1)] ^= 1 << int(rng.integers(8))
        elif kind == "bytes":
            for at in rng.integers(0, size, int(rng.integers(1, 200))):
                data[at] = int(rng.integers(256))
        elif kind == "cut":
            del data[int(rng.integers(size)) :]
        elif kind == "zero":
            first, last = sorted(int(at) for at in rng.integers(0, size + 1, 2))
            data[first:last] = bytes(last - first)
        elif kind == "append":
            data += rng.bytes(int(rng.integers(1, 10_000)))
        else:
            data = bytearray(rng.bytes(size))
        path.write_bytes(data)
        return kind
    path.unlink()
    if kind == "empty":
        path.touch()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("zeros", "null"):
        path.symlink_to(f"/dev/{'zero' if kind == 'zeros' else 'null'}")
    elif kind == "socket":
        os.mknod(path, 0o140600)
    return kind


def hostile_config(path: Path, rng: np.random.Generator) -> str:
    """Another value, another kind of value, another key, or text that is no configuration."""
    if rng.random() < 0.25:
        name, text = pick(
            rng,
            [
                ("deep lists", "[" * 100_000 + "]" * 100_000),
                ("deep mappings", '{"a":' * 100_000 + "1" + "}" * 100_000),
                ("list", "[]"),
                ("number", "7"),
                ("text", '"x"'),
                ("digits", "9" * 100_000),
                ("spaces", " " * 2**21),
                ("cut", path.read_text()[:-9]),
                ("twice", path.read_text() * 2),
                ("mark", "\ufeff" + path.read_text()),
                ("deep in", '{"kind": ' + "[" * 900 + "]" * 900 + "}"),
            ],
        )
        path.write_text(text)
        return f"config: {name}"
    config = json.loads(path.read_text())
    key = pick(rng, [*config, "unknown", "__class__", "config", "\x1b[2J", "quantization_config", "auto_map"])
    old = config.get(key)
    value = pick(rng, HUGE + ODD)
    if isinstance(old, list) and old and rng.random() < 0.6:
        value = [*old]
        value[int(rng.integers(len(value)))] = pick(rng, HUGE + ODD)
    elif isinstance(old, int) and rng.random() < 0.3:
        value = old * 2
    config[key] = value
    path.write_text(json.dumps(config), encoding="utf-8", errors="surrogatepass")
    return f"config: {key!r} = {str(value)[:40]!r}"


def hostile_header(path: Path, rng: np.random.Generator) -> str:
    """A safetensors header that lies."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    name = pick(rng, [key for key in header if key != "__metadata__"])
    about = header[name]
    kind = pick(rng, ("shape", "dtype", "offsets", "name", "gone", "more", "length", "metadata", "deep", "wrong"))
    if kind == "shape":
        about["shape"] = pick(
            rng, [[10**9], [], [-1], [2**62, 4], [0], about["shape"] + [1], about["shape"][::-1], [1] * 10_000, "x"]
        )
    elif kind == "dtype":
        about["dtype"] = pick(
            rng, ["I32", "U8", "BOOL", "F64", "BF16", "F8_E4M3", "C64", "F4", "X", 7, None, "I64", "U32"]
        )
    elif kind == "offsets":
        about["data_offsets"] = pick(
            rng, [[0, 2**62], [2**62, 0], [-1, 4], [0], [4, 0], [0, len(body)], "x", [0, 4, 8]]
        )
    elif kind == "name":
        header[pick(rng, ["", "\x1b[31m\n", "x" * 100_000, name + ".", "__metadata__"])] = header.pop(name)
    elif kind == "gone":
        del header[name]
    elif kind == "more":
        header |= {
            f"more.{k}": {"dtype": "F32", "shape": [0], "data_offsets": [len(body)] * 2}
            for k in range(pick(rng, [1, 10_000]))
        }
    elif kind == "metadata":
        header["__metadata__"] = pick(rng, [{"a": 1}, [], "x", {"a": "b" * 10**6}, {"format": "tf"}])
    elif kind == "wrong":
        header[name] = pick(rng, [None, 7, [], "x", {}])
    text = json.dumps(header).encode()
    if kind == "deep":
        text = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    length = pick(rng, [0, 1, 2**63, 2**32, len(data), 10**8]) if kind == "length" else len(text)
    path.write_bytes(length.to_bytes(8, "little") + text + body)
    return f"header: {kind}"


def hostile_numbers(path: Path, rng: np.random.Generator) -> str:
    """One weight that is no weight."""
    import torch
    from safetensors.torch import load_file, save_file

    state = load_file(path)
    name = pick(rng, sorted(state))
    old = state[name]
    kind = pick(rng, ("nan", "inf", "complex", "integer", "truth", "huge", "float8", "half", "shape", "float"))
    if kind in ("nan", "inf"):
        state[name] = old.float().clone()
        state[name].view(-1)[int(rng.integers(old.numel()))] = float(kind)
    elif kind == "huge":
        state[name] = torch.full(old.shape, 1e300, dtype=torch.float64)
    elif kind == "shape":
        state[name] = torch.zeros(*old.shape, 2)
    else:
        types = {"complex": torch.complex64, "integer": torch.int32, "truth": torch.bool, "float8": torch.float8_e4m3fn}
        state[name] = old.to(types.get(kind, torch.float16 if kind == "half" else torch.float64))
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return f"numbers: {kind} in {name}"


class Wicked:
    def __reduce__(self):
        return os.system, ("touch run-by-a-pickle",)


def hostile_state(path: Path, rng: np.random.Generator) -> str:
    """A state dict that wants to run code, to fill memory, or to overflow the stack."""
    import torch

    deep = b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s."
    kind = pick(
        rng, ("code", "plain pickle", "expanded", "deep", "deep in an archive", "packed", "sparse", "numbers", "list")
    )
    if kind == "code":
        torch.save({"weight": Wicked()}, path)
    elif kind == "plain pickle":
        path.write_bytes(pickle.dumps(Wicked()))
    elif kind == "expanded":
        torch.save({"weight": torch.zeros(1).expand(10**9)}, path)
    elif kind == "deep":
        path.write_bytes(deep)
    elif kind in ("deep in an archive", "packed"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if kind == "packed" else zipfile.ZIP_STORED) as archive:
            for name, content in (
                ("data.pkl", deep),
                ("version", "3\n"),
                ("byteorder", "little"),
                ("data/0", bytes(10**7)),
            ):
                archive.writestr(f"archive/{name}", content)
    elif kind == "sparse":
        torch.save({"weight": torch.eye(3).to_sparse()}, path)
    elif kind == "numbers":
        torch.save({"weight": torch.tensor([1.0, float("nan")])}, path)
    else:
        torch.save([{"weight": [[torch.zeros(1)]]}], path)
    return f"state: {kind}"


def make_weights(good: Path, case: Path, rng: np.random.Generator) -> tuple[str, str]:
    """A hostile folder of a network, or a hostile state dict: what opens it, and what was done."""
    draw = rng.random()
    if draw < 0.12:
        name = pick(rng, ("state.pt", "legacy.pt"))
        case.mkdir()
        shutil.copy(good / name, case / name)
        return name, damage(case / name, rng) if rng.random() < 0.5 else hostile_state(case / name, rng)
    kind = pick(rng, LARGE) if draw < 0.15 else pick(rng, PAPER) if draw < 0.4 else pick(rng, NETWORKS)
    shutil.copytree(good / kind, case)
    weights = next(case.glob("*.safetensors"))
    draw = rng.random()
    if draw < 0.35:
        return kind, hostile_config(case / "config.json", rng)
    if draw < 0.55:
        return kind, hostile_header(weights, rng)
    if draw < 0.7:
        return kind, hostile_numbers(weights, rng)
    if draw < 0.76:
        other = pick(rng, [name for name in (*NETWORKS, *PAPER) if name != kind])
        part = pick(rng, (weights, case / "config.json"))
        source = good / other / "config.json" if part.suffix == ".json" else next((good / other).glob("*.safetensors"))
        shutil.copy(source, part)
        return kind, f"{part.name} of {other}"
    part = weights if rng.random() < 0.75 else case / "config.json"
    return kind, f"{part.name}: {damage(part, rng)}"


def hostile_table(path: Path, rng: np.random.Generator) -> str:
    """A CSV that is none, or one with a cell, a row or a size that no cohort has."""
    data = path.read_bytes()
    lines = data.split(b"\n")
    row = int(rng.integers(len(lines) - 1))
    cells = lines[row].split(b",")
    cell = int(rng.integers(len(cells)))
    kind, value = pick(
        rng,
        [
            ("empty cell", b""),
            ("nul cell", b"\0" * 9),
            ("huge cell", b"9" * 120_000),
            ("too huge cell", b"x" * 200_000),
            ("bad text", b"\xff\xfe"),
            ("nan", b"nan"),
            ("inf", b"1e999"),
            ("huge number", b"1e300"),
            ("tiny number", b"1e-300"),
            ("path", b"../../x"),
            ("quote", b'"'),
            ("escape", b"\x1b[2J"),
            ("negative", b"-7"),
            ("newlines", b'"' + b"\n" * 1000 + b'"'),
            ("commas", b"," * 1000),
            ("million columns", b"," * 10**6),
            ("wide", "\u202e\U0001f600".encode()),
            ("minus zero", b"-0.0"),
            ("surrogate", b"\xed\xa0\x80"),
            ("return", b"\r"),
            ("rows", None),
            ("ragged", None),
            ("utf-16", None),
            ("columns twice", None),
            ("no header", None),
            ("nul rows", None),
            ("semicolons", None),
        ],
    )
    if value is not None:
        cells[cell] = value
        lines[row] = b",".join(cells)
        data = b"\n".join(lines)
    elif kind == "rows":
        data += lines[1] + b"\n" + (lines[1] + b"\n") * 20_000
    elif kind == "ragged":
        data += b"a,b\n" * pick(rng, [100, 30_000])
    elif kind == "utf-16":
        data = data.decode().encode("utf-16")
    elif kind == "columns twice":
        data = b"\n".join(line + b"," + line for line in lines)
    elif kind == "no header":
        data = b"\n".join(lines[1:])
    elif kind == "nul rows":
        data += bytes(10**6)
    else:
        data = data.replace(b",", b";")
    path.write_bytes(data)
    return f"{path.name}: {kind} in row {row + 1}, cell {cell + 1}"


def hostile_video(path: Path, rng: np.random.Generator) -> str:
    """A container that lies about its sizes, counts, rates, codecs or chunks."""
    data = bytearray(path.read_bytes())
    lie = pick(rng, [0, 1, 2, 7, 100, 4096, 65_500, 10**6, 10**9, 2**31 - 1, 2**31, 2**32 - 1])
    names = [
        b"avih",
        b"strh",
        b"strf",
        b"idx1",
        b"00dc",
        b"LIST",
        b"RIFF",
        b"movi",
        b"indx",
        b"stsz",
        b"stts",
        b"stsc",
        b"stco",
        b"mdhd",
        b"tkhd",
        b"avcC",
    ]
    there = [name for name in names if name in data]
    kind = pick(rng, ("field", "field", "field", "codec", "frame size", "chunk", "swap", "longer"))
    if kind in ("field", "chunk") and there:
        name = pick(rng, there)
        spots = [at for at in range(len(data) - 4) if data[at : at + 4] == name]
        at = pick(rng, spots) + (4 if kind == "chunk" else 4 * int(rng.integers(1, 16)))
        if at + 4 <= len(data):
            struct.pack_into("<I" if data[:4] == b"RIFF" else ">I", data, at, lie)
        kind = f"{kind} of {name.decode()} = {lie}"
    elif kind == "codec":
        code = pick(
            rng,
            [
                b"XXXX",
                bytes(4),
                b"H264",
                b"FFV1",
                b"MRLE",
                b"IV50",
                b"png ",
                b"HEVC",
                b"VP90",
                b"cvid",
                b"mp4v",
                b"DIB ",
            ],
        )
        for name in (b"MJPG", b"FMP4", b"avc1"):
            data = data.replace(name, code)
        kind = f"codec {code!r}"
    elif kind == "frame size":
        at = 0
        while (at := data.find(b"\xff\xc0", at)) >= 0 and at + 9 < len(data):
            struct.pack_into(">HH", data, at + 5, lie & 0xFFFF, lie & 0xFFFF)
            at += 1
    elif kind == "swap":
        kind, content = pick(
            rng,
            [
                ("playlist", b"#EXTM3U\n#EXTINF:1,\nA.avi\n#EXT-X-ENDLIST\n"),
                ("text", b"hello\n" * 1000),
                ("jpeg", bytes(data[data.find(b"\xff\xd8") :])),
                ("boxes", b"\0\0\0\x08free" * 250_000),
                ("ebml", b"\x1aE\xdf\xa3" + rng.bytes(5000)),
                ("mpeg", b"\0\0\x01\xba" + rng.bytes(5000)),
                ("riff", b"RIFF" + rng.bytes(4) + b"AVI LIST" + rng.bytes(5000)),
                ("ftyp", b"\0\0\0\x18ftypmp42" + rng.bytes(5000)),
            ],
        )
        data = bytearray(content)
    else:
        data += data[pick(rng, [0, len(data) // 2]) :] * 50
    path.write_bytes(data)
    return f"{path.name}: {kind}"


def make_cohort(good: Path, case: Path, rng: np.random.Generator) -> tuple[str, str]:
    """A cohort with one hostile file: the video that is to be read besides, and what was done."""
    shutil.copytree(good / "cohort", case)
    if rng.random() < 0.4:
        path = case / pick(rng, ("FileList.csv", "FileList.csv", "patients.csv", "VolumeTracings.csv"))
        return "A", hostile_table(path, rng) if rng.random() < 0.7 else f"{path.name}: {damage(path, rng)}"
    name = pick(rng, "AAAABCD")
    path = case / "Videos" / f"{name}.avi"
    return name, hostile_video(path, rng) if rng.random() < 0.5 else f"{path.name}: {damage(path, rng)}"


# The child that opens them


def memory() -> int:
    """The most that this process has held, in MB. (getrusage counts what its parent held as well.)"""
    with contextlib.suppress(OSError):
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(peak[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def open_network(good: Path, case: Path, kind: str) -> tuple[str, str]:
    import torch

    from echosynth.networks.base import read_state

    if kind.endswith(".pt"):
        opened, right = read_state(case / kind), read_state(good / kind)
        same = opened.keys() == right.keys() and all(torch.equal(opened[name], right[name]) for name in right)
        return ("equal", "") if same else ("numbers", "")
    cls = networks()[kind][0]
    opened, right = cls.from_pretrained(case), cls.from_pretrained(good / kind)
    changes = {} if opened.config == right.config else {"config": opened.config}
    if kind in PAPER:
        theirs, ours = (json.loads(json.dumps(dict(one.network.config), default=str)) for one in (opened, right))
        changes = {key: theirs.get(key) for key in ours if theirs.get(key) != ours[key] and not key.startswith("_")}
    elif changes:
        theirs, ours = opened.config.model_dump(), right.config.model_dump()
        changes = {key: theirs[key] for key in ours if theirs[key] != ours[key]}
    if changes:
        return "otherwise", str(changes)[:200]
    mine, theirs = right.state_dict(), opened.state_dict()
    return ("equal" if all(torch.equal(mine[name], theirs[name]) for name in mine) else "numbers"), ""


def open_cohort(good: Path, case: Path, name: str) -> tuple[str, str]:
    from echosynth.cohort.check import inspect, render, video_path
    from echosynth.cohort.video import read_clip
    from echosynth.errors import InputError

    report, right = inspect(case), inspect(good / "cohort")
    render(report)
    lines = [str(one) for one in (*report.problems, *report.warnings)]
    if bad := next((line for line in lines if not one_line(line)), None):
        return "traceback", f"not one line: {bad[:200]!r}"
    try:
        clip, fps = read_clip(video_path(case, name))
    except InputError as error:
        lines.append(str(error))
    if lines:
        return "refused", lines[0]
    files = ["size", "mtime_ns", "sha256"]
    if not report.clips.drop(columns=files).equals(right.clips.drop(columns=files)):
        columns = [one for one in right.clips if one not in files and list(report.clips[one]) != list(right.clips[one])]
        return "otherwise", f"{', '.join(columns)}: {report.clips[columns].to_dict('list')}"[:200]
    before, rate = read_clip(video_path(good / "cohort", name))
    return ("equal" if clip.shape == before.shape and (clip == before).all() and fps == rate else "numbers"), ""


def one_line(text: str) -> bool:
    return text.isprintable() and len(text) < 2500


def serve(group: str, good: Path) -> None:
    """Opens what is asked for on the standard input, a line each, and answers with a line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    import torch

    from echosynth.errors import InputError

    torch.set_num_threads(1)
    with_torch = memory()
    networks()
    opener = open_network if group == WEIGHTS else open_cohort
    with contextlib.suppress(InputError):
        opener(good, good / ("Denoiser" if group == WEIGHTS else "cohort"), "Denoiser" if group == WEIGHTS else "A")
    print(json.dumps({"torch": with_torch, "ready": memory()}), file=answers, flush=True)
    for line in sys.stdin:
        case, kind = json.loads(line)
        began, before = time.monotonic(), memory()
        try:
            outcome, words = opener(good, Path(case), kind)
        except InputError as error:
            outcome, words = "refused" if one_line(str(error)) else "traceback", str(error)[:500]
        except BaseException:  # a panic of safetensors is no Exception
            outcome, words = "traceback", traceback.format_exc()[-1500:]
        answer = {
            "outcome": outcome,
            "words": words,
            "seconds": time.monotonic() - began,
            "before": before,
            "peak": memory(),
        }
        print(json.dumps(answer), file=answers, flush=True)


class Child:
    """A process that serves, and the answers that it has given."""

    def __init__(self, group: str, good: Path, log: Path):
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.hostile", str(good), "--serve", group],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.answers: Queue = Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.start = self._answer(STARTS)
        if "ready" not in self.start:
            raise SystemExit(f"the child did not start; see {log}")

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.answers.put({"outcome": "crash", "words": "the process ended"})

    def _answer(self, seconds: float) -> dict:
        try:
            return self.answers.get(timeout=seconds)
        except Empty:
            return {"outcome": "hang", "words": f"no answer in {seconds:g} s"}

    def ask(self, case: Path, kind: str) -> dict:
        self.process.stdin.write(json.dumps([str(case), kind]) + "\n")
        self.process.stdin.flush()
        return self._answer(KILLED)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


# All of it


def run(group: str, out: Path, count: int, seed: int) -> list[dict]:
    """The rows of `count` cases of a group."""
    make = make_weights if group == WEIGHTS else make_cohort
    good, case, rows, child, served = out / "good", out / "case", [], None, 0
    for number in range(count):
        shutil.rmtree(case, ignore_errors=True)
        kind, done = make(good, case, numpy_rng(seed, f"hostile {group}", number))
        if child is None or served == BATCH:
            if child:
                child.end()
            child, served = Child(group, good, out / "child.log"), 0
        answer = child.ask(case, kind)
        served += 1
        start = child.start
        if answer["outcome"] in ("hang", "crash"):
            answer["words"] += f" (code {child.process.poll()})"
            child.end()
            child = None
        elif answer["seconds"] > SLOW:
            answer = answer | {"outcome": "hang", "words": f"{answer['seconds']:.1f} s; {answer['words']}"}
        rows.append({"group": group, "number": number, "opened": kind, "done": done} | answer | {"start": start})
        if answer["outcome"] not in ("refused", "equal", "numbers"):
            print(f"  {group} {number}: {answer['outcome']}: {kind}, {done}: {answer['words']}", flush=True)
    if child:
        child.end()
    shutil.rmtree(case, ignore_errors=True)
    return rows


def summary(group: str, rows: list[dict]) -> str:
    counts = Counter(row["outcome"] for row in rows)
    words = {
        "refused": "refused with one line",
        "equal": "opened, equal to the good one",
        "numbers": "opened with other numbers (only a hash can find it)",
    }
    words |= {
        "otherwise": "opened otherwise (listed)",
        "traceback": "tracebacks",
        "hang": f"hangs over {SLOW:g} s",
        "crash": "crashes",
    }
    lines = [f"{group}: {len(rows)} cases"] + [f"  {counts[outcome]:>5} {text}" for outcome, text in words.items()]
    seen = [row for row in rows if "peak" in row]
    most, longest = max(seen, key=lambda row: row["peak"]), max(seen, key=lambda row: row["seconds"])
    above = max(row["peak"] - row["start"]["torch"] for row in seen)
    lines.append(
        f"  peak memory {most['peak']} MB, {above} MB above an interpreter with torch ({most['start']['torch']} MB; "
        f"ready to serve {most['start']['ready']} MB); longest {longest['seconds']:.1f} s "
        f"({longest['opened']}, {longest['done']})"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", choices=(WEIGHTS, COHORTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.out)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(options.out / "good", ignore_errors=True)
    make_good(options.out / "good")
    rows = []
    for group in (WEIGHTS, COHORTS):
        found = run(group, options.out, options.count, options.seed)
        rows += found
        print(summary(group, found), flush=True)
    (options.out / "hostile.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
