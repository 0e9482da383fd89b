"""The command line: one verb a stage. It parses, calls and prints; heavy imports wait for the verb that needs them."""

import errno
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

import echosynth
from echosynth import interrupts
from echosynth.errors import InputError
from echosynth.files import is_disk_full

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=echosynth.__doc__)
_UsageError = typer.BadParameter.__mro__[1]  # click's UsageError: newer typers carry click inside, older ones stand on it

StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="the study folder")]
Seed = Annotated[int, typer.Option(help="the same seed gives the same bytes")]


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the new cohort")],
    patients: Annotated[int, typer.Option(min=1)] = 100,
    clips_per_patient: Annotated[int, typer.Option(min=1)] = 2,
    seed: Seed = 0,
    site: Annotated[str, typer.Option(help="whose scanner: alder, birch, cedar, dogwood, or many (another one at every visit)")] = "alder",
    view: Annotated[str, typer.Option(help="a4c (apical four-chamber) or psax (parasternal short axis)")] = "a4c",
    population: Annotated[str, typer.Option(help="adult or paediatric")] = "adult",
    workers: Annotated[int, typer.Option(min=0, help="processes; 0 = one a core")] = 0,
) -> None:
    """Simulate a cohort in the EchoNet-Dynamic layout. With the same seed, both views show the same patients."""
    from echosynth.cohort.phantom import simulate_cohort

    simulate_cohort(out, patients, clips_per_patient, seed, site, workers or None, view=view, population=population)
    print(out)


@app.command()
def check(cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="a folder with FileList.csv and Videos/")]) -> None:
    """Open every file of a cohort; print a summary and every problem (exit code 2 if there are any)."""
    from echosynth.cohort.check import inspect, render

    report = inspect(cohort)
    print(render(report))
    if report.problems:
        raise typer.Exit(2)


@app.command()
def run(
    study: StudyFolder,
    cohort: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="the private cohort; needed to start a study, not to resume it. Several, NAME=PATH each, share an autoencoder and a video model"),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="smoke, demo (the default), full, or paper (the recipe of EchoNet-Synthetic)")] = None,
    width: Annotated[str | None, typer.Option(help="of the networks of the preset paper: full, or small for a laptop")] = None,
    seed: Annotated[int | None, typer.Option(help="the same seed gives the same bytes")] = None,
    init: Annotated[str | None, typer.Option(help="where training starts: simulated (the weights that come with echosynth), none, or a folder of weights")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave out the clips that have a problem, and list them")] = False,
    dp: Annotated[
        str | None, typer.Option("--dp", metavar="epsilon=E[,delta=D]", help="train the generators with differential privacy, patient by patient, from the weights of --init")
    ] = None,
    options: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.OPTION=VALUE", help="any option of study.yaml; may be repeated")] = None,
    audit: Annotated[bool, typer.Option("--audit", help="end with the quick form of the audit, and its verdict on the clips")] = False,
) -> None:
    """Carry out a study, or resume it: every stage that is not done, then the report."""
    from echosynth import joint, processes
    from echosynth.commands.quick_audit import quick_audit
    from echosynth.private import working
    from echosynth.run import carry_out, open_or_create
    from echosynth.stages.budget import private_options
    from echosynth.study import Study

    if dp is not None:
        options = [*private_options(dp), *(options or [])]
    cohorts = cohort or []
    with working(study, "run"):
        if len(cohorts) > 1 or joint.is_joint(study):
            given = joint.named(cohorts) if cohorts else None
            roots = processes.on_first(lambda: [part.root for part in joint.open_or_create_joint(study, given, preset, seed, init, options, skip_bad, width)])
            joint.carry_out_joint([Study.open(root) for root in roots])
        else:
            one = Path(cohorts[0]) if cohorts else None
            roots = [study]
            processes.on_first(lambda: open_or_create(study, one, preset, seed, init, options, skip_bad, width=width).report_edits())
            carry_out(Study.open(study))
        audits = processes.on_first(lambda: [quick_audit(Study.open(root)) if audit else None for root in roots])
    if processes.state().is_main_process:
        for root, found in zip(roots, audits, strict=True):
            _print_results(root, found)


def _print_results(study: Path, audit: dict | None) -> None:
    from rich.console import Console

    from echosynth.files import read_json
    from echosynth.report import results_table

    console = Console(highlight=False)
    console.print(results_table(read_json(study / "report" / "metrics.json"), audit))
    for reason in audit["gate"]["clips"]["reasons"] if audit else ():
        print(f"closed by {reason}")
    print(study / "report" / "index.html")


