"""The verb `release`: hands out what was audited, when the gate is open."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from echosynth.audit.chain import released_files
from echosynth.audit.examine import last_audit
from echosynth.audit.passport import LEDGER, ledger, write_passport
from echosynth.errors import InputError
from echosynth.files import write_json
from echosynth.study import Study


def release(study: Study, out: Path, override: str = "") -> Path:
    """Copies the audited synthetic cohort to `out`, with the public passport, and notes it in the study's ledger.

    Raises InputError with the reasons while the gate is closed (unless `override` gives one for passing it), when the audit is missing or older than the clips, and when `out` is not empty. `out` appears whole or not at all.
    """
    found = last_audit(study)
    failed = [f"{check['name']}: {check['words']}" for check in found["gate"]["checks"] if check["outcome"] == "failed"]
    if failed and not override:
        raise InputError(f"release refused: {'; '.join(failed)}; mend it and audit again, or give --override REASON, which the passport will tell")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: exists and is not empty; give a new folder")
    source, partial = study.folder("synthetic"), out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for path in released_files(source):
        target = partial / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    write_passport(study, found, partial, override if failed else "", redacted=True)
    if out.exists():
        out.rmdir()
    partial.rename(out)
    entry = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": found["chain"]["release"],
        "clips": found["screening"]["clips"],
        "override": override if failed else "",
    }
    write_json(study.folder("audit") / LEDGER, [*ledger(study), entry])
    return out
