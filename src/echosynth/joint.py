"""Several cohorts, one autoencoder and one video model, as EchoNet-Synthetic trains them; everything else each cohort has for itself.

    JOINT/joint.json           the names of the studies, the lead first
    JOINT/<name>/              an ordinary study of each cohort; `joint` in its study.yaml says whom it shares with

The lead study trains the two shared models on the training splits of all; the others take them over.
"""

import re
from contextlib import ExitStack
from pathlib import Path

from echosynth import processes
from echosynth.config import JointSection, StudyConfig, preset
from echosynth.errors import InputError
from echosynth.files import read_json, write_json
from echosynth.folders import JOINT, STUDY
from echosynth.private import can_start
from echosynth.run import ALL, carry_out, configure, open_or_create
from echosynth.study import Study

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
PUBLISHED_FRAMES = {"pediatric": 128}  # by the beginning of a cohort's name; the preset paper's own length is that of EchoNet-Dynamic


def is_joint(root: Path) -> bool:
    """Is there a run of several cohorts in this folder?"""
    return (root / JOINT).exists()


def named(cohorts: list[str]) -> dict[str, Path]:
    """NAME=PATH of each cohort. Raises InputError for one without a name, or a name given twice."""
    found: dict[str, Path] = {}
    for cohort in cohorts:
        name, equals, path = cohort.partition("=")
        if not equals or not path or not _NAME.fullmatch(name):
            raise InputError(f"--cohort {cohort}: of several cohorts each needs a name of letters, digits, - and _: --cohort NAME=PATH")
        if name in found:
            raise InputError(f"--cohort {cohort}: there is a cohort {name} already; give each a name of its own")
        found[name] = Path(path)
    return found


def _studies(root: Path) -> list[str]:
    """The names in joint.json. Raises InputError where it is damaged."""
    described = read_json(root / JOINT)
    names = described.get("studies") if isinstance(described, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names) or len(names) < 2:
        raise InputError(f"{root / JOINT}: damaged; write the names of the studies in it again, the lead first: {{\"studies\": [...]}}")
    return names


def open_or_create_joint(
    root: Path,
    cohorts: dict[str, Path] | None = None,
    preset_name: str | None = None,
    seed: int | None = None,
    init: str | None = None,
    options: list[str] | None = None,
    skip_bad: bool = False,
    width: str | None = None,
) -> list[Study]:
    """The studies of a joint run, the lead first: opened, or started on `cohorts`, each with the same preset and options.

    Raises InputError as `open_or_create` does, and when the folder holds a run of other cohorts, or something else.
    """
    if not is_joint(root):
        if not cohorts:
            raise InputError(f"{root}: no run of several cohorts there yet; start one with --cohort NAME=PATH --cohort NAME=PATH")
        if not can_start(root):
            raise InputError(f"{root}: not empty; give a new folder")
        write_json(root / JOINT, {"studies": list(cohorts)})
    names = _studies(root)
    if cohorts and list(cohorts) != names:
        raise InputError(f"{root}: was started with the cohorts {', '.join(names)}; give the same ones in the same order, or a new folder")
    studies = []
    for name in names:
        exists = (root / name / STUDY).exists()
        base: StudyConfig = Study.open(root / name).config if exists and preset_name is None and width is None else preset(preset_name or "demo", width)
        length = next((frames for start, frames in PUBLISHED_FRAMES.items() if name.startswith(start)), None)
        if base.preset == "paper" and length and not exists:
            base = base.model_copy(update={"synthesis": base.synthesis.model_copy(update={"frames": length})})
        joint = JointSection(others=tuple(names[1:])) if name == names[0] else JointSection(lead=names[0])
        config = configure(base, seed, init, options).model_copy(update={"joint": joint})
        studies.append(open_or_create(root / name, cohorts[name] if cohorts else None, config=config, skip_bad=skip_bad))
    return studies


def carry_out_joint(studies: list[Study]) -> None:
    """Carries out all stages of all studies, the shared models as soon as all that they learn from is there."""
    with ExitStack() as held:
        for study in studies:
            held.enter_context(study.at_work("run"))
        _carry_out(studies[0], studies[1:])


def _carry_out(lead: Study, others: list[Study]) -> None:
    before = {stage.name: stage for stage in ALL if stage.name in ("autoencoder", "latents")}
    for study, stages in (
        (lead, (before["autoencoder"],)),
        *((study, tuple(before.values())) for study in others),
        (lead, ALL),
        *((study, ALL) for study in others),
    ):
        processes.on_first(lambda study=study: print(f"{study.root.name}:", flush=True))
        carry_out(study, stages)
