"""What exactness costs: the search of privacy/neighbours.py beside the bare blocked float32 product of the same sizes, in one run, slice by slice in turn.

python -m benchmarks.neighbours                                        a million queries in a gallery of 100,000: minutes
python -m benchmarks.neighbours --queries 50000 --gallery 20000        seconds
python -m benchmarks.neighbours --faiss                                beside faiss as well (pip install faiss-cpu)

Prints seconds of both, their ratio (in all, and the quartiles over the slices), the highest resident memory of the process, and on how many of some queries the search and a plain
float64 product disagree about the nearest row.
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
from torch import Tensor

from echosynth.privacy.neighbours import MEMORY, nearest

SLICES, CHECKED = 16, 2000
BLOCK = (1024, 4096)  # of the bare product; as quick as any on the machines seen


def rows(count: int, dimensions: int, seed: int) -> Tensor:
    """Unit vectors (count, dimensions), made in place: a million of them are half a gigabyte."""
    made = torch.empty(count, dimensions).normal_(generator=torch.Generator().manual_seed(seed))
    return made.div_(made.norm(dim=1, keepdim=True))


def bare(queries: Tensor, gallery: Tensor, out: Tensor) -> None:
    for part in queries.split(BLOCK[0]):
        for keys in gallery.split(BLOCK[1]):
            torch.mm(part, keys.T, out=out[: len(part), : len(keys)])


def disagreements(left: Tensor, right: Tensor, found: Tensor, checked: Tensor) -> int:
    """For how many of the queries `checked` the row found is not the one with the highest product in float64."""
    wrong = 0
    for at in checked.split(100):
        products = torch.cat([left[at].double() @ keys.double().T for keys in right.split(BLOCK[1])], 1)
        wrong += int((products.argmax(1) != found[at]).sum())
    return wrong


def flat_index(gallery: Tensor):
    """faiss's exact index of inner products."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery.numpy())
    return index


def measure(queries: int, gallery: int, dimensions: int, k: int, memory: int, faiss: bool) -> dict:
    left, right, out = rows(queries, dimensions, 0), rows(gallery, dimensions, 1), torch.empty(BLOCK)
    inputs = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bare(left[: BLOCK[0]], right, out)
    nearest(left[: BLOCK[0]], right, k, memory=memory)
    index = flat_index(right) if faiss else None
    spent, found, also = [], [], []
    ways = ["bare", "search"] + ["faiss"] * faiss
    for number, part in enumerate(left.tensor_split(SLICES)):
        seconds = {}
        for what in ways[:: 1 if number % 2 else -1]:  # who goes first takes turns
            start = time.perf_counter()
            if what == "bare":
                bare(part, right, out)
            elif what == "faiss":
                also.append(torch.from_numpy(index.search(part.numpy(), k)[1]))
            else:
                found.append(nearest(part, right, k, memory=memory).rows)
            seconds[what] = time.perf_counter() - start
        spent.append(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    checked = np.random.default_rng(2).choice(queries, min(CHECKED, queries), replace=False)
    wrong = disagreements(left, right, torch.cat(found)[:, 0], torch.from_numpy(checked))
    table = {what: np.array([seconds[what] for seconds in spent]) for what in ways}
    ratios = table["search"] / table["bare"]
    beside = {}
    if faiss:
        wrong_too = disagreements(left, right, torch.cat(also)[:, 0], torch.from_numpy(checked))
        beside = {"faiss_s": round(float(table["faiss"].sum()), 2), "faiss_ratio": round(float(table["faiss"].sum() / table["bare"].sum()), 3), "faiss_disagree": wrong_too}
    return {
        "queries": queries,
        "gallery": gallery,
        "dimensions": dimensions,
        "k": k,
        "threads": torch.get_num_threads(),
        "bare_s": round(float(table["bare"].sum()), 2),
        "search_s": round(float(table["search"].sum()), 2),
        "ratio": round(float(table["search"].sum() / table["bare"].sum()), 3),
        "ratio_quartiles": [round(float(q), 3) for q in np.quantile(ratios, [0.25, 0.5, 0.75])],
        "peak_mb": round(peak),
        "peak_before_search_mb": round(inputs),
        "checked": len(checked),
        "disagree": wrong,
    } | beside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("queries", 1_000_000), ("gallery", 100_000), ("dimensions", 128), ("k", 1), ("memory", MEMORY)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--faiss", action="store_true")
    print(json.dumps(measure(**vars(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
