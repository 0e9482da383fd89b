"""One command at a time on a folder; folders that take their name when they are whole."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from echosynth import locks
from echosynth.errors import InputError
from echosynth.folders import check_goal, fresh_folder, resumable_folder
from echosynth.locks import LOCK, exclusive
from echosynth.private import working

HOLDER = """
import sys, time
from pathlib import Path
from echosynth.locks import exclusive
with exclusive(Path(sys.argv[1]), "audit"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_command_is_refused_and_names_the_first(tmp_path, holder):
    words = rf"echosynth audit \(process {holder.pid} on .*since 20.*\) is at work here"
    with pytest.raises(InputError, match=words), exclusive(tmp_path, "run"):
        pass
    with pytest.raises(InputError, match=words), working(tmp_path, "run"):
        pass


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_owner_is_taken_over(tmp_path, holder, how):
    holder.send_signal(how)
    holder.wait()
    with exclusive(tmp_path, "run"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_a_lock_can_be_taken_again_inside_and_is_given_up_outside(tmp_path):
    with exclusive(tmp_path, "run"):
        with exclusive(tmp_path, "synthesize"):
            pass
        assert json.loads((tmp_path / LOCK).read_text())["command"] == "run"
    assert (tmp_path / LOCK).read_text() == ""
    with exclusive(tmp_path, "run"):
        pass


def test_an_owner_on_another_machine_counts_while_it_gives_signs_of_life(tmp_path):
    owner = {"host": "elsewhere", "pid": 7, "start": "2026-01-02T03:04:05+00:00", "command": "run"}
    (tmp_path / LOCK).write_text(json.dumps(owner))
    with pytest.raises(InputError, match=r"process 7 on elsewhere.*try again in 120 seconds"), exclusive(tmp_path, "run"):
        pass
    silent = time.time() - locks.SILENT - 1
    os.utime(tmp_path / LOCK, (silent, silent))
    with exclusive(tmp_path, "run"):
        pass


def test_an_owner_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    with exclusive(tmp_path, "run"):
        os.utime(tmp_path / LOCK, (0, 0))
        deadline = time.monotonic() + 5
        while not (tmp_path / LOCK).stat().st_mtime and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / LOCK).stat().st_mtime > 0


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "3", "\x00" * 10])
def test_a_damaged_lock_file_stops_nobody(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with exclusive(tmp_path, "run"):
        pass


def test_a_command_writes_privately_and_leaves_no_trace_where_it_made_nothing(tmp_path):
    with working(tmp_path / "study", "run"):
        (tmp_path / "study" / "x").touch()
        assert (tmp_path / "study" / "x").stat().st_mode & 0o077 == 0
        (tmp_path / "study" / "x").unlink()
    assert not (tmp_path / "study").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.doc").touch()
    with pytest.raises(InputError, match="not a study and not empty"), working(tmp_path / "thesis", "run"):
        pass
    assert os.listdir(tmp_path / "thesis") == ["text.doc"]


# folders


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path):
    with resumable_folder(tmp_path / "out", {"seed": 1}, "--out", "x") as folder:
        (folder / "clip").write_text("1")
        assert not (tmp_path / "out").exists() and folder.parent == tmp_path
    assert os.listdir(tmp_path) == ["out"] and os.listdir(tmp_path / "out") == ["clip"]


def test_the_same_recipe_resumes_and_another_starts_afresh(tmp_path):
    def begin(recipe):
        with pytest.raises(RuntimeError), resumable_folder(tmp_path / "out", recipe, "--out", "x") as folder:
            seen = set(os.listdir(folder)) - {LOCK, "begun.json"}
            (folder / f"clip{recipe}").write_text("1")
            raise RuntimeError
        return seen

    assert begin(1) == set() and begin(2) == set() and begin(1) == {"clip1"}
    with resumable_folder(tmp_path / "out", 1, "--out", "x"):
        pass
    assert os.listdir(tmp_path / "out") == ["clip1"] and len(os.listdir(tmp_path)) == 2  # the work of recipe 2 stays


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    with pytest.raises(RuntimeError), resumable_folder(tmp_path / "out", 1, "--out", "x") as folder:
        raise RuntimeError
    (folder / "begun.json").unlink()
    (folder / "mine").write_text("1")
    with pytest.raises(InputError, match="not a folder that echosynth began"), resumable_folder(tmp_path / "out", 1, "--out", "x"):
        pass
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "mine").write_text("1")
    with fresh_folder(tmp_path / "out", "OUT") as made:
        (made / "a").touch()
    assert (folder / "mine").exists() and (tmp_path / "out.partial" / "mine").exists()


def test_a_fresh_folder_is_removed_when_the_block_fails(tmp_path):
    with pytest.raises(RuntimeError), fresh_folder(tmp_path / "out", "OUT") as made:
        (made / "a").touch()
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_two_commands_do_not_work_on_one_goal(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_held", {})
    with pytest.raises(RuntimeError), resumable_folder(tmp_path / "out", 1, "--out", "x") as folder:
        raise RuntimeError
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE, env=environment)
    try:
        process.stdout.readline()
        with pytest.raises(InputError, match="is at work here"), resumable_folder(tmp_path / "out", 1, "--out", "x"):
            pass
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("place", [".", "/", "", "full", "a-file", "study/new", "study/deep/new", "cohort/new", "joint/new", "dangling"])
def test_goals_that_are_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    for name in ("full/x", "study/study.yaml", "cohort/FileList.csv", "joint/joint.json"):
        Path(name).parent.mkdir()
        Path(name).touch()
    Path("a-file").touch()
    Path("dangling").symlink_to("study/away")
    before = sorted(map(str, tmp_path.rglob("*")))
    with pytest.raises(InputError, match=r"--out .*(new folder|folder outside)"):
        check_goal(Path(place), "--out")
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_an_empty_folder_is_a_goal(tmp_path):
    (tmp_path / "out").mkdir()
    with fresh_folder(tmp_path / "out", "OUT") as made:
        (made / "a").touch()
    assert os.listdir(tmp_path / "out") == ["a"]
