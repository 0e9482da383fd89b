"""Where a stage starts from: the study's cohort, and the weights that `init` names."""

import dataclasses
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import torch

from echosynth import processes
from echosynth.cohort import echonet
from echosynth.cohort.echonet import Cohort
from echosynth.cohort.latents import LatentStore
from echosynth.errors import InputError
from echosynth.networks.base import Network, NetworkConfig
from echosynth.networks.denoiser import Denoiser
from echosynth.networks.kinds import kind_of
from echosynth.privacy.canaries import Canaries, toss
from echosynth.progress import console
from echosynth.study import Study

LEFT_OUT = "LEFT_OUT"
COHORT_FOLDER, IMPORTED = "cohort", "imported"
AnyNetwork = TypeVar("AnyNetwork", bound=Network)


def save_cohort(study: Study, cohort: Cohort) -> None:
    """Keeps the table of a cohort that was read, so that no stage inspects it again."""
    folder = study.private_folder(COHORT_FOLDER)
    study.register_cohort(echonet.save_cohort(cohort, folder))


def registered_cohort(study: Study) -> Cohort:
    """The cohort that the study was started on, as it was read then, whatever has become of its files. Raises InputError when the table of it is damaged."""
    study.check_table(study.folder(COHORT_FOLDER) / echonet.SAVED)
    return echonet.load_cohort(study.folder(COHORT_FOLDER))


def source_of(study: Study) -> Cohort:
    """`registered_cohort`; raises InputError when a list or a video of it has changed since (`Cohort.check_unchanged`)."""
    cohort = registered_cohort(study)
    cohort.check_unchanged()
    return cohort


def cohort_of(study: Study) -> Cohort:
    """The cohort that the study was started on (`source_of`). Canaries on whom the coin fell so are in the split LEFT_OUT, of which no stage learns."""
    cohort, tossed = source_of(study), canaries_of(study)
    if tossed is None:
        return cohort
    clips = cohort.clips.assign(split=cohort.clips["split"].mask(cohort.clips["patient"].astype(str).isin(tossed.left_out), LEFT_OUT))
    return dataclasses.replace(cohort, clips=clips)


def canaries_of(study: Study) -> Canaries | None:
    """The training patients for whom a coin was tossed before training; None where the study has none. Raises InputError when there are not as many patients."""
    count = study.config.audit.canaries
    if not count:
        return None
    clips = source_of(study).split("TRAIN")
    if count >= clips["patient"].nunique():
        raise InputError(f"audit.canaries: {count} canaries of {clips['patient'].nunique()} training patients; leave most patients to learn from")
    return toss(clips["patient"], count, study.config.seed)


def initial(init: str, name: str, kind: type[AnyNetwork], config: NetworkConfig, steps: int = 1, tell: bool = True) -> AnyNetwork | None:
    """The network that the training of `name` (autoencoder, image, reid, video) of `steps` starts from; None is a start from nothing.

    `init` is "none"; "simulated", the shipped weights, where they are of this `config` (`tell`: says so where they are not); or a folder with one folder a model.
    Raises InputError when such a folder holds no such network, or one with another configuration; and when there are no steps, but something to learn first.
    """
    given = None if init == "none" else _shipped(name, kind, tell) if init == "simulated" else kind.from_pretrained(Path(init) / name)
    network = given if given is None or given.config.fits(config) else given.fitted(config) if isinstance(given, Denoiser) else None
    if given and network is None:
        if init != "simulated":
            raise InputError(f"{Path(init) / name}: its config.json is not the study's {name} network; set the network's options to those, or give other weights with --init")
        _tell(f"{name}: the shipped weights are of another network; training starts from nothing", tell)
    if not steps and network is None:
        raise InputError(f"{name}.training.steps: 0, and there are no weights to start from; set some steps, or name weights with --init")
    if not steps and given.config != config:
        raise InputError(
            f"{name}.training.steps: 0, but the weights that it starts from were taught with other options ({_differences(given.config, config)}); set those, or some steps"
        )
    if network is not None:
        network.config = config
    return network


def shipped(name: str) -> Path:
    """The folder of the weights `name` that come with echosynth; perhaps it is not there."""
    return Path(str(files("echosynth"))) / "weights" / name


def _shipped(name: str, kind: type[AnyNetwork], tell: bool) -> AnyNetwork | None:
    folder = shipped(name)
    if (folder / "config.json").exists():
        return kind.from_pretrained(folder)
    _tell(f"{name}: no weights are shipped with this installation; training starts from nothing", tell)
    return None


def _tell(words: str, tell: bool) -> None:
    if tell and processes.state().is_main_process:
        console.print(words)


def _differences(given: NetworkConfig, wanted: NetworkConfig) -> str:
    other = wanted.model_dump()
    return ", ".join(f"{key} {value}, not {other[key]}" for key, value in given.model_dump().items() if value != other[key])


def trained(study: Study, stage: str, device: torch.device) -> Network:
    """The network that the stage autoencoder, image, reid or video has left, on `device` and in evaluation mode. Raises InputError when it is not there or broken."""
    return kind_of(getattr(study.config, stage).network).from_pretrained(study.verified(stage)).to(device)


def store_of(study: Study) -> LatentStore:
    """The latents of the study's cohort; each shard is checked when it is first read. Raises InputError when the store is not there or damaged."""
    return LatentStore.open(study.verified("latents", "index.parquet"), study.checker("latents"))


def check_imported(study: Study, name: str) -> None:
    """Raises InputError when the weights of `name` that came into the study with `import-weights` are damaged."""
    if study.config.init == str(study.folder(IMPORTED).resolve()):
        study.verified(IMPORTED, *(file for file in study.summary(IMPORTED)["artefacts"] if file.startswith(f"{name}/")))


def adopt(study: Study, lead: Study, name: str, kind: type[AnyNetwork]) -> AnyNetwork:
    """The shared network that the lead of a joint run has trained, saved as this study's own, with its log."""
    network = kind.from_pretrained(lead.verified(name))

    def keep() -> None:
        network.save_pretrained(study.folder(name))
        shutil.copyfile(lead.folder(name) / "training.jsonl", study.folder(name) / "training.jsonl")

    processes.on_first(keep)
    return network


def begin(study: Study, name: str, kind: type[AnyNetwork], config: NetworkConfig, prepare: Callable[[AnyNetwork], None] = lambda network: None) -> AnyNetwork:
    """What `initial` gives, or, where that is nothing, a network drawn by the study's seed and handed to `prepare`."""
    torch.manual_seed(study.config.seed)
    check_imported(study, name)
    network = initial(study.config.init, name, kind, config, getattr(study.config, name).training.steps)
    if network is None and study.config.dp.epsilon:
        raise InputError(
            f"dp.epsilon: there are no public weights of this {name} network to start from; make some (echosynth pretrain OUT, with the same --set {name}.network...) and give --init OUT/weights"
        )
    if network is None:
        network = kind(config)
        prepare(network)
    return network
