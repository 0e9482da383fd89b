"""The regressors of an evaluation: one network, one budget, and only what they are trained on differs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echosynth import processes
from echosynth.cohort.echonet import HELD_OUT, Cohort
from echosynth.config import EvaluationSection
from echosynth.errors import InputError
from echosynth.networks.base import Network
from echosynth.randomness import numpy_rng
from echosynth.training.regressor import read_ef, tidy, train_regressor

Videos = list[tuple[Path, float]]
"""(path, EF in percent) of each clip."""


@dataclass(frozen=True)
class Trained:
    """The regressors of each kind, one a seed. Those of `synthetic`, `unselected` and `relabelled` learn from `clips` clips each, those of `real` from `real_clips`, which are as many or more."""

    real: list[Network]
    synthetic: list[Network]
    unselected: list[Network]  # clips as they came, before any was left out for the EF it shows
    mixed: list[Network]  # real and synthetic clips together
    relabelled: list[Network]  # synthetic clips with the EF that the first regressor of `real` reads from them
    curve: dict[int, Network | None]  # by the number of synthetic clips; None where there are not as many
    judge: Network
    judge_is_held_out: bool
    clips: int
    real_clips: int


def train_all(
    real: Cohort, synthetic: Cohort, section: EvaluationSection, folder: Path, seed: int, regressor: Network, unselected: Cohort | None = None
) -> Trained:
    """Trains what `section` asks for, each kind in a folder of its own under `folder`, on all processes; what is trained already is opened.

    `regressor` is the first of the kind `real`. TSTR takes as many clips as TRTR: so the two differ in the kind of clips alone.
    Where the synthetic cohort has fewer it takes all, and there is no verdict (`usefulness`). Raises InputError when a video cannot be read.
    """
    of_real, of_synthetic = videos(real, ("TRAIN",)), videos(synthetic, ("TRAIN",))
    as_many = of_synthetic[: len(of_real)]

    def train(kind: str, clips: Videos, title: str, first: int = 0, seeds: int | None = None) -> list[Network]:
        found = []
        for k in range(first, section.seeds if seeds is None else seeds):
            name = kind if k == 0 else f"{kind}-{k + 1}"
            one = seed if k == 0 else int(numpy_rng(seed, "regressor seed", k).integers(2**31))
            found.append(
                train_regressor(clips, section.network, section.training, folder / name, one, f"{title}, seed {k + 1}" if section.seeds > 1 else title, section.pretrained)
            )
            processes.on_first(lambda name=name: tidy(folder / name))
        return found

    trained = {"real": [regressor, *train("trtr", of_real, "TRTR regressor", first=1)], "synthetic": train("tstr", as_many, "TSTR regressor")}
    trained |= {"unselected": [], "mixed": [], "relabelled": []}
    if unselected is not None:
        first = videos(unselected, ("TRAIN",))[: len(of_real)]
        trained["unselected"] = train("tstr-unselected", first, "TSTR regressor, unselected clips")
    if "mixed" in section.trainings:
        trained["mixed"] = train("mixed", of_real + of_synthetic, "regressor on both")
    if "relabelled" in section.trainings:
        paths = [path for path, _ in as_many]
        read = processes.on_first(lambda: read_ef(regressor, paths, "relabelling synthetic clips").tolist())
        trained["relabelled"] = train("relabelled", list(zip(paths, read, strict=True)), "regressor on relabelled clips")
    curve: dict[int, Network | None] = {}
    for multiple in section.curve:
        count = max(1, round(multiple * len(of_real)))
        if count == len(as_many):
            curve[count] = trained["synthetic"][0]
        else:
            curve[count] = train(f"curve-{count}", of_synthetic[:count], f"TSTR regressor, {count} clips", seeds=1)[0] if count <= len(of_synthetic) else None
    judge = train("judge", videos(real, HELD_OUT), "EF judge", seeds=1)[0] if section.judge == "held-out" else regressor
    return Trained(**trained, curve=curve, judge=judge, judge_is_held_out=section.judge == "held-out", clips=len(as_many), real_clips=len(of_real))


def videos(cohort: Cohort, splits: tuple[str, ...]) -> Videos:
    """The clips of some splits, of a cohort without splits all of them. Raises InputError where there are none."""
    rows = cohort.clips[cohort.clips["split"].isin(splits)] if cohort.clips["split"].notna().any() else cohort.clips
    if rows.empty:
        raise InputError(f"{cohort.root}: no clip in the split {' or '.join(splits)}; mend the column Split of FileList.csv")
    return [(cohort.path(name), float(ef)) for name, ef in zip(rows["name"], rows["ef"], strict=True)]


def readings(regressors: list[Network], paths: list[Path], title: str) -> np.ndarray:
    """EF in percent (seeds, n) that each of `regressors` reads from the videos."""
    return np.stack([read_ef(regressor, paths, title) for regressor in regressors])
