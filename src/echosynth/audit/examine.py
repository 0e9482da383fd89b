"""The verb `audit`: looks at the clips that lie in the study's synthetic cohort now, whatever was screened when they were made, and leaves everything it found in STUDY/audit."""

from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest

from echosynth import __version__
from echosynth.audit import harms
from echosynth.audit.chain import chain, clip_hashes, splits
from echosynth.audit.gate import decide
from echosynth.audit.looks import Looks, evenly, look
from echosynth.audit.membership import People, dataset_attacks, weight_attacks
from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.cohort.latents import LatentStore
from echosynth.errors import InputError
from echosynth.files import atomic_file, read_json, write_json
from echosynth.networks.autoencoder import Autoencoder, encode_clip
from echosynth.networks.reid import ReidEncoder
from echosynth.privacy.canaries import Canaries
from echosynth.privacy.canaries import audit as guess_coins
from echosynth.privacy.handmade import embed_handmade
from echosynth.privacy.multiple import adjusted, operating_point
from echosynth.privacy.planted import NEAR, copies
from echosynth.privacy.protocols import Protocols
from echosynth.privacy.risks import none_seen
from echosynth.privacy.screen import Screen, rate
from echosynth.progress import progress
from echosynth.randomness import numpy_rng
from echosynth.stages.reid import original
from echosynth.stages.screening import judge_clips
from echosynth.stages.start import canaries_of, cohort_of, trained
from echosynth.study import Study

RESULT = "audit.json"


def audit(study: Study) -> dict:
    """Screens, attacks and measures what lies in `synthetic/` now, decides (gate.py), and returns what is in STUDY/audit/audit.json.

    Leaves clips.parquet beside it, a row a synthetic clip with the verdicts on it: private, scores leak what they compare with. Raises InputError when the study has no synthetic cohort.
    """
    folder, section, seed = study.folder("audit"), study.config.audit, study.config.seed
    cohort, made = cohort_of(study), read_cohort(study.folder("synthetic"), splits=False)
    hashes = clip_hashes(made.root)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = {name: trained(study, name, device) for name in ("autoencoder", "reid", "image", "video")}
    people = _people(cohort, canaries_of(study), section.clips, seed)

    screened = judge_clips(study, made, "calibrated")
    paths = [cohort.path(name) for name in people.clips["name"]], [made.path(name) for name in made.clips["name"]]
    real, synthetic = (
        look(some, networks["autoencoder"], networks["reid"], study.config.screen.fps, title, device) for some, title in zip(paths, ("real clips", "synthetic clips"), strict=True)
    )
    table, about = _suspects(study, screened, people, synthetic, real, cohort, networks["autoencoder"], networks["reid"])
    with atomic_file(folder / "clips.parquet") as partial:
        table.to_parquet(partial, index=False)

    by_clips, scores = dataset_attacks(people, real, synthetic, seed)
    attacks = by_clips + (
        weight_attacks(people, LatentStore.open(study.folder("latents")), networks["image"], networks["video"], study.config.video.fps, seed) if section.weights else []
    )
    found = {
        "version": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "chain": chain(study, hashes),
        "splits": splits(cohort),
        "screening": about,
        "planted": {
            key: value for key, value in study.summary("reid")["summary"].items() if key.startswith(("planted", "false_rejection", "published", "auc", "warning", "level"))
        },
        "attacks": [attack.as_dict() for attack in attacks],
        "harms": harms.harms(people, real, synthetic, made.clips["ef"].to_numpy(float), seed),
        "canaries": _canaries(study, scores),
        "none_seen": none_seen(len(made.clips))._asdict(),
        "thresholds": section.model_dump(mode="json"),
    }
    found["gate"] = asdict(decide(found, section))
    write_json(folder / RESULT, found)
    return found


def last_audit(study: Study) -> dict:
    """What the last audit found; raises InputError when there was none, or the synthetic cohort is no longer the one it saw."""
    try:
        found = read_json(study.folder("audit") / RESULT)
    except FileNotFoundError:
        raise InputError(f"{study.root}: no audit yet; run: echosynth audit {study.root}") from None
    if chain(study, clip_hashes(study.folder("synthetic")))["release"] != found["chain"]["release"]:
        raise InputError(f"{study.root}: the synthetic cohort is no longer the one that was audited; run: echosynth audit {study.root}")
    return found


def _people(cohort: Cohort, canaries: Canaries | None, most: int, seed: int) -> People:
    """At most `most` clips of members and as many of strangers, whole patients, and all canaries: those left out are strangers."""
    clips = cohort.clips.assign(patient=cohort.clips["patient"].astype(str))
    truth = cohort.root / "truth.parquet"
    if truth.exists():  # a simulated cohort
        clips = clips.merge(pd.read_parquet(truth, columns=["name", "phenotype"]), on="name", how="left")
    kept = list(canaries.patients) if canaries else []
    for member in (True, False):
        side = clips[(clips["split"] == "TRAIN") == member]
        order = numpy_rng(seed, "audited", int(member)).permutation(np.unique(side["patient"]))
        counts = side.groupby("patient").size().loc[order].cumsum()
        kept += counts[(counts <= most) | (np.arange(len(counts)) == 0)].index.tolist()
    return People(clips[clips["patient"].isin(kept)].reset_index(drop=True))


