"""Weights in the layout in which those of EchoNet-Synthetic are released become a study that can synthesise.

    vae/  lidm_<dataset>/  lvdm/                             diffusers folders
    reidentification_<dataset>/  regression_<dataset>/        state dicts of the siamese network and, where it is there, of the EF regressor, R(2+1)D-18

Nothing in the files is run: safetensors, or state dicts that torch reads as plain tensors. What the study keeps is safetensors.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from echosynth.cohort.video import read_clip, to_square
from echosynth.config import StudyConfig, preset
from echosynth.errors import InputError
from echosynth.networks.base import load_weights, read_state
from echosynth.networks.paper_config import PaperRegressorConfig, PaperReidConfig
from echosynth.networks.resnet import PaperRegressor, Siamese
from echosynth.records import RECORD
from echosynth.run import configure, open_or_create
from echosynth.stages.start import IMPORTED, cohort_of
from echosynth.study import Study
from echosynth.training.paper_regressor import standardise

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def import_weights(folder: Path, root: Path, cohort: Path, dataset: str = "dynamic", seed: int | None = None, options: list[str] | None = None) -> Study:
    """A study of the preset "paper" in `root` on `cohort` whose networks are those in `folder`, not to be trained further.

    The cohort is what the screen is calibrated on and what the synthetic clips are compared with: its training split should be what the weights were trained on.
    Raises InputError naming the file when one is missing, has an unknown, missing or misshapen weight, or wants to run code.
    """
    with tempfile.TemporaryDirectory(dir=_existing(root.parent)) as scratch:
        converted = Path(scratch) / IMPORTED
        config = configure(preset("paper"), seed, options=options)
        networks, values = convert(folder, converted, dataset, config.evaluation.network), config.model_dump(mode="json")
        for name, network in networks.items():
            values[name] |= {"network": network, "training": values[name]["training"] | {"steps": 0}}
        study = open_or_create(root, cohort, config=StudyConfig(**values | {"init": str((root / IMPORTED).resolve())}))
        if not (root / IMPORTED / RECORD).exists():
            if (converted / "regressor").exists():
                _standardise(converted / "regressor", study)
            shutil.rmtree(root / IMPORTED, ignore_errors=True)
            shutil.move(converted, root / IMPORTED)
            study.record_folder(IMPORTED, "Weights that were trained on patients")
    return study


def _standardise(folder: Path, study: Study) -> None:
    """The mean and standard deviation of the grey levels are not in the released file: they are those of the training split."""
    regressor, cohort = PaperRegressor.from_pretrained(folder), cohort_of(study)
    names = cohort.split("TRAIN")["name"].to_numpy()
    chosen = names[np.unique(np.linspace(0, len(names) - 1, 128).astype(int))]
    standardise(regressor, [to_square(read_clip(cohort.path(name))[0], regressor.config.size) for name in chosen])
    regressor.save_pretrained(folder)


def convert(folder: Path, out: Path, dataset: str, regression: PaperRegressorConfig | None = None) -> dict[str, dict]:
    """Reads the released layout, writes `out`/{autoencoder, image, reid, video, regressor} as ours are saved, and returns the configuration of each that a study trains.

    How the regressor reads clips is not in its file: `regression` says.
    """
    from echosynth.networks.paper import PaperAutoencoder, PaperImageModel, PaperVideoModel

    found = {}
    for name, kind, source in (("autoencoder", PaperAutoencoder, "vae"), ("image", PaperImageModel, f"lidm_{dataset}"), ("video", PaperVideoModel, "lvdm")):
        network = _diffusers(kind, _diffusers_folder(folder / source))
        network.save_pretrained(out / name)
        found[name] = network.config.model_dump(mode="json")
    path = _state_file(folder / f"reidentification_{dataset}")
    siamese = Siamese(PaperReidConfig())
    siamese.load_weights(_siamese_names(read_state(path)), str(path))
    siamese.save_pretrained(out / "reid")
    found["reid"] = siamese.config.model_dump(mode="json")
    if (folder / f"regression_{dataset}").is_dir():
        path = _state_file(folder / f"regression_{dataset}")
        regressor = PaperRegressor(regression or PaperRegressorConfig())
        load_weights(regressor.model, read_state(path), str(path))
        regressor.save_pretrained(out / "regressor")
    return found


def _siamese_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's weights under `model.`, whether or not they were."""
    return {name if name.startswith(("model.", "fc_end.")) else f"model.{name}": value for name, value in state.items()}


def _diffusers(kind: type, folder: Path) -> nn.Module:
    """A diffusers folder, or one whose weights are a state dict of torch instead of safetensors."""
    if (folder / "diffusion_pytorch_model.safetensors").exists():
        return kind.from_pretrained(folder)
    return kind.from_pretrained(folder, _state_file(folder))


def _diffusers_folder(folder: Path) -> Path:
    """The folder itself, or its `unet/`, which whole pipelines have."""
    for candidate in (folder, folder / "unet", folder / "vae"):
        if (candidate / "config.json").exists():
            return candidate
    raise InputError(f"{folder}: no config.json in it; give the folder that holds vae/, lidm_<dataset>/, lvdm/ and reidentification_<dataset>/")


def _state_file(folder: Path) -> Path:
    """The one file of weights in a folder."""
    files = sorted(path for path in folder.glob("*") if path.suffix in _SUFFIXES) if folder.is_dir() else []
    if len(files) != 1:
        raise InputError(f"{folder}: {'no file' if not files else f'{len(files)} files'} of weights ({', '.join(_SUFFIXES)}) in it; leave exactly one")
    return files[0]


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
