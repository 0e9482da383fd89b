"""The published filter against the numbers of the published implementation."""

from pathlib import Path

import numpy as np
import pytest

from echosynth.errors import InputError
from echosynth.privacy.published import PublishedScreen, expected_false_rejection, published_filter

GOLDEN = Path(__file__).parents[1] / "golden" / "screen_case.npz"


def test_tau_and_every_verdict():
    with np.load(GOLDEN, allow_pickle=False) as file:
        golden = dict(file)
    found = published_filter(golden["train"], golden["heldout"], golden["synthetic"])
    assert found.tau == pytest.approx(float(golden["tau"]), abs=1e-6)
    assert np.array_equal(found.kept, golden["kept"].astype(bool)) and np.array_equal(found.nearest, golden["nearest_index"])
    np.testing.assert_allclose(found.similarity, golden["nearest_similarity"], atol=1e-6)


def test_its_false_rejections_are_as_many_as_its_arithmetic_says():
    """Samples of one distribution on all three sides: nobody is copied."""
    rng = np.random.default_rng(0)
    assert expected_false_rejection(7465, 1277) == pytest.approx(0.26, abs=0.005)
    rates = []
    for _ in range(20):
        train, held_out, synthetic = (rng.standard_normal((n, 32)) for n in (600, 120, 300))
        rates.append(1 - published_filter(train, held_out, synthetic).kept.mean())
    assert abs(np.mean(rates) - expected_false_rejection(600, 120)) < 0.05


def test_a_fitted_filter_is_saved_and_opened(tmp_path):
    rng = np.random.default_rng(1)
    train, held_out, synthetic = (rng.standard_normal((n, 8)) for n in (40, 20, 30))
    fitted = PublishedScreen.fit(train, held_out)
    fitted.save(tmp_path)
    opened = PublishedScreen.load(tmp_path)
    assert opened.tau == fitted.tau and opened.expected_false_rejection == expected_false_rejection(40, 20)
    assert all(np.array_equal(a, b) for a, b in zip(opened.screen(synthetic), published_filter(train, held_out, synthetic), strict=True))
    (tmp_path / "published.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match=r"published\.safetensors"):
        PublishedScreen.load(tmp_path)
