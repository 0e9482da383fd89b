"""Files that appear whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; it takes the name `path` when the block ends well, and goes when it does not. A block that thinks better of it removes the temporary file.

    A full disk is an OSError (ENOSPC) that names `path`, whichever library met it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        if partial.exists():
            partial.chmod(0o644)
            os.replace(partial, path)
    except Exception as error:
        if is_disk_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes from a folder what a killed process has left of `atomic_file`. Nobody else may be writing there."""
    for path in folder.glob(".*.partial"):
        path.unlink()


def is_disk_full(error: Exception) -> bool:
    """Whether an exception says that the disk is full; some libraries say so by exceptions of their own."""
    return getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file that echosynth wrote itself."""
    return json.loads(path.read_text())
