"""Independent pieces of work on all cores of a CPU: a thread a core, and one thread for the arithmetic of each. On a GPU a few threads, so that one reads and writes files while another computes.

Threads that share the layers of small networks mostly wait for each other. And what comes out cannot depend on how many cores a machine has.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

import torch
from torch import nn

from echosynth.interrupts import thread_pool

Item, Result = TypeVar("Item"), TypeVar("Result")
LARGE = {"cpu": 20_000_000, "cuda": 200_000_000}  # parameters; such networks fill the device by themselves, and one a thread would fill its memory
GPU_THREADS = 4
AHEAD = 2  # results a thread that nobody has taken yet: more would only fill the memory


def each(function: Callable[[Item], Result], items: Iterable[Item], *networks: nn.Module) -> Iterator[Result]:
    """`function`, which runs `networks`, of every item, in their order; one after the other where the networks are `LARGE`. The first error ends it.

    Where it ends early (an error, Ctrl-C, a caller that takes no more), what is queued is cancelled and nobody waits
    for what is running.
    There are as many threads as torch has (OMP_NUM_THREADS, or the cores; on a GPU at most `GPU_THREADS`), and no more than `AHEAD` results a thread wait to be taken.
    Contexts such as `torch.inference_mode` hold for one thread: `function` has to enter them itself.
    """
    parameters = [parameter for network in networks for parameter in network.parameters()]
    kind = parameters[0].device.type if parameters else "cpu"
    if sum(parameter.numel() for parameter in parameters) > LARGE.get(kind, 0):
        yield from map(function, items)
        return
    cores = torch.get_num_threads()
    threads = min(cores, GPU_THREADS) if kind == "cuda" else cores
    try:
        with thread_pool(threads, "core", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            begun: deque[Future[Result]] = deque()
            for item in items:
                begun.append(pool.submit(function, item))
                if len(begun) > AHEAD * threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
    finally:
        torch.set_num_threads(cores)
