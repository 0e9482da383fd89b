"""What the figures mean, in plain words, and what is asked of them: one entry a quantity, one a group of keys."""

import math
from dataclasses import dataclass, replace
from typing import Literal

DECIBEL, PERCENT, POINTS, SECONDS, MEGABYTES = "dB", "%", "EF points", "s", "MB"


@dataclass(frozen=True)
class Group:
    """The keys `prefix.*`: a heading and what they are about."""

    title: str
    words: str


@dataclass(frozen=True)
class Target:
    """What is asked of a figure: a limit of its own, or one by its floor: a multiple of it, so much from it, or the floor itself for the lower end of the figure's interval ("low").

    The floor of an unbiased distance scatters about 0, where a multiple means nothing: "low" is for these.
    """

    limit: float
    side: Literal["at least", "at most"]
    by_floor: Literal["", "times", "within", "low"] = ""

    def bound(self, floor: float | None) -> float | None:
        """The limit in the figure's unit; None where it is by a floor that is not known."""
        if not self.by_floor:
            return self.limit
        if floor is None:
            return None
        if self.by_floor == "times":
            return self.limit * floor
        return floor - self.limit if self.side == "at least" else floor + self.limit

    def met(self, value: float, floor: float | None = None, low: float | None = None) -> bool | None:
        """Whether `value`, whose interval begins at `low`, meets it; None where that cannot be said."""
        bound, judged = self.bound(floor), low if self.by_floor == "low" else value
        if bound is None or judged is None:
            return None
        return judged >= bound if self.side == "at least" else judged <= bound


@dataclass(frozen=True)
class Entry:
    """One metric: its name, one sentence for a reader outside the field, unit and digits. A percentage is stored as a fraction."""

    label: str
    words: str
    unit: str = ""
    digits: int = 2
    target: Target | None = None
    brief: str = ""  # for a table in a terminal: what it is, without its group
    wanted: str = ""  # of a figure that is a word: the target


GROUPS: dict[str, Group] = {
    "autoencoder": Group("Reconstruction", "What the compression of the frames alone loses, on clips that the autoencoder was not trained on."),
    "adherence": Group("EF adherence", "Whether a synthetic clip shows the ejection fraction (EF) that was asked for, as read by a regressor trained on real clips."),
    "volumes": Group(
        "EF adherence, by volumes",
        "The same, by the volumes of the left ventricle that a segmentation network measures; it was trained on tracings of patients whom the generator never saw.",
    ),
    "judge": Group(
        "The judge",
        "How well the regressor that judges EF adherence reads real clips that it never saw: its errors are part of the adherence. The generator never saw the judge's patients.",
    ),
    "segmentation": Group("The segmentation", "How well the segmentation network does on real clips that it never saw."),
    "trts": Group("Train on real, test on synthetic", "The regressors of TRTR, read on the synthetic clips."),
    "mixed": Group("Train on both, test on real", "The same regressor and budget, trained on the real and the synthetic clips together."),
    "relabelled": Group(
        "Train on relabelled synthetic, test on real",
        "Synthetic clips with the EF that a regressor trained on real clips reads from them, instead of the one asked for. Not to be mixed up with TSTR: knowledge of the real labels flows in.",
    ),
    "curve": Group("Training on fewer or more synthetic clips", "TSTR for several numbers of synthetic clips."),
    "coverage": Group("Coverage", "Whether every real patient has a synthetic neighbour."),
    "appearance": Group(
        "Appearance",
        "Distances between statistics of the pixels, where 0 is equal; and detectability, the AUC of small networks that learn to separate synthetic from real clips, where 0.5 is equal and 1 is "
        "always right. Read both against the column real to real.",
    ),
    "ventricle": Group("Beats of the left ventricle", "Whether the beats of one clip are alike, from the measured volumes; medians over the clips."),
    "seams": Group("Seams of long videos", "Whether clips made piece by piece show where they were joined."),
    "fvd_16": Group("FVD, 16 frames", "On the features of the user's I3D file, by the rules of StyleGAN-V (fvd2048_16f)."),
    "fvd_128": Group("FVD, 128 frames", "On the features of the user's I3D file, by the rules of StyleGAN-V (fvd2048_128f)."),
    "fvd_128_every_8": Group("FVD, every eighth of 128 frames", "On the features of the user's I3D file, by the rules of StyleGAN-V (fvd2048_128f_subsample8f)."),
    "fid": Group("FID", "On the features of single frames of the user's Inception file."),
    "trtr": Group("Train on real, test on real", "The reference: an EF regressor trained on the cohort and tested on held-out real patients."),
    "tstr": Group(
        "Train on synthetic, test on real",
        "The test of usefulness: the same regressor with the same budget, trained on synthetic clips alone, tested on the same held-out real patients.",
    ),
    "video": Group("Likeness of the videos", "How far the synthetic clips are, as a population, from the real ones in the feature space of a video network."),
    "image": Group("Likeness of the still images", "How far the synthetic anchor images are, as a population, from real frames."),
    "temporal": Group("Motion", "Whether the synthetic hearts beat, at a plausible rate, and without flicker."),
    "grey": Group("Grey levels", "Brightness and contrast of real and of synthetic clips, side by side."),
    "speckle": Group("Speckle", "Autocorrelation of the fine texture, down and across the picture and over time: how large its grains are and how long they last."),
    "reid": Group("Re-identification", "How well the encoder behind the screening separates two images of one patient from two of different patients, on patients that it never saw."),
    "screen": Group("Screening", "What the similarity screening lets through and what it stops."),
    "published": Group("Screening as published", "The filter of EchoNet-Synthetic on the same images, for comparison: see Two protocols."),
    "seconds": Group("Time", "Wall-clock time."),
    "memory": Group("Memory", "Main memory of the process."),
}

