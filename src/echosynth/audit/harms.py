"""The dangers in a board's words, and the figures of copying, on a study's patients: each beside the same on held-out patients, in equal numbers."""

import numpy as np
import torch

from echosynth.audit.looks import Looks, centroids
from echosynth.audit.membership import People
from echosynth.privacy import risks
from echosynth.privacy.neighbours import nearest
from echosynth.randomness import numpy_rng

TOLERANCE = 5.0  # EF points within which a guess of the EF is right


def harms(people: People, real: Looks, synthetic: Looks, asked: np.ndarray, seed: int) -> dict:
    """Singling out, linkability and inference, with their control; NNAA and privacy loss, C_T, authenticity. By the hand-made eyes, which took no part in the filtering; one row a patient."""
    patients = people.clips["patient"].astype(str).to_numpy()
    still = dict(zip(*_by_patient(real, "handmade", patients), strict=True))
    made, _ = synthetic.mean("handmade")
    rng = numpy_rng(seed, "harms")
    sides = [[patient for patient in people.patients(member) if patient in still] for member in (True, False)]
    count = min(map(len, sides))
    one_size = [sorted(rng.permutation(side)[:count].tolist()) for side in sides]
    train, control = (torch.stack([still[patient] for patient in side]) for side in one_size)
    everyone = torch.stack([still[patient] for patient in sides[0]])
    # "As near as": where one in twenty of the strangers' nearest neighbours among the synthetic samples is nearer.
    line = float(np.quantile(nearest(control, made).scores[:, 0].numpy(), 0.95))
    found = {"singling_out": risks.risk(*(risks.singling_out(made, rows, np.arange(len(rows)), line) for rows in (train, control))).as_dict()}
    ef = people.clips.assign(patient=patients).groupby("patient")["ef"].mean()
    guesses = [risks.inference(rows, ef.loc[side].to_numpy(), made, asked, TOLERANCE) for rows, side in zip((train, control), one_size, strict=True)]
    found["inference"] = risks.risk(*guesses).as_dict()
    if linked := _linkable(people, real, synthetic, patients, one_size):
        found["linkability"] = risks.risk(*linked).as_dict()
    loss = risks.privacy_loss(everyone, control, made, seed)
    copying = risks.data_copying(everyone, control, made, seed)
    found |= {
        "adversarial_accuracy": {"train": loss.train, "held_out": loss.held_out, "privacy_loss": loss.loss},
        "data_copying": {key: None if value != value else value for key, value in copying._asdict().items()},
        "authenticity": {"synthetic": risks.authenticity(made, everyone)._asdict(), "held_out": risks.authenticity(control, everyone)._asdict()},
    }
    return found | {"patients_a_side": count}


def _by_patient(real: Looks, eye: str, patients: np.ndarray):
    rows, owners = centroids(real.rows[eye], patients[real.owner[eye]])
    return owners.tolist(), rows


def _linkable(people: People, real: Looks, synthetic: Looks, patients: np.ndarray, sides: list[list[str]]) -> list[np.ndarray] | None:
    """Whether a still and the motion of a patient point at one synthetic clip; None where too few clips are long enough to move."""
    if not len(real.rows["motion"]) or not len(synthetic.rows["motion"]):
        return None
    still, motion = (dict(zip(*_by_patient(real, eye, patients), strict=True)) for eye in ("handmade", "motion"))
    (one, owners), (other, moving) = synthetic.mean("handmade"), synthetic.mean("motion")
    both = np.intersect1d(owners, moving)
    one, other = one[torch.from_numpy(np.isin(owners, both))], other[torch.from_numpy(np.isin(moving, both))]
    found = []
    for side in sides:
        known = [patient for patient in side if patient in motion]
        if len(known) < 10:
            return None
        found.append(risks.linkability(torch.stack([still[p] for p in known]), torch.stack([motion[p] for p in known]), one, other))
    return found