def _suspects(
    study: Study, screened: pd.DataFrame, people: People, synthetic: Looks, real: Looks, cohort: Cohort, autoencoder: Autoencoder, encoder: ReidEncoder
) -> tuple[pd.DataFrame, dict]:
    """Verdicts on every synthetic clip: the calibrated screen's, the judge's, which took no part in the filtering, and whether either sees it as near as planted copies are.

    A clip is named a copy where it scores above the line that the wanted share of planted near-copies reaches and above every held-out patient who did not calibrate: a line that strangers cross would name them.
    """
    section, alpha, split = study.config.audit, study.config.screen.alpha, people.clips["split"].to_numpy()
    train, calibration, test = (np.flatnonzero(split == name) for name in ("TRAIN", "VAL", "TEST"))
    frames = [real.of("handmade", row) for row in range(real.clips)]
    judge = Screen.fit(torch.cat([frames[row] for row in train]), [frames[row] for row in calibration], people.clips["patient"].to_numpy()[calibration], alpha)
    screens = {"calibrated": Protocols.load(study.folder("reid")).calibrated, "judge": judge}
    known = pd.read_parquet(study.folder("reid") / "scores.parquet")
    strangers = {
        "calibrated": known.loc[(known["kind"] == "held-out test") & (known["sample"] == "video"), "score"].to_numpy(),
        "judge": np.array([judge.score(frames[row]) for row in test]),
    }
    verdicts = [judge.verdict(synthetic.of("handmade", row), "video") for row in range(synthetic.clips)]
    table = screened.assign(judged=[one.kept for one in verdicts], judge_score=[float(one.score) for one in verdicts], judge_p=[one.p for one in verdicts])
    scores = {"calibrated": table["score"].to_numpy(), "judge": table["judge_score"].to_numpy()}
    kept = {"calibrated": table["calibrated"].to_numpy(bool), "judge": table["judged"].to_numpy(bool)}
    planted = _planted(study, people.clips.iloc[train], cohort, autoencoder, encoder, screens)
    told, copied = {"clips": len(table)}, np.zeros(len(table), bool)
    for name, screen_ in screens.items():
        point = operating_point(planted[name], strangers[name], np.full(len(strangers[name]), 1.0), section.copy_recall)
        line = max(point.threshold, float(strangers[name].max(initial=-1.0)))
        copied |= scores[name] > line
        count = int((~kept[name]).sum())
        told[name] = {
            "rejected": rate(count, len(table))._asdict(),
            "allowed": screen_.level,
            "p_excess": float(binomtest(count, len(table), screen_.level, alternative="greater").pvalue),
            "copy_threshold": line,
            "copies_caught": min(rate(int((made > line).sum()), len(made)) for made in planted[name])._asdict(),
        }
    table = table.assign(copy=copied, adjusted=adjusted(table["p"].to_numpy()))
    told |= {"copies": table.loc[table["copy"], "name"].tolist(), "flagged_at_5_percent": int((table["adjusted"] <= 0.05).sum())}
    return table, told


def _planted(study: Study, train: pd.DataFrame, cohort: Cohort, autoencoder: Autoencoder, encoder: ReidEncoder, screens: dict[str, Screen]) -> dict[str, list[np.ndarray]]:
    """Scores of near-copies of some training clips, by screen and kind."""
    options, seed = study.config.screen, study.config.seed
    chosen = train.iloc[numpy_rng(seed, "audit planted").permutation(len(train))[: study.config.audit.planted]]
    scores: dict[str, list[list[float]]] = {name: [[] for _ in NEAR] for name in screens}
    with progress("planted copies", len(chosen)) as advance, torch.inference_mode():
        for _, clip in chosen.iterrows():
            rng = numpy_rng(seed, f"audit planted {clip['name']}")
            source = original(cohort, clip, options.frames, options.fps, 8 * encoder.config.size, rng)
            for number, (_, (made,)) in enumerate(copies([source], [rng], autoencoder, NEAR)):
                scores["calibrated"][number].append(screens["calibrated"].score(encoder.embed(encode_clip(autoencoder, made)).float().cpu()))
                scores["judge"][number].append(screens["judge"].score(embed_handmade(evenly(made))))
            advance()
    return {name: [np.array(kind) for kind in kinds] for name, kinds in scores.items()}


def _canaries(study: Study, scores: dict) -> dict | None:
    """The lower bound on epsilon that the attacks on the clips show, the best of them paid for (Bonferroni); None where no coin was tossed."""
    tossed = canaries_of(study)
    if tossed is None:
        return None
    bounds = []
    for name, found in scores.items():
        known = dict(zip(found.patients.tolist(), found.scores, strict=True))
        if all(patient in known for patient in tossed.patients):
            confidence = 1 - 0.05 / len(scores)
            bounds.append(guess_coins(np.array([known[patient] for patient in tossed.patients]), tossed.inside, confidence=confidence).as_dict() | {"attack": name})
    return max(bounds, key=lambda bound: bound["epsilon"]) if bounds else None
