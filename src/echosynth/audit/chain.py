"""From the source cohort to every released clip: fingerprints and hashes, and the proof that no patient is on both sides."""

import hashlib
import json
from pathlib import Path

import pandas as pd

from echosynth.cohort.check import PATIENTS
from echosynth.cohort.echonet import SPLITS, Cohort
from echosynth.files import read_json
from echosynth.study import Study


def clip_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a synthetic cohort that is released, by its path in the folder."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(released_files(folder))}


def released_files(folder: Path) -> list[Path]:
    """What of `synthetic/` leaves the study: the clips, their lists and what is measured on them; nothing of the screening."""
    lists = [folder / name for name in ("FileList.csv", "VolumeTracings.csv", "measured.parquet", "README.md")]
    return sorted([*(folder / "Videos").glob("*.avi"), *(path for path in lists if path.exists())])


def root_hash(hashes: dict[str, str]) -> str:
    """One hash of all, SHA-256 over the sorted pairs of path and hash."""
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()


def chain(study: Study, hashes: dict[str, str]) -> dict:
    """The keys of the stages (each a hash of configuration, seed and the keys of its inputs), from the cohort's fingerprint to the root hash of the release."""
    stages = [read_json(path) for path in study.root.glob("*/stage.json")]
    stages = sorted((stage for stage in stages if stage["stage"] != "report"), key=lambda stage: stage["finished"])
    return {
        "cohort": study.fingerprint,
        "stages": [{"stage": stage["stage"], "key": stage["key"], "finished": stage["finished"]} for stage in stages],
        "weights": {
            path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(study.root.glob("*/model.safetensors"))
            if path.parent.name in ("autoencoder", "image", "reid", "video")
        },
        "files": len(hashes),
        "release": root_hash(hashes),
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
