"""Exact nearest neighbours by inner product at any size: every pair is looked at, in blocks, in bounded memory. Approximate search can miss copies.

Products in float32 find candidates, products in float64 decide. A float32 product of rows x, y of D numbers is, in whatever order it is summed, within

    b = gamma_D |x| |y|,   gamma_D = D u / (1 - D u),   u = 2^-24        (Higham 2002, Accuracy and Stability of Numerical Algorithms, eq. 3.5)

of the true one. So a row whose float32 score is more than 2 b below the k-th best float32 score has at least k rows truly above it and cannot be among the k nearest; all others
are scored again, where a product of float32 numbers is exact and their sum right to 1e-15 |x| |y|. That sum is a function of the pair alone: neither the block size nor the company
shows in a verdict. The price is a few candidates a query; a gallery of very many rows that tie within 2 b costs more time, not more memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MEMORY = 256 << 20  # bytes
_LEAST = 1 << 20  # bytes
_SIDE, _AREA = 1024, 1 << 22  # rows of queries and scores in a block at most: more is not quicker, since a block should stay in the cache
_GROUP = 64  # scores of which only the highest is looked at first
_FEW = 8  # queries that fit a register: then the product the other way round is quicker


class Neighbours(NamedTuple):
    """The k nearest of each query, best first, equal ones by row. Where there are fewer: -inf and row -1. A query or gallery that is not finite: NaN and -1."""

    scores: Tensor  # float32 (N, k)
    rows: Tensor  # int64 (N, k), of the gallery


@torch.no_grad()
def nearest(
    queries: Tensor,
    gallery: Tensor,
    k: int = 1,
    *,
    cosine: bool = False,
    apart: tuple[Tensor, Tensor] | None = None,
    memory: int = MEMORY,
    block: int | None = None,
    longest: Tensor | None = None,
) -> Neighbours:
    """The `k` rows of the gallery (M, D) with the highest inner product with each row of the queries (N, D), both taken as float32.

    cosine: of the rows scaled to unit length (float32 copies of both). apart: labels (N,) and (M,), integers; rows with the query's own label are no neighbours, for instance the
    query itself or frames of the same patient. memory: bytes, at least 1 MiB, that the search may hold besides its inputs and results (a BLAS has a few MB of its own). block: at
    most so many rows of either side at a time. longest: the length of the gallery's longest row where that is known (NaN if any row is not finite), which saves a pass over the
    gallery. Runs on the CPU. Raises ValueError when `memory` is too little.

        nearest(torch.eye(3), torch.eye(3) + 0.1).rows        # [[0], [1], [2]]
    """
    assert queries.ndim == gallery.ndim == 2 and queries.shape[1] == gallery.shape[1] and len(gallery) and k > 0
    if memory < _LEAST:
        raise ValueError(f"a search for neighbours needs at least {_LEAST} bytes, not {memory}")
    queries, gallery = (unit(side) if cosine else side.cpu().float().contiguous() for side in (queries, gallery))
    lengths, longest = queries.norm(dim=1), gallery.norm(dim=1).max() if longest is None or cosine else longest
    found = Neighbours(torch.full((len(queries), k), -torch.inf), torch.full((len(queries), k), -1))
    lost = ~(lengths * longest).isfinite()
    units = (queries.shape[1] + 2) * 2.0**-24  # two more than D, since the floor that is made of the bound is rounded as well
    margins = 2 * 1.01 * (units / (1 - units) * lengths * longest + 1e-37)  # 1.01: so are the lengths; 1e-37: underflow
    height, width = _shape(len(queries), len(gallery), memory // 8, block)
    buffer = torch.empty(height, -(-width // _GROUP) * _GROUP)
    with _full_precision():
        for first in range(0, 0 if lost.all() else len(queries), height):
            part = slice(first, first + height)
            own = None if apart is None else (apart[0][part].cpu(), apart[1].cpu())
            best = _nearest_of(queries[part], gallery, k, margins[part], own, buffer, width, memory // 4)
            found.scores[part], found.rows[part] = torch.from_numpy(best[0]).float(), torch.from_numpy(best[1])
    found.scores[lost], found.rows[lost] = torch.nan, -1
    return found


def unit(rows: Tensor) -> Tensor:
    """(N, D) -> float32 (N, D) on the CPU, scaled to unit length in float64; a row of zeros stays."""
    scaled = torch.empty(rows.shape, dtype=torch.float32)
    for source, target in zip(rows.split(_SIDE), scaled.split(_SIDE), strict=True):
        source = source.cpu().double()
        target.copy_(source / source.norm(dim=1, keepdim=True).clamp(min=1e-300))
    return scaled


def _nearest_of(
    queries: Tensor, gallery: Tensor, k: int, margins: Tensor, apart: tuple[Tensor, Tensor] | None, buffer: Tensor, width: int, memory: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64 (n, k) and rows (n, k) of some queries."""
    pending = _Pending(queries, gallery, k, memory)
    leaders = torch.full((len(queries), k), -torch.inf)  # the best of the groups' maxima, each of another row: the k-th is at most the k-th best score
    for start in range(0, len(gallery), width):
        keys = gallery[start : start + width]
        groups = -(-len(keys) // _GROUP)
        scores = buffer[: len(queries), : groups * _GROUP]
        if len(queries) > _FEW:
            torch.mm(queries, keys.T, out=scores[:, : len(keys)])
        else:  # the gallery is read once from memory, and as it lies there
            scores[:, : len(keys)] = torch.mm(keys, queries.T).T
        scores[:, len(keys) :] = -torch.inf
        if apart is not None:
            scores[:, : len(keys)].masked_fill_(apart[0][:, None] == apart[1][None, start : start + width], -torch.inf)
        scores = scores.unflatten(1, (groups, _GROUP))
        maxima = scores.amax(2)
        best = maxima.amax(1, keepdim=True) if k == 1 else maxima.topk(min(k, groups)).values
        leaders = torch.cat([leaders, best], 1).topk(k).values
        floor = leaders[:, -1] - margins
        query, group = ((maxima >= floor[:, None]) & (maxima > -torch.inf)).nonzero(as_tuple=True)
        for query_part, group_part in zip(query.split(pending.chunk), group.split(pending.chunk), strict=True):
            some = scores[query_part, group_part]
            hit, place = ((some >= floor[query_part, None]) & (some > -torch.inf)).nonzero(as_tuple=True)
            pending.add(query_part[hit], start + group_part[hit] * _GROUP + place, some[hit, place], floor)
    return pending.decide(floor)


class _Pending:
    """Candidates of a block of queries, and the best of those that are decided; holds about `memory` bytes at most."""

    def __init__(self, queries: Tensor, gallery: Tensor, k: int, memory: int):
        self.queries, self.gallery, self.k = queries, gallery, k
        self.room = max(memory // 256, 1)  # candidates: three numbers each, and what sorting them takes
        self.chunk = max(min(memory // (64 * _GROUP), self.room // _GROUP), 1)  # groups looked into at a time
        self.rows_together = max(memory // (32 * queries.shape[1]), 1)  # pairs scored at a time
        self.scores, self.rows = np.full((len(queries), k), -np.inf), np.full((len(queries), k), -1)
        self.waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self.count = 0

    def add(self, query: Tensor, row: Tensor, score: Tensor, floor: Tensor) -> None:
        self.waiting.append((query, row, score))
        self.count += len(query)
        if self.count > self.room:
            self.decide(floor)

    def decide(self, floor: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Scores in float64 what waits and has not fallen below the floor (n,) since it was found; scores (n, k) and rows (n, k) of the best up to now."""
        if not self.count:
            return self.scores, self.rows
        query, row, score = (torch.cat(column) for column in zip(*self.waiting, strict=True))
        self.waiting, self.count = [], 0
        still = score >= floor[query]
        query, row = query[still].numpy(), row[still].numpy()
        exact = np.concatenate(
            [self._products(query[i : i + self.rows_together], row[i : i + self.rows_together]) for i in range(0, len(query), self.rows_together)] or [np.empty(0)]
        )
        touched, query = np.unique(query, return_inverse=True)
        held = np.repeat(np.arange(len(touched)), self.k)
        query, row, exact = np.append(held, query), np.append(self.rows[touched].ravel(), row), np.append(self.scores[touched].ravel(), exact)
        order = np.lexsort((row, -exact, query))
        rank = np.arange(len(order)) - np.searchsorted(query[order], query[order], side="left")
        order = order[rank < self.k]
        self.scores[touched], self.rows[touched] = exact[order].reshape(-1, self.k), row[order].reshape(-1, self.k)
        return self.scores, self.rows

    def _products(self, query: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Inner products in float64; numpy sums each row by itself in one fixed order."""
        products = self.queries.numpy()[query].astype(np.float64)
        products *= self.gallery.numpy()[row]
        return products.sum(1)


def _shape(queries: int, gallery: int, room: int, block: int | None) -> tuple[int, int]:
    """Rows of queries and of the gallery in a block whose float32 scores take at most `room` bytes."""
    area = min(_AREA, room // 4)
    height = min(queries, _SIDE, isqrt(area), block or queries) or 1
    return height, min(gallery, max(area // height // _GROUP * _GROUP, 1), block or gallery)


@contextmanager
def _full_precision() -> Iterator[None]:
    """The bound holds for float32 products only: not where torch has been told to round factors to bfloat16."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
