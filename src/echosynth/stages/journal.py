"""The journal of a synthesis: which places of a cohort are filled, so that an interrupted one resumes."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from echosynth.files import atomic_file
from echosynth.manifest import difference, entry_of
from echosynth.progress import say
from echosynth.seals import Key

JOURNAL = "screening.jsonl"


class Journal:
    """Which places are filled, a JSON line each, so that an interrupted synthesis resumes.

    A line holds the hash of its clip and is sealed itself. A line that is damaged, or whose clip is, is named, and the place is filled again.
    """

    def __init__(self, path: Path, clip: Callable[[int], Path], key: Key):
        self.path, self.clip, self.done, self._key = path, clip, {}, key
        lines = path.read_bytes().splitlines() if path.exists() else []
        for number, line in enumerate(lines, start=1):
            entry, damage = self._read(line)
            if entry is not None:
                self.done[entry["slot"]] = entry
            elif damage and number < len(lines):  # the last line may be cut off by a kill
                say(f"{damage.format(where=f'{path} line {number}')}; the clip is made again")
        with atomic_file(path) as partial:
            partial.write_text("".join(self._line(entry) for entry in self.done.values()))

    def _read(self, line: bytes) -> tuple[dict | None, str]:
        try:
            entry = json.loads(line)
            seal = entry.pop("seal")
        except (ValueError, KeyError, AttributeError, RecursionError):
            return None, "{where}: damaged"
        if seal != self._key.digest(entry):
            return None, "{where}: changed since echosynth wrote it"
        if what := difference(self.clip(entry["slot"]), entry["clip"], full=True):
            return None, f"{self.clip(entry['slot'])}: {what} since it was finished"
        return entry, ""

    def _line(self, entry: dict) -> str:
        return json.dumps(entry | {"seal": self._key.digest(entry)}) + "\n"

    def finish(self, slot: int, seconds: float, rows: list[dict]) -> None:
        """Notes a place whose clip is written."""
        entry = {"slot": slot, "seconds": seconds, "rows": rows, "clip": entry_of(self.clip(slot))}
        with self.path.open("a") as file:
            file.write(self._line(entry))
            file.flush()
            os.fsync(file.fileno())
        self.done[slot] = entry
