"""The whole configuration of a study, typed, and its presets.

A preset is a place to start; `study.yaml` holds every value as it ran. Each stage depends on a few sections only, so that a change redoes what it must.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from echosynth.errors import InputError
from echosynth.files import read_bytes
from echosynth.metrics.detectors import UNTRUSTED
from echosynth.networks.autoencoder import AutoencoderConfig
from echosynth.networks.base import clean
from echosynth.networks.denoiser import DenoiserConfig
from echosynth.networks.paper_config import FULL, SMALL, PaperConfig, PaperGeneratorConfig, PaperRegressorConfig, PaperReidConfig
from echosynth.networks.regressor import RegressorConfig
from echosynth.networks.reid import ReidConfig
from echosynth.networks.segmenter import SegmenterConfig
from echosynth.privacy.protocols import Protocol
from echosynth.training.fit import Training
from echosynth.training.segmenter import TRAINING as SEGMENTER_TRAINING

GeneratorNetwork = Annotated[DenoiserConfig | PaperGeneratorConfig, Field(discriminator="kind")]
_COMPACT = DenoiserConfig(guidance=1.5, bands=(1, 1, 1, 1, 1, 1, 2, 3, 5, 10, 46), margin=4)  # 64 frames to show
_STILL = {"bands": (1,), "margin": 0, "labels": 0, "guidance": 1.0, "time_shift": 1.0}  # what makes an image model of a video model
_SHORTCUTS = "share of the samples that teach the model to take large steps (generative/shortcut.py)"


_CLIPS, _FRAMES, _RATE, _WEIGHT = 10_000_000, 100_000, 10_000, 1_000_000  # limits: clips or steps, frames of one clip, frames a second, weight of a term
MAX_YAML = 256 * 2**10  # bytes; every option of a study is 4 KB


class Section(BaseModel):
    """Strict about unknown keys: a misspelt option is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=4096)


class AutoencoderSection(Section):
    """Per-frame autoencoder. `encoder` says whether a fine-tune may move the latent space that the generators start from."""

    network: Annotated[AutoencoderConfig | PaperConfig, Field(discriminator="kind")] = AutoencoderConfig()
    training: Training
    encoder: Literal["frozen", "trained"] = Field("frozen", description="ignored (trained) where the study starts from nothing")
    spectrum_weight: float = Field(0.1, ge=0, le=_WEIGHT)
    adversarial_weight: float = Field(0.05, ge=0, le=_WEIGHT)
    adversarial_start: float = Field(0.3, ge=0, le=1, description="fraction of the steps before the decoder heeds the discriminator")
    frames_in_memory: int = Field(20_000, ge=1, le=_CLIPS)
    perceptual: str = Field("", description="file with the weights of VGG-16, for the paper's perceptual loss; without it a gradient loss stands in")


class ImageSection(Section):
    network: GeneratorNetwork = _COMPACT.model_copy(update=_STILL)
    training: Training
    shortcuts: float = Field(0.25, ge=0, lt=1, description=_SHORTCUTS)


class ReidSection(Section):
    network: Annotated[ReidConfig | PaperReidConfig, Field(discriminator="kind")] = ReidConfig()
    training: Training
    moved: int = Field(
        24, ge=0, le=_FRAMES, description="frames of each training clip that are moved, turned and smoothed in their pixels for the training; 0 = none"
    )


class VideoSection(Section):
    network: GeneratorNetwork = _COMPACT
    training: Training
    fps: float = Field(32.0, ge=0.1, le=_RATE)
    label_dropout: float = Field(0.1, ge=0, le=1)
    slow_weight: float = Field(1.0, ge=0, le=_WEIGHT, description="how much more than speckle an error counts that stays for some frames, as motion does (generative/flow.py)")
    shortcuts: float = Field(0.25, ge=0, lt=1, description=_SHORTCUTS)
    ef_balance: float = Field(0.5, ge=0, le=1, description="how much clips of rare EFs are favoured in training: 0 = as in the cohort, 1 = every EF as often")


