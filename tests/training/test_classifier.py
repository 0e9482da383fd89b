"""The classifiers of the two-sample test: they see a planted difference, they do not know patients that they did not see, and threads do not matter."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from echosynth.cores import each
from echosynth.metrics.detectability import Fold, cross_fitted_auc, folds_apart
from echosynth.networks.classifier import ClassifierConfig
from echosynth.training.classifier import clip_scores, new_classifier, train_classifier

SIZE, STEPS = 16, 40


def textures(seed, clips, pictures=4, blur=0.0):
    noise = np.random.default_rng(seed).normal(110, 40, (clips, pictures, 1, SIZE, SIZE))
    return (gaussian_filter(noise, (0, 0, 0, blur, blur)) if blur else noise).clip(0, 255).astype(np.uint8)


def auc(one, other, patients, others, folds, steps=STEPS):
    first = new_classifier(ClassifierConfig(size=SIZE, width=8), 0)

    def ask(fold):
        trained = train_classifier(first, one[fold.train[0]], other[fold.train[1]], steps, 0)
        return clip_scores(trained, one[fold.test[0]]), clip_scores(trained, other[fold.test[1]])

    return cross_fitted_auc(folds, list(each(ask, folds)), patients, others)


def test_a_planted_difference_is_seen_and_none_is_not():
    patients, others = np.arange(60), np.arange(60, 120)
    folds = folds_apart(patients, others, 2, 0)
    real = textures(0, 60)
    null, blurred = (auc(real, other, patients, others, folds) for other in (textures(1, 60), textures(1, 60, blur=0.6)))
    assert null.low <= 0.5 <= null.high
    assert blurred.value > 0.9


def test_a_mark_of_each_patient_does_not_help_where_patients_are_apart():
    """Every patient has a picture of their own and nothing else differs between the sets, so one half is right; a fold that shared patients would give 1."""
    rng = np.random.default_rng(2)
    patients, others = np.repeat(np.arange(12), 4), np.repeat(np.arange(12, 24), 4)
    marks = 110 + 400 * gaussian_filter(rng.normal(size=(24, 1, 1, SIZE, SIZE)), (0, 0, 0, 2, 2))
    one, other = ((marks[people] + rng.normal(0, 2, (48, 4, 1, SIZE, SIZE))).clip(0, 255).astype(np.uint8) for people in (patients, others))
    apart = auc(one, other, patients, others, folds_apart(patients, others, 2, 0), steps=80)
    shared = [Fold((np.arange(start, 48, 2),) * 2, (np.arange(1 - start, 48, 2),) * 2) for start in (0, 1)]  # two clips of every patient on either side
    assert apart.low <= 0.5 <= apart.high and apart.value < 0.75
    assert auc(one, other, patients, others, shared, steps=80).value > 0.95


def test_threads_do_not_change_a_score():
    one, other = textures(3, 20), textures(4, 20, blur=0.3)
    patients, others = np.arange(20), np.arange(20, 40)
    folds, before = folds_apart(patients, others, 2, 0), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(auc(one, other, patients, others, folds, steps=10))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
