"""Folders that a command hands out: made beside their goal, whole when they take its name, never in the place of something else."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from echosynth.errors import InputError
from echosynth.files import read_json, write_json
from echosynth.locks import LOCK, exclusive

BEGUN = "begun.json"
STUDY, JOINT, _COHORT = "study.yaml", "joint.json", "FileList.csv"  # what makes a folder a study, several, a cohort


def check_goal(goal: Path, option: str) -> Path:
    """The absolute path of a folder that is to be made. `option` is what the user calls it, such as "--out".

    Raises InputError when it is the current folder or a root, holds something, or lies in a study or a cohort.
    """
    try:
        path = goal.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{option} {goal}: not a path that can be followed ({error}); give the name of a new folder") from error
    if not path.name or path == Path.cwd() or os.path.ismount(path):
        raise InputError(f"{option} {goal}: give the name of a new folder")
    if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{option} {goal}: exists and is not empty; give a new folder")
    for parent in path.parents:
        if (parent / STUDY).exists() or (parent / JOINT).exists():
            raise InputError(f"{option} {goal}: lies in the study {parent}; give a folder outside")
    check_outside_cohorts(path, f"{option} {goal}")
    return path


def check_outside_cohorts(path: Path, what: str) -> None:
    """Raises InputError about `what` when a folder lies in a cohort, which is nobody's to write in."""
    for parent in path.resolve().parents:
        if (parent / _COHORT).exists():
            raise InputError(f"{what}: lies in the cohort {parent}; give a folder outside")


@contextmanager
def resumable_folder(goal: Path, recipe: Any, option: str, command: str) -> Iterator[Path]:
    """Yields a folder beside `goal`, locked, for what `recipe` (JSON-able) describes; it takes the name `goal` when the block ends well.

    When the block fails it stays, and the same recipe resumes in it. Its name holds a hash of the recipe, so that it is nobody else's.
    The block finds `BEGUN` and the lock in it; both are gone from the result.

    Raises InputError as `check_goal` and `exclusive`.
    """
    path = check_goal(goal, option)
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    work = path.with_name(f".{path.name}.{key[:16]}.unfinished")
    work.mkdir(parents=True, exist_ok=True)
    with exclusive(work, command):
        begun = work / BEGUN
        if not begun.exists() and set(os.listdir(work)) - {LOCK}:
            raise InputError(f"{work}: not a folder that echosynth began; move it away")
        if begun.exists() and read_json(begun) != {"key": key}:
            raise InputError(f"{begun}: damaged; delete {work} to start afresh")
        write_json(begun, {"key": key})
        yield work
        begun.unlink()
        (work / LOCK).unlink()
        _rename(work, path, goal, option)


@contextmanager
def fresh_folder(goal: Path, option: str) -> Iterator[Path]:
    """Yields a new folder of its own name beside `goal`, which takes that name when the block ends well and is removed when it does not.

    Raises InputError as `check_goal`.
    """
    path = check_goal(goal, option)
    work = path.with_name(f".{path.name}.{secrets.token_hex(8)}.unfinished")
    work.mkdir(parents=True)
    try:
        yield work
        _rename(work, path, goal, option)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _rename(work: Path, path: Path, goal: Path, option: str) -> None:
    try:
        os.rename(work, path)  # takes the place of an empty folder, never of a full one
    except OSError as error:
        raise InputError(f"{option} {goal}: could not take its name ({error.strerror}); what was made lies in {work}") from error