class ScreenSection(Section):
    """`alpha` is the false-rejection rate that the conformal test promises (privacy/screen.py). Both protocols are always measured; `protocol` is the one that decides."""

    protocol: Protocol = Field("calibrated", description="paper: the published filter of anchors (privacy/published.py); finished videos then pass unscreened")
    alpha: float = Field(0.05, gt=0, lt=1)
    gallery_frames: int = Field(8, ge=1, le=_FRAMES, description="frames of each training clip in the gallery")
    fps: float = Field(32.0, ge=0.1, le=_RATE, description="frame rate at which held-out clips are compared: that of the synthetic videos")
    frames: int = Field(64, ge=1, le=_FRAMES, description="length of the videos with which the screen is measured; it serves any length")
    every: int = Field(
        8, ge=1, le=_FRAMES, description="of the frames of a video, held-out or synthetic, the screen looks at every n-th; 1 = all"
    )
    calibration_frames: int = Field(256, ge=1, le=_FRAMES, description="frames of a held-out clip at most")
    planted_images: int = Field(120, ge=1, le=_CLIPS, description="training clips of which single frames are planted, in all kinds and strengths")
    planted_videos: int = Field(60, ge=1, le=_CLIPS, description="training clips that are planted as videos, in the kinds that have to be caught")
    withhold: bool = Field(True, description="off: no verdict leaves a clip out, verdicts are only noted; differential privacy then covers which clips are released")


class SynthesisSection(Section):
    videos: int = Field(..., ge=0, le=_CLIPS, description="clips in the synthetic cohort; 0 = as many as the source has")
    frames: int = Field(64, ge=1, le=_FRAMES)
    steps: int = Field(8, ge=1, le=10_000)
    image_steps: int = Field(8, ge=1, le=10_000)
    guidance: float = Field(1.0, ge=0, le=1000, description="besides that which the video model has learnt (video.network.guidance)")
    long_videos: Literal["continued", "windowed"] = Field(
        "continued", description="beyond the model's window: windows that continue the frames before them, or that overlap as published"
    )
    max_attempts: int = Field(50, ge=1, le=1_000_000, description="candidates for one place in the cohort before it is given up")
    ef: str = Field(
        "cohort",
        description="cohort (a smooth law of the training EFs), balanced (evenly over its range, in whole 5 points), mixed (half of the clips each way), "
        "private (like mixed, by a histogram with noise that dp.epsilon pays for), uniform (10-90 %), or a value in percent",
    )
    ef_tolerance: float = Field(
        0.0,
        ge=0,
        le=100,
        description="points by which the EF that `reader` reads off a clip may miss the one asked for; others are drawn anew; 0 = a clip may show any EF",
    )
    reader: Literal["study", "simulated"] = Field("study", description="study: its own regressor, trained on its patients; simulated: that of the folder init where it has one, else the shipped one, trained on simulated hearts alone")
    batch_size: int = Field(8, ge=1, le=65_536, description="clips worked on together; never changes a byte")

    @field_validator("ef")
    @classmethod
    def _known(cls, ef: str) -> str:
        if ef not in ("cohort", "balanced", "mixed", "private", "uniform"):
            try:
                value = float(ef)
            except ValueError:
                value = -1.0
            if not 0 <= value <= 100:
                raise ValueError(f"give cohort, balanced, mixed, private, uniform, or a value from 0 to 100 percent, not {ef!r}")
        return ef


class SegmentationSection(Section):
    """The left ventricle, for volumes, tracings and an EF by measurement. Only where the cohort has tracings."""

    enabled: bool = True
    network: SegmenterConfig = SegmenterConfig()
    training: Training = SEGMENTER_TRAINING


