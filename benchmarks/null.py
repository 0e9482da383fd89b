"""Does the audit let a perfect generator pass, and does it catch copies? Simulated audits on embeddings: no video, no training, the same functions and the same gate.

python -m benchmarks.null [--sizes 60/60/700] [--repeats 200] [--cases perfect copies moved]

Hearts are points in a space of a few dimensions. Every encoder of the audit sees each of them in its own way, with a spread of clips within a patient and of frames within a clip, on the unit sphere. Each audit draws a
training set, held-out patients (half calibrate, half test; two clips each) and a release:

    perfect   fresh patients, one clip each: no check should fail, in 99 % of audits. (The target says that every check passes. With 60 patients a side no interval of an AUC lies within
              0.45 to 0.55, whoever is audited, so the gate's rule calls that unclear; the shares of passed, unclear and failed checks come first.)
    copies    the same, but 30 % are training clips, frame by frame: the gate should close in 99 %
    moved     the same, but 2 % are training clips moved by 3 of 112 pixels: each should be on the list of moved copies, with at most 3 % of the fresh clips

How far planted and moved copies lie from their originals, beside strangers, is what `python -m benchmarks.moved` measured with the shipped encoder. In the eyes other than the re-identification encoder a moved
copy is taken for a stranger: nobody measured how they see it.
"""

import argparse
import json
import time
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import torch

from echosynth.audit import harms
from echosynth.audit.gate import FAILED, OUTCOMES, PASSED, UNCLEAR, Gate, decide
from echosynth.audit.looks import EYES, WINDOW, Looks
from echosynth.audit.membership import People, dataset_attacks
from echosynth.audit.suspects import JUDGES, Planted, Strangers, fit_judge, name_copies, strangers_of, verdicts
from echosynth.config import AuditSection
from echosynth.privacy.neighbours import nearest, unit
from echosynth.privacy.planted import VIDEOS
from echosynth.privacy.screen import Screen
from echosynth.progress import progress
from echosynth.randomness import numpy_rng

# A world in which strangers lie as `python -m benchmarks.moved` measured them (videos; cosines of the nearest: 0.69, 0.77 and 0.86 at 5, 50 and 95 %): 0.67, 0.79 and 0.86 for 180 training patients.
DIMS, SPECTRUM = 48, 0.96  # of an embedding; each axis varies by so much of the one before
COMMON = 3.5  # what all hearts have in common, beside a first axis of sd 1
CLIP, FRAME = 0.25, 0.1  # sd of a clip within a patient and of a frame within a clip, as shares of the sd between patients
FRAMES = 3  # of a clip
# Distance of a copy from its original in parts of the median distance of a stranger to the gallery: median, and of the farthest 5 %. Printed by `python -m benchmarks.moved COHORT --patients 72`
# (videos, "to the original"; a simulated cohort of 300 patients); reversal has no frame to compare, and lies as far as a round trip.
MEASURED = {
    ("round trip", 1): (0.088, 0.132),
    ("noise", 4): (0.047, 0.080),
    ("gain", 1.1): (0.049, 0.076),
    ("shift", 1): (0.180, 0.275),
    ("crop", 1.02): (0.165, 0.254),
    ("gain", 1.3): (0.128, 0.188),
    ("shift", 3): (0.380, 0.508),
    ("shift", 6): (0.480, 0.681),
    ("zoom", 1.05): (0.223, 0.338),
    ("zoom", 1.15): (0.447, 0.645),
    ("rotation", 2): (0.159, 0.217),
    ("rotation", 5): (0.342, 0.450),
    ("smooth", 1): (0.076, 0.115),
    ("reversal", 1): (0.088, 0.132),
}
SHIFTED = MEASURED["shift", 3]
ALPHA = 0.05
CASES = {"perfect": (0.0, False), "copies": (0.3, False), "moved": (0.02, True)}  # share of copies, and whether they are moved


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


def looks_of(rows: dict[str, torch.Tensor]) -> Looks:
    """Looks at clips by their rows, by eye."""
    count = len(next(iter(rows.values()))) // FRAMES
    return Looks(rows, dict.fromkeys(rows, np.repeat(np.arange(count), FRAMES)), count)


def turned(rows: torch.Tensor, far: tuple[float, float], middle: float, world: World, what: str) -> torch.Tensor:
    """Rows of clips (N FRAMES, D) at a distance from their own: its median and its 95th percentile over clips are `far` times `middle`, its logarithm is normal; all frames of a clip go one way."""
    clips = len(rows) // FRAMES
    z = numpy_rng(world.seed, f"null far {what}").standard_normal((clips, 1))
    angle = 2 * np.arcsin(np.minimum(middle * far[0] * (far[1] / far[0]) ** (z / 1.645) / 2, 0.99)).repeat(FRAMES, 0)
    start, way = rows.numpy().astype(float), world.spread(f"way {what}", clips).repeat(FRAMES, 0)
    way -= (way * start).sum(1, keepdims=True) * start
    return unit(torch.from_numpy(np.cos(angle) * start + np.sin(angle) * way / np.linalg.norm(way, axis=1, keepdims=True)))


def strangers_distance(gallery: torch.Tensor, others: torch.Tensor) -> float:
    """The median distance of a stranger's clip to the gallery."""
    return float(np.sqrt(2 - 2 * np.median(nearest(others, gallery).scores[:, 0].numpy().reshape(-1, FRAMES).max(1))))


