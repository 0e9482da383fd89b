"""Work on all cores: its order, its bytes, its errors, and what is too large for it."""

import threading
import time

import pytest
import torch
from torch import nn

from echosynth import cores
from echosynth.cores import each

SMALL = nn.Linear(1, 1)


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def where(item):
    return item, torch.get_num_threads(), threading.current_thread() is threading.main_thread()


def test_results_come_in_order_from_threads_of_one_core_each(threads):
    assert list(each(where, range(20), SMALL)) == [(item, 1, False) for item in range(20)]
    assert torch.get_num_threads() == threads


def test_large_networks_have_all_cores_one_after_the_other(threads, monkeypatch):
    monkeypatch.setattr(cores, "LARGE", {"cpu": 3})
    assert list(each(where, range(3), SMALL, SMALL)) == [(item, threads, True) for item in range(3)]


def test_the_bytes_do_not_depend_on_the_number_of_cores():
    numbers, before = torch.randn(3, 2_000_000, generator=torch.Generator().manual_seed(0)), torch.get_num_threads()
    plain, spread = [], []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            plain.append([row.sum().item() for row in numbers])
            spread.append(list(each(lambda row: row.sum().item(), numbers, SMALL)))
    finally:
        torch.set_num_threads(before)
    assert plain[0] != plain[1] and spread[0] == spread[1]


def test_the_first_error_ends_it_and_leaves_the_threads_as_they_were(threads):
    seen = []

    def work(item):
        seen.append(item)
        if item == 3:
            raise ValueError("the fourth")
        return item

    with pytest.raises(ValueError, match="the fourth"):
        list(each(work, range(100), SMALL))
    assert len(seen) <= 4 + cores.AHEAD * threads and torch.get_num_threads() == threads


@pytest.mark.parametrize("where_it_ends", ["in an item", "at the consumer"])
def test_whoever_catches_an_interrupt_is_left_without_threads_at_work(threads, where_it_ends):
    begun, release = [], threading.Event()

    def work(item):
        begun.append(item)
        if item == 1 and where_it_ends == "in an item":
            raise KeyboardInterrupt
        if item:
            release.wait(30)
        return item

    since = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _ in each(work, range(100), SMALL):
            if where_it_ends == "at the consumer":
                raise KeyboardInterrupt
    assert time.monotonic() - since < 5 and torch.get_num_threads() == threads  # what is running is not waited for
    release.set()
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("core") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(begun) <= 1 + (1 + cores.AHEAD) * threads
