"""The regressors of an evaluation: one network, one budget, and only what they are trained on differs."""

import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from echosynth import processes
from echosynth.cohort.echonet import HELD_OUT, Cohort
from echosynth.config import EvaluationSection
from echosynth.cores import each
from echosynth.errors import InputError
from echosynth.networks.base import Network
from echosynth.randomness import numpy_rng
from echosynth.training.regressor import read_ef, tidy, train_regressor

_CLIPS = "clips"  # folder of shrunken clips, by kind, while regressors train

Videos = list[tuple[Path, float]]
"""(path, EF in percent) of each clip."""


class _Job(NamedTuple):
    """A regressor to train: its kind, what it learns from, what the progress bar calls it, and which seed of the kind it is, from 0."""

    kind: str
    clips: Videos
    title: str
    number: int = 0


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
    """Trains what `section` asks for, each regressor in a folder of its own under `folder`; what is trained already is opened. On the CPU of one process they train side by side.

    `regressor` is the first of the kind `real`. TSTR takes as many clips as TRTR: so the two differ in the kind of clips alone.
    Where the synthetic cohort has fewer it takes all, and there is no verdict (`usefulness`). Raises InputError when a video cannot be read.
    """
    of_real, of_synthetic = videos(real, ("TRAIN",)), videos(synthetic, ("TRAIN",))
    as_many = of_synthetic[: len(of_real)]

    counts = list(dict.fromkeys(max(1, round(multiple * len(of_real))) for multiple in section.curve))
    jobs = [_Job("trtr", of_real, "TRTR regressor", k) for k in range(1, section.seeds)]
    jobs += [_Job("tstr", as_many, "TSTR regressor", k) for k in range(section.seeds)]
    if unselected is not None:
        first = videos(unselected, ("TRAIN",))[: len(of_real)]
        jobs += [_Job("tstr-unselected", first, "TSTR regressor, unselected clips", k) for k in range(section.seeds)]
    if "mixed" in section.trainings:
        jobs += [_Job("mixed", of_real + of_synthetic, "regressor on both", k) for k in range(section.seeds)]
    if "relabelled" in section.trainings:
        paths = [path for path, _ in as_many]
        read = processes.on_first(lambda: read_ef(regressor, paths, "relabelling synthetic clips").tolist())
        jobs += [_Job("relabelled", list(zip(paths, read, strict=True)), "regressor on relabelled clips", k) for k in range(section.seeds)]
    jobs += [_Job(f"curve-{count}", of_synthetic[:count], f"TSTR regressor, {count} clips") for count in counts if count <= len(of_synthetic) and count != len(as_many)]
    if section.judge == "held-out":
        jobs.append(_Job("judge", videos(real, HELD_OUT), "EF judge"))

    def train(job: _Job) -> Network:
        one = seed if job.number == 0 else int(numpy_rng(seed, "regressor seed", job.number).integers(2**31))
        name = job.kind if job.number == 0 else f"{job.kind}-{job.number + 1}"
        title = f"{job.title}, seed {job.number + 1}" if section.seeds > 1 else job.title
        network = train_regressor(job.clips, section.network, section.training, folder / name, one, title, section.pretrained, folder / _CLIPS / job.kind)
        processes.on_first(lambda: tidy(folder / name))
        return network

    # Several processes share the steps of one training, and one training fills a GPU.
    side_by_side = processes.state().num_processes == 1 and not torch.cuda.is_available()
    found: dict[str, list[Network]] = defaultdict(list)
    for job, network in zip(jobs, each(train, jobs, regressor) if side_by_side else map(train, jobs), strict=True):
        found[job.kind].append(network)
    processes.on_first(lambda: shutil.rmtree(folder / _CLIPS, ignore_errors=True))
    curve = {count: found["tstr"][0] if count == len(as_many) else next(iter(found[f"curve-{count}"]), None) for count in counts}
    kinds = {"real": [regressor, *found["trtr"]], "synthetic": found["tstr"], "unselected": found["tstr-unselected"]}
    kinds |= {kind: found[kind] for kind in ("mixed", "relabelled")}
    judge = next(iter(found["judge"]), regressor)
    return Trained(**kinds, curve=curve, judge=judge, judge_is_held_out=section.judge == "held-out", clips=len(as_many), real_clips=len(of_real))


def videos(cohort: Cohort, splits: tuple[str, ...]) -> Videos:
    """The clips of some splits, of a cohort without splits all of them. Raises InputError where there are none."""
    rows = cohort.clips[cohort.clips["split"].isin(splits)] if cohort.clips["split"].notna().any() else cohort.clips
    if rows.empty:
        raise InputError(f"{cohort.root}: no clip in the split {' or '.join(splits)}; mend the column Split of FileList.csv")
    return [(cohort.path(name), float(ef)) for name, ef in zip(rows["name"], rows["ef"], strict=True)]