_R2 = "share of the variance of EF that the reading explains: 1 is perfect, 0 is no better than always guessing the mean"
_MAE = "mean absolute error of the reading"
_RMSE = "root mean square error of the reading: like the MAE, but large errors weigh more"
_AUC = "chance that a clip of an EF under it is read lower than one above it: 1 is perfect, 0.5 is a coin"
_WITHOUT = "  without selection"
_KERNEL, _KERNEL_WORDS = "Kernel distance", "unbiased at any number of samples (KID; on videos KVD): 0 on average where there is no difference"
_FRECHET = "Fréchet distance between synthetic and real clips in a video network's features: 0 is equal mean and covariance of these; read it against the floor"

_VIEWS = {"14": "frames at 14 pixels", "28": "frames at 28 pixels", "56": "frames at 56 pixels", "112": "frames at 112 pixels", "clips": "pieces of clips"}
_SEPARATED = "AUC of a network that separates {} and is asked about clips and patients it did not see: 0.5 is a coin, 1 is always right"
_SETS = {  # of the figures of detectability: their label, what is separated, and the most that is asked for in each view
    "": ("Detectability", "synthetic from real clips", {"28": 0.62, "56": 0.70, "112": 0.80, "clips": 0.85}),
    "reconstruction_": ("Detectability of reconstructions", "clips that went through the autoencoder from the clips themselves", {"56": 0.65, "112": 0.65}),
    "generator_": ("Detectability, the generator's share", "synthetic clips from reconstructions of real ones", {}),
}


def _detectability() -> dict[str, "Entry"]:
    return {
        f"appearance.detectability_{name}{view}": Entry(
            f"{label}, {pictures}",
            _SEPARATED.format(what),
            target=Target(limits[view], "at most") if view in limits else None,
            brief=f"{'  reconstructed' if name else 'detectability'}, {pictures.replace('frames at ', '').replace('pieces of clips', 'clip pieces')}",
        )
        for name, (label, what, limits) in _SETS.items()
        for view, pictures in _VIEWS.items()
    }


