"""Independent pieces of work on all cores of a CPU: a thread a core, and one thread for the arithmetic of each.

Threads that share the layers of small networks mostly wait for each other (docs/decisions.md, "Two cores"). And what comes out cannot depend on how many cores a machine has.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item, Result = TypeVar("Item"), TypeVar("Result")


def at_once(device: torch.device | str) -> int:
    """How many pieces `each` works on at a time: as many as torch has threads (OMP_NUM_THREADS, or the cores)."""
    return 1 if torch.device(device).type == "cuda" else torch.get_num_threads()


def each(function: Callable[[Item], Result], items: Iterable[Item], device: torch.device | str) -> Iterator[Result]:
    """`function` of every item, in their order; on a GPU one after the other. The first error ends it.

    Contexts such as `torch.inference_mode` hold for one thread: `function` has to enter them itself.
    """
    if torch.device(device).type == "cuda":
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(at_once(device), "core", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(function, items)
    finally:
        torch.set_num_threads(threads)
