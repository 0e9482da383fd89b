"""The privacy budget of a study: what was spent on its patients, by which training, whatever became of the training.

    STUDY/dp/spent.json       a row a training and one for the histogram of EFs, written before anything is learnt
    STUDY/dp/secret           where coins and noise come from; never to be handed out

A training that is resumed is the same training: the same coins and the same noise, so nothing is spent twice. One with other options is another, and adds to what was spent.
"""

import secrets
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from echosynth import processes
from echosynth.cohort.echonet import Cohort
from echosynth.config import ScreenSection, StudyConfig, SynthesisSection
from echosynth.errors import InputError
from echosynth.privacy.budget import Spent, epsilon, noise_for
from echosynth.privacy.histogram import law_of_counts, noisy_counts
from echosynth.progress import console
from echosynth.randomness import numpy_rng
from echosynth.seals import write_sealed
from echosynth.study import Stage, Study
from echosynth.training.private import Private, chance

GENERATORS = ("image", "video")
_LEDGER = "dp/spent.json"
_EF = "ef"  # the row of the histogram
EF_EDGES = np.arange(10.0, 91.0, 10.0)  # percent; the same for every cohort
EF_EVEN = (15.0, 80.0)  # percent; half of the EFs are drawn evenly from there
EF_SHARE = 0.4  # the histogram alone would cost this share of epsilon; beside the trainings it costs far less
SPLIT_SHARES = {"TRAIN": 0.75, "VAL": 0.125, "TEST": 0.125}  # of the synthetic clips, whatever those of the cohort


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
        histogram = [] if study.config.synthesis.ef != "private" or any(row["stage"] == _EF for row in ledger) else [Spent(_ef_noise(study, limit), 1.0, 1)]
        noise = noise_for(section.epsilon, limit, planned, [*trainings(ledger), *histogram]) if training.steps else 0.0
        row = {"stage": stage.name, "key": key, "noise": noise, "rate": chance(training.batch_size, count), "steps": training.steps, "clip": section.clip, "patients": count}
        _note(study, ledger, row)
        if training.steps:
            console.print(f"{stage.name}: differential privacy, noise {noise:.3g} times a patient's gradient; epsilon {epsilon(trainings([*ledger, row]), limit):.2f} is spent then")
        return noise

    noise = processes.on_first(note)
    return Private(noise, section.clip, count, training.batch_size, _secret(study), key, section.parameters)


def private_ef_law(study: Study, cohort: Cohort) -> Callable[[np.random.Generator], float]:
    """How EFs (percent) are drawn by a noisy histogram of those of the training patients (privacy/histogram.py), noted as spent once.

    Raises InputError when the budget has too little left for it.
    """
    train = cohort.split("TRAIN")
    patients = train["patient"].to_numpy().astype(str)
    count = len(np.unique(patients))
    limit = delta(study, count)
    noise = _ef_noise(study, limit)
    key = f"{_EF} of {study.fingerprint} less canaries of {study.config.audit.canaries}, noise {noise}"

    def note() -> None:
        ledger = spent(study)
        if any(row["key"] == key for row in ledger):
            return
        row = {"stage": _EF, "key": key, "noise": noise, "rate": 1.0, "steps": 1, "clip": 1.0, "patients": count}
        if (total := epsilon(trainings([*ledger, row]), limit)) > study.config.dp.epsilon:
            raise InputError(
                f"synthesis.ef: with a histogram of EFs epsilon would be {total:.2f}, above the budget of {study.config.dp.epsilon:g}; set synthesis.ef to uniform, or raise dp.epsilon"
            )
        _note(study, ledger, row)

    processes.on_first(note)
    rng = numpy_rng(_secret(study), f"private histogram, {key}")
    return law_of_counts(noisy_counts(train["ef"].to_numpy(float), patients, EF_EDGES, noise, rng), EF_EDGES, noise, EF_EVEN)


def _ef_noise(study: Study, limit: float) -> float:
    """Of the histogram, in patients."""
    return noise_for(EF_SHARE * study.config.dp.epsilon, limit, [(1.0, 1)])


