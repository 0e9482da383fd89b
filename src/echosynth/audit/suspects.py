"""Which of the clips are copies: what the screens say of them now, and how well these see copies that are planted for the purpose."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest
from torch import Tensor

from echosynth.audit.looks import Looks
from echosynth.audit.membership import People
from echosynth.audit.pixels import evenly
from echosynth.cohort.echonet import Cohort
from echosynth.generative.objective import Generator, draw_videos
from echosynth.networks.autoencoder import Autoencoder, decode_clip, encode_clip
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.handmade import embed_handmade, embed_motion
from echosynth.privacy.multiple import adjusted, operating_point
from echosynth.privacy.planted import NEAR, OTHER_EF, VIDEO_KINDS, Kind, OtherEf, copies, power_curve
from echosynth.privacy.protocols import Protocols
from echosynth.privacy.screen import Screen, rate
from echosynth.progress import progress
from echosynth.randomness import normal, numpy_rng, torch_rng
from echosynth.stages.reid import original
from echosynth.study import Study

JUDGES = {"judge": "handmade", "motion": "motion"}  # screens that took no part in the filtering, and their eyes
OTHER_EF_CLIPS = 12  # the generator has to draw each of them


@dataclass(frozen=True)
class Eyes:
    """The networks of a study that look at clips and make them."""

    autoencoder: Autoencoder
    reid: ReidEncoder
    video: Generator


@dataclass(frozen=True)
class Planted:
    """One copy planted: of which kind, and what each screen that has an eye for it says, (score, rejected)."""

    kind: Kind
    seen: dict[str, tuple[float, bool]]


def suspects(study: Study, screened: pd.DataFrame, people: People, synthetic: Looks, real: Looks, cohort: Cohort, eyes: Eyes) -> tuple[pd.DataFrame, dict]:
    """Verdicts on every synthetic clip: the calibrated screen's, those of the judge and of the eye for motion, which took no part in the filtering, and whether it lies as near as planted copies do.

    A clip is named a copy where the screen or the judge scores it above the line that the wanted share of planted near-copies reaches and above every held-out patient who did not
    calibrate: a line that strangers cross would name them. Motion names nobody: strangers beat alike.
    """
    section, split = study.config.audit, people.clips["split"].to_numpy()
    test = np.flatnonzero(split == "TEST")
    screens = {"calibrated": Protocols.load(study.verified("reid")).calibrated}
    screens |= {name: screen for name, eye in JUDGES.items() if len(synthetic.rows[eye]) and (screen := _fit(people, real, eye, study.config.screen.alpha))}
    known = pd.read_parquet(study.verified("reid", "scores.parquet") / "scores.parquet")
    strangers = {
        "calibrated": known.loc[(known["kind"] == "held-out test") & (known["sample"] == "video"), "score"].to_numpy(),
        "judge": np.array([screens["judge"].score(real.of("handmade", row)) for row in test]),
    }
    table = screened.copy()
    kept = {"calibrated": table["calibrated"].to_numpy(bool)}
    for name, eye in JUDGES.items():
        if name in screens:  # a clip too short to move has no verdict by its motion
            found = {row: screens[name].verdict(rows) for row in range(synthetic.clips) if len(rows := synthetic.of(eye, row))}
            kept[name] = np.array([one.kept for one in found.values()])
            for column in ("kept", "score", "p"):
                table[f"{name}_{column}"] = pd.Series({row: getattr(one, column) for row, one in found.items()}).reindex(range(len(table))).to_numpy()
    scores = {"calibrated": table["score"].to_numpy(), "judge": table["judge_score"].to_numpy()}
    planted = _plant(study, people.clips.iloc[np.flatnonzero(split == "TRAIN")], cohort, eyes, screens)
    told, copied = {"clips": len(table)}, np.zeros(len(table), bool)
    for name, screen in screens.items():
        count, judged = int((~kept[name]).sum()), len(kept[name])
        told[name] = {
            "rejected": rate(count, judged)._asdict(),
            "allowed": screen.level,
            "p_excess": float(binomtest(count, judged, screen.level, alternative="greater").pvalue),
        }
        if name not in scores:
            continue
        near = [np.array([one.seen[name][0] for one in planted if one.kind == kind]) for kind in NEAR]
        point = operating_point(near, strangers[name], np.full(len(strangers[name]), 1.0), section.copy_recall)
        line = max(point.threshold, float(strangers[name].max(initial=-1.0)))
        copied |= scores[name] > line
        told[name] |= {"copy_threshold": line, "copies_caught": min(rate(int((made > line).sum()), len(made)) for made in near)._asdict()}
    table = table.assign(copy=copied, adjusted=adjusted(table["p"].to_numpy()))
    told |= {"copies": table.loc[table["copy"], "name"].tolist(), "flagged_at_5_percent": int((table["adjusted"] <= 0.05).sum()), "power": _power(planted, screens)}
    return table, told


def _fit(people: People, real: Looks, eye: str, alpha: float) -> Screen | None:
    """A screen by this eye: TRAIN patients in the gallery, VAL patients calibrate. None where no clip of a side has a row."""
    split, patients = people.clips["split"].to_numpy(), people.clips["patient"].to_numpy()
    rows = [real.of(eye, row) for row in range(real.clips)]
    train, calibration = ([row for row in np.flatnonzero(split == name) if len(rows[row])] for name in ("TRAIN", "VAL"))
    if not train or not calibration:
        return None
    return Screen.fit(torch.cat([rows[row] for row in train]), [rows[row] for row in calibration], patients[calibration], alpha)


@torch.inference_mode()
def _plant(study: Study, train: pd.DataFrame, cohort: Cohort, eyes: Eyes, screens: dict[str, Screen]) -> list[Planted]:
    """Copies of some training clips in all the ways that videos can be copied, and the screens' verdicts on them."""
    options, seed, size = study.config.screen, study.config.seed, 8 * eyes.reid.config.size
    chosen = train.iloc[numpy_rng(seed, "audit planted").permutation(len(train))[: study.config.audit.planted]]
    planted = []
    with progress("planted copies", len(chosen)) as advance:
        for number, (_, clip) in enumerate(chosen.iterrows()):
            rng = numpy_rng(seed, f"audit planted {clip['name']}")
            source = original(cohort, clip, options.frames, options.fps, size, rng)
            strangers = train[train["patient"] != clip["patient"]]
            other = original(cohort, strangers.iloc[int(rng.integers(len(strangers)))], options.frames, options.fps, size, rng) if len(strangers) else source
            kinds = (*NEAR, *VIDEO_KINDS, *(OTHER_EF if number < OTHER_EF_CLIPS and clip["ef"] == clip["ef"] else ()))
            animate = _animate(study, eyes, float(clip["ef"]), number)
            for kind, (made,) in copies([source], [rng], eyes.autoencoder, kinds, [other], animate):
                seen = encode_clip(eyes.autoencoder, screens["calibrated"].looked_at(made))
                looks = {"calibrated": eyes.reid.embed(seen).float().cpu(), "judge": embed_handmade(evenly(made))}
                if "motion" in screens and (moving := _moving(made, min(options.fps, clip["fps"]))) is not None:
                    looks["motion"] = moving
                verdicts = {name: screens[name].verdict(rows) for name, rows in looks.items()}
                planted.append(Planted(kind, {name: (verdict.score, not verdict.kept) for name, verdict in verdicts.items()}))
            advance()
    return planted


