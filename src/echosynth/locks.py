"""One command at a time on a folder.

`FOLDER/.lock` holds who works there: host, process, start, command. On one machine the kernel keeps the lock (POSIX record lock) and gives it
up with the process, however that ends. Between machines whose file system does not pass locks on, the owner's sign of life counts: the time of
the file, renewed every few seconds; a lock whose owner has been silent for `SILENT` seconds is taken over.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from echosynth.errors import InputError

LOCK = ".lock"
BEAT, SILENT = 15.0, 120.0  # seconds
_held: dict[Path, int] = {}  # folders that this process has locked, and how often: a record lock does not keep a process from itself
_guard = threading.Lock()


@contextmanager
def exclusive(folder: Path, command: str) -> Iterator[None]:
    """Holds the lock of an existing folder for the length of the block; the same thread of work may take it again inside.

    Raises InputError that says who works there, and since when.
    """
    root = folder.resolve()
    with _guard:
        if root in _held:
            _held[root] += 1
            handle = None
        else:
            handle = _take(root, folder, command)
            _held[root] = 1
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(handle, stop), name="lock", daemon=True)
    if handle is not None:
        beat.start()
    try:
        yield
    finally:
        stop.set()
        if handle is not None:
            beat.join()  # or it would touch whatever file has the number of this one next
        with _guard:
            _held[root] -= 1
            if not _held[root]:
                del _held[root]
                if handle is not None:
                    os.ftruncate(handle, 0)
                    os.close(handle)


def _take(root: Path, folder: Path, command: str) -> int:
    handle = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(_busy(folder, _patiently(handle))) from error
        owner = _owner(handle)
        elsewhere = owner and owner.get("host") != socket.gethostname()
        if elsewhere and time.time() - os.fstat(handle).st_mtime < SILENT:
            raise InputError(f"{_busy(folder, owner)}, or, if it was killed, try again in {SILENT:.0f} seconds")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": now, "command": command})
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _owner(handle: int) -> dict:
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _patiently(handle: int) -> dict:
    """The owner of a lock that is held; it may have taken it this very moment and not yet said who it is."""
    deadline = time.monotonic() + 1.0
    while not (owner := _owner(handle)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return owner


def _busy(folder: Path, owner: dict) -> str:
    who = f"echosynth {owner.get('command')} (process {owner.get('pid')} on {owner.get('host')}, since {owner.get('start')})"
    return f"{folder}: {who if owner else 'another command'} is at work here; wait until it has ended"


def _beat(handle: int, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        try:
            os.utime(handle)
        except OSError:
            return
