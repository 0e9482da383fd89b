"""The scores that membership attacks rest on: higher for what was trained on, if the attack is right. attacks.py says how often it is.

From the released clips alone: how near the nearest one comes (`nearest_scores`), and whom each one points at (`votes`). From the weights: how small the denoising error is, and how small
the noise that a denoiser finds where there is none, and how well it makes good the middle frequencies of an image under noise (`probe`). From all of them together: a classifier (`cross_fitted`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from echosynth.generative.flow import interpolate
from echosynth.generative.objective import Generator
from echosynth.metrics.ranking import mann_whitney
from echosynth.networks.denoiser import Condition
from echosynth.privacy.attacks import PatientScores
from echosynth.privacy.neighbours import MEMORY, nearest
from echosynth.randomness import normal, numpy_rng

Batch = dict[str, Tensor]  # data (B, T, C, h, w), labels (B, L), weight (B, T); of videos also anchor (B, C, h, w) and mask (B, T): see training/generator.py
MIDDLE = 0.125, 0.375  # cycles a latent pixel, of 0.5 at most: below lies what all hearts have in common, above what no denoiser makes good
RECONSTRUCTION_STEPS = 2
PointLoss = Callable[[Generator, Batch, Tensor, Tensor], Tensor]  # model, batch, t (B,), noise like data -> (B,)


def nearest_scores(real: Tensor, synthetic: Tensor, reference: Tensor | None = None, memory: int = MEMORY) -> np.ndarray:
    """The highest cosine of each real row (N, D) with a synthetic one (S, D), all of unit length: float64 (N,).

    reference: embeddings of other real patients, neither members nor strangers (R, D); their highest cosine is subtracted, since an ordinary heart comes near to anything (difficulty
    calibration, Watson et al. 2022, arXiv 2111.08440).
    """
    closeness = nearest(real, synthetic, memory=memory).scores[:, 0].double()
    if reference is not None:
        closeness = closeness - nearest(real, reference, memory=memory).scores[:, 0].double()
    return closeness.numpy()


def votes(real: Tensor, patients: Sequence, synthetic: Tensor, samples: Sequence, memory: int = MEMORY) -> PatientScores:
    """Whom the release points at, all clips of a patient taken together: each synthetic sample has one vote and gives it to the patients whose rows its own are nearest to, in parts.

    real (N, D) and `patients` (N,): members and strangers, in equal numbers of rows each. synthetic (S, D) and `samples` (S,): which clip a row is of. A generator that has learnt the
    distribution points at either alike; one that copies, at members.
    """
    names, owner = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    _, sample = np.unique(np.asarray(samples).astype(str), return_inverse=True)
    pointed = owner[nearest(synthetic, real, memory=memory).rows[:, 0].numpy()]
    return PatientScores(names, np.bincount(pointed, 1 / np.bincount(sample)[sample], len(names)))


@torch.no_grad()
def probe(model: Generator, loss: PointLoss, batch: Callable[[range], Batch], count: int, times: Sequence[float], seed: int, repeats: int = 1, size: int = 16) -> np.ndarray:
    """Minus the loss of samples 0 to count - 1 at each of `times` in (0, 1), the mean over `repeats` draws of noise: float64 (count, len(times)).

    `batch(samples)` gives samples by counter, as in training. The noise of a sample depends on its number, the time and the draw, and is the same for members and strangers of one
    number: it cannot tell them apart.

        probe(model, flow_error, windows.batch, 200, (0.2, 0.5, 0.8), seed=0)
    """
    device, found = _device(model), np.zeros((count, len(times)))
    for first in range(0, count, size):
        samples = range(first, min(first + size, count))
        given = {key: value.to(device) for key, value in batch(samples).items()}
        shape = tuple(given["data"].shape[1:])
        for k, t in enumerate(times):
            for repeat in range(repeats):
                noise = torch.stack([normal(seed, "probe", i, k, repeat, shape=shape) for i in samples]).to(device)
                found[samples, k] -= loss(model, given, torch.full((len(samples),), t, device=device), noise).double().cpu().numpy() / repeats
    return found


def flow_error(model: Generator, batch: Batch, t: Tensor, noise: Tensor) -> Tensor:
    """The squared error of a flow's velocity (generative/flow.py), mean over the frames that count: (B,). Smaller for members (Matsumoto, Miura & Yanai 2023, arXiv 2302.03262)."""
    error = _velocity(model, interpolate(batch["data"], noise, t), t, _condition(batch)) - (noise - batch["data"])
    return _mean_square(error, batch["weight"])


