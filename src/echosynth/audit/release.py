"""The verb `release`: hands out what was audited, when the gate is open."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from echosynth.audit.examine import last_audit
from echosynth.audit.gate import decide
from echosynth.audit.passport import LEDGER, ledger, write_passport
from echosynth.errors import InputError
from echosynth.files import open_regular, publish
from echosynth.folders import fresh_folder
from echosynth.manifest import Entry, files_of
from echosynth.seals import write_sealed
from echosynth.study import Study

_BLOCK = 2**20  # bytes
PASSPORT = ("passport.html", "passport.json")


def release(study: Study, out: Path, override: str = "") -> Path:
    """Copies the files that the audit judged to `out`, with the public passport, and notes it in the study's ledger. The clips go by the verdict on the clips: no weights are handed out.

    A file is copied from an opened handle and kept only if the bytes that went through it have the hash that was audited. `out` holds these
    files and the passport, nothing else, and appears whole or not at all.

    Raises InputError with the reasons while the gate is closed (unless `override` gives one for passing it), when there is no audit of what
    lies in the study now, when a file is not what was audited, and when `out` is not empty or lies in a study or a cohort.
    """
    found = last_audit(study)
    failed = decide(found, study.config.audit).clips.reasons
    if failed and not override:
        raise InputError(f"release refused: {'; '.join(failed)}; mend it and audit again, or give --override REASON, which the passport will tell")
    source = study.folder("synthetic")
    with fresh_folder(out, "OUT") as folder:
        for name, entry in found["manifest"].items():
            _copy(source / name, folder / name, entry)
        write_passport(study, found, folder, override if failed else "", redacted=True)
        strange = set(files_of(folder)) ^ {*found["manifest"], *PASSPORT}
        assert not strange, strange
        publish(folder)
        entry = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "release": found["chain"]["release"],
            "clips": found["screening"]["clips"],
            "override": override if failed else "",
        }
        # Before the folder takes its name: a release that nobody knows of is worse than a note of one that did not happen.
        write_sealed(study.folder("audit") / LEDGER, {"releases": [*ledger(study), entry]}, study.seal_key)
    return out


def _copy(source: Path, target: Path, entry: Entry) -> None:
    """Copies one file; raises InputError when its bytes are not those of its entry."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with open_regular(source, limit=entry["size"], follow=False) as file, target.open("xb") as copy:
        while block := file.read(_BLOCK):
            digest.update(block)
            copy.write(block)
    if digest.hexdigest() != entry["sha256"]:
        raise InputError(f"{source}: changed while it was copied; nothing was released; audit again")
