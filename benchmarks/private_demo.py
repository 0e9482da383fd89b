"""What differential privacy costs: the demo without it and with it, on the same simulated cohort.

python -m benchmarks.private_demo OUT                          epsilon 8, 3 and 1 (two cores: an hour and a half)
python -m benchmarks.private_demo OUT --epsilon 8 --seeds 1    quicker
python -m benchmarks.private_demo OUT --set image.training.steps=0    options of the private studies, after those of --dp

Leaves OUT/cohort, OUT/without, OUT/epsilon-8 and so on, and private_demo.json; resumes where an interrupted call stopped. Every private study has
an account of its own, as if it were the only one on the cohort; stages that learn nothing with noise are made once and copied.
"""

import argparse
import shutil
from pathlib import Path

import yaml

from echosynth.cohort.phantom import simulate_cohort
from echosynth.config import preset
from echosynth.files import read_json, write_json
from echosynth.folders import STUDY
from echosynth.private import working
from echosynth.run import carry_out, configure, open_or_create
from echosynth.stages.budget import private_options, statement
from echosynth.study import Study

PATIENTS, CLIPS, SEED, SITE = 300, 2, 11, "alder"  # the cohort of `make demo`
VIDEOS = 480  # of a private study: three quarters of them teach, as many clips as of the 600 of the demo
FIGURES = ("tstr.r2", "tstr.r2_low", "tstr.r2_high", "tstr.mae", "trtr.r2", "trtr.mae", "adherence.r2", "adherence.slope", "screen.attempts")


def carried_out(root: Path, cohort: Path, options: list[str], like: Path | None = None) -> Study:
    """A finished study with `options`; of a new one the stages that another study `like` it has left are copied, its account is not."""
    if like is not None and not (root / STUDY).exists():
        partial = root.with_name(f".{root.name}.copy")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(like, partial, ignore=lambda folder, names: {"dp", ".lock"} & set(names) if Path(folder) == like else set())
        config = configure(preset("demo"), options=options)
        (partial / STUDY).write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        partial.rename(root)
    with working(root, "run"):
        open_or_create(root, cohort, "demo", options=options)
        study = Study.open(root)
        carry_out(study)
    return study


def figures(study: Study) -> dict:
    """What the table says of a study."""
    metrics = read_json(study.folder("evaluation") / "metrics.json")
    spent = statement(study) or {"epsilon": None, "trainings": []}
    noise = {row["stage"]: round(row["noise"], 2) for row in spent["trainings"]}
    return {key: metrics.get(key) for key in FIGURES} | {"clips": study.summary("synthetic")["summary"]["videos"], "epsilon": spent["epsilon"], "noise": noise}


def table(found: dict[str, dict]) -> str:
    """The figures in Markdown, with the cost: TSTR without privacy less TSTR with it."""
    lines = ["| study | TSTR R2 | TSTR MAE | cost | TRTR R2 | adherence R2, slope | candidates a clip | noise |", "|---|---|---|---|---|---|---|---|"]
    for name, told in found.items():
        cost = found["without"]["tstr.r2"] - told["tstr.r2"]
        noise = ", ".join(f"{stage} {value:g}" for stage, value in told["noise"].items()) or "none"
        lines.append(
            f"| {name} | {told['tstr.r2']:.3f} ({told['tstr.r2_low']:.2f} to {told['tstr.r2_high']:.2f}) | {told['tstr.mae']:.2f} | {cost:.3f} | {told['trtr.r2']:.3f} "
            f"| {told['adherence.r2']:.2f}, {told['adherence.slope']:.2f} | {told['screen.attempts'] / told['clips']:.2f} | {noise} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[8.0, 3.0, 1.0])
    parser.add_argument("--seeds", type=int, default=3, help="regressors of each kind")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", dest="options")
    given = parser.parse_args(arguments)
    out, cohort, seeds = given.out, given.out / "cohort", f"evaluation.seeds={given.seeds}"
    if not (cohort / "FileList.csv").exists():
        simulate_cohort(cohort, PATIENTS, CLIPS, SEED, SITE)
    found = {"without": figures(carried_out(out / "without", cohort, [seeds]))}
    like = None
    for epsilon in given.epsilon:
        name = f"epsilon-{epsilon:g}"
        study = carried_out(out / name, cohort, [*private_options(f"epsilon={epsilon:g}"), seeds, f"synthesis.videos={VIDEOS}", *given.options], like)
        found[name], like = figures(study), study.root
        write_json(out / "private_demo.json", found)
    print(table(found))


if __name__ == "__main__":
    main()