class EvaluationSection(Section):
    """`network` and `training` are the same for all regressors, whatever they are trained on."""

    network: Annotated[RegressorConfig | PaperRegressorConfig, Field(discriminator="kind")] = RegressorConfig()
    training: Training
    pretrained: str = Field("", description="file with weights of R(2+1)D-18 (Kinetics, say) that the paper's regressor starts from")
    seeds: int = Field(3, ge=1, le=1000, description="regressors of each kind; from two on there is a verdict on TSTR")
    judge: Literal["held-out", "trtr"] = Field(
        "held-out",
        description="who reads the EF of synthetic clips: a regressor trained on VAL and TEST, whose patients the generator never saw, or that of TRTR, which costs no training",
    )
    trainings: tuple[Literal["mixed", "relabelled"], ...] = Field(
        ("mixed", "relabelled"), description="besides TRTR and TSTR: on both together; on synthetic clips with the EF a regressor reads"
    )
    curve: tuple[float, ...] = Field((0.25, 1.0, 4.0), max_length=100, description="numbers of synthetic clips for TSTR, as multiples of the real training clips")
    clips: int = Field(256, ge=1, le=_CLIPS, description="of each kind at most, for statistics of the pixels")
    detectability_clips: int = Field(240, ge=0, le=2000, description="a side at most, on which classifiers try to separate synthetic from real clips; 0 = no such figures")
    detectability_steps: int = Field(250, ge=1, le=_CLIPS, description="of the training of each of these classifiers")
    detectors: tuple[str, ...] = Field((), max_length=16, description="i3d=FILE, inception=FILE: TorchScript files, for FVD and FID as published")
    trust_detectors: bool = Field(False, description="open them although a TorchScript file can run any code of its author")
    bootstraps: int = Field(1000, ge=1, le=1_000_000)

    @field_validator("curve")
    @classmethod
    def _positive(cls, curve: tuple[float, ...]) -> tuple[float, ...]:
        if not all(multiple > 0 for multiple in curve):
            raise ValueError("multiples of the real training clips are above 0, such as [0.25, 1, 4]")
        return curve

    @model_validator(mode="after")
    def _trusted(self) -> "EvaluationSection":
        """Before anything takes long."""
        if self.detectors and not self.trust_detectors:
            raise ValueError(f"detectors {', '.join(self.detectors)}: {UNTRUSTED}")
        return self


class AuditSection(Section):
    """What a release is held to (audit/gate.py, `RULE`): a limit closes the gate where the figure is shown to be beyond it."""

    canaries: int = Field(0, ge=0, le=_CLIPS, description="training patients for whom a coin decides whether the models may learn from them (privacy/canaries.py)")
    weights: bool = Field(True, description="attack the weights too, not only the clips: slower, and needed before weights are shared")
    clips: int = Field(2000, ge=10, le=_CLIPS, description="of members and of strangers that the membership attacks look at, at most; screens and the search for copies look at all")
    pixel_steps: int = Field(300, ge=0, le=_CLIPS, description="training steps of the encoder that teaches itself on the release")
    planted: int = Field(
        72,
        ge=1,
        le=_CLIPS,
        description="training patients of whom a clip is planted, in all kinds: the line for naming a copy needs 59 for a recall of 95 %, an interval above 95 % takes 72",
    )
    copy_recall: float = Field(0.95, gt=0, lt=1, description="of planted near-copies that the line for naming a copy catches")
    min_recall: float = Field(0.95, ge=0, le=1, description="of planted near-copies that the screen has to catch")
    min_moved: float = Field(0.9, ge=0, le=1, description="of copies that were moved, turned, enlarged, amplified or smoothed, that the screen has to catch; the worst kind decides")
    max_auc: float = Field(0.55, ge=0.5, le=1, description="of any membership attack; below one half as far: an attacker turns the score round")
    max_caught: float = Field(0.05, ge=0, le=1, description="members caught at 1 % false alarms")
    max_excess: float = Field(0.05, ge=0, le=1, description="clips that a screen rejects beyond what it rejects of strangers")
    max_risk: float = Field(0.1, ge=0, le=1, description="singling out, linkability, inference, beyond the control")
    min_copying_z: float = Field(-3.0, le=0, description="of C_T")
    max_epsilon: float = Field(1.0, ge=0, le=_WEIGHT, description="lower bound that canaries may show")
    max_dp_epsilon: float = Field(10.0, ge=0, le=_WEIGHT, description="that the generators may have spent where they were trained with differential privacy")
    required: tuple[Literal["canaries", "dp", "weights"], ...] = Field(
        (), description="checks without which there is no release; else they may be skipped, which the passport reports"
    )


class PrivacySection(Section):
    """Differential privacy of the generators, patient by patient (privacy/budget.py). The other networks that a release stands on are then those it starts from, which saw no patient of the cohort."""

    epsilon: float = Field(0.0, ge=0, description="bound on what all trainings of the generators give away; 0 = no differential privacy")
    delta: float = Field(0.0, ge=0, lt=1, description="0 = a tenth of one over the number of training patients")
    clip: float = Field(1.0, gt=0, description="norm to which the gradient of a patient is clipped")
    parameters: Literal["all", "ends"] = Field(
        "ends", description="of a generator that learn: all, or only those before and after its blocks, a hundredth to a seventh of them, as every parameter takes on noise"
    )