def _moving(clip: np.ndarray, fps: float) -> Tensor | None:
    try:
        return embed_motion(clip, fps)
    except ValueError:
        return None


def _animate(study: Study, eyes: Eyes, ef: float, number: int) -> OtherEf:
    """Makes a clip of the same anatomy at another EF, as a careless user of the video model would: a patient's own frame for the anchor."""
    options, seed = study.config.synthesis, study.config.seed

    def animate(clip: np.ndarray, miss: float, rng: np.random.Generator) -> np.ndarray:
        anchor = encode_clip(eyes.autoencoder, clip[:1])
        wanted = ef + miss if ef + miss <= 90 else ef - miss
        shape = (eyes.video.config.frames, *anchor.shape[1:])

        def noise(window: int) -> Tensor:
            return normal(seed, "audit other EF", number, int(miss), window, shape=shape)[None].to(anchor.device)

        labels = torch.full((1, eyes.video.config.labels), wanted / 100, device=anchor.device)
        rngs = [torch_rng(seed, "audit other EF steps", number, int(miss))]
        latents = draw_videos(eyes.video, noise, anchor, labels, len(clip), options.steps, options.guidance, rngs)
        return decode_clip(eyes.autoencoder, latents[0])

    return animate


def _power(planted: list[Planted], screens: dict[str, Screen]) -> list[dict]:
    """How many copies of each kind and strength each screen rejects, with intervals."""
    curves = {name: power_curve((one.kind, one.seen[name][1]) for one in planted if name in one.seen) for name in screens}
    return [{"screen": name, "kind": kind.name, "strength": kind.strength, "near": kind.near} | found._asdict() for name, curve in curves.items() for kind, found in curve.items()]
