"""The simulated pre-training: an ordinary study on a phantom cohort of many sites, whose weights start the studies on real cohorts.

Simulation is endless and private to nobody, so what the models learn here costs no patient anything.
"""

import shutil
from importlib.resources import files
from pathlib import Path

import pandas as pd
import torch

from echosynth import __version__, processes
from echosynth.cohort.phantom import simulate_clip, simulate_cohort
from echosynth.config import StudyConfig
from echosynth.files import atomic_file, write_json
from echosynth.networks.autoencoder import Autoencoder
from echosynth.networks.denoiser import Denoiser
from echosynth.networks.regressor import Regressor, predict_ef
from echosynth.networks.reid import ReidEncoder
from echosynth.private import working
from echosynth.progress import progress
from echosynth.run import carry_out, open_or_create
from echosynth.stages import STAGES
from echosynth.stages.regressor import LINE, READER, Line, line_of, read_line
from echosynth.stages.start import initial
from echosynth.study import Stage, Study

MODELS = {"autoencoder": Autoencoder, "image": Denoiser, "reid": ReidEncoder, "video": Denoiser, READER: Regressor}
_LEARNT_BY = {READER: ("regressor", "evaluation")}  # stage and section, where these have other names than the weights
SITE = "many"
LINE_CLIPS = 200  # phantoms
_DETAIL = ("_low", "_high", "_image", "_video", "_visits", "_frames")  # left out of the card
SPLITS = {"TRAIN": 0.95, "VAL": 0.025, "TEST": 0.025}  # of the patients: nothing is calibrated here, so nearly all may teach


def pretrain(out: Path, patients: int, clips_per_patient: int, seed: int, workers: int | None = None, options: list[str] | None = None) -> Path:
    """Simulates `out/cohort`, trains `out/study` on it under the preset "pretrain" and leaves the weights in `out/weights`; returns that folder.

    Goes on where an interrupted call stopped. Raises InputError when `out` holds a pre-training with other options.
    """
    cohort, root = out / "cohort", out / "study"

    def simulate() -> None:
        if not (cohort / "FileList.csv").exists():
            simulate_cohort(cohort, patients, clips_per_patient, seed, SITE, workers, SPLITS)

    processes.on_first(simulate)
    with working(root, "pretrain"):
        processes.on_first(lambda: open_or_create(root, cohort, "pretrain", seed, options=options).report_edits())
        study = Study.open(root)
        carry_out(study, _stages(study.config))
    command = " ".join(["echosynth pretrain OUT", f"--patients {patients} --clips-per-patient {clips_per_patient} --seed {seed}", *(f"--set {option}" for option in options or [])])
    processes.on_first(lambda: export(study, out / "weights", command))
    return out / "weights"


def export(study: Study, folder: Path, command: str) -> None:
    """Writes the models of `study` in half precision, one folder each, and CARD.md beside them.

    A model of no steps is the one that the study starts from. Beside the reader lies the line of its readings of other phantoms.
    """
    for name, kind in MODELS.items():
        stage, section = _learnt_by(name)
        if _steps(study.config, name):
            model = kind.from_pretrained(study.verified(stage))
        elif name == READER and not (_init_folder(study.config.init) / READER).exists():  # a later pre-training may add it
            continue
        else:
            model = initial(study.config.init, name, kind, getattr(study.config, section).network, steps=0)
        model.save_pretrained(folder / name, dtype=torch.float16)
    if (folder / READER).exists():
        line = _line(study) if _steps(study.config, READER) else read_line(_init_folder(study.config.init) / READER)
        write_json(folder / READER / LINE, line.model_dump())
    with atomic_file(folder / "CARD.md") as path:
        path.write_text(card(study, command))


