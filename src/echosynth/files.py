"""Files: read as hostile, written whole or not at all, hashed, private where they have to be."""

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from echosynth.errors import InputError

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
MAX_JSON = 256 * 2**20  # bytes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{16}\.partial|\.tmp[0-9A-Za-z]{6}")  # of `atomic_file`; of safetensors, beside it


def _current_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


USER_UMASK = _current_umask()  # before a command on a study sets a stricter one


@contextmanager
def atomic_file(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yields a temporary path beside `path`. It takes that name when the block ends well, and is removed when it does not.

    A block may remove the temporary file itself: then nothing is written. `mode` is narrowed by the umask, as for any file.

    Raises:
        OSError: with the error number of a full disk (ENOSPC, EDQUOT, EFBIG) and the name `path`, whichever library met it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        yield partial
        if partial.exists():
            os.replace(partial, path)
    except Exception as error:
        if is_disk_full(error):
            number = error.errno if isinstance(error, OSError) and error.errno in FULL else errno.ENOSPC
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what killed processes have left of files that were being written in a folder, known by the pattern of the name.

    The caller holds the lock of the folder (locks.py), so nobody is writing there.
    """
    for path in folder.glob(".*"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def is_partial(name: str) -> bool:
    """Whether a file name is that of a temporary file."""
    return bool(_PARTIAL.fullmatch(name))


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception reports a full disk, a quota or a limit on file sizes; some libraries raise their own."""
    words = ("No space left on device", "Disk quota exceeded", "File too large")
    return getattr(error, "errno", None) in FULL or any(word in str(error) for word in words)


@contextmanager
def open_regular(path: Path, limit: int | None = None, follow: bool = True) -> Iterator[BinaryIO]:
    """Opens a regular file for reading. A FIFO, a device or a folder is refused without waiting for it.

    Args:
        path: The file.
        limit: Bytes at most; a larger file is refused before anything is read.
        follow: Whether a symbolic link may lead to the file.

    Raises:
        InputError: When it is no regular file, or larger than `limit`.
        OSError: When it is missing or not readable.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0) | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise InputError(f"{path}: a link; put the file itself there") from error
        if error.errno == errno.ENXIO:  # a socket, or a device that nobody serves
            raise InputError(f"{path}: not a regular file; give a file") from error
        raise
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise InputError(f"{path}: not a regular file; give a file")
    with os.fdopen(handle, "rb") as file:
        if limit is not None and about.st_size > limit:
            raise InputError(f"{path}: {about.st_size:,} bytes, at most {limit:,} are read; give the right file")
        yield file


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """All bytes of a regular file (`open_regular`)."""
    with open_regular(path, limit) as file:
        return file.read()


def hash_file(path: Path) -> str:
    """SHA-256 of a regular file, as hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any, mode: int = 0o666) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_file(path, mode) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path, limit: int = MAX_JSON) -> Any:
    """The value in a JSON file.

    Raises:
        InputError: When the file is cut, damaged, too large or no JSON at all.
        OSError: When it is missing or not readable.
    """
    try:
        return json.loads(read_bytes(path, limit).decode("utf-8"))
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged, not JSON ({str(error).splitlines()[0]}); restore it, or make it again") from error
    except RecursionError as error:
        raise InputError(f"{path}: not JSON that echosynth wrote (nested too deeply); restore it, or make it again") from error


def publish(folder: Path) -> None:
    """Gives a folder and all in it the permissions that the user's umask asks for (a study itself is written privately)."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod((0o777 if path.is_dir() else 0o666) & ~USER_UMASK)
