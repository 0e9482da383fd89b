"""The report of a study: two offline pages with everything inside them, and the figures of the second as metrics.json.

STUDY/report/index.html is for the owner of the archive, STUDY/report/public.html is the copy for others. Both come from
one list of pieces and one template; each `Piece` states why it is withheld from others, if it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from echosynth.cohort.check import TRUTH
from echosynth.config import StudyConfig
from echosynth.files import PRIVATE_FILE, atomic_file, write_json
from echosynth.progress import progress
from echosynth.report import facts, figures, pictures, pieces, redaction
from echosynth.report.pictures import NotComputed
from echosynth.report.redaction import FRAMES, PATIENTS, SCORES, Withheld
from echosynth.study import Stage, Study

_ASKED, _MEASURED = ("EF asked for (%)", "EF measured (%)"), ("EF of the real clip (%)", "EF predicted (%)")


@dataclass(frozen=True)
class Piece:
    """A piece that the page may have; `withheld` is why the copy for others leaves it out, empty where it need not."""

    title: str
    caption: str
    make: Callable[[], Any]
    withheld: str


@dataclass(frozen=True)
class Panel:
    """One piece of the page: what it shows, or the reason why it shows nothing."""

    title: str
    caption: str
    body: Any = None
    reason: str = ""


def panel(piece: Piece, public: bool) -> Panel:
    """A piece as the page has it: what it shows, or the reason why it is withheld or could not be made."""
    if public and piece.withheld:
        return Panel(piece.title, piece.caption, reason=f"withheld: {piece.withheld}")
    try:
        return Panel(piece.title, piece.caption, piece.make())
    except NotComputed as reason:
        return Panel(piece.title, piece.caption, reason=f"not computed: {reason}")
    except Withheld as reason:
        return Panel(piece.title, piece.caption, reason=f"withheld: {reason}")


def _clips(read: Callable[[Study], pd.DataFrame], study: Study) -> pd.DataFrame | None:
    try:
        return read(study)
    except NotComputed:
        return None


def _looks(study: Study, synthetic: pd.DataFrame | None, cohort: pd.DataFrame | None) -> dict[str, list[Piece]]:
    """Clips that play, and walls of stills."""
    known = synthetic if synthetic is not None else cohort

    def three(read: Callable[[Study], pd.DataFrame], kind: str) -> list[dict]:
        clips = read(study)
        return pieces.three_playing(clips, pictures.levels(known), kind)

    return {
        "playing": [
            Piece(
                "Cohort",
                "Real clips with the EFs nearest to those of the synthetic clips below.",
                lambda: three(pictures.cohort_clips, "cohort"),
                FRAMES,
            ),
            Piece(
                "Synthetic",
                "Clips of the synthetic cohort with a low, a middle and a high EF.",
                lambda: three(pictures.synthetic_clips, "synthetic"),
                "",
            ),
            Piece(
                "Reconstructed",
                "Clips that the autoencoder was not trained on, left, beside their reconstructions, right: what its "
                "decoder, which draws synthetic clips too, keeps of the detail.",
                lambda: pieces.reconstructions(study),
                FRAMES,
            ),
        ],
        "walls": [
            Piece(
                "Cohort",
                "The middle frame of clips of the cohort, evenly chosen.",
                lambda: pieces.wall(pictures.cohort_clips(study), "cohort"),
                FRAMES,
            ),
            Piece(
                "Synthetic",
                "The middle frame of synthetic clips, evenly chosen.",
                lambda: pieces.wall(pictures.synthetic_clips(study), "synthetic"),
                "",
            ),
        ],
    }


def _charts(
    study: Study, metrics: dict[str, Any], synthetic: pd.DataFrame | None, cohort: pd.DataFrame | None, public: bool
) -> dict[str, list[Piece]]:
    """Plots and tables."""
    scatter, frames = pieces.ef_scatter, pieces.looked_at(study.config.screen.every)
    return {
        "usefulness": [
            Piece(
                "Train on synthetic, test on real (TSTR)",
                "A regressor that saw synthetic clips only reads EF from held-out real patients. The nearer to the "
                "diagonal, the more useful the synthetic cohort.",
                lambda: scatter(study, metrics, "tstr", ("ef", "predicted"), _MEASURED, figures.SYNTHETIC),
                PATIENTS,
            ),
            Piece(
                "Train on real, test on real (TRTR)",
                "The reference: the same regressor with the same budget, trained on the cohort's own training split.",
                lambda: scatter(study, metrics, "trtr", ("ef", "predicted"), _MEASURED, figures.REAL),
                PATIENTS,
            ),
            Piece(
                "EF adherence",
                "The EF that each synthetic clip was asked to show, against the EF that a regressor trained on real "
                "clips reads from it.",
                lambda: scatter(study, metrics, "adherence", ("asked", "measured"), _ASKED, figures.SYNTHETIC),
                SCORES,
            ),
            Piece(
                "EF adherence, by volumes",
                "The same, against the EF of the left ventricle's volumes as a segmentation network measures them. It "
                "was trained on tracings of patients that the generator never saw.",
                lambda: scatter(study, metrics, "volumes", ("asked", "measured"), _ASKED, figures.SYNTHETIC),
                SCORES,
            ),
            Piece(
                "Agreement of TSTR with the truth (Bland-Altman)",
                "The error of the regressor that saw synthetic clips only, over the range of EF. The lines are the "
                "mean difference and the limits of agreement.",
                lambda: pieces.bland_altman(study, "tstr"),
                PATIENTS,
            ),
            Piece(
                "Calibration",
                "The mean EF of the clips for which about the same EF is predicted, with 95 % intervals. On the "
                "diagonal the predictions are right on average.",
                lambda: pieces.calibration(study, cohort, public),
                "",
            ),
            Piece(
                "How many synthetic clips it takes",
                "R² of training on more and more synthetic clips, with 95 % intervals; the line is training on real "
                "clips.",
                lambda: pieces.curve(study, metrics),
                "",
            ),
            Piece(
                "Distribution of EF",
                "How often each EF occurs in the cohort's training split and in the synthetic cohort."
                + (f" Bins with {redaction.TOO_FEW} of the cohort are joined with their neighbours." if public else ""),
                lambda: pieces.ef_histogram(cohort, synthetic, public),
                "",
            ),
        ],
        "reached": [
            Piece(
                "Who is reached",
                "A held-out real clip is reached when a synthetic clip is as near to it, in a network's features, as "
                "its fifth nearest clip of other patients; "
                "the column beside gives the share that is reached by as many real clips. "
                "What the generator hardly makes: strata of which less than half as many are reached.",
                lambda: pieces.reached(study, cohort, public),
                "",
            ),
        ],
        "screening": [
            Piece(
                "Still images",
                "Each score is the highest similarity of a sample to any frame of any training patient. "
                "Held-out patients show what chance alone reaches; a sample beyond the line is rejected.",
                lambda: pieces.screening(study, "image"),
                SCORES,
            ),
            Piece(
                "Finished videos",
                f"The same for whole videos: the score is the highest of the frames that the screening looks at, {frames}.",
                lambda: pieces.screening(study, "video"),
                SCORES,
            ),
        ],
        "screened": [
            Piece(
                "What was screened",
                pieces.screenings(study.config.screen),
                lambda: pieces.screened(study),
                "",
            ),
            Piece(
                "Planted copies",
                "Training clips changed as a copier would change them, by kind and strength. "
                "Near-copies and the kinds marked as required must be caught; from some strength on, a copy is no longer one. "
                "Units: noise, grey levels; gain and zoom, ratio; shift, pixels; round trips through the autoencoder, "
                "how many.",
                lambda: pieces.planted(study),
                "",
            ),
            Piece(
                "Two protocols",
                "The same images, judged twice. The published filter (EchoNet-Synthetic) takes its threshold from "
                "how near training images come to held-out ones "
                "and applies it to how near synthetic images come to training ones: "
                "two searches in galleries of different sizes, so that it rejects more or fewer of the good images "
                "than the 5 % intended. "
                "It compares the first frame of each clip alone, and never the finished video. "
                "The calibrated screen searches the same gallery for patients it has not seen and for synthetic "
                "samples, so its false rejections are as expected.",
                lambda: pieces.protocols(study, public),
                "",
            ),
        ],
        "motion": [
            Piece(
                "Cohort",
                "The strongest pattern of motion in four clips, systole up.",
                lambda: pieces.motion(study, False, public),
                PATIENTS,
            ),
            Piece(
                "Synthetic",
                "The same measure in four synthetic clips: it should rise and fall as regularly.",
                lambda: pieces.motion(study, True, public),
                "",
            ),
        ],
        "training": [
            Piece(name[0].upper() + name[1:], "", lambda stage=stage: pieces.loss(study, stage), "")
            for stage, name in pieces.TRAINED.items()
        ],
    }


def _source(cohort: pd.DataFrame) -> dict[str, Any]:
    """How large the source cohort is."""
    counts = {"clips": f"{len(cohort):,}", "patients": f"{cohort['patient'].nunique():,}"}
    return counts | {"splits": cohort["split"].value_counts().to_dict()}


def render(study: Study, metrics: dict[str, Any], public: bool) -> str:
    """The page as HTML, `public` or the owner's.

    The owner's names the cohort's folder and the beginning of its fingerprint; neither names a clip, patient or path.
    """
    synthetic, cohort = _clips(pictures.synthetic_clips, study), _clips(pictures.cohort_clips, study)
    stages = facts.finished_stages(study)
    cards = facts.headline(metrics)
    shared, every = redaction.public_options(study.config), facts.without_paths(study.config.model_dump(mode="json"))
    options = shared if public else every
    found = _looks(study, synthetic, cohort) | _charts(study, metrics, synthetic, cohort, public)
    with progress("public copy" if public else "report", len(found)) as advance:
        panels = {}
        for name, group in found.items():
            panels[name] = [panel(piece, public) for piece in group]
            advance()
    environment = Environment(
        loader=PackageLoader("echosynth.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        public=public,
        sentence=facts.one_sentence(
            metrics, None if synthetic is None else len(synthetic), None if cohort is None else len(cohort)
        ),
        cohort=None if public else {"name": study.cohort_path.name, "fingerprint": study.fingerprint[:12]},
        source=None if cohort is None else _source(cohort),
        simulated=(study.cohort_path / TRUTH).exists(),
        preset=options["preset"],
        seed=study.config.seed,
        beat=facts.beat_sentence(metrics),
        warnings=pieces.warnings(study),
        alpha=f"{study.config.screen.alpha * 100:g} %",
        finished=stages[-1]["finished"][:10] if stages else "",
        cards=cards,
        targets=facts.targets(cards),
        tables=facts.tables(metrics),
        run=facts.run_facts(stages, public),
        configuration=yaml.safe_dump(options, sort_keys=False),
        **panels,
    )


def write_report(study: Study) -> Path:
    """Writes both pages and metrics.json into STUDY/report and returns the path of the owner's page.

    What the study lacks is named on the pages as not computed, with the reason, and is null or absent in metrics.json.
    """
    for record in study.summaries():
        read = [name for name in record["artefacts"] if record["stage"] != "latents" or name == "index.parquet"]
        if read and record["stage"] != STAGE.name:
            study.verified(record["stage"], *read)
    folder, metrics = study.folder("report"), facts.gather_metrics(study)
    shared = redaction.public_metrics(metrics, _clips(pictures.cohort_clips, study))
    with atomic_file(folder / "index.html", PRIVATE_FILE) as partial:
        partial.write_text(render(study, metrics, public=False), encoding="utf-8")
    with atomic_file(folder / "public.html") as partial:
        partial.write_text(render(study, shared, public=True), encoding="utf-8")
    write_json(folder / "metrics.json", shared)
    return folder / "index.html"


def _run(study: Study) -> dict[str, Any]:
    page = write_report(study)
    return {"page": page.name, "bytes": page.stat().st_size}


STAGE = Stage(
    "report",
    inputs=("evaluation",),
    sections=tuple(StudyConfig.model_fields),  # the page prints every option
    run=_run,
    holds="The owner's report (index.html) shows patients; public.html and metrics.json are the copies for others",
    public=("public.html", "metrics.json"),
)
