"""The segmentation of the left ventricle: trained on the tracings of the held-out patients, whom the generators never see, so that what it measures on synthetic clips is independent of them."""

from echosynth.evaluation import hearts
from echosynth.networks.segmenter import Segmenter
from echosynth.stages.start import cohort_of
from echosynth.study import Stage, Study


def run(study: Study) -> dict:
    """Trains, and measures the segmentation on the training patients, whom it never saw. The summary has the `reason` instead where there is nothing to train on, or the study wants none."""
    section = study.config.segmentation
    if not section.enabled:
        return {"reason": "segmentation.enabled is off"}
    found = hearts.train(cohort_of(study), section, study.folder("segmentation"), study.config.seed)
    return {"reason": found} if isinstance(found, str) else found[1]


def segmenter_of(study: Study) -> tuple[Segmenter, float] | None:
    """The segmenter and the mL of one of its voxels (NaN where unknown); None where the study has none."""
    summary = study.summary("segmentation")["summary"]
    return None if "reason" in summary else (Segmenter.from_pretrained(study.verified("segmentation")), summary["ml_per_voxel"])


STAGE = Stage("segmentation", inputs=("cohort",), sections=("segmentation",), run=run, every_process=True)
