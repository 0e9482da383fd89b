"""What do the attacks say of a release that nobody trained? Their AUC has to be a half, and the interval has to hold 0.5 in 95 of 100 cases.

python -m benchmarks.attacks_null [--seeds 100] [--patients 300] [--clips 700]      simulated embeddings (below), all attacks on the clips alone, and their groups
python -m benchmarks.attacks_null --taught [--seeds 30]                              the same, beside an encoder that was taught on the members

Hearts are directions: a patient has one, two clips of a patient lie about it, and a synthetic clip is a heart of a patient who is neither member nor stranger. `--taught` looks at them through
a linear encoder, contrastively taught to know the members again, and through the same encoder before it was taught: why audit/examine.py takes the latter.
"""

import argparse

import numpy as np
import pandas as pd
import torch

from echosynth.audit.looks import EYES, Looks
from echosynth.audit.membership import People, dataset_attacks
from echosynth.privacy.attacks import AttackResult, by_patient, membership
from echosynth.privacy.ef_law import SmoothLaw
from echosynth.privacy.neighbours import unit
from echosynth.privacy.probes import nearest_scores
from echosynth.randomness import numpy_rng
from echosynth.training.reid import supervised_contrastive

DIMS, FRAMES, NOISE = {"siamese": 24, "handmade": 40, "pixels": 24, "motion": 16}, 4, 0.4
SHARES = (0.6, 0.8)  # of the patients who are members; with those who calibrate


def people_of(patients: int, rng: np.random.Generator) -> People:
    """Two clips of each patient; three in five are members."""
    ef = np.clip(np.where(rng.random(patients) < 0.78, rng.normal(61, 6.5, patients), rng.normal(40, 12, patients)), 6, 92).round(1)
    clips = pd.DataFrame({"patient": np.repeat(np.arange(patients), 2), "ef": np.repeat(ef, 2), "phenotype": np.repeat(rng.choice(["normal", "dilated"], patients), 2)})
    split = np.digitize(clips["patient"], [share * patients for share in SHARES])
    return People(clips.assign(split=np.array(["TRAIN", "VAL", "TEST"])[split], name=[f"C{i}" for i in range(len(clips))]))


def looks(hearts: dict[str, np.ndarray], rng: np.random.Generator) -> Looks:
    """Frames about the hearts (clips, D) of each encoder."""
    rows = {eye: unit(torch.from_numpy(np.repeat(heart, FRAMES, 0) + NOISE * rng.standard_normal((len(heart) * FRAMES, heart.shape[1])))) for eye, heart in hearts.items()}
    owner = np.repeat(np.arange(len(next(iter(hearts.values())))), FRAMES)
    return Looks(rows, dict.fromkeys(hearts, owner), len(owner) // FRAMES)


def released(patients: int, clips: int, seed: int) -> list[AttackResult]:
    """The attacks on a release of fresh hearts; the EFs are of the law of the members, as in a release."""
    rng = numpy_rng(seed, "benchmark null")
    people = people_of(patients, rng)
    hearts = {eye: np.repeat(rng.standard_normal((patients, DIMS[eye])), 2, 0) for eye in EYES}
    fresh = {eye: rng.standard_normal((clips, DIMS[eye])) for eye in EYES}
    members = people.clips[people.clips["split"] == "TRAIN"]
    asked = SmoothLaw.fit(members["ef"].to_numpy(), members["patient"].to_numpy()).draw(rng, clips)
    return dataset_attacks(people, looks(hearts, rng), looks(fresh, rng), asked, seed)[0]


def taught(members: torch.Tensor, patients: torch.Tensor, seed: int, steps: int = 150) -> tuple[torch.Tensor, torch.Tensor]:
    """A linear encoder (D, 16), and what it becomes by contrastive lessons on the rows (N, D) of the members."""
    start = torch.from_numpy(numpy_rng(seed, "benchmark encoder").standard_normal((members.shape[1], 16))).float() / 8
    weights = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([weights], 0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        supervised_contrastive(torch.nn.functional.normalize(members @ weights, dim=1), patients).backward()
        optimiser.step()
    return start, weights.detach()


def through_encoders(patients: int, clips: int, seed: int) -> dict[str, AttackResult]:
    """The nearest-sample attack on a release of fresh hearts, through an encoder taught on the members and through itself before."""
    rng = numpy_rng(seed, "benchmark taught")
    count = round(SHARES[0] * patients)
    rows = np.repeat(rng.standard_normal((patients, 64)), 2, 0) + 0.8 * rng.standard_normal((2 * patients, 64))
    real, made = torch.from_numpy(rows).float(), torch.from_numpy(rng.standard_normal((clips, 64)) + 0.8 * rng.standard_normal((clips, 64))).float()
    owner = torch.arange(patients).repeat_interleave(2)
    found = {}
    for name, weights in zip(("before", "taught on the members"), taught(real[: 2 * count], owner[: 2 * count], seed), strict=True):
        scores = by_patient(nearest_scores(unit(real @ weights), unit(made @ weights)), [f"{k:06}" for k in owner.tolist()]).scores
        found[f"nearest sample, encoder {name}"] = membership(name, scores[:count], scores[count:])
    return found


def summary(found: list[dict[str, object]]) -> pd.DataFrame:
    """A row an attack: mean and sd of the AUC over seeds, and how often its interval holds 0.5 or lies above."""
    rows = []
    for name in dict.fromkeys(name for one in found for name in one):
        aucs = [one[name] for one in found if name in one]
        rows.append(
            {
                "attack": name,
                "auc": np.mean([auc.value for auc in aucs]),
                "sd": np.std([auc.value for auc in aucs]),
                "holds 0.5": np.mean([auc.low <= 0.5 <= auc.high for auc in aucs]),
                "above": np.mean([auc.low > 0.5 for auc in aucs]),
                "seeds": len(aucs),
            }
        )
    return pd.DataFrame(rows)


def null(patients: int, clips: int, seeds: int) -> pd.DataFrame:
    """`summary` of all attacks and their groups."""
    found = []
    for seed in range(seeds):
        attacks = released(patients, clips, seed)
        found.append({attack.name: attack.auc for attack in attacks} | {f"{attack.name}: {group}": one.auc for attack in attacks for group, one in attack.strata.items()})
    return summary(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--clips", type=int, default=700)
    parser.add_argument("--taught", action="store_true")
    options = parser.parse_args()
    if options.taught:
        every = [through_encoders(options.patients, options.clips, seed) for seed in range(options.seeds or 30)]
        found = summary([{name: result.auc for name, result in one.items()} for one in every])
    else:
        found = null(options.patients, options.clips, options.seeds or 100)
    print(found.to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
