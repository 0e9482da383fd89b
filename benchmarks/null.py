"""Does the audit let a perfect generator pass, and does it catch copies? Simulated audits on embeddings: no video, no training, the same functions and the same gate.

python -m benchmarks.null [--sizes 60/60/700] [--repeats 200] [--cases perfect copies moved]

Hearts are points in a space of a few dimensions. Every encoder of the audit sees each of them in its own way, with a spread of clips within a patient and of frames within a clip, on the unit sphere. Each audit draws a
training set, held-out patients (half calibrate, half test; two clips each) and a release:

    perfect   fresh patients, one clip each: every check should pass or be unclear, in 99 % of audits
    copies    the same, but 30 % are training clips, frame by frame: the gate should close in 99 %
    moved     the same, but 2 % are training clips turned by a small angle: each should be named, with at most 3 % of the fresh clips
"""

import argparse
import json
import time
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import torch

from echosynth.audit import harms
from echosynth.audit.gate import OUTCOMES, Gate, decide
from echosynth.audit.looks import EYES, WINDOW, Looks
from echosynth.audit.membership import People, dataset_attacks
from echosynth.audit.suspects import JUDGES, Planted, Strangers, fit_judge, name_copies, strangers_of, verdicts
from echosynth.config import AuditSection
from echosynth.privacy.neighbours import unit
from echosynth.privacy.planted import NEAR
from echosynth.privacy.screen import Screen
from echosynth.progress import progress
from echosynth.randomness import numpy_rng

DIMS, SPECTRUM = 16, 0.85  # of an embedding; each axis varies by so much of the one before, so that about six dimensions count
COMMON = 2.0  # what all hearts have in common, beside a first axis of sd 1: strangers' cosines are about 0.8
CLIP, FRAME = 0.25, 0.1  # sd of a clip within a patient and of a frame within a clip, as shares of the sd between patients
FRAMES = 3  # of a clip
ANGLES = dict(zip(NEAR, np.linspace(0.02, 0.08, len(NEAR)), strict=True))  # sd of a planted copy, by kind, likewise
MOVED = 0.08  # sd of a moved copy
ALPHA = 0.05
CASES = {"perfect": (0.0, 0.0), "copies": (0.3, 0.0), "moved": (0.02, MOVED)}  # share of copies, and how far they are moved


class World:
    """What one encoder sees of hearts, clips and frames; everything by counter."""

    def __init__(self, eye: str, seed: int):
        self.eye, self.seed, self.scale = eye, seed, SPECTRUM ** np.arange(DIMS)

    def spread(self, what: str, *shape: int) -> np.ndarray:
        return numpy_rng(self.seed, f"null {self.eye} {what}").standard_normal((*shape, DIMS)) * self.scale

    def frames(self, clips: np.ndarray, what: str) -> np.ndarray:
        """Frames (N, FRAMES, D) of clips (N, D), not yet on the sphere."""
        return clips[:, None] + FRAME * self.spread(what, len(clips), FRAMES)


def rows_of(frames: np.ndarray) -> torch.Tensor:
    """Frames (N, FRAMES, D) as rows on the sphere."""
    rows = frames.reshape(-1, DIMS).copy()
    rows[:, 0] += COMMON
    return unit(torch.from_numpy(rows))


def looks_of(frames: dict[str, np.ndarray]) -> Looks:
    """Looks at clips by their frames, by eye."""
    count = len(next(iter(frames.values())))
    return Looks({eye: rows_of(found) for eye, found in frames.items()}, dict.fromkeys(frames, np.repeat(np.arange(count), FRAMES)), count)