def _stage_verb(verb_name: str, help: str, stage: str | None = None) -> None:
    """Adds the verb that carries out one stage, by default the stage of the same name."""
    name = stage or verb_name

    @app.command(verb_name, help=help)
    def verb(study: StudyFolder) -> None:
        from echosynth.run import carry_out_one
        from echosynth.study import Study

        with Study.open(study).at_work(verb_name) as opened:
            carry_out_one(opened, name)
        print(study / name)


_stage_verb("autoencoder", "Train the per-frame autoencoder.")
_stage_verb("latents", "Encode the cohort once into the latent store.")
_stage_verb("image", "Train the image model: a latent frame from noise.")
_stage_verb("reid", "Train the re-identification encoder and calibrate the screening.")
_stage_verb("video", "Train the video model: an anchor frame and an EF to a beating heart.")
_stage_verb("regressor", "Train the EF regressor on the cohort's training split.")


@app.command()
def synthesize(
    study: StudyFolder,
    videos: Annotated[int | None, typer.Option(min=1, help="how many clips")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="frames a clip, of any number: long clips are continued")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="sampling steps of the video model")] = None,
    ef: Annotated[
        str | None,
        typer.Option(
            help="cohort (a smooth law of the training EFs), balanced (evenly over its range), mixed (half of the clips each way), "
            "private (like mixed, with noise, under --dp), uniform (10-90 %), or a value in percent"
        ),
    ] = None,
    ef_tolerance: Annotated[float | None, typer.Option(min=0, help="points by which the EF that a clip shows may miss the one asked for; others are drawn anew (0: any)")] = None,
    seed: Annotated[int | None, typer.Option(help="the same seed gives the same bytes, whatever the batch size")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the new cohort; without it, the study's own synthetic cohort is made")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="clips worked on together")] = None,
) -> None:
    """Write a synthetic cohort in the EchoNet-Dynamic layout. What is not given is as in the study."""
    from echosynth.run import carry_out_one, configure
    from echosynth.stages.synthesis import release
    from echosynth.study import Study

    given = {name: value for name, value in dict(videos=videos, frames=frames, steps=steps, ef=ef, ef_tolerance=ef_tolerance, batch_size=batch_size).items() if value is not None}
    if out is None and (given or seed is not None):
        raise InputError("synthesize: give --out DIR with options; without any, the study's own synthetic cohort is made as study.yaml says")
    with Study.open(study).at_work("synthesize") as opened:
        if out is None:
            carry_out_one(opened, "synthetic")
            print(study / "synthetic")
            return
        config = configure(opened.config, seed, options=[f"synthesis.{name}={value}" for name, value in given.items()], source="synthesize")
        summary = release(opened, out, config.synthesis, config.seed)
    print(
        f"{out}: {summary['videos']} clips, {summary['seconds_per_clip']:.2f} s each; rejected by the screening: {summary['rejected_images']} images, {summary['rejected_videos']} videos"
        + (f"; left out for their EF: {summary['missed_ef']}" if config.synthesis.ef_tolerance else "")
    )


_stage_verb("segmentation", "Train the segmentation of the left ventricle on the cohort's tracings.")


@app.command()
def metrics(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="the cohort of real clips, with its splits")],
    synthetic: Annotated[Path, typer.Argument(metavar="SYNTHETIC", help="the cohort to be measured against it")],
    out: Annotated[Path, typer.Option(help="folder for metrics.json, the tables and the networks that are trained; a second call resumes in it")] = Path("metrics"),
    preset: Annotated[str, typer.Option(help="whose budgets and options: demo (quick), full, paper (R(2+1)D-18), smoke (no quality)")] = "demo",
    regressor: Annotated[Path | None, typer.Option(help="folder of an EF regressor trained on REAL's training split, such as STUDY/regressor; without it, one is trained")] = None,
    detector: Annotated[
        list[str] | None, typer.Option(metavar="KIND=FILE", help="a TorchScript file, for FVD (i3d=FILE) or FID (inception=FILE) as published; may be repeated")
    ] = None,
    trust_detector: Annotated[bool, typer.Option("--trust-detector", help="open the files of --detector although TorchScript can run any code of who made them")] = False,
    seed: Seed = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave out the clips of REAL that have a problem")] = False,
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.OPTION=VALUE", help="any option of the sections evaluation and segmentation; may be repeated")
    ] = None,
) -> None:
    """Measure a synthetic cohort against a real one: usefulness, likeness, motion, coverage. No study is needed."""
    from rich.console import Console

    from echosynth.comparing import compare_folders
    from echosynth.report import comparison_table

    given = [*(options or []), *([f"evaluation.detectors=[{', '.join(repr(str(one)) for one in detector)}]"] if detector else [])]
    given += ["evaluation.trust_detectors=true"] if trust_detector else []
    found = compare_folders(real, synthetic, out, preset, regressor, seed, skip_bad, given)
    Console(highlight=False).print(comparison_table(found))
    print(out / "metrics.json")