ENTRIES: dict[str, Entry] = {
    "autoencoder.psnr": Entry(
        "PSNR", "peak signal-to-noise ratio of reconstructed frames; higher is closer to the original", DECIBEL, 1, Target(24.0, "at least"), brief="reconstruction, PSNR"
    ),
    "autoencoder.ssim": Entry("SSIM", "structural similarity of reconstructed frames: 1 is identical", "", 3),
    "autoencoder.mae": Entry("MAE", "mean absolute error of the grey values, as a share of the full range", "", 4),
    "autoencoder.texture": Entry("Texture kept", "standard deviation of the fine speckle texture after reconstruction, as a share of the original's: 1 is all of it", "", 2),
    "autoencoder.ef_bias": Entry("EF, bias", "mean of the EF that a regressor reads from reconstructed clips minus the one it reads from the originals", POINTS, 2),
    "autoencoder.ef_mae": Entry("EF, difference", "mean absolute difference of the same two readings", POINTS, 2),
    "adherence.r2": Entry("R²", f"{_R2}; asked against measured on synthetic clips", "", 2, Target(0.95, "at least"), brief="EF adherence, R²"),
    "adherence.r2_unselected": Entry(
        "R², without selection", f"{_R2}; on the first candidates, before clips of another EF were left out", "", 2, Target(0.90, "at least"), brief=_WITHOUT
    ),
    "adherence.slope": Entry("Slope", "of the line through EF measured against EF asked for: 1 is right", "", 2, Target(0.9, "at least"), brief="EF adherence, slope"),
    "adherence.slope_unselected": Entry(
        "Slope, without selection", "the same on the first candidates, before clips of another EF were left out", "", 2, Target(0.9, "at least"), brief=_WITHOUT
    ),
    "adherence.mae": Entry("MAE", f"{_MAE} against the EF asked for", POINTS, 1, brief="EF adherence, MAE"),
    "adherence.rmse": Entry("RMSE", _RMSE, POINTS, 1),
    "trtr.r2": Entry("R²", _R2, "", 2, brief="TRTR (from real), R²"),
    "trtr.mae": Entry("MAE", _MAE, POINTS, 1),
    "trtr.rmse": Entry("RMSE", _RMSE, POINTS, 1),
    "tstr.r2": Entry("R²", _R2, "", 2, Target(0.80, "at least"), brief="TSTR (from synthetic), R²"),
    "tstr.r2_unselected": Entry(
        "R², without selection", f"{_R2}; trained on the first candidates, before clips of another EF were left out", "", 2, Target(0.80, "at least"), brief=_WITHOUT
    ),
    "tstr.mae_more_than_trtr": Entry(
        "MAE more than real training",
        "MAE minus that of TRTR, paired by patient, over all seeds: 0 is no loss. The upper end of the interval decides the verdict",
        POINTS,
        2,
        brief="  MAE less that of TRTR",
    ),
    "tstr.train_clips": Entry("Clips to learn from", "synthetic clips that each regressor was trained on", "", 0),
    "trtr.train_clips": Entry("Clips to learn from", "real clips that each regressor was trained on", "", 0),
    "tstr.mae": Entry("MAE", _MAE, POINTS, 1),
    "tstr.rmse": Entry("RMSE", _RMSE, POINTS, 1),
    "tstr.r2_of_trtr": Entry(
        "R² relative to real training", "R² of training on synthetic clips, divided by R² of training on real ones", "", 2, Target(0.97, "at least"), brief="  relative to TRTR"
    ),
    "tstr.verdict": Entry(
        "Verdict",
        "by the interval of the difference in MAE to training on as many real clips: non-inferior where its upper end is below 1.0 EF points, inferior where its lower end is above, else inconclusive; "
        "none with too few patients or seeds, or unequal numbers of clips to learn from",
        brief="  verdict, margin 1 point",
        wanted="non-inferior",
    ),
    "mixed.verdict": Entry("Verdict", "the same for training on both kinds together, on more clips than TRTR"),
    "relabelled.verdict": Entry("Verdict", "the same for relabelled synthetic clips"),
    "volumes.measured": Entry("Clips measured", "share of the synthetic clips in which a beating ventricle was measured", PERCENT, 0),
    "segmentation.dice": Entry("Dice", "overlap of the segmented with the traced ventricle: 1 is perfect", "", 3),
    "segmentation.measured": Entry("Clips measured", "share of the real clips in which a beating ventricle was measured", PERCENT, 0),
    "segmentation.ef_r2": Entry("R², EF by volumes", f"{_R2}, on real clips", "", 2),
    "segmentation.ef_mae": Entry("MAE, EF by volumes", "mean absolute error on real clips", POINTS, 1),
    "segmentation.ef_bias": Entry("Bias, EF by volumes", "mean of measured minus true EF on real clips", POINTS, 1),
    "coverage.patients": Entry("Patients reached", "share of the held-out real patients with a synthetic clip as near as their fifth nearest real neighbour", PERCENT, 0),
    "coverage.strata_missed": Entry("Strata hardly made", "strata of EF or phenotype that synthetic clips reach less than half as often as real ones do", "", 0),
    "appearance.radiomics": Entry(
        "Radiomics",
        "Fréchet distance of 26 hand-made features of grey levels and texture",
        "",
        1,
        Target(3, "at most", "times"),
        brief="radiomics, Fréchet distance",
    ),
    "appearance.speckle_spectrum": Entry("Speckle spectrum", "difference of the power of the texture, averaged over spatial frequencies", DECIBEL, 2),
    "appearance.temporal_spectrum": Entry("Spectrum over time", "difference of the power over time, averaged over frequencies", DECIBEL, 2),
    "appearance.flow": Entry("Optical flow", "difference of the speeds of what moves, in standard deviations of real clips", "", 2),
    **_detectability(),
    "appearance.detectability_samples": Entry("Clips a side", "between which detectability is measured", "", 0),
    "appearance.detectability_clips_samples": Entry("Clips a side, pieces of clips", "the same for pieces of clips, where some clips are too short for one", "", 0),
    "seams.quantile": Entry("Place among the changes", "where the change at a join stands among all changes of its clip: 0.5 without seams, 1 where every join jumps", "", 2),
    "seams.ratio": Entry("Change at a join", "the change at a join over the median change", "", 2),
    "ventricle.beat_seconds": Entry("Beat", "length of a beat", SECONDS, 2),
    "ventricle.edv_spread": Entry("Spread of end-diastolic volumes", "from beat to beat, in percent of their mean", "", 1),
    "ventricle.esv_spread": Entry("Spread of end-systolic volumes", "from beat to beat, in percent of their mean", "", 1),
    "ventricle.ef_spread": Entry("Spread of EF", "from beat to beat", POINTS, 1),
    "ventricle.beat_spread": Entry("Spread of the beat", "of the times from beat to beat, in percent of their mean", "", 1),
    "reid.auc": Entry(
        "AUC",
        "chance that two images of one unseen patient score as more alike than images of two patients: 1 is perfect, 0.5 is a coin",
        "",
        3,
        Target(0.95, "at least"),
        brief="re-identification, AUC",
    ),
    "screen.false_rejection": Entry(
        "False rejections",
        "share of held-out real patients, whom the generator never saw, that the screening would reject",
        PERCENT,
        1,
        Target(0.07, "at most"),
        brief="unseen patients rejected",
    ),
    "screen.planted_recall": Entry(
        "Planted copies caught",
        "share of training patients of whom the screening rejects every near-copy, planted on purpose in all kinds: the lower of images and videos",
        PERCENT,
        1,
        Target(0.95, "at least"),
        brief="planted near-copies caught",
    ),
    "screen.false_rejection_image": Entry("False rejections, images", "share of single frames of held-out real patients that the screening of images would reject", PERCENT, 1),
    "screen.false_rejection_video": Entry("False rejections, videos", "share of clips of held-out real patients that the screening of videos would reject", PERCENT, 1),
    "screen.planted_recall_image": Entry("Planted copies caught, images", "share of training patients of whom every planted near-copy of a single frame is rejected", PERCENT, 1),
    "screen.planted_recall_video": Entry("Planted copies caught, videos", "share of training patients of whom every planted near-copy of a clip is rejected", PERCENT, 1),
    "screen.worst_copy": Entry(
        "Copies caught, worst kind",
        "share of training patients whose planted copies of one kind the screening rejects: the kind, of images or of videos, that it catches least, of all near-copies and all required kinds "
        "(moved, turned, enlarged, amplified, smoothed, reversed in time)",
        PERCENT,
        1,
        Target(0.95, "at least"),
        brief="worst kind of copy",
    ),
    "screen.sensitivity": Entry(
        "Sensitivity",
        "mean share of a patient's planted copies of all these kinds that the screening rejects; over patients, of images or of videos, whichever is lower. A mean: one kind may be caught far less",
        PERCENT,
        1,
    ),
    "screen.sensitivity_image": Entry("Sensitivity, images", "of single frames", PERCENT, 1),
    "screen.sensitivity_video": Entry("Sensitivity, videos", "of clips", PERCENT, 1),
    "screen.specificity": Entry("Specificity", "share of the samples of held-out real patients that the screening keeps; over patients, of images or of videos, whichever is lower", PERCENT, 1),
    "screen.specificity_image": Entry("Specificity, images", "of single frames", PERCENT, 1),
    "screen.specificity_video": Entry("Specificity, videos", "of clips", PERCENT, 1),
    "screen.consistency": Entry(
        "Consistency",
        "how often two screenings, each calibrated on another half of the calibration patients, give a planted copy or a held-out real patient the same verdict",
        PERCENT,
        1,
    ),
    "screen.consistency_image": Entry("Consistency, images", "of single frames", PERCENT, 1),
    "screen.consistency_video": Entry("Consistency, videos", "of clips", PERCENT, 1),
    "screen.attempts": Entry("Candidates", "synthetic images drawn until every place in the cohort was filled", "", 0),
    "screen.rejected_images": Entry("Images rejected", "synthetic images that the screening rejected before they were animated", "", 0),
    "screen.rejected_videos": Entry("Videos rejected", "finished synthetic videos that the second screening rejected", "", 0),
    "screen.drawn_anew": Entry(
        "Drawn anew", "share of the screened videos that were left out because they show another EF", PERCENT, 0, Target(0.15, "at most"), brief="clips drawn anew for EF"
    ),
    "screen.missed_ef": Entry("Videos of another EF", "finished synthetic videos left out because the regressor read an EF too far from the one asked for", "", 0),
    "published.tau": Entry("Threshold", "correlation with a training frame from which on an image is rejected", "", 3),
    "published.expected_false_rejection": Entry(
        "False rejections, expected", "share of a perfect generator's images that it rejects, by the sizes of its two galleries", PERCENT, 1
    ),
    "published.false_rejection": Entry("False rejections", "share of the first frames of patients it has not seen that it rejects", PERCENT, 1),
    "published.planted_recall": Entry("Planted copies caught", "share of training patients of whom it rejects every planted near-copy of a single frame", PERCENT, 1),
    "published.rejected": Entry("Images rejected", "of the candidates that the screening saw", "", 0),
    "video.frechet": Entry("Fréchet distance", _FRECHET, "", 2, Target(3, "at most", "times"), brief="videos, Fréchet distance"),
    "video.kid": Entry(_KERNEL, _KERNEL_WORDS, "", 3, Target(0, "at most", "low"), brief="videos, KID"),
    "video.precision": Entry(
        "Precision", "share of the synthetic clips that lie among real ones", "", 2, Target(0.05, "at least", "within"), brief="videos, precision"
    ),
    "video.recall": Entry(
        "Recall", "share of the real clips that lie among synthetic ones; read it with the precision", "", 2, Target(0.05, "at least", "within"), brief="videos, recall"
    ),
    **{
        f"{prefix}.encoder": Entry("Encoder", "fingerprint (SHA-256) of the network whose features are compared: distances of different networks cannot be compared")
        for prefix in ("video", "fvd_16", "fvd_128", "fvd_128_every_8", "fid")
    },
    **{f"{prefix}.worst_stratum": Entry("Worst stratum", "the range of EF with the largest error") for prefix in ("adherence", "trtr", "trts", "tstr", "mixed", "relabelled")},
    "temporal.dominant_period": Entry(
        "Clips with a dominant period",
        "share of the clips with a period of 0.3 to 1.5 s that carries more of the motion than coloured noise would; it does not say that the beats are regular",
        PERCENT,
        0,
        Target(0.9, "at least"),
        brief="clips with a dominant period",
    ),
    "temporal.beat_regularity": Entry(
        "Regularity from beat to beat",
        "1 − sd / mean of the times from beat to beat, over the clips in which three beats are seen: 100 % is a metronome, atrial fibrillation about 85 %",
        PERCENT,
        0,
    ),
    "temporal.beat_seconds": Entry("Beat", "median length of a beat", SECONDS, 2),
    "temporal.beat_share": Entry("Share of the dominant period", "of the motion that a wave of this period explains", PERCENT, 0),
    "temporal.motion_sd": Entry("Motion", "how strongly the heart moves the grey levels", "grey levels", 1),
    "temporal.flicker": Entry("Flicker", "mean absolute change of a pixel from frame to frame", "grey levels", 1),
    "temporal.high_frequency_share": Entry("Fast changes", "share of the changes that are faster than a quarter of the frame rate: noise rather than motion", PERCENT, 1),
    "grey.mean": Entry("Mean", "mean grey level, 0 to 255", "", 1),
    "grey.sd": Entry("Standard deviation", "of the grey levels", "", 1),
    "grey.dark_share": Entry("Dark share", "share of the pixels under 10", PERCENT, 0),
    "grey.lit_median": Entry("Median of lit pixels", "of the pixels of 10 and over", "", 0),
    "grey.lit_p90": Entry("90th percentile of lit pixels", "of the pixels of 10 and over", "", 0),
    "seconds.total": Entry("All stages", "wall time of the stages of the study together", SECONDS, 0, brief="time, all stages"),
    "seconds.per_synthetic_clip": Entry("One synthetic clip", "from noise to the file, screening included", SECONDS, 2, brief="time, one synthetic clip"),
    "memory.peak_mb": Entry("Peak memory", "largest resident memory of the process", MEGABYTES, 0, brief="peak memory"),
}