def _note(study: Study, ledger: list[dict], row: dict) -> None:
    study.private_folder("dp")
    write_sealed(study.root / _LEDGER, {"spent": [*ledger, row]}, study.seal_key)


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
    """What may be said of the release: epsilon of all that was spent, delta, patients, steps, and what is covered. None where a generator learnt without noise, or is not done."""
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
        "coverage": [item._asdict() for item in coverage(study.config)],
    }


INSIDE, PUBLIC, OFF, OUTSIDE = "inside", "public", "off", "outside"


class Item(NamedTuple):
    """A part of what leaves the study, and how it depends on patients: inside the account, public (no patient of the cohort in it), off, or outside of the account."""

    item: str
    how: str
    words: str


def coverage(config: StudyConfig) -> list[Item]:
    """What of a release depends on patients, and how, in a study with differential privacy."""
    synthesis, screen = config.synthesis, config.screen
    weights = "the shipped weights, trained on simulated hearts" if config.init == "simulated" else "the weights of the folder given with --init; whoever gave it vouches that no patient of the cohort is in them"
    return [
        Item("Image and video model", INSIDE, "trained with noise, patient by patient"),
        Item("Autoencoder", PUBLIC, weights),
        Item("EF of the clips", *_of_efs(synthesis.ef)),
        Item("Clips left out for their EF", *_of_choice(synthesis, config.init)),
        Item("EF read off each clip, readings.csv", *_of_choice(synthesis, config.init)),
        Item("Clips left out for their likeness to a patient", *_of_screening(screen)),
        Item("ESV, EDV, tracings, measured.parquet, pixel size", OFF, "no segmentation is trained and no pixel size is measured: the columns are empty"),
        Item("Split of the clips", PUBLIC, "fixed shares, whatever those of the cohort"),
        Item("Size, length, frame rate, names of the clips", PUBLIC, "options and random numbers"),
        Item("Number of clips", *((PUBLIC, "an option") if synthesis.videos else (OUTSIDE, "as many as the cohort has, which the statement takes as known"))),
        Item("Number of training patients", OUTSIDE, "stands in the statement, which takes it as known"),
        Item("Options", OUTSIDE, "whoever chose them by figures of this cohort has looked at its patients"),
        Item("Figures of the report and of this passport, and whether the gate is open", OUTSIDE, "measured on patients without noise"),
    ]


def _of_efs(ef: str) -> tuple[str, str]:
    if ef == "private":
        return INSIDE, "drawn by a histogram of the training patients with noise"
    return PUBLIC, "drawn evenly from 10 to 90 %" if ef == "uniform" else f"{ef} % for every clip"


def _of_choice(synthesis: SynthesisSection, init: str) -> tuple[str, str]:
    if not synthesis.ef_tolerance:
        return OFF, "a clip may show any EF"
    if init == "simulated":
        return PUBLIC, "read by a regressor that was trained on simulated hearts alone"
    return PUBLIC, "read by the regressor of the folder given with --init, where it has one (reader): whoever gave it vouches that no patient of the cohort is in it; else by the shipped one, trained on simulated hearts"


def _of_screening(screen: ScreenSection) -> tuple[str, str]:
    if not screen.withhold:
        return OFF, "no clip is withheld (screen.withhold is off); the audit looks for copies all the same"
    return OUTSIDE, "the screen compares with patients: the statement does not cover which clips it has withheld (screen.withhold)"


def private_options(text: str) -> list[str]:
    """The options that `--dp epsilon=8` (or epsilon=8,delta=1e-5) stands for. Raises InputError when it is written otherwise."""
    given = [part.partition("=") for part in text.split(",")]
    if not all(name in ("epsilon", "delta", "clip") and value for name, _, value in given) or not any(name == "epsilon" for name, _, _ in given):
        raise InputError(f"--dp {text}: write it as epsilon=8, or epsilon=8,delta=1e-5")
    return [*(f"dp.{name}={value}" for name, _, value in given), *PRIVATE]


# The generators and the histogram of EFs alone learn from patients. Muon evens out the singular values of a gradient, and of noise.
PRIVATE = (
    "autoencoder.training.steps=0",
    "autoencoder.encoder=frozen",
    "reid.training.steps=0",
    "segmentation.enabled=false",
    "screen.withhold=false",
    "synthesis.ef=private",
    "synthesis.reader=simulated",
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
