"""From the source cohort to every released clip: what lies in the release, what it was made with, and whether a patient is on both sides.

The audit judges one manifest, the gate is bound to it, and `release` copies what it names and nothing else.
"""

import hashlib
import json

import pandas as pd

from echosynth import __version__
from echosynth.cohort.check import FILELIST, PATIENTS, TRACINGS, VIDEOS
from echosynth.cohort.echonet import SPLITS, Cohort
from echosynth.errors import InputError
from echosynth.manifest import Manifest, root_hash
from echosynth.private import README
from echosynth.records import RECORD
from echosynth.stages.synthesis import MEASURED, READINGS, SCREENING
from echosynth.study import Study

LISTS = (FILELIST, TRACINGS, MEASURED, READINGS, README)
KEPT = (RECORD, SCREENING)  # files in the folder of the synthetic cohort that stay in the study
WEIGHTS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
MODELS = ("autoencoder", "latents", "image", "reid", "video", "regressor", "segmentation")


def manifest_of_release(study: Study) -> Manifest:
    """Every file that a release of the study holds, each as the synthesis left it: the clips, their lists, what was measured on them.

    Raises InputError naming a file of the folder that is damaged, missing, a link, or not of the synthesis: nobody would have audited it.
    """
    folder = study.verified("synthetic")
    artefacts = study.summary("synthetic")["artefacts"]
    for name in study.unlisted("synthetic"):
        raise InputError(f"{folder / name}: not of the synthesis; take it out of the folder: nothing is audited or released that echosynth did not make")
    manifest = {name: entry for name, entry in artefacts.items() if name not in KEPT}
    clips = f"{VIDEOS}/"
    for name in manifest:
        if name not in LISTS and not (name.startswith(clips) and name.endswith(".avi") and "/" not in name.removeprefix(clips)):
            raise InputError(f"{folder / name}: neither a clip nor a list; take it away and make the stage synthetic again")
    return manifest


def chain(study: Study, manifest: Manifest) -> dict:
    """The keys of the stages (each a hash of configuration, seed and the keys of its inputs), from the cohort's fingerprint to the root hash of the release."""
    records = [record for record in study.summaries() if record["stage"] != "report"]
    return {
        "cohort": study.fingerprint,
        "stages": [{"stage": record["stage"], "key": record["key"], "finished": record["finished"]} for record in records],
        "weights": {
            record["stage"]: entry["sha256"]
            for record in sorted(records, key=lambda record: record["stage"])
            for name, entry in record["artefacts"].items()
            if record["stage"] in ("autoencoder", "image", "reid", "video") and name in WEIGHTS
        },
        "files": len(manifest),
        "release": root_hash(manifest),
    }


def bindings(study: Study, manifest: Manifest) -> dict:
    """What the verdict of an audit holds for: the files of the release, what every stage has left, the options (the limits of the gate among them), the version.

    Each by its name as a user knows it, with a hash.
    """
    options = study.config.model_dump(mode="json")
    return {
        "the files of the synthetic cohort": root_hash(manifest),
        **{f"what the stage {name} has left": study.summary(name)["root"] for name in (*MODELS, "synthetic")},
        "the private cohort": study.fingerprint,
        **{f"the options of {section}": hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest() for section, value in options.items()},
        "the version of echosynth": __version__,
    }


def splits(cohort: Cohort) -> dict:
    """Patients and clips of each split, those in two splits (there may be none), and whether the cohort says whose a clip is."""
    clips = cohort.clips
    sides = clips.groupby("patient")["split"].nunique()
    return {
        "patients_known": (cohort.root / PATIENTS).exists(),
        "in_two_splits": int((sides > 1).sum()),
        "of_split": {split: {"patients": int(part["patient"].nunique()), "clips": len(part)} for split in SPLITS if len(part := _of(clips, split))},
    }


def _of(clips: pd.DataFrame, split: str) -> pd.DataFrame:
    return clips[clips["split"] == split]
