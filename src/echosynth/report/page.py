"""The report of a study: STUDY/report/index.html, one offline page with everything inside it, and STUDY/report/metrics.json, its machine-readable twin."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from echosynth.files import atomic_file, read_json, write_json
from echosynth.progress import progress
from echosynth.report import facts, figures, pictures, pieces
from echosynth.report.glossary import KEY_FIGURES
from echosynth.report.pictures import NotComputed
from echosynth.study import Stage, Study

_ASKED, _MEASURED = ("EF asked for (%)", "EF measured (%)"), ("EF of the real clip (%)", "EF predicted (%)")


@dataclass(frozen=True)
class Panel:
    """One piece of the page: what it shows, or the reason why it shows nothing."""

    title: str
    caption: str
    body: Any = None
    reason: str = ""


def panel(title: str, caption: str, make: Callable[[], Any]) -> Panel:
    """The piece that `make` makes; where something to make it from is missing, the reason takes its place."""
    try:
        return Panel(title, caption, make())
    except NotComputed as reason:
        return Panel(title, caption, reason=f"not computed: {reason}")


def _clips(read: Callable[[Study], pd.DataFrame], study: Study) -> pd.DataFrame | None:
    try:
        return read(study)
    except NotComputed:
        return None


def _looks(study: Study, synthetic: pd.DataFrame | None, cohort: pd.DataFrame | None) -> dict[str, list[Panel]]:
    """What the eye judges: clips that play, and walls of stills."""
    known = synthetic if synthetic is not None else cohort

    def three(read: Callable[[Study], pd.DataFrame], kind: str) -> list[dict]:
        clips = read(study)
        return pieces.three_playing(clips, pictures.levels(known), kind)

    return {
        "playing": [
            panel("Cohort", "Real clips with the EFs nearest to those of the synthetic clips below.", lambda: three(pictures.cohort_clips, "cohort")),
            panel("Synthetic", "Clips of the synthetic cohort with a low, a middle and a high EF.", lambda: three(pictures.synthetic_clips, "synthetic")),
            panel(
                "Reconstructed",
                "Clips that the autoencoder never saw, left, beside their reconstructions, right: the finest detail that synthesis can reach.",
                lambda: pieces.reconstructions(study),
            ),
        ],
        "walls": [
            panel("Cohort", "The middle frame of clips of the cohort, evenly chosen.", lambda: pieces.wall(pictures.cohort_clips(study), "cohort")),
            panel("Synthetic", "The middle frame of synthetic clips, evenly chosen, none picked by hand.", lambda: pieces.wall(pictures.synthetic_clips(study), "synthetic")),
        ],
    }


def _charts(study: Study, metrics: dict[str, Any], synthetic: pd.DataFrame | None, cohort: pd.DataFrame | None) -> dict[str, list[Panel]]:
    """What figures judge."""
    scatter = pieces.ef_scatter
    return {
        "usefulness": [
            panel(
                "Train on synthetic, test on real (TSTR)",
                "A regressor that saw synthetic clips only reads EF from held-out real patients. The nearer to the diagonal, the more useful the synthetic cohort.",
                lambda: scatter(study, metrics, "tstr", ("ef", "predicted"), _MEASURED, figures.SYNTHETIC),
            ),
            panel(
                "Train on real, test on real (TRTR)",
                "The reference: the same regressor with the same budget, trained on the cohort's own training split.",
                lambda: scatter(study, metrics, "trtr", ("ef", "predicted"), _MEASURED, figures.REAL),
            ),
            panel(
                "EF adherence",
                "The EF that each synthetic clip was asked to show, against the EF that a regressor trained on real clips reads from it.",
                lambda: scatter(study, metrics, "adherence", ("asked", "measured"), _ASKED, figures.SYNTHETIC),
            ),
            panel(
                "EF adherence, by volumes",
                "The same, against the EF of the left ventricle's volumes as a segmentation network measures them. It was trained on tracings of patients that the generator never saw.",
                lambda: scatter(study, metrics, "volumes", ("asked", "measured"), _ASKED, figures.SYNTHETIC),
            ),
            panel(
                "Agreement of TSTR with the truth (Bland-Altman)",
                "By how much the regressor that saw synthetic clips only is off, over the range of EF. The lines are the mean difference and the limits of agreement.",
                lambda: pieces.bland_altman(study, "tstr"),
            ),
            panel(
                "Calibration",
                "The mean EF of the clips for which about a certain EF is predicted, with 95 % intervals. On the diagonal a prediction means what it says.",
                lambda: pieces.calibration(study),
            ),
            panel(
                "How many synthetic clips it takes",
                "R² of training on more and more synthetic clips, with 95 % intervals; the line is training on real clips.",
                lambda: pieces.curve(study, metrics),
            ),
            panel("Distribution of EF", "How often each EF occurs in the cohort's training split and in the synthetic cohort.", lambda: pieces.ef_histogram(cohort, synthetic)),
        ],
        "reached": panel(
            "Who is reached",
            "A held-out real clip is reached when a synthetic clip is as near to it, in a network's features, as its fifth nearest clip of other patients; the column beside says how many are reached by as many real clips. "
            "What the generator hardly makes: strata of which less than half as many are reached.",
            lambda: pieces.reached(study),
        ),
        "screening": [
            panel(
                "Still images",
                "Each score is the highest similarity of a sample to any frame of any training patient. Held-out patients show what chance alone reaches; a sample beyond the line is rejected.",
                lambda: pieces.screening(study, "image"),
            ),
            panel("Finished videos", "The same for whole videos: the score is that of the most similar of all frames.", lambda: pieces.screening(study, "video")),
        ],
        "screened": [
            panel("What was screened", "Every candidate passes two screenings: its anchor image first, then all frames of the finished video.", lambda: pieces.screened(study)),
            panel(
                "Planted copies",
                "Training clips changed as a copier would change them, by kind and strength. Near-copies must be caught; from some strength on, a copy is no longer one. "
                "Units: noise, grey levels; gain and zoom, ratio; shift, pixels; round trips through the autoencoder, how many.",
                lambda: pieces.planted(study),
            ),
            panel(
                "Two protocols",
                "The same images, judged twice. The published filter (EchoNet-Synthetic) takes its threshold from how near training images come to held-out ones and applies it to how near synthetic images come to training ones: "
                "two searches in galleries of different sizes, so that of good images more or fewer are turned away than the 5 % meant. It compares the first frame of each clip alone, and never the finished video. "
                "The calibrated screen lets patients it has not seen and synthetic samples search the same gallery, so its false rejections are as foretold.",
                lambda: pieces.protocols(study),
            ),
        ],
        "motion": [
            panel("Cohort", "The strongest pattern of motion in four clips, systole up.", lambda: pieces.motion(study, synthetic=False)),
            panel("Synthetic", "The same measure in four synthetic clips: it should rise and fall as regularly.", lambda: pieces.motion(study, synthetic=True)),
        ],
        "training": [panel(name[0].upper() + name[1:], "", lambda stage=stage: pieces.loss(study, stage)) for stage, name in pieces.TRAINED.items()],
    }


def render(study: Study, metrics: dict[str, Any]) -> str:
    """The page as HTML. It names the cohort's folder and the beginning of its fingerprint, never a clip, a patient or a path."""
    synthetic, cohort = _clips(pictures.synthetic_clips, study), _clips(pictures.cohort_clips, study)
    described = read_json(study.root / "cohort.json")
    stages = facts.finished_stages(study)
    cards = [facts.metric_row(metrics, key) for key in KEY_FIGURES]
    judged = [card["met"] for card in cards if card["met"] is not None]
    source = None if cohort is None else {"clips": f"{len(cohort):,}", "patients": f"{cohort['patient'].nunique():,}", "splits": cohort["split"].value_counts().to_dict()}
    environment = Environment(loader=PackageLoader("echosynth.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    with progress("report", 2) as advance:
        looks = _looks(study, synthetic, cohort)
        advance()
        charts = _charts(study, metrics, synthetic, cohort)
        advance()
    return environment.get_template("page.html").render(
        sentence=facts.one_sentence(metrics, None if synthetic is None else len(synthetic), None if cohort is None else len(cohort)),
        cohort={"name": Path(described["path"]).name, "fingerprint": described["fingerprint"][:12]},
        source=source,
        preset=study.config.preset,
        seed=study.config.seed,
        beat=facts.beat_sentence(metrics),
        warnings=pieces.warnings(study),
        alpha=f"{study.config.screen.alpha * 100:g} %",
        finished=stages[-1]["finished"][:10] if stages else "",
        cards=cards,
        targets={"met": sum(judged), "of": len(judged)},
        tables=facts.tables(metrics),
        run=facts.run_facts(stages),
        configuration=yaml.safe_dump(facts.without_paths(study.config.model_dump(mode="json")), sort_keys=False),
        **looks,
        **charts,
    )


def write_report(study: Study) -> Path:
    """Writes the page and its twin into STUDY/report and returns the path of the page.

    Whatever the study lacks is named on the page as not computed, with the reason, and is null or absent in metrics.json.
    """
    folder, metrics = study.folder("report"), facts.gather_metrics(study)
    with atomic_file(folder / "index.html") as partial:
        partial.write_text(render(study, metrics), encoding="utf-8")
    write_json(folder / "metrics.json", metrics)
    return folder / "index.html"


def _run(study: Study) -> dict[str, Any]:
    page = write_report(study)
    return {"page": page.name, "bytes": page.stat().st_size}


STAGE = Stage("report", inputs=("evaluation",), sections=(), run=_run)