# For keys of a known kind without an entry of their own, such as image.frechet.
_KINDS: dict[str, Entry] = {
    "r2": Entry("R²", _R2),
    "mae": Entry("MAE", _MAE, POINTS, 1),
    "rmse": Entry("RMSE", _RMSE, POINTS, 1),
    "mae_more_than_trtr": Entry("MAE more than real training", "MAE minus that of training on real clips, paired by patient: 0 is no loss", POINTS, 1),
    "bias": Entry("Bias", "mean of reading minus truth", POINTS, 1),
    "slope": Entry("Slope", "of the line through reading against truth: 1 is right, less than 1 pulls towards the mean", "", 2),
    "intercept": Entry("Intercept", "of the line through reading against truth", POINTS, 1),
    "limits_low": Entry("Limit of agreement, lower", "bias − 1.96 standard deviations of the differences: about 95 % of the readings differ by no more", POINTS, 1),
    "limits_high": Entry("Limit of agreement, upper", "bias + 1.96 standard deviations of the differences", POINTS, 1),
    "clips": Entry("Clips", "how many clips the figures above rest on", "", 0),
    "psnr": ENTRIES["autoencoder.psnr"],
    "ssim": ENTRIES["autoencoder.ssim"],
    "auc": Entry("AUC", "area under the receiver operating characteristic", "", 3),
    "r2_sd": Entry("R², spread", "standard deviation over the seeds of the training", "", 3),
    "seeds": Entry("Seeds", "regressors that the figures are means over", "", 0),
    "auc_35": Entry("AUC, EF < 35 %", _AUC, "", 3),
    "auc_40": Entry("AUC, EF < 40 %", _AUC, "", 3),
    "auc_50": Entry("AUC, EF < 50 %", _AUC, "", 3),
    "calibration_slope": Entry("Calibration slope", "of the line through truth against prediction: 1 is right, less means predictions too extreme", "", 2),
    "calibration_intercept": Entry("Calibration intercept", "of the line through truth against prediction", POINTS, 1),
    "worst_stratum_mae": Entry("MAE in the worst stratum", "of reduced, mildly reduced and preserved EF", POINTS, 1),
    "frechet": Entry("Fréchet distance", _FRECHET),
    "frechet_infinity": Entry("Fréchet distance at infinity", "the same without the bias that few samples give it, extrapolated", "", 2),
    "kid": Entry(_KERNEL, _KERNEL_WORDS, "", 4),
    "precision": Entry("Precision", "share of the synthetic samples that lie among real ones", "", 2),
    "recall": Entry("Recall", "share of the real samples that lie among synthetic ones; read it with the precision", "", 2),
    "density": Entry("Density", "how densely real samples lie about synthetic ones: 1 for equal sets", "", 2),
    "coverage": Entry("Coverage", "share of the real samples with a synthetic neighbour; read it with the density", "", 2),
    "samples": Entry("Samples a side", "between which the distances are taken", "", 0),
    "inception_score": Entry("Inception score", "how sure a classifier of photographs is, and how many classes it sees; it looks at no real image", "", 2),
}

