"""Membership inference against a study: from the released clips alone, and from the weights. Members are the training patients, strangers the held-out ones."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from echosynth.audit.looks import EYES, Looks
from echosynth.cohort.latents import LatentStore, frame_indices
from echosynth.generative.objective import Generator
from echosynth.networks.denoiser import DenoiserConfig
from echosynth.privacy.attacks import AttackResult, PatientScores, by_patient, membership
from echosynth.privacy.ef_law import ef_score
from echosynth.privacy.probes import (
    Batch,
    cross_fitted,
    diffusion_error,
    diffusion_norm,
    diffusion_reconstruction,
    excess_variance,
    flow_error,
    flow_norm,
    flow_reconstruction,
    nearest_scores,
    probe,
    votes,
)
from echosynth.progress import progress
from echosynth.randomness import numpy_rng

TIMES = (0.1, 0.3, 0.6)  # at which the denoising loss is asked for
MIDDLE_TIME = 0.4  # from which images are reconstructed
LOW_EF = 40.0


@dataclass(frozen=True)
class People:
    """The patients of an audit: `clips` has one row a clip (name, patient, split, ef; phenotype where known), the places of `Looks`."""

    clips: pd.DataFrame

    def patients(self, member: bool) -> np.ndarray:
        """Labels of the members, or of the strangers, sorted."""
        inside = (self.clips["split"] == "TRAIN").to_numpy()
        return np.unique(self.clips["patient"].astype(str)[inside == member])

    def of_split(self, split: str) -> int:
        """How many patients a split has."""
        return int(self.clips.loc[self.clips["split"] == split, "patient"].nunique())

    def sides(self, scores: PatientScores) -> tuple[np.ndarray, np.ndarray]:
        """Scores of members and of strangers, in the order of `patients`; raises KeyError for one without a score."""
        known = dict(zip(scores.patients.tolist(), scores.scores, strict=True))
        return tuple(np.array([known[patient] for patient in self.patients(member)]) for member in (True, False))

    def strata(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Groups of patients, bool over members and strangers: low EF, and every phenotype that is known; of a group, five members and strangers at least."""
        first = self.clips.assign(patient=self.clips["patient"].astype(str)).groupby("patient").first()
        groups = {f"EF < {LOW_EF:g}": first["ef"] < LOW_EF}
        if "phenotype" in first:
            groups |= {str(name): first["phenotype"] == name for name in first["phenotype"].dropna().unique()}
        found = {name: tuple(group.loc[self.patients(member)].to_numpy() for member in (True, False)) for name, group in groups.items()}
        return {name: pair for name, pair in found.items() if min(side.sum() for side in pair) >= 5}


LEFT_OUT = {
    "siamese": "the siamese encoder learnt from the members and began from nothing: to it they would look unlike strangers, whatever was released",
    "motion": "no clip shows its motion",
}


def left_out(real: Looks, synthetic: Looks) -> dict[str, str]:
    """Attacks that `dataset_attacks` cannot try, and why."""
    why = {"motion": synthetic.no_motion or real.no_motion}
    return {
        f"nearest sample, {eye}": ": ".join(filter(None, [words, why.get(eye)])) for eye, words in LEFT_OUT.items() if not len(real.rows[eye]) or not len(synthetic.rows[eye])
    }


def dataset_attacks(people: People, real: Looks, synthetic: Looks, asked: np.ndarray, seed: int) -> tuple[list[AttackResult], dict[str, PatientScores]]:
    """Attacks with the release alone: how near the nearest sample comes, by each eye; whom the samples point at; the EF column, `asked` (S,), percent; and a classifier on all of these. Also the
    scores that each attack gave."""
    patients, scores = people.clips["patient"].astype(str).to_numpy(), {}
    for eye in EYES:
        if not len(real.rows[eye]) or not len(synthetic.rows[eye]):
            continue
        near, owner = nearest_scores(real.rows[eye], synthetic.rows[eye]), real.owner[eye]
        if eye == "motion":
            near, owner = best_windows(near, owner)
        scores[f"nearest sample, {eye}"] = by_patient(near, patients[owner])
    # votes: as many rows a side, or the larger side has more to be hit
    chosen = _even(people, real.owner["handmade"], seed)
    found = votes(real.rows["handmade"][torch.from_numpy(chosen)], patients[real.owner["handmade"][chosen]], synthetic.rows["handmade"], synthetic.owner["handmade"])
    scores["votes, handmade"] = found
    ef = people.clips["ef"].to_numpy(float)
    known = ~np.isnan(ef)
    if known.any() and not np.isnan(asked).all():
        scores["EF column"] = by_patient(ef_score(ef[known], asked[~np.isnan(asked)]), patients[known])
    return _results(people, scores, "dataset", seed), scores


