"""The end of `run --audit`: the quick form of the audit, unless the last audit still holds."""

import time

from echosynth.audit.examine import FULL, QUICK, audit, last_audit
from echosynth.errors import InputError
from echosynth.progress import console
from echosynth.study import Study


def quick_audit(study: Study) -> dict:
    """What the last audit of either form found, where it still holds for what lies in the study; else what a quick one finds now."""
    try:
        return last_audit(study, (FULL, QUICK))
    except InputError:
        start = time.monotonic()
        found = audit(study, quick=True)
        console.print(f"audit, quick form: done in {time.monotonic() - start:.1f} s", markup=False)
        return found
