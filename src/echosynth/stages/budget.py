"""The privacy budget of a study: what was spent on its patients, by which training, whatever became of the training.

    STUDY/dp/spent.json       a row a training, written before its first step
    STUDY/dp/secret           where coins and noise come from; never to be handed out

A training that is gone on with is the same training: the same coins and the same noise, so nothing is spent twice. One with other options is another, and adds to what was spent.
"""

import secrets

import numpy as np

from echosynth import processes
from echosynth.errors import InputError
from echosynth.privacy.budget import Spent, epsilon, noise_for
from echosynth.progress import console
from echosynth.seals import write_sealed
from echosynth.study import Stage, Study
from echosynth.training.private import Private, chance

GENERATORS = ("image", "video")
_LEDGER = "dp/spent.json"


def private_training(study: Study, stage: Stage, patients: np.ndarray) -> Private | None:
    """How the training of a generator is made private, noted as spent; None where the study asks for no differential privacy. `patients`: their numbers, a training clip each.

    The budget is shared so that all generators get the same noise. Raises InputError when what earlier trainings have left of it is too little.
    """
    section, count = study.config.dp, int(patients.max()) + 1
    if not section.epsilon:
        return None
    training, key = getattr(study.config, stage.name).training, study.key(stage)

    def note() -> float:
        ledger, limit = spent(study), delta(study, count)
        for row in ledger:
            if row["key"] == key:
                return row["noise"]
        others = [name for name in GENERATORS if name == stage.name or not any(row["stage"] == name for row in ledger)]
        planned = [(chance(t.batch_size, count), t.steps) for t in (getattr(study.config, name).training for name in others)]
        noise = noise_for(section.epsilon, limit, planned, trainings(ledger))
        row = {"stage": stage.name, "key": key, "noise": noise, "rate": chance(training.batch_size, count), "steps": training.steps, "clip": section.clip, "patients": count}
        study.private_folder("dp")
        write_sealed(study.root / _LEDGER, {"spent": [*ledger, row]}, study.seal_key)
        console.print(f"{stage.name}: differential privacy, noise {noise:.3g} times a patient's gradient; epsilon {epsilon(trainings([*ledger, row]), limit):.2f} is spent then")
        return noise

    noise = processes.on_first(note)
    return Private(noise, section.clip, count, training.batch_size, _secret(study), key)


def spent(study: Study) -> list[dict]:
    """The rows of the ledger, oldest first; none where nothing was spent."""
    if not (study.root / _LEDGER).exists():
        return []
    return study.sealed(_LEDGER, "restore it: without it nobody knows what was spent on the patients")["spent"]


def trainings(ledger: list[dict]) -> list[Spent]:
    """The rows as the accountant wants them."""
    return [Spent(row["noise"], row["rate"], row["steps"]) for row in ledger]


def delta(study: Study, patients: int) -> float:
    """The delta of the study's statement."""
    return study.config.dp.delta or 0.1 / patients


def statement(study: Study) -> dict | None:
    """What may be said of the generators in the study: epsilon of all that was spent, delta, patients, steps. None where one of them learnt without noise, or is not done."""
    ledger = spent(study)
    keys = {row["key"] for row in ledger}
    if not study.config.dp.epsilon or any(study.summary(name)["key"] not in keys for name in GENERATORS):
        return None
    limit = delta(study, ledger[-1]["patients"])
    return {
        "epsilon": epsilon(trainings(ledger), limit),
        "delta": limit,
        "patients": ledger[-1]["patients"],
        "trainings": [{k: v for k, v in row.items() if k != "key"} for row in ledger],
    }


def private_options(text: str) -> list[str]:
    """The options that `--dp epsilon=8` (or epsilon=8,delta=1e-5) stands for. Raises InputError when it is written otherwise."""
    given = [part.partition("=") for part in text.split(",")]
    if not all(name in ("epsilon", "delta", "clip") and value for name, _, value in given) or not any(name == "epsilon" for name, _, _ in given):
        raise InputError(f"--dp {text}: write it as epsilon=8, or epsilon=8,delta=1e-5")
    return [*(f"dp.{name}={value}" for name, _, value in given), *PRIVATE]


# The generators alone learn from patients. Muon evens out the singular values of a gradient, and of noise.
PRIVATE = (
    "autoencoder.training.steps=0",
    "autoencoder.encoder=frozen",
    "reid.training.steps=0",
    "synthesis.ef=uniform",
    "synthesis.ef_tolerance=0",
    *(f"{name}.training.{option}" for name in GENERATORS for option in ("muon_learning_rate=0", "learning_rate=3e-4")),
)


def _secret(study: Study) -> int:
    path = study.folder("dp") / "secret"

    def make() -> None:
        if not path.exists():
            study.private_folder("dp")
            write_sealed(path, {"secret": secrets.randbits(64)}, study.seal_key)

    processes.on_first(make)
    return study.sealed("dp/secret", "restore it: the noise of the trainings comes from it")["secret"]