def simulated(train: int, held_out: int, made: int, share: float, moved: bool, seed: int) -> tuple[Gate, dict]:
    """One audit: the gate, and which of the copies and of the fresh clips were named, of moved ones by the list of moved copies."""
    patients = train + held_out
    clips = pd.DataFrame({"patient": np.repeat([f"P{number}" for number in range(patients)], 2), "ef": np.repeat(numpy_rng(seed, "null EF").uniform(20, 75, patients), 2)})
    clips["split"] = np.repeat(["TRAIN"] * train + ["VAL"] * (held_out // 2) + ["TEST"] * (held_out - held_out // 2), 2)
    clips["name"] = [f"C{number}" for number in range(2 * patients)]
    people, copied = People(clips), round(share * made)
    source = numpy_rng(seed, "null source").integers(0, 2 * train, copied)
    chosen = np.arange(min(train, AuditSection().planted)) * 2  # one clip of each of some training patients
    asked = numpy_rng(seed, "null asked").uniform(20, 75, made)
    asked[:copied] = clips["ef"].to_numpy()[source]
    every, release, planted = {}, {}, {kind: {} for kind in VIDEOS}
    own, known = np.flatnonzero((clips["split"] != "TRAIN").to_numpy()), np.arange(2 * train)
    for eye in EYES:
        world = World(eye, seed)
        hearts = np.repeat(world.spread("hearts", patients), 2, 0) + CLIP * world.spread("clips", 2 * patients)
        every[eye] = rows_of(world.frames(hearts, "frames"))
        release[eye] = rows_of(world.frames(world.spread("fresh hearts", made) + CLIP * world.spread("fresh clips", made), "fresh frames"))
        middle = strangers_distance(_some(every[eye], known), _some(every[eye], own))
        if not moved:
            release[eye][: copied * FRAMES] = _some(every[eye], source)
        elif eye == "siamese":
            release[eye][: copied * FRAMES] = turned(_some(every[eye], source), SHIFTED, middle, world, "moved")
        for kind in VIDEOS:
            planted[kind][eye] = turned(_some(every[eye], chosen), MEASURED[kind.name, kind.strength], middle, world, f"{kind.name} {kind.strength:g}")
    real, synthetic = looks_of(every), looks_of(release)
    real.rows[WINDOW], real.owner[WINDOW] = _some(every["handmade"], own), np.repeat(own, FRAMES)

    screens = {"calibrated": _screen(people, real)} | {name: fit_judge(people, real, eye, ALPHA) for name, eye in JUDGES.items()}
    eyes = {"calibrated": "siamese", **JUDGES}
    judged = {name: verdicts(screens[name], synthetic, eye) for name, eye in eyes.items()}
    screened = pd.DataFrame({"name": [f"S{number}" for number in range(made)], "frames": FRAMES, "p": judged["calibrated"]["p"]})
    tested = np.concatenate([screens["calibrated"].frame_scores(real.of("siamese", row)).numpy().max(keepdims=True) for row in np.flatnonzero(clips["split"] == "TEST")])
    strangers = {
        "calibrated": Strangers(tested, screens["calibrated"].one_draw_each(FRAMES, numpy_rng(seed, "null draws"))),
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
    named = (table["copy"] | table["moved"]).to_numpy() if moved else table["copy"].to_numpy()
    return decide(found, section), {"named": float(named[:copied].mean()) if copied else None, "strangers_named": float(named[copied:].mean()), "z": found["harms"]["data_copying"]["z"]}


def _some(rows: torch.Tensor, clips: np.ndarray) -> torch.Tensor:
    """The rows of some clips, in their order."""
    return rows.view(-1, FRAMES, DIMS)[torch.from_numpy(clips)].flatten(0, 1)


def _screen(people: People, real: Looks) -> Screen:
    """The calibrated screen, by the siamese encoder."""
    split = people.clips["split"].to_numpy()
    calibration = np.flatnonzero(split == "VAL")
    gallery = real.rows["siamese"][torch.from_numpy(split[real.owner["siamese"]] == "TRAIN")]
    return Screen.fit(gallery, [real.of("siamese", row) for row in calibration], people.clips["patient"].to_numpy()[calibration], ALPHA)


def case(name: str, sizes: tuple[int, int, int], repeats: int, seed: int) -> dict:
    """How often each check has each outcome, and how often the gate for clips is open."""
    outcomes, opened, unfailed, rows = defaultdict(Counter), 0, 0, []
    with progress(f"{name}, {'/'.join(map(str, sizes))}", repeats) as advance:
        for repeat in range(repeats):
            gate, told = simulated(*sizes, *CASES[name], seed + repeat)
            opened += gate.clips.open
            unfailed += gate.counts["failed"] == 0
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
        "no check failed": unfailed / repeats,
        "of all checks": {outcome: round(sum(count[outcome] for count in outcomes.values()) / sum(map(Counter.total, outcomes.values())), 4) for outcome in OUTCOMES},
        "passed, unclear, failed": {check: [count[outcome] / repeats for outcome in (PASSED, UNCLEAR, FAILED)] for check, count in outcomes.items()},
        "copies named": None if told["named"].isna().all() else round(told["named"].mean(), 4),
        "fresh clips named": round(told["strangers_named"].mean(), 4),
        "C_T": {"mean": round(told["z"].mean(), 2), "sd": round(told["z"].std(), 2)},
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