def card(study: Study, command: str) -> str:
    """What the weights are, how they were made and what they reached, in Markdown."""
    config, before = study.config.model_dump(), _earlier(study.config.init)
    commands = [line.removeprefix("- Made by: ") for line in before if line.startswith("- Made by: ")]
    lines = [
        "# Weights of the simulated pre-training",
        "",
        "Where a study starts with `--init simulated`: the compact autoencoder, image model, re-identification encoder and video model of echosynth, and the reader, an EF",
        "regressor that chooses clips under differential privacy. All were trained on simulated apical four-chamber views alone. No patient's data went into them.",
        "",
        "- Made by: " + ", then ".join([*commands, f"`{command}`"]),
        f'- Phantoms: site "{SITE}" (every visit to another scanner, drawn at random)',
        f"- echosynth {__version__}, torch {torch.__version__}; float16 safetensors",
        "- Licence: Apache-2.0, as the code",
        "- Limits: a phantom is not a patient. Fine-tune on a cohort before anything is concluded from what they make; not for diagnosis.",
        "",
        "| model | steps | batch | figures on held-out phantoms |",
        "|---|---|---|---|",
    ]
    for name in MODELS:
        stage, section = _learnt_by(name)
        training = config[section]["training"]
        row = next((line for line in before if line.startswith(f"| {name} |")), None)
        if not training["steps"]:  # the weights are those that it started from
            lines += [row] if row else []
            continue
        summary = study.summary(stage)["summary"]
        figures = ", ".join(f"{key} {value:.4g}" for key, value in summary.items() if isinstance(value, int | float) and not key.endswith(_DETAIL))
        steps, batch = training["steps"], str(training["batch_size"])
        if row:
            earlier, sizes = (cell.strip() for cell in row.split("|")[2:4])
            steps, batch = f"{earlier} + {steps}", sizes if sizes.split(", ")[-1] == batch else f"{sizes}, {batch}"
        lines.append(f"| {name} | {steps} | {batch} | {figures} |")
    return "\n".join(lines) + "\n"


def _learnt_by(name: str) -> tuple[str, str]:
    """The stage that trains a model, and the section of its options."""
    return _LEARNT_BY.get(name, (name, name))


def _steps(config: StudyConfig, name: str) -> int:
    return getattr(config, _learnt_by(name)[1]).training.steps


def _stages(config: StudyConfig) -> tuple[Stage, ...]:
    """The stages that train models with steps, and those that they stand on, in order."""
    by_name, needed = {stage.name: stage for stage in STAGES}, set()

    def need(name: str) -> None:
        if name != "cohort" and name not in needed:
            needed.add(name)
            for other in by_name[name].inputs_of(config):
                need(other)

    for name in MODELS:
        if _steps(config, name):
            need(_learnt_by(name)[0])
    return tuple(stage for stage in STAGES if stage.name in needed)


def _line(study: Study) -> Line:
    """The line that the regressor's readings of phantoms follow which were simulated for it: of a short pre-training as few as it learnt from, else `LINE_CLIPS`."""
    regressor = Regressor.from_pretrained(study.verified("regressor"))
    count, rows = min(LINE_CLIPS, study.summary("regressor")["summary"]["train_clips"]), []
    with progress("line of the reader", count) as advance:
        for patient in range(count):
            clip = simulate_clip(study.config.seed + 1, patient, 0, SITE)
            rows.append((clip.ef, predict_ef(regressor, clip.frames(), clip.site.fps)))
            advance()
    return line_of(pd.DataFrame(rows, columns=["ef", "predicted"]))


def _init_folder(init: str) -> Path:
    return Path(str(files("echosynth"))) / "weights" if init == "simulated" else Path(init)


def _earlier(init: str) -> list[str]:
    """The lines of the card of the weights that a pre-training went on from."""
    folder = _init_folder(init)
    return (folder / "CARD.md").read_text().splitlines() if init != "none" and (folder / "CARD.md").exists() else []


def install_weights(folder: Path) -> Path:
    """Copies exported weights to where `--init simulated` finds them, inside the package; returns that folder."""
    target = Path(str(files("echosynth"))) / "weights"
    for source in sorted(path for path in folder.rglob("*") if path.is_file()):
        with atomic_file(target / source.relative_to(folder)) as partial:
            shutil.copyfile(source, partial)
    return target