KEY_FIGURES = (
    "tstr.r2",
    "tstr.r2_of_trtr",
    "tstr.mae_more_than_trtr",
    "tstr.verdict",
    "trtr.r2",
    "adherence.r2",
    "adherence.slope",
    "screen.drawn_anew",
    "appearance.detectability_28",
    "appearance.detectability_56",
    "appearance.detectability_112",
    "appearance.detectability_clips",
    "appearance.detectability_reconstruction_56",
    "appearance.detectability_reconstruction_112",
    "appearance.radiomics",
    "video.frechet",
    "video.kid",
    "video.precision",
    "video.recall",
    "autoencoder.psnr",
    "reid.auc",
    "screen.planted_recall",
    "screen.worst_copy",
    "screen.false_rejection",
    "temporal.synthetic.dominant_period",
)
"""The figures that a release board asks for first, in that order: what is weak among them as well as what is good. Each is followed by the same without selection, where there is one."""
SECOND_FIGURES = ("seconds.per_synthetic_clip", "seconds.total", "memory.peak_mb")
"""What a run in a terminal ends with besides."""


def entry(key: str) -> Entry:
    """The entry of a metric, for `prefix.real.x` and `prefix.synthetic.x` that of `prefix.x`; one made from the key's own words where the glossary has none."""
    prefix, _, rest = key.partition(".")
    rest = rest.removeprefix("real.").removeprefix("synthetic.")
    if f"{prefix}.{rest}" in ENTRIES:
        return ENTRIES[f"{prefix}.{rest}"]
    if rest.endswith("_unselected"):
        selected = entry(f"{prefix}.{rest.removesuffix('_unselected')}")
        return replace(selected, label=f"{selected.label}, without selection", brief=_WITHOUT)
    if prefix == "speckle":
        direction, _, lag = rest.partition("_")
        unit = "frame" if direction == "time" else "pixel"
        return Entry(f"{direction.capitalize()}, {lag} {unit}{'s' * (lag != '1')}", "", "", 2)
    if prefix == "seconds":
        return Entry(rest.replace("_", " ").capitalize(), f"wall time of the stage {rest}", SECONDS, 1)
    known = _KINDS.get(rest)
    return Entry(known.label, known.words, known.unit, known.digits) if known else Entry((rest or key).replace("_", " ").replace(".", ", ").capitalize(), "", "", 3)