class JointSection(Section):
    """A run of several cohorts (joint.py): names of studies in the same folder. The lead trains the autoencoder and the video model for all, `others` are those it trains for."""

    lead: str = ""
    others: tuple[str, ...] = Field((), max_length=1000)


class StudyConfig(Section):
    preset: str
    seed: int = Field(0, ge=-(2**63), lt=2**63)
    init: str = Field("simulated", description="simulated (the shipped weights), none, or a folder of weights")
    autoencoder: AutoencoderSection
    image: ImageSection
    reid: ReidSection
    video: VideoSection
    screen: ScreenSection = ScreenSection()
    synthesis: SynthesisSection
    evaluation: EvaluationSection
    segmentation: SegmentationSection = SegmentationSection()
    audit: AuditSection = AuditSection()
    dp: PrivacySection = PrivacySection()
    joint: JointSection = JointSection()

    @model_validator(mode="after")
    def _one_rate(self) -> "StudyConfig":
        if self.screen.fps != self.video.fps:
            raise ValueError("screen.fps and video.fps must be the same: the screen compares held-out clips at the rate of the synthetic ones")
        return self

    @model_validator(mode="after")
    def _no_judge_of_its_own_choice(self) -> "StudyConfig":
        if self.synthesis.ef_tolerance and self.synthesis.reader == "study" and self.evaluation.judge == "trtr":
            raise ValueError("evaluation.judge must be held-out where synthesis.ef_tolerance is set: the regressor of TRTR has chosen the clips")
        return self

    @model_validator(mode="after")
    def _nothing_beside_the_budget(self) -> "StudyConfig":
        """What learns from patients without noise would make the statement false."""
        if not self.dp.epsilon:
            if self.synthesis.ef == "private":
                raise ValueError("synthesis.ef: private needs a budget; give --dp epsilon=8, or set synthesis.ef to mixed")
            return self
        if self.init == "none":
            raise ValueError("dp.epsilon: under differential privacy a training starts from public weights; give init simulated, or a folder")
        for name in ("autoencoder", "reid"):
            if getattr(self, name).training.steps:
                raise ValueError(f"dp.epsilon: {name}.training.steps must be 0, since the {name} learns without noise; give --dp epsilon={self.dp.epsilon:g}, which sees to it")
        if self.autoencoder.encoder != "frozen":
            raise ValueError("dp.epsilon: autoencoder.encoder must be frozen, since the scale of trained latents is measured on patients")
        if self.synthesis.ef in ("cohort", "balanced", "mixed"):
            raise ValueError(f"dp.epsilon: synthesis.ef must not be {self.synthesis.ef}, since the histogram of EFs is the patients'; set it to private or uniform")
        if self.synthesis.ef_tolerance and self.synthesis.reader == "study":
            raise ValueError("dp.epsilon: synthesis.reader must be simulated, since the study's regressor learns from patients without noise; or set synthesis.ef_tolerance to 0")
        if self.segmentation.enabled:
            raise ValueError("dp.epsilon: segmentation.enabled must be off, since volumes and tracings would be filled by a network and a pixel size from held-out patients")
        if self.joint.lead or self.joint.others:
            raise ValueError("dp.epsilon: several cohorts cannot share a budget; run each for itself")
        return self

    @model_validator(mode="after")
    def _something_to_start_from(self) -> "StudyConfig":
        for name in ("autoencoder", "image", "reid", "video"):
            if self.init == "none" and not getattr(self, name).training.steps:
                raise ValueError(f"{name}.training.steps is 0, and with init none there are no weights to start from; set some steps, or leave init out")
        return self


@dataclass(frozen=True)
class Steps:
    """One number a trained model: of steps, or of samples in a batch."""

    autoencoder: int
    image: int
    reid: int
    video: int
    evaluation: int


