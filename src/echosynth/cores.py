"""Independent pieces of work on all cores of a CPU: a thread a core, and one thread for the arithmetic of each.

Threads that share the layers of small networks mostly wait for each other (docs/decisions.md, "Two cores"). And what comes out cannot depend on how many cores a machine has.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

Item, Result = TypeVar("Item"), TypeVar("Result")
LARGE = 20_000_000  # parameters; such networks fill the cores by themselves, and one a core would fill the memory


def each(function: Callable[[Item], Result], items: Iterable[Item], *networks: nn.Module) -> Iterator[Result]:
    """`function`, which runs `networks`, of every item, in their order; one after the other on a GPU or where the networks are `LARGE`. The first error ends it.

    There are as many threads as torch has (OMP_NUM_THREADS, or the cores). Contexts such as `torch.inference_mode` hold for one thread: `function` has to enter them itself.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    if any(parameter.is_cuda for parameter in parameters) or sum(parameter.numel() for parameter in parameters) > LARGE:
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "core", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(function, items)
    finally:
        torch.set_num_threads(threads)