def flow_norm(model: Generator, batch: Batch, t: Tensor, noise: Tensor) -> Tensor:
    """The mean square of the noise that a flow finds in (1 - t) data, where there is none: (B,). SimA, one query (Rao, Qu & Moyer 2025, arXiv 2509.25003).

    The velocity v at x_t tells of noise x_t + (1 - t) v. It points away from a local mean of the training data, so it is small on them, most at small t. `noise` is not used.
    """
    x = (1 - t).view(-1, 1, 1, 1, 1) * batch["data"]
    return _mean_square(x + (1 - t).view(-1, 1, 1, 1, 1) * _velocity(model, x, t, _condition(batch)), batch["weight"])


def diffusion_error(model: Generator, batch: Batch, t: Tensor, noise: Tensor) -> Tensor:
    """`flow_error` for a diffusion of generative/diffusion.py, which predicts v = sqrt(abar) noise - sqrt(1 - abar) data: the squared error of v at step 999 t, rounded."""
    steps, signal, rest = _schedule(t)
    error = model(signal * batch["data"] + rest * noise, steps, _condition(batch)) - (signal * noise - rest * batch["data"])
    return _mean_square(error, batch["weight"])


def diffusion_norm(model: Generator, batch: Batch, t: Tensor, noise: Tensor) -> Tensor:
    """`flow_norm` for a diffusion: the mean square of the noise sqrt(abar) v + sqrt(1 - abar) x that it finds in x = sqrt(abar) data at step 999 t, rounded."""
    steps, signal, rest = _schedule(t)
    x = signal * batch["data"]
    return _mean_square(signal * model(x, steps, _condition(batch)) + rest * x, batch["weight"])


def flow_reconstruction(model: Generator, batch: Batch, t: Tensor, noise: Tensor) -> Tensor:
    """One minus the likeness of the data to what a flow makes of it from time t on, in the middle frequencies (`middle_likeness`): (B,). Smaller for members.

    The frequency-calibrated reconstruction error (FCRE) of Zhao, Tokuoka, Iwasawa & Oda 2025, arXiv 2506.14919: low frequencies say how ordinary an image is, high ones how much speckle it
    has, neither says whether it was trained on; members stand out between. The idea is theirs, taken from the
    abstract; noise by counter, `RECONSTRUCTION_STEPS` Euler steps of equal length, latents in place of
    pixels, and the band are ours.
    """
    x, condition = interpolate(batch["data"], noise, t), _condition(batch)
    for k in range(RECONSTRUCTION_STEPS):
        now = t * (1 - k / RECONSTRUCTION_STEPS)
        x = x - (t / RECONSTRUCTION_STEPS).view(-1, 1, 1, 1, 1) * _velocity(model, x, now, condition)
    return 1 - middle_likeness(x, batch["data"], batch["weight"])


def diffusion_reconstruction(model: Generator, batch: Batch, t: Tensor, noise: Tensor) -> Tensor:
    """`flow_reconstruction` for a diffusion, from step 999 t on, by as many steps of DDIM (Song et al. 2021, arXiv 2010.02502)."""
    condition = _condition(batch)
    steps, signal, rest = _schedule(t)
    data = batch["data"]
    x = signal * data + rest * noise
    for k in range(RECONSTRUCTION_STEPS):
        velocity = model(x, steps, condition)
        clean, found = signal * x - rest * velocity, rest * x + signal * velocity
        steps, signal, rest = _schedule(t * (1 - (k + 1) / RECONSTRUCTION_STEPS))
        x = signal * clean + rest * found
    return 1 - middle_likeness(clean, data, batch["weight"])


