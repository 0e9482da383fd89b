"""Training the small classifiers of a two-sample test.

Not by `fit`: there are dozens of them, of seconds each, and several are trained at once, a thread each. Nothing is worth resuming, and with one thread for the arithmetic of each the result does not depend on how
many cores a machine has.
"""

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from echosynth.networks.classifier import Classifier, ClassifierConfig
from echosynth.randomness import numpy_rng

BATCH, LEARNING_RATE, WEIGHT_DECAY = 32, 2e-3, 0.05
_WARMUP, _DECAY = 0.1, 0.7  # shares of the steps
_SCORED = 64  # pictures at a time


def new_classifier(config: ClassifierConfig, seed: int) -> Classifier:
    """A classifier with first weights of this seed. Not to be called in several threads at once: torch has one generator for first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(config)


def train_classifier(first: Classifier, one: np.ndarray, other: np.ndarray, steps: int, seed: int) -> Classifier:
    """A copy of `first` that gives clips of one set higher logits than those of the other.

    A batch has as many pictures of either set; each set is gone through in an order of its own, again and again. Pictures are mirrored and moved by up to a fourteenth of their side, so that less is learnt by heart.

    Args:
        first: The network to start from, which stays as it is.
        one: uint8 (n, K, frames, S, S), K pictures of each clip.
        other: uint8 (m, K, frames, S, S).
        steps: Of AdamW, at `BATCH` pictures.
        seed: Of the order of the pictures and of what is done to them.

    Returns:
        The network, in evaluation mode.
    """
    model = copy.deepcopy(first).train()
    sides = [torch.from_numpy(np.ascontiguousarray(side)).flatten(0, 1) for side in (one, other)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.99))
    target = torch.cat([torch.ones(BATCH // 2), torch.zeros(BATCH // 2)])
    orders = [_Order(len(side), seed, number) for number, side in enumerate(sides)]
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / max(_WARMUP * steps, 1), (steps - step) / (_DECAY * steps))
        pictures = torch.cat([side[order.take(BATCH // 2)] for side, order in zip(sides, orders, strict=True)])
        logits = model(_varied(pictures, numpy_rng(seed, "classifier pictures", step)).float())
        loss = F.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return model.eval()


@torch.inference_mode()
def clip_scores(classifier: Classifier, clips: np.ndarray) -> np.ndarray:
    """The mean logit (n,) of the pictures of each clip, uint8 (n, K, frames, S, S)."""
    pictures = torch.from_numpy(np.ascontiguousarray(clips)).flatten(0, 1)
    logits = torch.cat([classifier(part.float()) for part in pictures.split(_SCORED)])
    return logits.view(clips.shape[:2]).double().mean(1).numpy()


class _Order:
    """Numbers below `count` in random order, all of them before any comes again."""

    def __init__(self, count: int, seed: int, number: int):
        self.count, self.seed, self.number, self.epoch, self.left = count, seed, number, 0, np.empty(0, int)

    def take(self, wanted: int) -> Tensor:
        while len(self.left) < wanted:
            more = numpy_rng(self.seed, "classifier order", self.number, self.epoch).permutation(self.count)
            self.left, self.epoch = np.concatenate([self.left, more]), self.epoch + 1
        taken, self.left = self.left[:wanted], self.left[wanted:]
        return torch.from_numpy(taken)


def _varied(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of them mirrored, each moved; what comes in from outside is black."""
    size = pictures.shape[-1]
    room = max(size // 14, 1)
    padded = F.pad(pictures, (room,) * 4)
    moved = [picture[:, down : down + size, right : right + size] for picture, (down, right) in zip(padded, rng.integers(0, 2 * room + 1, (len(padded), 2)), strict=True)]
    return torch.stack([picture.flip(-1) if mirror else picture for picture, mirror in zip(moved, rng.random(len(moved)) < 0.5, strict=True)])
