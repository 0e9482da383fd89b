"""Atomic files and randomness by counter."""

import errno
import os
import socket

import numpy as np
import pytest
import torch

from echosynth.errors import InputError
from echosynth.files import PRIVATE_FILE, atomic_file, open_regular, read_json, sweep, write_json
from echosynth.randomness import normal, numpy_rng, torch_rng


def test_a_file_appears_whole(tmp_path):
    target = tmp_path / "deep" / "result.txt"
    with atomic_file(target) as partial:
        partial.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"
    assert [p.name for p in target.parent.iterdir()] == ["result.txt"]


def test_a_failed_write_leaves_what_was_there_and_no_rubbish(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("before")
    with pytest.raises(RuntimeError), atomic_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


def test_a_block_may_think_better_of_it(tmp_path):
    with atomic_file(tmp_path / "result.txt") as partial:
        partial.write_text("half")
        partial.unlink()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_is_swept_away(tmp_path):
    (tmp_path / "kept.avi").write_text("whole")
    killed = atomic_file(tmp_path / "clip.avi")
    killed.__enter__().write_text("half")
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.avi"]
    sweep(tmp_path / "not there")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("I/O error: No space left on device (os error 28)")])
def test_a_full_disk_names_the_file(tmp_path, error):
    with pytest.raises(OSError, match="result") as caught, atomic_file(tmp_path / "result.txt"):
        raise error
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_kind_of_full_disk_keeps_its_number(tmp_path, number):
    with pytest.raises(OSError) as caught, atomic_file(tmp_path / "result.txt"):
        raise OSError(number, "full")
    assert caught.value.errno == number and caught.value.filename == str(tmp_path / "result.txt")


def test_the_umask_holds_for_atomic_files(tmp_path):
    before = os.umask(0o077)
    try:
        write_json(tmp_path / "strict.json", 1)
        os.umask(0o022)
        write_json(tmp_path / "open.json", 1)
        write_json(tmp_path / "private.json", 1, PRIVATE_FILE)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"strict.json": 0o600, "open.json": 0o644, "private.json": 0o600}


def test_sweep_leaves_hidden_files_of_others(tmp_path):
    others = (".notes.partial", ".x.0123.partial", ".tmp", ".tmpabc")
    for name in (*others, ".clip.avi.0123456789abcdef.partial", ".tmpAb3dEf"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize("kind", ["fifo", "folder", "socket", "device", "large", "link"])
def test_only_regular_files_are_opened_and_none_is_waited_for(tmp_path, kind):
    path, limit, follow = tmp_path / "x", None, True
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        path.write_bytes(b"12345")
        limit = 4
    else:
        (tmp_path / "y").touch()
        path.symlink_to("y")
        follow = False
    words = {"large": "5 bytes, at most 4 are read", "link": "a link"}.get(kind, "not a regular file")
    with pytest.raises(InputError, match=words), open_regular(path, limit, follow):
        pass


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1" * 5000, "\ud800"])
def test_damaged_json_is_one_line(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"x\.json") as error:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(error.value)


def test_json_comes_back(tmp_path):
    value = {"a": [1, 2.5, None], "b": {"c": "é"}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


def test_a_sample_depends_on_its_counters_and_on_nothing_drawn_before():
    alone = numpy_rng(3, "image", 7).standard_normal(5)
    for i in range(7):
        numpy_rng(3, "image", i).standard_normal(100 * i)
    assert np.array_equal(numpy_rng(3, "image", 7).standard_normal(5), alone)


def test_seeds_streams_and_counters_all_matter():
    draws = [numpy_rng(*key).integers(2**62) for key in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", 0, 1), (0, "a", 0, 0, 1), (0, "a", -1)]]
    assert len(set(draws)) == len(draws)


def test_neighbouring_counters_do_not_overlap():
    """Word 0 of the counter is the stream's own: a long draw from one sample must not run into the next."""
    long = numpy_rng(0, "a", 1).integers(2**63, size=10_000)
    assert not set(long[:8]) & set(numpy_rng(0, "a", 2).integers(2**63, size=10_000))
    assert len(set(long)) == len(long)


def test_normal_is_standard_and_shaped():
    noise = normal(5, "video", 1, 2, 3, shape=(64, 4, 14, 14))
    assert noise.dtype == torch.float32 and noise.shape == (64, 4, 14, 14)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert torch.equal(noise, normal(5, "video", 1, 2, 3, shape=(64, 4, 14, 14)))


def test_torch_rng_by_counter():
    assert torch.equal(torch.rand(4, generator=torch_rng(1, "x", 2)), torch.rand(4, generator=torch_rng(1, "x", 2)))
    assert not torch.equal(torch.rand(4, generator=torch_rng(1, "x", 2)), torch.rand(4, generator=torch_rng(1, "x", 3)))
