"""The stages in order: how a study is opened, carried out, and resumed."""

import time
from pathlib import Path

import yaml

from echosynth import processes
from echosynth.cohort.echonet import SAVED, read_cohort
from echosynth.config import StudyConfig, parse, preset
from echosynth.errors import InputError
from echosynth.folders import STUDY, check_outside_cohorts
from echosynth.private import can_start
from echosynth.progress import console, say
from echosynth.report import page
from echosynth.stages import STAGES
from echosynth.stages.start import COHORT_FOLDER, save_cohort
from echosynth.study import Stage, Study

ALL = (*STAGES, page.STAGE)


def configure(base: StudyConfig, seed: int | None = None, init: str | None = None, options: list[str] | None = None, source: str = "--set") -> StudyConfig:
    """`base` with some values laid over it; `options` are SECTION.OPTION=VALUE with the dots of study.yaml. Raises InputError naming the option."""
    values = base.model_dump(mode="json")
    if seed is not None:
        values["seed"] = seed
    if init is not None:
        values["init"] = init if init in ("simulated", "none") else str(Path(init).resolve())
    for option in options or []:
        path, equals, value = option.partition("=")
        if not equals:
            raise InputError(f"--set {option}: write it as SECTION.OPTION=VALUE, such as synthesis.videos=100")
        *sections, name = path.split(".")
        inner = values
        for section in sections:
            inner = inner.get(section) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or name not in inner:
            known = f"; {'.'.join(sections) or 'the top level'} has {', '.join(inner)}" if isinstance(inner, dict) else ""
            raise InputError(f"--set {option}: unknown option {path}{known}")
        if isinstance(inner[name], dict):
            raise InputError(f"--set {option}: {path} is a section; set one of {', '.join(f'{path}.{key}' for key in inner[name])}")
        try:
            inner[name] = yaml.safe_load(value) if isinstance(inner[name], list) else value
        except (yaml.YAMLError, ValueError, RecursionError):
            raise InputError(f"--set {option[:80]}: not a list; write it as [1, 2]") from None
    return parse(values, source)


def open_or_create(
    root: Path,
    cohort: Path | None = None,
    preset_name: str | None = None,
    seed: int | None = None,
    init: str | None = None,
    options: list[str] | None = None,
    skip_bad: bool = False,
    config: StudyConfig | None = None,
    width: str | None = None,
) -> Study:
    """The study in `root`: opened if there is one (options that are given must be those it has), else started on `cohort`.

    `config` is the whole configuration, instead of a preset (and its width) and options. The cohort is inspected once, when the study is started. Raises InputError for a bad option, a bad cohort, or a study of something else.
    """
    exists = (root / STUDY).exists()
    if not exists and cohort is None:
        raise InputError(f"{root}: no study there yet; start one with --cohort DIR")
    if config is None:
        base = Study.open(root).config if exists and preset_name is None and width is None else preset(preset_name or "demo", width)
        config = configure(base, seed, init, options)
    if exists:
        study = Study.reopen(root, config)
        registered = "table" in study.source and (study.folder(COHORT_FOLDER) / SAVED).exists()
        if registered and (cohort is None or cohort.resolve() == study.cohort_path):
            return study
        cohort, skip_bad = cohort or study.cohort_path, study.skip_bad
    elif not can_start(root):
        raise InputError(f"{root}: not a study and not empty; give a new folder")
    else:
        check_outside_cohorts(root, str(root))
    found = read_cohort(cohort, skip_bad=skip_bad)
    for line in found.skipped:
        say(f"left out: {line}")
    study = Study.create(root, config, cohort, found.fingerprint, skip_bad)
    save_cohort(study, found)
    return study


def carry_out(study: Study, stages: tuple[Stage, ...] = ALL) -> float:
    """Carries out `stages`, one line each, and returns the seconds it took. Those that are done are left alone."""
    first, start = processes.state().is_main_process, time.monotonic()
    for number, stage in enumerate(stages, 1):
        began = time.monotonic()
        ran = study.carry_out(stage)
        if first:
            console.print(f"[{number}/{len(stages)}] {stage.name}: " + (f"done in {time.monotonic() - began:.1f} s" if ran else "done before, nothing to do"), markup=False)
    return time.monotonic() - start


def carry_out_one(study: Study, name: str) -> None:
    """Carries out one stage; raises InputError when a stage that it stands on is not done, or was done with other options."""
    by_name = {stage.name: stage for stage in ALL}

    def demand(stage: Stage) -> None:
        for needed in (by_name[n] for n in stage.inputs_of(study.config) if n != "cohort"):
            demand(needed)
            if not study.done(needed):
                raise InputError(f"{study.root}: {name} needs {needed.name}, which is not done; run: echosynth run {study.root}")

    processes.on_first(lambda: demand(by_name[name]))
    carry_out(study, (by_name[name],))
