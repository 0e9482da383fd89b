"""Independent pieces of work on all cores of a CPU: a thread a core, and one thread for the arithmetic of each.

Threads that share the layers of small networks mostly wait for each other (docs/decisions.md, "Two cores"). And what comes out cannot depend on how many cores a machine has.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import nn

Item, Result = TypeVar("Item"), TypeVar("Result")
LARGE = 20_000_000  # parameters; such networks fill the cores by themselves, and one a core would fill the memory
AHEAD = 2  # results a thread that nobody has taken yet: more would only fill the memory


def each(function: Callable[[Item], Result], items: Iterable[Item], *networks: nn.Module) -> Iterator[Result]:
    """`function`, which runs `networks`, of every item, in their order; one after the other on a GPU or where the networks are `LARGE`. The first error ends it.

    There are as many threads as torch has (OMP_NUM_THREADS, or the cores), and no more than `AHEAD` results a thread wait to be taken.
    Contexts such as `torch.inference_mode` hold for one thread: `function` has to enter them itself.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    if any(parameter.is_cuda for parameter in parameters) or sum(parameter.numel() for parameter in parameters) > LARGE:
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "core", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            begun: deque[Future[Result]] = deque()
            for item in items:
                begun.append(pool.submit(function, item))
                if len(begun) > AHEAD * threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
    finally:
        torch.set_num_threads(threads)
