"""The first candidates of a synthesis: what the cohort would be, had nobody looked at the EF that clips show.

Where `synthesis.ef_tolerance` is set, a regressor that learnt from real labels picks the clips of the synthetic cohort: selection is learning too. So the
evaluation reads its figures on both cohorts. Each place here holds the first candidate that the screening let pass. Where that one was kept it is copied,
else it is drawn again from the same noise. These clips are for the evaluation alone and never leave the study.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from echosynth.cohort.check import VIDEOS
from echosynth.cohort.echonet import Cohort, read_cohort, write_filelist
from echosynth.config import StudyConfig
from echosynth.files import atomic_file, sweep
from echosynth.stages.candidates import Models, fill_places
from echosynth.stages.journal import JOURNAL, Journal
from echosynth.stages.plan import plan_of
from echosynth.stages.start import cohort_of
from echosynth.stages.synthesis import SCREENING
from echosynth.stages.synthesis import STAGE as SYNTHETIC
from echosynth.study import Stage, Study

INPUTS = ("autoencoder", "latents", "image", "reid", "video", "synthetic")


def run(study: Study) -> dict:
    """The stage `unselected`. Leaves a cohort as the stage `synthetic` does, with the same names and EFs; the summary says how many clips differ."""
    config, options = study.config, study.config.synthesis.model_copy(update={"ef_tolerance": 0.0})
    if not config.synthesis.ef_tolerance:
        return {"reason": "synthesis.ef_tolerance is 0: nothing was selected"}
    folder, synthetic = study.folder("unselected"), study.verified("synthetic")
    first = first_kept(pd.read_parquet(synthetic / SCREENING))
    plan = plan_of(study, cohort_of(study), len(first), options.ef, config.seed)
    sweep(folder / VIDEOS)
    journal = Journal(folder / JOURNAL, lambda slot: folder / VIDEOS / f"{plan.names[slot]}.avi", study.seal_key)
    for slot in first.index[first]:
        _copy(synthetic / VIDEOS / f"{plan.names[slot]}.avi", journal.clip(slot))
    again = first.index[~first].tolist()
    models = Models.open(study, torch.device("cuda" if torch.cuda.is_available() else "cpu"), options)
    todo = [slot for slot in again if slot not in journal.done]
    fill_places(models, todo, len(again), plan, options, config, config.seed, journal)
    write_filelist(folder, read_cohort(synthetic, splits=False).clips.assign(esv=np.nan, edv=np.nan))  # nobody measured these clips
    return {"videos": len(first), "differ": len(again)}


def first_kept(screening: pd.DataFrame) -> pd.Series:
    """From the table of a screening (synthesis.py): was the first video that the screening let pass kept for its EF too? bool, by slot."""
    passed = screening[(screening["kind"] == "video") & screening["kept"]]
    return ~passed.sort_values(["slot", "attempt"]).groupby("slot")["missed_ef"].first().astype(bool)


def cohort_of_unselected(study: Study) -> Cohort | None:
    """The cohort that the stage has left; None where nothing was selected."""
    if "reason" in study.summary("unselected")["summary"]:
        return None
    return read_cohort(study.verified("unselected"), splits=False)


def _copy(source: Path, target: Path) -> None:
    """Whatever lies at `target`: an interrupted call may have left a clip of another synthesis there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target) as partial:
        shutil.copyfile(source, partial)


def _inputs(config: StudyConfig) -> tuple[str, ...]:
    return INPUTS if config.synthesis.ef_tolerance else ("synthetic",)


STAGE = Stage("unselected", inputs=_inputs, sections=SYNTHETIC.sections, scratch=(JOURNAL,), run=run)