_stage_verb("evaluate", "Measure the synthetic cohort against the real one.", "evaluation")
_stage_verb("report", "Write the report: one offline page and metrics.json.")


@app.command()
def screen(
    study: StudyFolder,
    cohort: Annotated[Path | None, typer.Option(help="the clips to judge; without it, the study's own synthetic cohort")] = None,
    protocol: Annotated[str | None, typer.Option(help="calibrated, or paper (the filter of EchoNet-Synthetic, tau and verdicts as published); without it, the study's")] = None,
    out: Annotated[Path | None, typer.Option(help="table of the verdicts (parquet); private. Without it, STUDY/screening/PROTOCOL.parquet")] = None,
) -> None:
    """Judge finished clips against the training patients: which of them are too like one."""
    from echosynth.stages.screening import screen as screen_
    from echosynth.study import Study

    with Study.open(study).at_work("screen") as opened:
        protocol = protocol or opened.config.screen.protocol
        if protocol not in ("calibrated", "paper"):
            raise InputError(f"--protocol {protocol}: choose calibrated or paper")
        if out is not None and out.exists():
            raise InputError(f"--out {out}: is there already; give the name of a new file")
        target = out or opened.private_folder("screening") / f"{protocol}.parquet"
        table = screen_(opened, cohort or study / "synthetic", protocol, target)
    for name, words in (("calibrated", "calibrated screen"), ("published", "filter as published")):
        mark = "*" if name == ("published" if protocol == "paper" else protocol) else " "
        print(f"{mark} {words}: {(~table[name]).sum()} of {len(table)} clips rejected")
    for name in table.loc[~table["kept"], "name"]:
        print(f"  rejected: {name}")
    print(target)


@app.command()
def audit(
    study: StudyFolder,
    quick: Annotated[bool, typer.Option("--quick", help="the clips alone, near-copies alone: a first verdict in minutes, not enough for a release")] = False,
) -> None:
    """Attack what lies in the study's synthetic cohort now, and write the passport: STUDY/audit/passport.html."""
    from echosynth.audit.examine import audit as audit_
    from echosynth.study import Study

    with Study.open(study).at_work("audit") as opened:
        found = audit_(opened, quick)
    for check in found["gate"]["checks"]:
        print(f"{check['outcome']:<8} {check['name']}: {check['words']}{f' [limit: {limit}]' if (limit := check['limit']) else ''}")
    print(", ".join(f"{count} {outcome}" for outcome, count in found["gate"]["counts"].items()))
    print(f"clips: the gate is {'open' if found['gate']['clips']['open'] else 'closed'}")
    print(f"weights: the gate is {'open' if found['gate']['weights']['open'] else 'closed, do not share them'}")
    print(study / "audit" / "passport.html")


@app.command()
def release(
    study: StudyFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the release: the synthetic cohort and the public passport")],
    override: Annotated[str, typer.Option(metavar="REASON", help="release although the gate is closed; the passport has the reason")] = "",
) -> None:
    """Hand out the audited synthetic cohort; refuses, with the reasons, while a check of the audit fails."""
    from echosynth.audit.release import release as release_
    from echosynth.study import Study

    with Study.open(study).at_work("release") as opened:
        print(release_(opened, out, override))


@app.command()
def verify(study: StudyFolder) -> None:
    """Hash every file of a study and of its cohort; print what is damaged, missing or not echosynth's (exit code 2 if there is any)."""
    from echosynth.commands.verify import verify as verify_
    from echosynth.study import Study

    with Study.open(study).at_work("verify") as opened:
        found = verify_(opened)
    for line in (*found.notes, *found.problems):
        print(line)
    print(f"{study}: {len(found.problems) or 'no'} problem{'' if len(found.problems) == 1 else 's'}; {found.files} files, {found.bytes / 1e6:,.0f} MB hashed")
    if found.problems:
        raise typer.Exit(2)


