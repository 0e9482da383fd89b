"""The simulated pre-training: an ordinary study on a phantom cohort of many sites, whose weights start the studies on real cohorts.

Simulation is endless and private to nobody, so what the models learn here costs no patient anything.
"""

import shutil
from importlib.resources import files
from pathlib import Path

import torch

from echosynth import __version__, processes
from echosynth.cohort.phantom import simulate_cohort
from echosynth.files import atomic_file
from echosynth.networks.autoencoder import Autoencoder
from echosynth.networks.denoiser import Denoiser
from echosynth.networks.reid import ReidEncoder
from echosynth.private import working
from echosynth.run import carry_out, open_or_create
from echosynth.stages import STAGES
from echosynth.study import Study

MODELS = {"autoencoder": Autoencoder, "image": Denoiser, "reid": ReidEncoder, "video": Denoiser}
SITE = "many"
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
        carry_out(study, tuple(stage for stage in STAGES if stage.name in (*MODELS, "latents")))
    command = " ".join(["echosynth pretrain OUT", f"--patients {patients} --clips-per-patient {clips_per_patient} --seed {seed}", *(f"--set {option}" for option in options or [])])
    processes.on_first(lambda: export(study, out / "weights", command))
    return out / "weights"


def export(study: Study, folder: Path, command: str) -> None:
    """Writes the models of `study` in half precision, one folder each, and CARD.md beside them."""
    for name, kind in MODELS.items():
        kind.from_pretrained(study.verified(name)).save_pretrained(folder / name, dtype=torch.float16)
    with atomic_file(folder / "CARD.md") as path:
        path.write_text(card(study, command))


def card(study: Study, command: str) -> str:
    """What the weights are, how they were made and what they reached, in Markdown."""
    config, before = study.config.model_dump(), _earlier(study.config.init)
    commands = [line.removeprefix("- Made by: ") for line in before if line.startswith("- Made by: ")]
    lines = [
        "# Weights of the simulated pre-training",
        "",
        "Where a study starts with `--init simulated`: the compact autoencoder, image model, re-identification encoder and video model of echosynth, trained on simulated",
        "apical four-chamber views alone. No patient's data went into them.",
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
        done = study.summary(name)
        figures = ", ".join(f"{key} {value:.4g}" for key, value in done["summary"].items() if isinstance(value, int | float) and not key.endswith(_DETAIL))
        training = config[name]["training"]
        row = next((line for line in before if line.startswith(f"| {name} |")), None)
        if row and not training["steps"]:
            lines.append(row)  # the weights are those that it started from
            continue
        steps, batch = training["steps"], str(training["batch_size"])
        if row:
            earlier, sizes = (cell.strip() for cell in row.split("|")[2:4])
            steps, batch = f"{earlier} + {steps}", sizes if sizes.split(", ")[-1] == batch else f"{sizes}, {batch}"
        lines.append(f"| {name} | {steps} | {batch} | {figures} |")
    return "\n".join(lines) + "\n"


def _earlier(init: str) -> list[str]:
    """The lines of the card of the weights that a pre-training went on from."""
    folder = Path(str(files("echosynth"))) / "weights" if init == "simulated" else Path(init)
    return (folder / "CARD.md").read_text().splitlines() if init != "none" and (folder / "CARD.md").exists() else []


def install_weights(folder: Path) -> Path:
    """Copies exported weights to where `--init simulated` finds them, inside the package; returns that folder."""
    target = Path(str(files("echosynth"))) / "weights"
    for source in sorted(path for path in folder.rglob("*") if path.is_file()):
        with atomic_file(target / source.relative_to(folder)) as partial:
            shutil.copyfile(source, partial)
    return target
