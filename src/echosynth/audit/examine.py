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
from echosynth.audit.looks import Looks, look
from echosynth.audit.membership import People, dataset_attacks, weight_attacks
from echosynth.cohort.echonet import Cohort, read_cohort
from echosynth.cohort.latents import LatentStore
from echosynth.errors import InputError
from echosynth.files import atomic_file, read_json, write_json
from echosynth.privacy.canaries import audit as guess_coins
from echosynth.privacy.multiple import adjusted, operating_point
from echosynth.privacy.risks import none_seen
from echosynth.privacy.screen import Screen, rate
from echosynth.randomness import numpy_rng
from echosynth.stages.screening import screen
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

    screened = screen(study, made.root, "calibrated", folder / "screening.parquet")
    paths = [cohort.path(name) for name in people.clips["name"]], [made.path(name) for name in made.clips["name"]]
    real, synthetic = (
        look(some, networks["autoencoder"], networks["reid"], study.config.screen.fps, title, device) for some, title in zip(paths, ("real clips", "synthetic clips"), strict=True)
    )
    table, about = _suspects(study, screened, people, real, synthetic)
    with atomic_file(folder / "clips.parquet") as partial:
        table.to_parquet(partial, index=False)
    (folder / "screening.parquet").unlink()

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


def _people(cohort: Cohort, canaries, most: int, seed: int) -> People:
    """At most `most` clips of members and as many of strangers, whole patients; canaries that were left out are strangers, not in the table of the splits."""
    clips = cohort.clips.assign(patient=cohort.clips["patient"].astype(str))
    truth = cohort.root / "truth.parquet"
    if truth.exists():  # a simulated cohort
        clips = clips.merge(pd.read_parquet(truth, columns=["name", "phenotype"]), on="name", how="left")
    kept = []
    for member in (True, False):
        side = clips[(clips["split"] == "TRAIN") == member]
        order = numpy_rng(seed, "audited", int(member)).permutation(np.unique(side["patient"]))
        counts = side.groupby("patient").size().loc[order].cumsum()
        kept += counts[(counts <= most) | (np.arange(len(counts)) == 0)].index.tolist()
    return People(clips[clips["patient"].isin(kept)].reset_index(drop=True))


def _suspects(study: Study, screened: pd.DataFrame, people: People, real: Looks, synthetic: Looks) -> tuple[pd.DataFrame, dict]:
    """Verdicts on every synthetic clip: the calibrated screen's, whether it lies as near as planted copies do, and the judge's, which took no part in the filtering."""
    folder, options = study.folder("reid"), study.config.screen
    planted, scores = pd.read_parquet(folder / "planted.parquet"), pd.read_parquet(folder / "scores.parquet")
    near = planted[(planted["sample"] == "video") & planted["near"]]
    strangers = scores.loc[(scores["kind"] == "held-out test") & (scores["sample"] == "video"), "score"].to_numpy()
    point = operating_point(
        [part["score"].to_numpy() for _, part in near.groupby(["kind", "strength"])],
        strangers,
        np.full(len(strangers), study.summary("reid")["summary"]["n_test"] / len(strangers)),
        study.config.audit.copy_recall,
    )
    split = people.clips["split"].to_numpy()
    train, calibration = np.flatnonzero(split == "TRAIN"), np.flatnonzero(split == "VAL")
    gallery, _ = real.of("handmade", train)
    held_out = [real.of("handmade", np.array([row]))[0] for row in calibration]
    judge = Screen.fit(gallery, held_out, people.clips["patient"].to_numpy()[calibration], options.alpha)
    verdicts = [judge.verdict(synthetic.of("handmade", np.array([row]))[0], "video") for row in range(synthetic.clips)]
    # A copy lies above what any planted copy's threshold asks, and above every stranger: a line that strangers cross would name them.
    line = max(point.threshold, float(strangers.max(initial=-1.0)))
    table = screened.assign(
        copy=screened["score"] > line, judged=[one.kept for one in verdicts], judge_score=[float(one.score) for one in verdicts], judge_p=[one.p for one in verdicts]
    )
    table["adjusted"] = adjusted(table["p"].to_numpy())
    level = max(options.alpha, 1 / (study.summary("reid")["summary"]["n_calibration"] + 1))
    told = {
        "clips": len(table),
        "copies": table.loc[table["copy"], "name"].tolist(),
        "copy_threshold": line,
        "copy_recall": point.recall._asdict(),
        "copy_recall_assured": point.assured,
    }
    for name, rejected, allowed in (("calibrated", ~table["calibrated"], level), ("judge", ~table["judged"], judge.level)):
        count = int(rejected.sum())
        excess = float(binomtest(count, len(table), allowed, alternative="greater").pvalue)
        told[name] = {"rejected": rate(count, len(table))._asdict(), "allowed": allowed, "p_excess": excess}
    told["flagged_at_5_percent"] = int((table["adjusted"] <= 0.05).sum())
    return table, told


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