@app.command()
def pretrain(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for the phantoms, the study and the weights")],
    patients: Annotated[int, typer.Option(min=8)] = 1200,
    clips_per_patient: Annotated[int, typer.Option(min=1)] = 2,
    seed: Seed = 2024,
    workers: Annotated[int, typer.Option(min=0, help="processes; 0 = one a core")] = 0,
    install: Annotated[bool, typer.Option("--install", help="put the weights where `--init simulated` finds them")] = False,
    options: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.OPTION=VALUE", help="any option of the preset pretrain; may be repeated")] = None,
) -> None:
    """Train the compact models on phantoms of many sites: the start of every study with --init simulated."""
    from echosynth.pretraining import install_weights
    from echosynth.pretraining import pretrain as pretrain_

    weights = pretrain_(out, patients, clips_per_patient, seed, workers or None, options or [])
    print(weights)
    if install:
        print(install_weights(weights))


@app.command("import-weights")
def import_weights(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="vae/, lidm_<dataset>/, lvdm/, reidentification_<dataset>/ and regression_<dataset>/, as the weights of EchoNet-Synthetic are released"
        ),
    ],
    study: StudyFolder,
    cohort: Annotated[Path, typer.Option(help="the cohort that the weights were trained on: the screen compares with it")],
    dataset: Annotated[str, typer.Option(help="which of the released models: dynamic, pediatric_a4c, pediatric_psax")] = "dynamic",
    seed: Annotated[int | None, typer.Option()] = None,
    options: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.OPTION=VALUE", help="any option of the preset paper; may be repeated")] = None,
) -> None:
    """Make a study of published weights, which can synthesise without any training: continue with `echosynth run STUDY`."""
    from echosynth.importing import import_weights as import_
    from echosynth.private import working

    with working(study, "import-weights"):
        print(import_(folder, study, cohort, dataset, seed, options).root)


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[clip|encode|decode|train|screen]...", help="what to measure; without any, all of it")] = None,
    out: Annotated[Path, typer.Option(help="folder for a JSON file each, with the machine")] = Path("benchmarks/results"),
    repeats: Annotated[int, typer.Option(min=1, help="of each recipe, in turns")] = 3,
) -> None:
    """Measure speed and memory against the published recipe, on this machine. Minutes each: the published networks are large."""
    from echosynth.bench import MEASURES
    from echosynth.bench import bench as bench_

    for name, found in bench_(names or list(MEASURES), out, repeats).items():
        compact, paper = found["compact"], found["paper"]
        print(
            f"{name}: {compact['seconds']:.4g} s against {paper['seconds']:.4g} s, {found['times_as_quick']:.3g} times as quick; {compact['memory_mb']:.0f} against {paper['memory_mb']:.0f} MB"
        )
    print(out)


@app.command()
def version() -> None:
    """Print the version."""
    print(echosynth.__version__)


def guarded(work: Callable[[], int | None]) -> int:
    """Runs a verb and returns the exit code.

    0, 2 with one line where the user or the machine is to blame, 130 when interrupted (143 by SIGTERM), 1 where
    nobody reads what is printed.
    """
    try:
        code = work()
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            return 2
        return _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:  # the reader of what was printed, such as `head`, wants no more
        return 1
    except Exception as error:
        fault = _fault(error)
        if fault is None:
            raise
        return _fail(fault)
    if code == 130:
        interrupts.say()
        return interrupts.exit_code()
    return code or 0


def _fault(error: Exception) -> str | None:
    """The line for an error that the machine is to blame for; None for one of the program."""
    number = error.errno if isinstance(error, OSError) else None
    where = f" while writing {getattr(error, 'filename', None) or 'a result'}"
    again = "run again: finished work is kept"
    if number == errno.EFBIG or "File too large" in str(error):
        return f"file too large{where}; raise the limit on the size of files (ulimit -f) and {again}"
    if is_disk_full(error):
        return f"disk {'quota exceeded' if number == errno.EDQUOT else 'full'}{where}; free space and {again}"
    if number in (errno.EMFILE, errno.ENFILE):
        return f"too many open files; raise the limit (ulimit -n) and {again}"
    if isinstance(error, MemoryError) or number == errno.ENOMEM or _is_torch_memory(error):
        return f"out of memory; close other programs, or lower batch_size or OMP_NUM_THREADS, and {again}"
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return f"no further thread can be started; close other programs, or raise the limit (ulimit -u), and {again}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}; check the path and its permissions"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.lower()}; check the disks and the connections of this machine and {again}"
    return None


def _is_torch_memory(error: Exception) -> bool:
    """Whether torch could not allocate a tensor: a RuntimeError on a CPU, one of its subclasses on a GPU."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _fail(message: str) -> int:
    print(f"echosynth: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def main() -> None:
    """The entry point of the command."""
    logging.captureWarnings(True)
    interrupts.watch()
    interrupts.leave(guarded(lambda: app(standalone_mode=False, prog_name="echosynth")))
