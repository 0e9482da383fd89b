"""The Inception score against its extremes."""

import numpy as np
import pytest

from echosynth.metrics.inception import inception_score


def test_best_and_worst():
    sure = np.eye(4)[np.arange(4000) % 4]
    assert inception_score(sure, seed=0).mean == pytest.approx(4, rel=0.01)  # a part does not hold exactly a quarter of each
    assert inception_score(np.full((400, 4), 0.25), seed=0).mean == pytest.approx(1)
    assert inception_score(np.eye(4)[np.zeros(400, int)], seed=0).mean == pytest.approx(1)


def test_two_answers_by_hand():
    """Half of the images (0.9, 0.1), half the reverse, one part: p(class) is even, KL = log 2 + 0.9 log 0.9 + 0.1 log 0.1."""
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9]] * 10)
    found = inception_score(probabilities, seed=0, splits=1)
    assert found.mean == pytest.approx(2 * 0.9**0.9 * 0.1**0.1) and found.sd == 0


def test_the_frames_of_a_video_are_dealt_out():
    """A list that runs from class to class: parts in the order of the list would each know one class and score 1."""
    assert inception_score(np.eye(10)[np.repeat(np.arange(10), 100)], seed=0).mean > 8


def test_too_few():
    found = inception_score(np.full((99, 10), 0.1), seed=0)
    assert found.mean is None and found.sd is None and found.samples == 9 and "10 needed" in found.reason
