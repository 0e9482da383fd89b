"""What the stages of a study have left: sealed records with the hash of every file, and the door through which files are opened."""

from collections.abc import Callable, Iterator
from pathlib import Path

from echosynth.errors import InputError
from echosynth.files import is_partial
from echosynth.folders import BEGUN
from echosynth.manifest import Manifest, difference_once, differences, files_of
from echosynth.private import README
from echosynth.seals import Key, read_key, read_sealed

RECORD = "stage.json"


class Records:
    """The folder of a study, seen by those who read from it. A study (study.py) is one."""

    def __init__(self, root: Path):
        self.root = root

    @property
    def seal_key(self) -> Key:
        return read_key(self.root)

    def sealed(self, name: str, remedy: str) -> dict:
        """A sealed note of the study, by its path in the folder. Raises InputError with `remedy`, and FileNotFoundError."""
        return read_sealed(self.root / name, self.seal_key, remedy)

    def folder(self, stage: str) -> Path:
        """Where a stage writes. To read what it has left, see `verified`."""
        return self.root / stage

    def summary(self, stage: str) -> dict:
        """What a finished stage reports of itself (`stage.json`); raises InputError when it is not done, or its record is damaged."""
        try:
            return self.sealed(f"{stage}/{RECORD}", f"restore it, or {self._redo(stage)}")
        except FileNotFoundError:
            self.check_record(stage)
            raise InputError(f"{self.root}: stage {stage!r} is not done yet; run: echosynth run {self.root}") from None

    def check_record(self, stage: str) -> None:
        """Raises InputError where a folder has files of which no record tells whether they are of the stage: `stage.json` was lost, or somebody put them there."""
        folder = self.folder(stage)
        if not folder.is_dir() or (folder / RECORD).exists() or (folder / BEGUN).exists():
            return
        for name in files_of(folder):
            if name != README and not is_partial(Path(name).name):
                raise InputError(f"{folder / RECORD}: missing, though {folder / name} is there; restore it, or move {folder} out of the study and run: echosynth run {self.root}")

    def summaries(self) -> list[dict]:
        """The records of all finished stages, in the order in which they finished."""
        records = [self.summary(path.parent.name) for path in sorted(self.root.glob(f"*/{RECORD}"))]
        return sorted(records, key=lambda record: (record["finished"], record["stage"]))

    def verified(self, stage: str, *names: str) -> Path:
        """The folder of a finished stage, once the bytes of the files `names` in it (without any, of all that it has left) are those that it left.

        A process hashes a file once, and again where its size or time changes. Raises InputError naming the first damaged file and the remedy.
        """
        artefacts = self.summary(stage)["artefacts"]
        for name in names or sorted(artefacts):
            self._check(stage, name, artefacts)
        return self.folder(stage)

    def checker(self, stage: str) -> Callable[[Path], None]:
        """A function that checks one file of a finished stage, by its path, when it is first used (`verified`)."""
        artefacts, folder = self.summary(stage)["artefacts"], self.folder(stage)
        return lambda path: self._check(stage, path.relative_to(folder).as_posix(), artefacts)

    def _check(self, stage: str, name: str, artefacts: Manifest) -> None:
        path = self.folder(stage) / name
        if name not in artefacts:
            raise InputError(f"{path}: not among the files that the stage {stage} has left; {self._redo(stage)}")
        if what := difference_once(path, artefacts[name]):
            raise InputError(self._damaged(stage, name, what))

    def _damaged(self, stage: str, name: str, what: str) -> str:
        return f"{self.folder(stage) / name}: {what} since the stage {stage} left it; restore it, or {self._redo(stage)}"

    def _redo(self, stage: str) -> str:
        return f"delete {self.folder(stage)} and run: echosynth run {self.root}"

    def look_over(self, stage: str, full: bool = False) -> Iterator[str]:
        """A line for each file of a finished stage that is missing or changed. `full` hashes all bytes, else those of files with another time."""
        for name, what in differences(self.folder(stage), self.summary(stage)["artefacts"], full):
            yield self._damaged(stage, name, what)

    def unlisted(self, stage: str) -> list[str]:
        """The files in the folder of a finished stage that it has not left there. Raises InputError for a link or the like."""
        known = {*self.summary(stage)["artefacts"], RECORD, BEGUN}
        return [name for name in files_of(self.folder(stage)) if name not in known and not is_partial(Path(name).name)]
