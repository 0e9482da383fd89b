"""Sealed JSON: what echosynth notes about a study carries a keyed digest, so that an edited or damaged note is refused.

The key lies in the study (`seal.key`, mode 0600) and never leaves it. HMAC-SHA256 (RFC 2104) over the canonical JSON of the value.
Whoever may write in the study may read the key too: a seal stops mistakes, damage and files of other studies, not its owner.
"""

import hashlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any

from echosynth.errors import InputError
from echosynth.files import PRIVATE_FILE, atomic_file, read_bytes, read_json, write_json

KEY_FILE = "seal.key"
_SEAL, _BYTES = "seal", 32


class Key(bytes):
    """The key of a study, and the file that it was read from."""

    path: Path

    @property
    def short(self) -> str:
        """What tells one key from another, and nothing else of it."""
        return hashlib.sha256(b"echosynth key" + self).hexdigest()[:12]

    def digest(self, value: Any) -> str:
        """The seal of a JSON-able value."""
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
        return f"{self.short}:{hmac.new(self, canonical, hashlib.sha256).hexdigest()}"


def make_key(root: Path) -> Key:
    """The key of the folder `root`, drawn now where there is none."""
    path = root / KEY_FILE
    if not path.exists():
        key = secrets.token_bytes(_BYTES)
        with atomic_file(path, PRIVATE_FILE) as partial:
            partial.write_text(f"{key.hex()} {hashlib.sha256(key).hexdigest()[:8]}\n")
    return read_key(root)


def read_key(root: Path) -> Key:
    """The key in `root`. Raises InputError when it is missing or damaged."""
    path = root / KEY_FILE
    try:
        words = read_bytes(path, 4096).decode("ascii").split()
        key = bytes.fromhex(words[0])
        if len(words) != 2 or len(key) != _BYTES or hashlib.sha256(key).hexdigest()[:8] != words[1]:
            raise ValueError
    except FileNotFoundError:
        raise InputError(f"{path}: missing; restore it, or start a new study: nothing in this one can be trusted") from None
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: damaged; restore it, or start a new study: nothing in this one can be trusted") from error
    found = Key(key)
    found.path = path
    return found


def write_sealed(path: Path, value: dict, key: Key) -> None:
    """Writes a mapping with its seal, mode 0600."""
    write_json(path, value | {_SEAL: key.digest(value)}, PRIVATE_FILE)


def read_sealed(path: Path, key: Key, remedy: str) -> dict:
    """The mapping that `write_sealed` wrote.

    Raises:
        InputError: With `remedy`, when the file is damaged, edited, or sealed with another key.
        FileNotFoundError: When it is missing.
    """
    try:
        value = read_json(path)
    except InputError as error:
        raise InputError(f"{path}: damaged; {remedy}") from error
    seal = value.pop(_SEAL, None) if isinstance(value, dict) else None
    if not isinstance(seal, str):
        raise InputError(f"{path}: not as echosynth wrote it (no seal); {remedy}")
    if seal.partition(":")[0] != key.short:
        raise InputError(f"{path}: not sealed with {key.path}; one of the two is of another study, or damaged; {remedy}")
    if not hmac.compare_digest(seal, key.digest(value)):
        raise InputError(f"{path}: changed since echosynth wrote it; {remedy}")
    return value
