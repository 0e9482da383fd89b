"""The Frechet distance against closed forms, and its floor."""

import numpy as np
import pytest

from echosynth.metrics.frechet import frechet, frechet_distance, frechet_infinity, frechet_with_floor, moments, standardised_frechet


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def a_covariance(rng, d=6):
    a = rng.standard_normal((d, d))
    return a @ a.T + 0.1 * np.eye(d)


def test_equal_covariances_leave_the_distance_of_the_means(rng):
    c, shift = a_covariance(rng), rng.standard_normal(6)
    assert frechet_distance(np.zeros(6), c, shift, c) == pytest.approx(shift @ shift, abs=1e-6)
    assert frechet_distance(shift, c, shift, c) == pytest.approx(0, abs=1e-6)


def test_diagonal_covariances(rng):
    a, b = rng.uniform(0.1, 4, 6), rng.uniform(0.1, 4, 6)
    expected = ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(np.zeros(6), np.diag(a), np.zeros(6), np.diag(b)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, np.pi / 2])
def test_rotated_covariance_in_the_plane(angle):
    """In two dimensions tr sqrt(M) = sqrt(tr M + 2 sqrt det M); M = A B with A = diag(9, 1), B its rotation, so det M = 81 and tr M = 82 cos^2 + 18 sin^2."""
    a = np.diag([9.0, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    root = np.sqrt(82 * np.cos(angle) ** 2 + 18 * np.sin(angle) ** 2 + 2 * 9)
    assert frechet_distance(np.zeros(2), a, np.zeros(2), turn @ a @ turn.T) == pytest.approx(20 - 2 * root, abs=1e-6)


def test_common_rotation_changes_nothing_and_order_does_not_matter(rng):
    a, b, shift = a_covariance(rng), a_covariance(rng), rng.standard_normal(6)
    q, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    plain = frechet_distance(np.zeros(6), a, shift, b)
    assert plain > 1e-3
    assert frechet_distance(shift, b, np.zeros(6), a) == pytest.approx(plain, abs=1e-6)
    assert frechet_distance(np.zeros(6), q @ a @ q.T, q @ shift, q @ b @ q.T) == pytest.approx(plain, abs=1e-6)


def test_singular_covariance_is_no_trouble():
    assert frechet_distance(np.zeros(2), np.diag([4.0, 0.0]), np.zeros(2), np.diag([0.0, 9.0])) == pytest.approx(13, abs=1e-6)


def test_moments_by_hand():
    mean, covariance = moments(np.array([[0.0, 0.0], [2.0, 4.0], [4.0, 2.0]], np.float32))
    assert mean == pytest.approx([2, 2]) and covariance.dtype == np.float64
    assert covariance == pytest.approx(np.array([[4.0, 2.0], [2.0, 4.0]]))


def test_a_perfect_generator_reaches_the_floor_and_a_shifted_one_does_not(rng):
    real, patients = rng.standard_normal((400, 4)), np.repeat(np.arange(200), 2)
    perfect = frechet_with_floor(real, patients, rng.standard_normal((300, 4)), seed=1)
    shifted = frechet_with_floor(real, patients, rng.standard_normal((300, 4)) + np.array([2.0, 0, 0, 0]), seed=1)
    assert perfect.samples == 200 and perfect.distance == pytest.approx(perfect.floor, rel=0.6) and perfect.floor > 0
    assert shifted.floor == perfect.floor and shifted.distance == pytest.approx(4, rel=0.15)


def test_halves_share_no_patient(rng):
    """Two patients, each all alike: the floor is the distance between the two, never zero."""
    real = np.concatenate([rng.normal(0, 0.1, (20, 2)), rng.normal(5, 0.1, (20, 2))])
    found = frechet_with_floor(real, np.repeat(["a", "b"], 20), rng.normal(0, 0.1, (20, 2)), seed=0)
    assert found.samples == 20 and found.floor == pytest.approx(50, rel=0.1)


def test_too_few_clips_are_refused(rng):
    found = frechet_with_floor(rng.standard_normal((10, 8)), np.arange(10), rng.standard_normal((50, 8)), seed=0)
    assert found.distance is None and found.floor is None and "9 needed" in found.reason
    assert frechet_with_floor(rng.standard_normal((30, 2)), np.zeros(30), rng.standard_normal((50, 2)), seed=0).distance is None


def test_units_do_not_matter_once_standardised(rng):
    real, other = rng.standard_normal((60, 3)), rng.standard_normal((50, 3)) + 1
    scaled = np.array([1.0, 1000, 0.01])
    assert standardised_frechet(real * scaled + 5, other * scaled + 5) == pytest.approx(standardised_frechet(real, other))
    assert frechet(real * scaled, other * scaled) != pytest.approx(frechet(real, other))
    flat = np.concatenate([real, np.full((60, 1), 7.0)], 1), np.concatenate([other, np.full((50, 1), 9.0)], 1)
    assert standardised_frechet(*flat) == pytest.approx(standardised_frechet(real, other) + 4)


def test_at_infinity_the_bias_is_gone_and_the_error_is_known():
    """N(0, 1) against N(shift, 1.2) in 8 dimensions: 0.25 + 8 (1.2 - 1)^2 = 0.57."""
    found = []
    for draw in range(40):
        rng = np.random.default_rng(draw)
        real, other = rng.standard_normal((400, 8)), 1.2 * rng.standard_normal((400, 8))
        other[:, 0] += 0.5
        infinite = frechet_infinity(real, np.arange(400), other, seed=draw, groups=5)
        found.append((infinite.distance, frechet(real, other), infinite.standard_error))
    distance, plain, error = np.array(found).T
    assert abs(distance.mean() - 0.57) < 2 * distance.std(ddof=1) / np.sqrt(40)
    assert plain.mean() - 0.57 > 4 * abs(distance.mean() - 0.57)
    assert error.mean() == pytest.approx(distance.std(ddof=1), rel=0.3)


def test_at_infinity_a_patient_is_one_patient(rng):
    """Every real clip four times: the line must run over patients, or the copies would pass for new ones."""
    real, other = np.repeat(rng.standard_normal((150, 4)), 4, 0), rng.standard_normal((600, 4))
    found = frechet_infinity(real, np.repeat(np.arange(150), 4), other, seed=0)
    assert found.bias > 0 and abs(found.distance) < 2 * found.standard_error
    scattered = frechet_infinity(real, np.arange(600), other, seed=0)
    assert found.bias > 1.3 * scattered.bias


def test_at_infinity_too_few_are_refused(rng):
    found = frechet_infinity(rng.standard_normal((38, 8)), np.arange(38), rng.standard_normal((100, 8)), seed=0)
    assert found.distance is None and "36 needed" in found.reason
