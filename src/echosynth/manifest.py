"""What lies in a folder: every file with its size and SHA-256, and what differs from that later.

    {"model.safetensors": {"size": 10234, "sha256": "5e...", "mtime_ns": 1760000000000000000}, ...}

Damage that changes a file's size or time costs one `stat` to see; the bytes are hashed where they may have changed, or where the
caller asks for all of them.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypedDict

from echosynth.errors import InputError
from echosynth.files import hash_file


class Entry(TypedDict):
    """One file. `mtime_ns` only says whether a cheap check may skip the hash."""

    size: int
    sha256: str
    mtime_ns: int


Manifest = dict[str, Entry]
"""By the path in the folder, with forward slashes."""
_hashed: dict[tuple[Path, str], tuple[int, int]] = {}  # (path, hash) -> (size, mtime_ns) when this process compared the bytes


class Difference(NamedTuple):
    """A file that is not as a manifest has it: its path in the folder, and what is wrong with it in words."""

    name: str
    what: str


def files_of(folder: Path) -> Iterator[str]:
    """The paths of all files in a folder, sorted, at any depth.

    Raises:
        InputError: For anything that is neither a file nor a folder, such as a link or a pipe, with its name.
    """

    def walk(at: Path, prefix: str) -> Iterator[str]:
        for entry in sorted(os.scandir(at), key=lambda entry: entry.name):
            name = f"{prefix}{entry.name}"
            if entry.is_symlink():
                raise InputError(f"{folder / name}: a link; put the file itself there, or take it away")
            if entry.is_dir():
                yield from walk(Path(entry.path), f"{name}/")
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                yield name
            else:
                raise InputError(f"{folder / name}: not a regular file; take it away")

    yield from walk(folder, "")


def entry_of(path: Path) -> Entry:
    """The entry of one file as it is now."""
    about = path.stat()
    return Entry(size=about.st_size, sha256=hash_file(path), mtime_ns=about.st_mtime_ns)


def manifest_of(folder: Path, without: tuple[str, ...] = ()) -> Manifest:
    """Every file of a folder but those named `without` (paths in the folder)."""
    return {name: entry_of(folder / name) for name in files_of(folder) if name not in without}


def difference(path: Path, entry: Entry, full: bool = False, links: bool = False) -> str | None:
    """What is wrong with a file, in words; None where it is as its entry says.

    `full` hashes the bytes in any case; else only those of a file whose time has changed. `links`: the file may be reached by a link.
    """
    try:
        about = path.stat() if links else path.lstat()
    except OSError:
        return "missing"
    if not stat.S_ISREG(about.st_mode):
        return "not a regular file"
    if about.st_size != entry["size"]:
        return f"changed ({about.st_size:,} bytes, was {entry['size']:,})"
    if (full or about.st_mtime_ns != entry["mtime_ns"]) and hash_file(path) != entry["sha256"]:
        return "changed (its bytes are others)"
    return None


def difference_once(path: Path, entry: Entry) -> str | None:
    """`difference` of all bytes, hashed once in this process as long as size and time of the file stay as they are."""
    try:
        about = path.lstat()
    except OSError:
        return "missing"
    known, now = (path.resolve(), entry["sha256"]), (about.st_size, about.st_mtime_ns)
    if _hashed.get(known) == now and stat.S_ISREG(about.st_mode):
        return None
    what = difference(path, entry, full=True)
    if what is None:
        _hashed[known] = now
    return what


def differences(folder: Path, manifest: Manifest, full: bool = False, links: bool = False) -> Iterator[Difference]:
    """The files of a manifest that are missing or changed, in the order of their names (`difference`)."""
    for name, entry in sorted(manifest.items()):
        if what := difference(folder / name, entry, full, links):
            yield Difference(name, what)


def root_hash(manifest: Manifest) -> str:
    """One hash of all names and bytes: SHA-256 over the sorted pairs of name and SHA-256."""
    pairs = sorted((name, entry["sha256"]) for name, entry in manifest.items())
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
