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

import numpy as np
import pandas as pd
import yaml

from echosynth.cohort.phantom import simulate_cohort
from echosynth.config import preset
from echosynth.files import read_json, write_json
from echosynth.folders import STUDY
from echosynth.metrics.ejection import patient_weights, r2
from echosynth.private import working
from echosynth.randomness import numpy_rng
from echosynth.run import carry_out, configure, open_or_create
from echosynth.stages.budget import private_options, statement
from echosynth.stages.start import cohort_of
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


def readings(study: Study) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """EF (n,) of the TEST clips, what the regressors of TSTR say of them (seeds, n), and whose they are (n,)."""
    read = pd.read_parquet(study.verified("evaluation", "tstr.parquet") / "tstr.parquet")
    said = read.filter(regex="^predicted(_|$)").to_numpy(float).T
    return read["ef"].to_numpy(float), said, cohort_of(study).split("TEST")["patient"].to_numpy().astype(str)


def cost(without: tuple, private: tuple, draws: int = 2000) -> tuple[float, float, float]:
    """R2 of TSTR without privacy less that with it, and its 95 % interval over patients and seeds.

    Both read the same clips, so patients are drawn once for both (a cluster bootstrap), each with all clips; of the R regressors of either kind R - 1 are drawn with replacement (Rao & Wu 1988). One regressor a
    kind: the interval is over patients alone.
    """
    (truth, one, patients), (other_truth, other, _) = without, private
    assert np.array_equal(truth, other_truth)
    rng = numpy_rng(SEED, "cost of privacy")
    weights, drawn = patient_weights(patients, draws, rng), np.zeros(draws)
    for sign, said in ((1, one), (-1, other)):
        each = np.stack([r2(truth, predicted, weights) for predicted in said], 1)
        taken = max(len(said) - 1, 1)
        drawn += sign * (each * rng.multinomial(taken, np.full(len(said), 1 / len(said)), size=draws)).sum(1) / taken
    value = np.mean([r2(truth, predicted) for predicted in one]) - np.mean([r2(truth, predicted) for predicted in other])
    return float(value), *map(float, np.quantile(drawn, [0.025, 0.975]))


def table(found: dict[str, dict]) -> str:
    """The figures in Markdown, with the cost: TSTR without privacy less TSTR with it, and its interval."""
    lines = ["| study | TSTR R2 | TSTR MAE | cost | TRTR R2 | adherence R2, slope | candidates a clip | noise |", "|---|---|---|---|---|---|---|---|"]
    for name, told in found.items():
        paid = "{:.3f} ({:.3f} to {:.3f})".format(*told["cost"]) if "cost" in told else "-"
        noise = ", ".join(f"{stage} {value:g}" for stage, value in told["noise"].items()) or "none"
        lines.append(
            f"| {name} | {told['tstr.r2']:.3f} ({told['tstr.r2_low']:.2f} to {told['tstr.r2_high']:.2f}) | {told['tstr.mae']:.2f} | {paid} | {told['trtr.r2']:.3f} "
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
    plain = carried_out(out / "without", cohort, [seeds])
    found, like = {"without": figures(plain)}, None
    for epsilon in given.epsilon:
        name = f"epsilon-{epsilon:g}"
        study = carried_out(out / name, cohort, [*private_options(f"epsilon={epsilon:g}"), seeds, f"synthesis.videos={VIDEOS}", *given.options], like)
        found[name], like = figures(study) | {"cost": cost(readings(plain), readings(study))}, study.root
        write_json(out / "private_demo.json", found)
    print(table(found))


if __name__ == "__main__":
    main()