def simulated(train: int, held_out: int, made: int, share: float, moved: float, seed: int) -> tuple[Gate, dict]:
    """One audit: the gate, and which of the copies and of the fresh clips were named."""
    patients = train + held_out
    clips = pd.DataFrame({"patient": np.repeat([f"P{number}" for number in range(patients)], 2), "ef": np.repeat(numpy_rng(seed, "null EF").uniform(20, 75, patients), 2)})
    clips["split"] = np.repeat(["TRAIN"] * train + ["VAL"] * (held_out // 2) + ["TEST"] * (held_out - held_out // 2), 2)
    clips["name"] = [f"C{number}" for number in range(2 * patients)]
    people, copied = People(clips), round(share * made)
    source = numpy_rng(seed, "null source").integers(0, 2 * train, copied)
    chosen = np.arange(min(train, AuditSection().planted)) * 2  # one clip of each of some training patients
    asked = numpy_rng(seed, "null asked").uniform(20, 75, made)
    asked[:copied] = clips["ef"].to_numpy()[source]
    every, release, planted = {}, {}, {kind: {} for kind in NEAR}
    for eye in EYES:
        world = World(eye, seed)
        hearts = np.repeat(world.spread("hearts", patients), 2, 0) + CLIP * world.spread("clips", 2 * patients)
        every[eye] = world.frames(hearts, "frames")
        release[eye] = world.frames(world.spread("fresh hearts", made) + CLIP * world.spread("fresh clips", made), "fresh frames")
        release[eye][:copied] = every[eye][source] + moved * world.spread("moved", copied, 1)
        for kind in NEAR:
            planted[kind][eye] = every[eye][chosen] + ANGLES[kind] * world.spread(f"planted {kind.name}", len(chosen), 1)
    real, synthetic = looks_of(every), looks_of(release)
    own = np.flatnonzero((clips["split"] != "TRAIN").to_numpy())
    real.rows[WINDOW], real.owner[WINDOW] = rows_of(every["handmade"][own]), np.repeat(own, FRAMES)

    screens = {"calibrated": _screen(people, real)} | {name: fit_judge(people, real, eye, ALPHA) for name, eye in JUDGES.items()}
    eyes = {"calibrated": "siamese", **JUDGES}
    judged = {name: verdicts(screens[name], synthetic, eye) for name, eye in eyes.items()}
    screened = pd.DataFrame({"name": [f"S{number}" for number in range(made)], "frames": FRAMES, "p": judged["calibrated"]["p"]})
    tested = np.concatenate([screens["calibrated"].frame_scores(real.of("siamese", row)).numpy().max(keepdims=True) for row in np.flatnonzero(clips["split"] == "TEST")])
    strangers = {
        "calibrated": Strangers(tested, people.of_split("TEST"), screens["calibrated"].one_draw_each(FRAMES, numpy_rng(seed, "null draws"))),
        "judge": strangers_of(people, real, screens["judge"], FRAMES, seed),
    }
    seen = {kind: {name: verdicts(screens[name], looks_of(found), eye) for name, eye in eyes.items()} for kind, found in planted.items()}
    copies = [
        Planted(number, kind, {name: (float(table["score"].iloc[number]), not table["kept"].iloc[number]) for name, table in by.items()})
        for kind, by in seen.items()
        for number in range(len(chosen))
    ]
    section = AuditSection(weights=False)
    table, about = name_copies(screened, judged, screens, strangers, copies, section.copy_recall)
    found = {
        "splits": {"patients_known": True, "in_two_splits": 0, "of_split": {}},
        "screening": about,
        "planted": {},
        "attacks": [attack.as_dict() for attack in dataset_attacks(people, real, synthetic, asked, seed)[0]],
        "harms": harms.harms(people, real, synthetic, asked, seed),
        "canaries": None,
        "differential_privacy": None,
    }
    named = table["copy"].to_numpy()
    return decide(found, section), {"named": float(named[:copied].mean()) if copied else None, "strangers_named": float(named[copied:].mean()), "z": found["harms"]["data_copying"]["z"]}


def _screen(people: People, real: Looks) -> Screen:
    """The calibrated screen, by the siamese encoder."""
    split = people.clips["split"].to_numpy()
    calibration = np.flatnonzero(split == "VAL")
    gallery = real.rows["siamese"][torch.from_numpy(split[real.owner["siamese"]] == "TRAIN")]
    return Screen.fit(gallery, [real.of("siamese", row) for row in calibration], people.clips["patient"].to_numpy()[calibration], ALPHA)


def case(name: str, sizes: tuple[int, int, int], repeats: int, seed: int) -> dict:
    """How often each check has each outcome, and how often the gate for clips is open."""
    outcomes, opened, rows = defaultdict(Counter), 0, []
    with progress(f"{name}, {'/'.join(map(str, sizes))}", repeats) as advance:
        for repeat in range(repeats):
            gate, told = simulated(*sizes, *CASES[name], seed + repeat)
            opened += gate.clips.open
            rows.append(told)
            for check in gate.checks:
                outcomes[check.name][check.outcome] += 1
            advance()
    told = pd.DataFrame(rows).astype(float)
    return {
        "case": name,
        "train/held-out/synthetic": "/".join(map(str, sizes)),
        "audits": repeats,
        "gate open": opened / repeats,
        "copies named": None if told["named"].isna().all() else round(told["named"].mean(), 4),
        "fresh clips named": round(told["strangers_named"].mean(), 4),
        "C_T": {"mean": round(told["z"].mean(), 2), "sd": round(told["z"].std(), 2)},
        "checks": {check: {outcome: count[outcome] / repeats for outcome in OUTCOMES if count[outcome]} for check, count in outcomes.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["60/60/700", "1288/1277/10030"], help="patients of training / held-out patients / synthetic clips")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for sizes in options.sizes:
        for name in options.cases:
            start = time.monotonic()
            found = case(name, tuple(map(int, sizes.split("/"))), options.repeats, options.seed)
            print(json.dumps(found | {"seconds": round(time.monotonic() - start)}, indent=2), flush=True)


if __name__ == "__main__":
    main()