def _config(
    name: str,
    steps: Steps,
    batch: Steps,
    synthesis: SynthesisSection,
    network: DenoiserConfig = _COMPACT,
    encoder: str = "frozen",
    fine_tune: bool = False,
    autoencoder: dict | None = None,
    reid: dict | None = None,
    evaluation: dict | None = None,
    **others,
) -> StudyConfig:
    """A preset. Where its generators are meant to start from trained weights, their learning rates are a tenth of those of a start from nothing: the more they learn of few patients, the more their weights give away about them."""
    generator = dict(learning_rate=2e-4, muon_learning_rate=0.002) if fine_tune else dict(learning_rate=2e-3, muon_learning_rate=0.02)
    recipes = {
        "autoencoder": dict(learning_rate=1e-3, beta1=0.5),
        "image": generator,
        "reid": dict(learning_rate=2e-3, precision="fp32"),
        "video": generator,
        "evaluation": dict(learning_rate=3e-3),
    }
    training = {key: Training(steps=getattr(steps, key), batch_size=getattr(batch, key), **recipe) for key, recipe in recipes.items()}
    return StudyConfig(
        preset=name,
        autoencoder=AutoencoderSection(training=training["autoencoder"], encoder=encoder, adversarial_start=0.15 if fine_tune else 0.3, **(autoencoder or {})),
        image=ImageSection(network=network.model_copy(update=_STILL), training=training["image"]),
        reid=ReidSection(training=training["reid"], **(reid or {})),
        video=VideoSection(network=network, training=training["video"]),
        synthesis=synthesis,
        evaluation=EvaluationSection(training=training["evaluation"], **(evaluation or {})),
        **others,
    )


def _paper(width: str = "full") -> StudyConfig:
    """The published recipe (networks/paper.py), as far as it is published; docs/paper.md says what is not.

    "small" has a quarter of the channels and a budget for two cores: the same recipe, to be tried and compared, not the published result.
    """
    full = width == "full"
    widths = FULL if full else SMALL
    steps = Steps(150_000, 500_000, 50_000, 500_000, 16_800) if full else Steps(300, 600, 400, 300, 300)
    batch = Steps(64, 256, 128, 64, 20) if full else Steps(8, 32, 64, 4, 16)

    def train(name: str, rate: float, **others) -> Training:
        return Training(steps=getattr(steps, name), batch_size=getattr(batch, name), learning_rate=rate, **({"ema": 0.999, "decay": 0.0} | others))

    regressor = {"network": PaperRegressorConfig(), "training": train("evaluation", 1e-4, ema=0.0, decay=0.0, optimizer="sgd", weight_decay=1e-4)}
    return StudyConfig(
        preset="paper",
        init="none",
        autoencoder=AutoencoderSection(network=PaperConfig(widths=widths), training=train("autoencoder", 3e-4), adversarial_start=1 / 3),
        image=ImageSection(network=PaperGeneratorConfig(widths=widths, frames=1), training=train("image", 3e-4)),
        # Batch statistics of a few numbers overflow in bfloat16.
        reid=ReidSection(network=PaperReidConfig(), training=train("reid", 1e-4, precision="fp32"), moved=0),
        video=VideoSection(network=PaperGeneratorConfig(widths=widths), training=train("video", 1e-4 if full else 3e-4), ef_balance=0.0),
        screen=ScreenSection(protocol="paper"),
        synthesis=SynthesisSection(videos=0, frames=192, steps=64, image_steps=64, ef="uniform", long_videos="windowed"),
        evaluation=EvaluationSection(**regressor) if full else PRESETS["demo"].evaluation,
        segmentation=SegmentationSection(enabled=full),
    )