def group(prefix: str) -> Group:
    """The group of the keys `prefix.*`."""
    return GROUPS.get(prefix, Group(prefix.replace("_", " ").capitalize(), ""))


def show(value: float, entry: Entry, unit: bool = True) -> str:
    """A figure as text, in its unit and digits."""
    if not math.isfinite(value):
        return "not finite"
    number = f"{value * 100:.{entry.digits}f}" if entry.unit == PERCENT else f"{value:,.{entry.digits}f}"
    number = number.replace("-", "−")
    return f"{number} {entry.unit}" if unit and entry.unit else number


def show_target(entry: Entry, short: bool = False) -> str:
    """A target as text: "at least 24.0 dB", "at most 3 × floor", "within 0.05 of floor"; the empty string where none is set. `short`: "≥ 24.0", "≤ 3 × floor"."""
    target = entry.target
    if target is None:
        return entry.wanted
    side = {"at least": "≥", "at most": "≤"}[target.side] if short else target.side
    if target.by_floor == "times":
        return f"{side} {target.limit:g} × floor"
    if target.by_floor == "low":
        return f"low {side} floor" if short else f"lower end of the interval {side} the floor"
    if target.by_floor == "within":
        return f"{side} floor{'−' if target.side == 'at least' else '+'}{target.limit:g}" if short else f"within {target.limit:g} of floor"
    return f"{side} {show(target.limit, entry, unit=not short or entry.unit == PERCENT)}"
