"""The verb `verify`: every file of a study against its hash, and every note of it against its seal."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from echosynth.audit.examine import RESULT
from echosynth.audit.passport import LEDGER
from echosynth.errors import InputError
from echosynth.manifest import Manifest, differences
from echosynth.private import FOLDERS, README, is_private, readme
from echosynth.records import RECORD
from echosynth.run import ALL
from echosynth.stages.budget import spent
from echosynth.stages.start import IMPORTED, registered_cohort
from echosynth.study import Study

PUBLIC_FOLDERS = ("synthetic", "report")


@dataclass
class Verified:
    """What `verify` found: a line for each problem, lines worth knowing that are none, and how much was hashed."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0

    def count(self, manifest: Manifest) -> None:
        self.files += len(manifest)
        self.bytes += sum(entry["size"] for entry in manifest.values())


def verify(study: Study) -> Verified:
    """Hashes the cohort, what every stage has left and what the audit has left; compares seals, keys and modes. Changes nothing."""
    found = Verified()
    _try(found, lambda: _cohort(study, found))
    for name in (*(stage.name for stage in ALL), IMPORTED):
        _try(found, lambda name=name: _stage(study, name, found))
    for stage in ALL:
        if (study.folder(stage.name) / RECORD).exists():
            _try(found, lambda stage=stage: found.notes.extend(_stale(study, stage)))
    _try(found, lambda: _audit(study, found))
    _try(found, lambda: spent(study))
    found.problems += (*_readmes(study), *_readable(study))
    return found


def _try(found: Verified, work: Callable[[], None]) -> None:
    try:
        work()
    except InputError as error:
        if str(error) not in found.problems:
            found.problems.append(str(error))


def _cohort(study: Study, found: Verified) -> None:
    cohort = registered_cohort(study)
    found.problems += cohort.changed_files(full=True)
    found.count(cohort.files)


def _stage(study: Study, name: str, found: Verified) -> None:
    study.check_record(name)
    if not (study.folder(name) / RECORD).exists():
        return
    found.problems += study.look_over(name, full=True)
    found.count(study.summary(name)["artefacts"])
    strange = [f"{study.folder(name) / extra}: not of the stage {name}; move it out of the study" for extra in study.unlisted(name)]
    (found.problems if name == "synthetic" else found.notes).extend(strange)


def _stale(study: Study, stage) -> Iterator[str]:
    if reason := study.why(stage):
        yield f"{stage.name}: the next run makes it again, because {reason}"


def _audit(study: Study, found: Verified) -> None:
    if (study.folder("audit") / LEDGER).exists():
        study.sealed(f"audit/{LEDGER}", "restore it: without it nobody knows what was handed out")
    if not (study.folder("audit") / RESULT).exists():
        return
    again = f"run: echosynth audit {study.root}"
    artefacts = study.sealed(f"audit/{RESULT}", again)["artefacts"]
    for name, what in differences(study.folder("audit"), artefacts, full=True):
        found.problems.append(f"{study.folder('audit') / name}: {what} since the audit; {again}")
    found.count(artefacts)


def _readmes(study: Study) -> Iterator[str]:
    for name, holds in FOLDERS.items():
        path = study.root / name / README
        if path.parent.is_dir() and (not path.is_file() or path.read_bytes() != readme(holds).encode()):
            yield f"{path}: missing or changed; delete it, and the next command that needs {path.parent} writes it again"


def _readable(study: Study) -> Iterator[str]:
    """A line for each private file or folder that others may read."""
    tops = [path for path in sorted(study.root.iterdir()) if path.name not in PUBLIC_FOLDERS and not path.is_symlink()]
    for path in tops:
        for inner in (path, *(sorted(path.rglob("*")) if path.is_dir() else ())):
            if not inner.is_symlink() and not is_private(inner):
                yield f"{inner}: others may read it; chmod go-rwx {inner}"
