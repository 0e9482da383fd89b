"""What of a study is private: everything but what a stage declares public. And one command at a time, which writes privately."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from echosynth import processes
from echosynth.errors import InputError
from echosynth.files import PRIVATE_FILE, PRIVATE_FOLDER, USER_UMASK, atomic_file, is_partial
from echosynth.folders import JOINT, STUDY
from echosynth.locks import LOCK, exclusive
from echosynth.seals import KEY_FILE

README = "README.md"
COHORT, OPTIONS = "cohort.json", "options.json"  # in the folder of a study
FOLDERS = {  # of a study, besides those of its stages, with what they hold
    "cohort": "The list of the private clips: names, patients, EFs and hashes",
    "audit": "Verdicts on single clips, and what was found out about patients",
    "screening": "Verdicts on single clips",
    "dp": "What differential privacy was spent on, and the secret behind its noise",
}
CLEARED = ".{}.cleared"  # a folder of the study that is being cleared
_BEFORE_START = {LOCK, KEY_FILE, COHORT, OPTIONS, "cohort"}  # what a start that was interrupted may have left


@contextmanager
def working(root: Path, command: str) -> Iterator[None]:
    """Holds the lock of a study folder, which is made where it is not there yet; what is written meanwhile is private.

    On several processes the first holds the lock for all. Raises InputError naming the command that is at work.
    """
    made, mask = False, os.umask(0o077 | USER_UMASK)

    def lock() -> None:
        nonlocal made
        if not (can_start(root) or (root / STUDY).exists() or (root / JOINT).exists()):
            raise InputError(f"{root}: not a study and not empty; give a new folder")
        made = not root.exists()
        root.mkdir(parents=True, exist_ok=True)
        if made:
            root.chmod(0o777 & ~USER_UMASK)  # or nobody could reach what is public in it
        held.enter_context(exclusive(root, command))
        for doomed in root.glob(CLEARED.format("*")):
            shutil.rmtree(doomed)  # a command was killed while it cleared a folder

    try:
        with ExitStack() as held:
            processes.on_first(lock)
            yield
    finally:
        os.umask(mask)
        if made and set(os.listdir(root)) <= {LOCK}:
            shutil.rmtree(root)


def can_start(root: Path) -> bool:
    """Whether a folder is not there, empty, or holds no more than the start of a study that was interrupted has left."""
    if not root.exists():
        return True
    return root.is_dir() and all(name in _BEFORE_START or is_partial(name) for name in os.listdir(root))


def readme(holds: str) -> str:
    """The README of a private folder."""
    return f"# Private\n\n{holds}. Nothing in this folder may leave the study.\n"


def write_readme(folder: Path, holds: str) -> None:
    """README.md of a private folder, which says what must not leave."""
    with atomic_file(folder / README, PRIVATE_FILE) as partial:
        partial.write_text(readme(holds), encoding="utf-8")


def set_modes(folder: Path, public: tuple[str, ...]) -> None:
    """Private modes for everything in a folder, but for the files that match a pattern of `public` and the folders above them."""
    for path in (folder, *folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            above = public and (path == folder or any(pattern.startswith(f"{name}/") for pattern in public))
            path.chmod(0o777 & ~USER_UMASK if above else PRIVATE_FOLDER)
        else:
            path.chmod(0o666 & ~USER_UMASK if any(fnmatchcase(name, pattern) for pattern in public) else PRIVATE_FILE)


def is_private(path: Path) -> bool:
    """Whether nobody but the owner may read a file or enter a folder."""
    return not path.stat().st_mode & 0o077
