"""The search is exact: against sums of exact products, on near-ties made to fool float32, in any block, in bounded memory."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from echosynth.privacy.neighbours import nearest, unit


def rows_of(seed, count, dimensions=128):
    return F.normalize(torch.from_numpy(np.random.default_rng(seed).standard_normal((count, dimensions), dtype=np.float32)), dim=1)


def exactly(queries, gallery):
    """Inner products (N, M), correctly rounded: products of float32 are exact in float64, fsum adds without error."""
    return np.array([[math.fsum(x * y) for y in gallery.double().numpy()] for x in queries.double().numpy()])


def ranked(products, k):
    """Scores and rows of the k best, equal ones by row."""
    rows = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(products, rows, 1).astype(np.float32), rows


def near_ties(seed, queries=6, each=60, dimensions=128):
    """A gallery whose rows differ by so little that float32 products put them in the wrong order, in an order of rows without a pattern."""
    rng, made = np.random.default_rng(seed), rows_of(seed, queries, dimensions)
    gallery = made.repeat_interleave(each, 0).numpy().copy()
    for row in gallery:  # a few numbers move by one unit in the last place
        moved = rng.integers(dimensions, size=3)
        row[moved] = np.nextafter(row[moved], rng.choice([-2, 2], 3).astype(np.float32))
    return made, torch.from_numpy(rng.permutation(gallery))


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("dimensions", [2, 3, 128])
def test_near_ties_are_decided_by_the_true_products(k, dimensions):
    queries, gallery = near_ties(0, dimensions=dimensions)
    scores, rows = ranked(exactly(queries, gallery), k)
    assert ((queries @ gallery.T).argmax(1).numpy() != rows[:, 0]).any()  # float32 alone is fooled
    for block in (None, 1, 7, 50, 64, 1000):
        found = nearest(queries, gallery, k, block=block)
        assert np.array_equal(found.rows.numpy(), rows) and np.array_equal(found.scores.numpy(), scores)


def test_random_rows_of_any_length_and_number():
    rng = np.random.default_rng(1)
    for trial in range(12):
        n, m, d, k = (int(rng.integers(low, high)) for low, high in ((1, 30), (1, 200), (1, 90), (1, 6)))
        queries, gallery = (torch.from_numpy((rng.standard_normal((count, d)) * 10.0 ** rng.uniform(-4, 4, (count, 1))).astype(np.float32)) for count in (n, m))
        scores, rows = ranked(exactly(queries, gallery), k)
        found = nearest(queries, gallery, k, block=int(rng.integers(1, 250)))
        there = min(k, m)
        assert np.array_equal(found.rows[:, :there].numpy(), rows) and np.array_equal(found.scores[:, :there].numpy(), scores), trial
        assert (found.rows[:, there:] == -1).all() and (found.scores[:, there:] == -torch.inf).all()


def test_a_verdict_does_not_depend_on_the_company():
    queries, gallery = near_ties(2)
    together = nearest(queries, gallery, 3)
    for i in range(len(queries)):
        alone = nearest(queries[i : i + 1], gallery, 3)
        assert torch.equal(alone.rows[0], together.rows[i]) and torch.equal(alone.scores[0], together.scores[i])


def test_equal_rows_are_taken_in_order():
    gallery = rows_of(3, 1).expand(5000, -1)
    found = nearest(gallery[:2], gallery, 3, block=512)
    assert found.rows.tolist() == [[0, 1, 2]] * 2


def test_cosine_scales_both_sides():
    queries, gallery = rows_of(4, 5), rows_of(5, 300)
    scaled = nearest(queries * torch.arange(1, 6)[:, None] * 37, gallery.double() * torch.rand(300, 1).add(0.1).double(), 2, cosine=True)
    plain = nearest(queries, gallery, 2)
    assert torch.equal(scaled.rows, plain.rows) and torch.allclose(scaled.scores, plain.scores, atol=1e-6)
    assert torch.allclose(unit(queries * 5).norm(dim=1), torch.ones(5)) and not unit(torch.zeros(1, 4)).any()


@pytest.mark.parametrize("block", [None, 5, 33])
def test_rows_with_the_same_label_are_no_neighbours(block):
    rows, labels = rows_of(6, 120), torch.arange(120) // 3
    found = nearest(rows, rows, 2, apart=(labels, labels), block=block)
    products = exactly(rows, rows)
    products[labels[:, None] == labels[None]] = -np.inf
    scores, expected = ranked(products, 2)
    assert np.array_equal(found.rows.numpy(), expected) and np.array_equal(found.scores.numpy(), scores)


def test_nobody_but_one_self():
    alone = nearest(rows_of(7, 2), rows_of(7, 2), apart=(torch.zeros(2, dtype=int), torch.zeros(2, dtype=int)))
    assert (alone.rows == -1).all() and (alone.scores == -torch.inf).all()


def test_a_length_that_is_known_changes_nothing():
    rng = torch.Generator().manual_seed(3)
    queries, gallery = torch.randn(5, 16, generator=rng), torch.randn(200, 16, generator=rng)
    known, found = nearest(queries, gallery, 3, longest=gallery.norm(dim=1).max()), nearest(queries, gallery, 3)
    assert torch.equal(known.scores, found.scores) and torch.equal(known.rows, found.rows)
    lost = nearest(queries, gallery, longest=torch.tensor(torch.nan))
    assert lost.scores.isnan().all() and (lost.rows == -1).all()


def test_what_is_not_finite_is_not_a_number():
    queries, gallery = rows_of(8, 3), rows_of(9, 100)
    expected = nearest(queries, gallery)
    queries[1, 5], queries[2, 0] = torch.nan, torch.inf
    found = nearest(queries, gallery)
    assert found.scores[1:].isnan().all() and (found.rows[1:] == -1).all() and found.scores[0] == expected.scores[0]
    gallery[50, 3] = torch.inf
    assert nearest(queries, gallery).scores.isnan().all()


def test_torch_told_to_round_does_not_matter():
    queries, gallery = near_ties(10)
    expected = nearest(queries, gallery)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = nearest(queries, gallery)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found.rows, expected.rows)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts the peak")
@pytest.mark.parametrize("memory", [4 << 20, 32 << 20])
def test_memory_is_bounded_even_where_everything_ties(memory):
    queries, gallery = rows_of(11, 1).expand(2000, -1).contiguous(), rows_of(11, 1).expand(600, -1).contiguous()
    nearest(queries[:10], gallery, memory=memory)  # what libraries keep once and for all
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    found = nearest(queries, gallery, 2, memory=memory)
    assert _status("VmHWM") - before <= memory + (3 << 20)  # the results, and pages the allocator has not given back
    assert found.rows.unique().tolist() == [0, 1]


def _status(field):
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))


def test_too_little_memory_is_said():
    with pytest.raises(ValueError, match="at least 1048576 bytes"):
        nearest(rows_of(12, 1), rows_of(12, 1), memory=1000)