def best_windows(scores: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of scores (N,) of windows, the highest of each clip, and the clips, ascending; `owner` (N,) says which clip a window is of. Motion is compared at the phase where it fits best: the windows of a clip
    that begin elsewhere in the beat are unlike any copy, and their mean hides the one that is."""
    clips, number = np.unique(owner, return_inverse=True)
    best = np.full(len(clips), -np.inf)
    np.maximum.at(best, number, scores)
    return best, clips


def _even(people: People, owner: np.ndarray, seed: int) -> np.ndarray:
    """Rows such that members and strangers have equally many patients and every patient as many rows."""
    rng, patients = numpy_rng(seed, "even rows"), people.clips["patient"].astype(str).to_numpy()
    count = min(len(people.patients(True)), len(people.patients(False)))
    kept = set(np.concatenate([rng.permutation(people.patients(member))[:count] for member in (True, False)]))
    rows = pd.DataFrame({"row": np.arange(len(owner)), "patient": patients[owner]})
    rows = rows[rows["patient"].isin(kept)]
    least = int(rows.groupby("patient").size().min())
    return np.sort(np.concatenate([rng.permutation(group["row"].to_numpy())[:least] for _, group in rows.groupby("patient")]))


def weight_attacks(people: People, store: LatentStore, models: dict[str, Generator], public: dict[str, Generator], fps: float, seed: int) -> list[AttackResult]:
    """Attacks with the weights of the generators `models`: the denoising loss at several times, the error of reconstructions in the middle
    frequencies, the norm that one query finds, and a classifier on all of these. Every patient is asked about by one clip.

    `public` has the weights that a model's training started from, where anybody could have them: how much the loss has fallen since, by the same noise, tells a member better than the loss, which is
    small for ordinary hearts too (a reference model: Sablayrolles et al. 2019, arXiv 1908.11229; Watson et al. 2022, arXiv 2111.08440).
    """
    row_of = {name: row for row, name in enumerate(store.index["name"])}
    first = people.clips.assign(patient=people.clips["patient"].astype(str)).groupby("patient", sort=True).first()
    rows = np.array([row_of[name] for name in first["name"]])
    scores = {}
    with progress("attacks on the weights", 3 * len(models)) as advance:
        for name, model in models.items():
            flow = isinstance(model.config, DenoiserConfig)
            batch = partial(_batch, store, rows, model, fps)
            error = flow_error if flow else diffusion_error
            losses = probe(model, error, batch, len(rows), TIMES, seed)
            told = {"": losses}
            if name in public:
                told[" against its first weights"] = losses - probe(public[name], error, batch, len(rows), TIMES, seed)
            scores |= {
                f"denoising loss at {t:g}, {name} model{how}": PatientScores(first.index.to_numpy(), found[:, k]) for how, found in told.items() for k, t in enumerate(TIMES)
            }
            advance()
            rebuilt, middle = flow_reconstruction if flow else diffusion_reconstruction, f"mid-frequency reconstruction error, {name} model"
            errors = probe(model, rebuilt, batch, len(rows), (MIDDLE_TIME,), seed)
            scores[middle] = PatientScores(first.index.to_numpy(), errors[:, 0])
            if name in public:
                fallen = errors - probe(public[name], rebuilt, batch, len(rows), (MIDDLE_TIME,), seed)
                scores[f"{middle} against its first weights"] = PatientScores(first.index.to_numpy(), fallen[:, 0])
            advance()
            norms = probe(model, flow_norm if flow else diffusion_norm, batch, len(rows), TIMES[:1], seed)
            scores[f"SimA, {name} model"] = PatientScores(first.index.to_numpy(), norms[:, 0])
            advance()
    return _results(people, scores, "weights", seed)


def _batch(store: LatentStore, rows: np.ndarray, model: Generator, fps: float, samples: range) -> Batch:
    """The clips with these places in `rows`: the middle frame of each, or the window from its first frame on with that as the anchor, and its EF."""
    found = []
    for row in rows[samples.start : samples.stop]:
        clip = store.index.iloc[row]
        if model.config.frames == 1:
            data, valid = store.window(int(row), np.array([int(clip["frames"]) // 2])), np.ones(1, bool)
        else:
            frames, valid = frame_indices(0.0, model.config.frames, clip["fps"], fps, int(clip["frames"]))
            data = store.window(int(row), frames)
        label = torch.full((model.config.labels,), clip["ef"] / 100, dtype=torch.float32)
        found.append({"data": data, "labels": label, "weight": torch.from_numpy(valid.astype(np.float32))})
        if model.config.frames > 1:
            found[-1] |= {"anchor": data[0], "mask": torch.zeros(len(data), dtype=torch.bool)}
    return {key: torch.stack([one[key] for one in found]) for key in found[0]}


def _results(people: People, scores: dict[str, PatientScores], threat: str, seed: int) -> list[AttackResult]:
    """What each attack reaches, and a classifier on the scores of those that know every patient."""
    everybody, strata, results, features = set(people.clips["patient"].astype(str)), people.strata(), [], []
    for name, found in scores.items():
        if set(found.patients) == everybody:
            members, strangers = people.sides(found)
            results.append(membership(name, members, strangers, threat, strata))
            features.append((members, strangers))
        else:  # not all have a score: only those are counted, and no group
            inside = np.isin(found.patients, people.patients(True))
            if inside.any() and not inside.all():
                results.append(membership(name, found.scores[inside], found.scores[~inside], threat))
    if len(features) > 1 and min(map(len, features[0])) >= 5:
        members, strangers = (np.stack([pair[side] for pair in features], 1) for side in (0, 1))
        excess = excess_variance(members, strangers, seed)
        results.append(membership("classifier on all of these", *cross_fitted(members, strangers, seed), threat, strata, excess=excess))
    return results
