"""Several processes (`accelerate launch`): what only the first does, and how the others hear of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

Result = TypeVar("Result")
_PATIENCE = timedelta(days=30)  # the others wait as long as the first takes to encode or synthesise a large cohort


def state() -> PartialState:
    """Which process this is; starts the process group on the first call."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)


def on_first(work: Callable[[], Result]) -> Result:
    """Does `work` on the first process alone and returns its result on every one.

    Where `work` fails, the first process raises its error and the others leave quietly: none waits for a word that never comes,
    and the launcher shows the one message that matters.
    """
    here = state()
    if here.num_processes == 1:
        return work()
    outcome, error = [False, None], None
    if here.is_main_process:
        try:
            outcome = [True, work()]
        except BaseException as failure:
            error = failure
    broadcast_object_list(outcome)
    if error is not None:
        raise error
    if not outcome[0]:
        raise SystemExit(0)
    return outcome[1]
