"""The dangers in a board's words, and the figures of copying, on a study's patients: each beside the same on held-out patients, in equal numbers.

One clip stands for a patient, drawn by counter: a row that is the mean of several clips lies further inwards, and compares with no synthetic clip.
"""

import numpy as np
import torch
from torch import Tensor

from echosynth.audit.looks import WINDOW, Looks, centroids
from echosynth.audit.membership import People
from echosynth.privacy import risks
from echosynth.privacy.neighbours import nearest
from echosynth.randomness import numpy_rng

TOLERANCE = 5.0  # EF points within which a guess of the EF is right


def harms(people: People, real: Looks, synthetic: Looks, asked: np.ndarray, seed: int) -> dict:
    """Singling out, linkability and inference, with their control; NNAA and privacy loss, C_T, authenticity. By the hand-made eyes, which took no part in the filtering; one clip a patient.

    What takes two patients a side, or two clips, is None with fewer, with a `reason`; singling out is left out. C_T and authenticity compare the synthetic clips with pieces of held-out clips that are as long (looks.WINDOW), where `real` has them. C_T searches every training clip, each by itself.
    """
    clip_of = _drawn(people, real, seed)
    still = _rows(real, "handmade", clip_of)
    made, _ = synthetic.mean("handmade")
    rng = numpy_rng(seed, "harms")
    sides = [[patient for patient in people.patients(member) if patient in still] for member in (True, False)]
    count = min(map(len, sides))
    one_size = [sorted(rng.permutation(side)[:count].tolist()) for side in sides]
    train, control = (torch.stack([still[patient] for patient in side]) for side in one_size)
    everyone, fresh = torch.stack([still[patient] for patient in sides[0]]), _fresh(real, synthetic, clip_of, still, sides[1])
    found: dict = {"singling_out": _singled_out(made, train, control, rng)} if count >= 2 else {}
    ef = people.clips["ef"].to_numpy(float)
    guesses = [
        risks.inference(rows, ef[[clip_of[patient] for patient in side]], made, asked, TOLERANCE) for rows, side in zip((train, control), one_size, strict=True)
    ]
    found["inference"] = risks.risk(*guesses).as_dict()
    if linked := _linkable(real, synthetic, clip_of, still, one_size):
        found["linkability"] = risks.risk(*linked).as_dict()
    copying = risks.data_copying(_every_clip(people, real), fresh, made, seed)
    found["data_copying"] = {key: None if value != value else value for key, value in copying._asdict().items()} | {"synthetic": len(made), "held_out": len(fresh)}
    found |= {"adversarial_accuracy": None, "authenticity": None}
    if min(count, len(made)) >= 2:
        loss = risks.privacy_loss(everyone, control, made, seed)
        found["adversarial_accuracy"] = {"train": loss.train, "held_out": loss.held_out, "privacy_loss": loss.loss}
    if len(everyone) >= 2:
        found["authenticity"] = {"synthetic": risks.authenticity(made, everyone)._asdict(), "held_out": risks.authenticity(fresh, everyone)._asdict()}
    if None in found.values():
        found["reason"] = f"{len(everyone)} training patients, {len(control)} held-out ones and {len(made)} clips: two of each are needed"
    return found | {"patients_a_side": count}


def _singled_out(made: Tensor, train: Tensor, control: Tensor, rng: np.random.Generator) -> dict:
    """Risk of singling out, of as many patients a side. "As near as": where one in twenty strangers is nearer to a synthetic sample. Either half of the control draws the line for the other half, and for
    as many training patients: who draws a line lies on the right side of it by construction. The crowd is the whole side."""
    half, hits = rng.permutation(len(control)) < len(control) // 2, [np.zeros(len(control), bool) for _ in range(2)]
    for counted in (half, ~half):
        line = float(np.quantile(nearest(control[torch.from_numpy(~counted)], made).scores[:, 0].numpy(), 0.95))
        for side, rows in zip(hits, (train, control), strict=True):
            side[counted] = risks.singled_out(made, rows, np.arange(len(rows)), line)[counted]
    return risks.risk(*hits).as_dict()


def _drawn(people: People, real: Looks, seed: int) -> dict[str, int]:
    """The place of one clip of each patient, drawn by counter; a clip of which fewer frames were looked at only where there is no other: its mean lies further out."""
    patients = people.clips["patient"].astype(str).to_numpy()
    frames = np.bincount(real.owner["handmade"], minlength=len(patients))
    whole = frames == frames.max()
    order = numpy_rng(seed, "one clip a patient").permutation(len(patients))
    order = order[np.argsort(~whole[order], kind="stable")]
    chosen: dict[str, int] = {}
    for place in order:
        chosen.setdefault(patients[place], int(place))
    return chosen


def _rows(looks: Looks, eye: str, clip_of: dict[str, int]) -> dict[str, Tensor]:
    """The mean row of each patient's clip; none for a clip that this eye has no row of."""
    rows, owners = centroids(looks.rows[eye], looks.owner[eye])
    at = {int(owner): row for owner, row in zip(owners, rows, strict=True)}
    return {patient: at[place] for patient, place in clip_of.items() if place in at}


def _every_clip(people: People, real: Looks) -> Tensor:
    """A row of each training clip."""
    rows, places = centroids(real.rows["handmade"], real.owner["handmade"])
    return rows[torch.from_numpy((people.clips["split"] == "TRAIN").to_numpy()[places])]


def _fresh(real: Looks, synthetic: Looks, clip_of: dict[str, int], still: dict[str, Tensor], held_out: list[str]) -> Tensor:
    """A row of each held-out patient, made as the rows of synthetic clips are: of the first piece of the patient's clip."""
    if WINDOW not in real.rows or not len(real.rows[WINDOW]):
        return torch.stack([still[patient] for patient in held_out])
    frames = np.bincount(synthetic.owner["handmade"]).max()
    first = [real.of(WINDOW, clip_of[patient])[:frames] for patient in held_out]
    return centroids(torch.cat(first), np.repeat(np.arange(len(first)), [len(rows) for rows in first]))[0]


def _linkable(real: Looks, synthetic: Looks, clip_of: dict[str, int], still: dict[str, Tensor], sides: list[list[str]]) -> list[np.ndarray] | None:
    """Whether a still and the motion of a patient point at one synthetic clip; None where too few clips are long enough to move."""
    if not len(real.rows["motion"]) or not len(synthetic.rows["motion"]):
        return None
    motion = _rows(real, "motion", clip_of)
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