def preset(name: str, width: str | None = None) -> StudyConfig:
    """The configuration of a preset; `width` is for "paper": full, or small. Raises InputError that lists the presets when there is none of that name."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    if width is None:
        return PRESETS[name]
    if name != "paper":
        raise InputError(f"--width {width}: only the preset paper comes in widths; leave it out, or add --preset paper")
    if width not in ("full", "small"):
        raise InputError(f"--width {width}: choose full or small")
    return _paper(width)


def parse(values: dict, source: str) -> StudyConfig:
    """A configuration from a mapping (study.yaml, or a preset with options laid over it); raises InputError naming the option."""
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = [str(part) for part in first["loc"] if part not in ("compact", "paper")]  # which of two networks it was, pydantic adds
        where = f"option {clean('.'.join(path), 200)}: " if path else ""
        raise InputError(f"{source}: {where}{clean(first['msg'].removeprefix('Value error, '), 1000)}") from error


class _Loader(yaml.SafeLoader):
    """Plain YAML: without anchors and aliases, with which a few lines can stand for any number of values."""

    def compose_node(self, parent: yaml.Node, index: Any) -> yaml.Node:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: an anchor or alias; write the values out")
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file. Raises InputError when it holds anything else, is damaged, too large or no regular file, OSError when it is missing."""
    try:
        values = yaml.load(read_bytes(path, MAX_YAML).decode("utf-8"), _Loader)
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(f"{path}: not YAML that echosynth wrote (nested too deeply); restore it, or make it again") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError) as error:  # PyYAML lets through what its makers of numbers and dates raise
        raise InputError(f"{path}: damaged, not YAML ({clean(' '.join(str(error).split()))}); restore it, or make it again") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a mapping of options; restore it, or make it again")
    return values


_QUICK = {"seeds": 1, "judge": "trtr", "trainings": (), "curve": (), "clips": 64}  # an evaluation that trains nothing but TRTR and TSTR

PRESETS: dict[str, StudyConfig] = {
    "smoke": _config(
        "smoke",
        Steps(autoencoder=6, image=6, reid=12, video=6, evaluation=10),
        Steps(autoencoder=8, image=16, reid=32, video=4, evaluation=8),
        SynthesisSection(videos=12, frames=32, steps=4, image_steps=4),
        reid=dict(moved=2),
        screen=ScreenSection(planted_images=8, planted_videos=2),
        evaluation=dict(seeds=2, curve=(0.5, 4.0), clips=16),
        audit=AuditSection(planted=4, pixel_steps=5),
        segmentation=SegmentationSection(network=SegmenterConfig(size=32, width=8), training=SEGMENTER_TRAINING.model_copy(update={"steps": 10, "batch_size": 8})),
    ),
    "demo": _config(
        "demo",
        # The shipped re-identification encoder knows more patients than a small cohort has, and tells unseen ones apart the better for it.
        Steps(autoencoder=100, image=50, reid=0, video=10, evaluation=300),
        Steps(autoencoder=16, image=64, reid=128, video=16, evaluation=16),
        # Errors in EF flatten what a regressor learns, most where a histogram has a peak.
        SynthesisSection(videos=0, steps=2, image_steps=2, ef="mixed", ef_tolerance=5.0),
        fine_tune=True,
        evaluation=_QUICK | {"judge": "held-out", "seeds": 3, "clips": 240},
        segmentation=SegmentationSection(enabled=False),
        screen=ScreenSection(alpha=0.03),  # the promise holds on average over calibrations; from 60 patients a rate of 0.05 often measures above 0.07
    ),
    "full": _config(
        "full",
        Steps(autoencoder=50_000, image=100_000, reid=20_000, video=200_000, evaluation=20_000),
        Steps(autoencoder=128, image=256, reid=256, video=64, evaluation=32),
        SynthesisSection(videos=0, frames=192, steps=16, image_steps=16),
        network=_COMPACT.model_copy(update={"dim": 384, "depth": 12, "heads": 6}),
        encoder="trained",  # these generators are too large for the shipped weights, so nothing binds them to the latents those know
    ),
    "pretrain": _config(
        "pretrain",
        Steps(autoencoder=1_500, image=1_200, reid=600, video=2_200, evaluation=1_000),
        Steps(autoencoder=32, image=64, reid=128, video=16, evaluation=16),
        SynthesisSection(videos=64),
        autoencoder=dict(adversarial_weight=0.0),  # the fine-tune of the decoder brings the texture
        init="none",
    ),
}
PRESETS["paper"] = _paper()


def changes(a: dict, b: dict, path: str = "") -> Iterator[str]:
    """The entries in which two nested mappings differ, in words: "video.fps was 32.0, is 24.0 now"."""
    for name in (*a, *(key for key in b if key not in a)):
        x, y = a.get(name), b.get(name)
        if isinstance(x, dict) and isinstance(y, dict):
            yield from changes(x, y, f"{path}{name}.")
        elif x != y:
            yield f"{path}{name} was {x}, is {y} now"
