"""Hearts as points: patients, looks at their clips by every eye, and what an audit of a release finds."""

import numpy as np
import pandas as pd
import torch

from echosynth.audit import harms
from echosynth.audit.gate import ALL_NEAR
from echosynth.audit.looks import Looks
from echosynth.audit.membership import People, dataset_attacks
from echosynth.privacy.screen import rate

DIMS = {"siamese": 12, "handmade": 16, "pixels": 12, "motion": 10}
FRAMES = 4


def looks(hearts: dict[str, np.ndarray], rng, noise: float) -> Looks:
    """Rows of clips about the directions (clips, D) in `hearts`, by eye."""
    rows = {eye: np.repeat(centre, FRAMES, 0) + noise * rng.standard_normal((len(centre) * FRAMES, DIMS[eye])) for eye, centre in hearts.items()}
    owner = np.repeat(np.arange(len(next(iter(hearts.values())))), FRAMES)
    return Looks({eye: torch.nn.functional.normalize(torch.from_numpy(row).float(), dim=1) for eye, row in rows.items()}, dict.fromkeys(hearts, owner), len(owner) // FRAMES)


def world(copies: bool, patients: int = 150, seed: int = 0):
    """Two clips of each patient, three in five patients trained on; synthetic clips that are copies of training clips, or new hearts."""
    rng = np.random.default_rng(seed)
    clips = pd.DataFrame({"patient": np.repeat(np.arange(patients), 2), "ef": np.repeat(rng.uniform(20, 75, patients), 2)})
    clips["split"] = np.where(clips["patient"] < 0.6 * patients, "TRAIN", np.where(clips["patient"] < 0.8 * patients, "VAL", "TEST"))
    clips["name"] = [f"C{i}" for i in range(len(clips))]
    hearts = {eye: np.repeat(rng.standard_normal((patients, dims)), 2, 0) for eye, dims in DIMS.items()}
    real = looks(hearts, rng, 0.3)
    source = rng.permutation(np.flatnonzero(clips["split"] == "TRAIN"))[:100]
    made = {eye: heart[source] if copies else rng.standard_normal((100, DIMS[eye])) for eye, heart in hearts.items()}
    asked = clips["ef"].to_numpy()[source] if copies else rng.uniform(20, 75, 100)
    return People(clips), real, looks(made, rng, 0.3), asked


def caught(hits, patients):
    """A row of the power table: of so many patients the screen that filtered catches every near-copy."""
    return {"screen": "calibrated", "kind": ALL_NEAR, "strength": 1.0, "near": True, "required": False} | rate(hits, patients)._asdict()


NAMED = {"copies_caught": rate(72, 72)._asdict(), "worst_kind": {"kind": "crop 1.02", **rate(72, 72)._asdict()}}


def audited(people, real, synthetic, asked, copies=()):
    attacks, _ = dataset_attacks(people, real, synthetic, asked, 0)
    good = {
        "rejected": rate(1, 100)._asdict(),
        "allowed": 0.03,
        "patients": 60,
        "beyond": {"share": 0.0, "low": 0.0, "high": 0.04},
        "named": len(copies),
        "named_p": 1e-4 if copies else 1.0,
        "strangers": 60,
        "duplicates": 0,
        "law_known": True,
        "line_assured": True,
    }
    return {
        "splits": {"patients_known": True, "in_two_splits": 0, "of_split": {}},
        "screening": {"clips": 100, "copies": list(copies), "nearer": [], "moved": [], "moved_p": 1.0, "calibrated": good, "judge": dict(good), "power": [caught(72, 72)]} | NAMED,
        "planted": {},
        "attacks": [attack.as_dict() for attack in attacks],
        "harms": harms.harms(people, real, synthetic, asked, 0),
        "canaries": None,
        "differential_privacy": None,
    }