def middle_likeness(one: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """The likeness of latents (B, T, C, h, w) in the frequencies `MIDDLE`, mean over the frames by `weight` (B, T): (B,), 1 for equal ones, 0 for unrelated ones. Structural similarity (Wang et al.
    2004) over the whole frame, of parts that have no mean: 2 a.b / (a.a + b.b)."""
    down, right = (torch.fft.fftfreq(side, device=one.device) for side in one.shape[-2:])
    radius = (down[:, None].square() + right.square()).sqrt()
    band = (radius >= MIDDLE[0]) & (radius <= MIDDLE[1])
    a, b = (torch.view_as_real(torch.fft.fft2(x.float())[..., band]).flatten(2) for x in (one, other))
    likeness = 2 * (a * b).sum(-1) / (a.square().sum(-1) + b.square().sum(-1)).clamp(min=1e-6)
    return (likeness * weight).sum(1) / weight.sum(1).clamp(min=1e-6)


def cross_fitted(members: np.ndarray, strangers: np.ndarray, seed: int, folds: int = 5, ridge: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores (m,) and (n,) by a logistic regression on features (m, F) and (n, F), such as the scores of several attacks; whoever is scored was not among those it was fitted on.

    Both sides are dealt into `folds` alike, and features are standardised by those fitted on. `ridge`: the weight of |w|^2 / 2 in the sum of losses. A score is the linear part, in sd from the mean of
    its fold: intercept and scale differ from fold to fold.
    """
    sides, scores = [np.asarray(side, np.float64) for side in (members, strangers)], [np.empty(len(members)), np.empty(len(strangers))]
    assert all(side.ndim == 2 and len(side) >= folds for side in sides)
    dealt = [numpy_rng(seed, "folds", number).permutation(len(side)) % folds for number, side in enumerate(sides)]
    for fold in range(folds):
        fitted = np.concatenate([side[deal != fold] for side, deal in zip(sides, dealt, strict=True)])
        truth = np.repeat([1.0, -1.0], [(deal != fold).sum() for deal in dealt])
        centre, spread = fitted.mean(0), np.maximum(fitted.std(0), 1e-12)
        weights = _logistic((fitted - centre) / spread, truth, ridge)
        found = [(side[deal == fold] - centre) / spread @ weights for side, deal in zip(sides, dealt, strict=True)]
        both = np.concatenate(found)
        for deal, out, part in zip(dealt, scores, found, strict=True):
            out[deal == fold] = (part - both.mean()) / max(both.std(), 1e-12)
    return scores[0], scores[1]


def excess_variance(members: np.ndarray, strangers: np.ndarray, seed: int, deals: int = 60) -> float:
    """How many times the variance of the AUC of `cross_fitted` scores, with nothing to learn, is that of scores which were not fitted: at least 1. By dealing the rows (m, F) and (n, F) anew to both
    sides, `deals` times. Folds learn from each other's patients, so their errors go together (Bengio & Grandvalet 2004, J. Mach. Learn. Res. 5, 1089): the interval of a plain AUC would be too narrow."""
    rows, m = np.concatenate([members, strangers]), len(members)
    orders = [numpy_rng(seed, "dealt anew", k).permutation(len(rows)) for k in range(deals)]
    aucs = np.array([mann_whitney(*cross_fitted(rows[order[:m]], rows[order[m:]], seed)) for order in orders])
    return max(float(np.mean((aucs - 0.5) ** 2)) / ((len(rows) + 1) / (12 * m * len(strangers))), 1.0)


def _logistic(features: np.ndarray, truth: np.ndarray, ridge: float) -> np.ndarray:
    """Weights (F,) that minimise sum log(1 + exp(-y (x w + b))) + ridge |w|^2 / 2, y = +-1; both classes count alike in all."""
    balance = np.where(truth > 0, 0.5 / (truth > 0).mean(), 0.5 / (truth < 0).mean())

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margin = truth * (features @ parameters[:-1] + parameters[-1])
        slope = -truth * balance / (1 + np.exp(np.clip(margin, -500, 500)))
        value = (balance * np.logaddexp(0, -margin)).sum() + ridge * parameters[:-1] @ parameters[:-1] / 2
        return value, np.append(features.T @ slope + ridge * parameters[:-1], slope.sum())

    return minimize(objective, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B").x[:-1]


def _velocity(model: Generator, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
    """The velocity under `condition` without the guidance that training has folded in (generative/flow.py): an attacker with the weights would take it out."""
    velocity, guidance = model(x, t, condition), getattr(getattr(model, "config", None), "guidance", 1.0)
    return velocity if guidance == 1 else torch.lerp(model(x, t, condition.untold()), velocity, 1 / guidance)


def _condition(batch: Batch) -> Condition:
    mask = batch.get("mask")
    return Condition(batch["labels"], batch.get("anchor"), None if mask is None else batch["data"], mask)


def _mean_square(error: Tensor, weight: Tensor) -> Tensor:
    return (error.square().mean((2, 3, 4)) * weight).sum(1) / weight.sum(1).clamp(min=1e-6)


def _schedule(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Steps (B,), and sqrt(abar) and sqrt(1 - abar) there (B, 1, 1, 1, 1). diffusers, behind the published schedule, takes seconds to import."""
    from echosynth.generative.diffusion import scheduler

    steps = (999 * t).round().long()
    kept = scheduler("ddpm", 1).alphas_cumprod.to(t.device)[steps].view(-1, 1, 1, 1, 1)
    return steps, kept.sqrt(), (1 - kept).sqrt()


def _device(model: Generator) -> torch.device:
    return next(model.parameters()).device if isinstance(model, torch.nn.Module) else torch.device("cpu")
