import threading

import pytest
import torch

from echosynth.cores import each


def test_results_come_in_order_from_threads_of_one_core_each():
    before = torch.get_num_threads()
    found = list(each(lambda item: (item, torch.get_num_threads(), threading.current_thread() is threading.main_thread()), range(20), "cpu"))
    assert found == [(item, 1, False) for item in range(20)]
    assert torch.get_num_threads() == before


def test_the_bytes_do_not_depend_on_the_number_of_cores():
    layer, samples = torch.nn.Conv2d(4, 96, 3), torch.randn(12, 1, 4, 40, 40, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    results = []
    try:
        for cores in (1, 3):
            torch.set_num_threads(cores)
            results.append([result.detach().numpy().tobytes() for result in each(layer, samples, "cpu")])
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1]


def test_the_first_error_ends_it_and_leaves_the_threads_as_they_were():
    before, seen = torch.get_num_threads(), []

    def work(item):
        seen.append(item)
        if item == 3:
            raise ValueError("the fourth")
        return item

    with pytest.raises(ValueError, match="the fourth"):
        list(each(work, range(1000), "cpu"))
    assert len(seen) < 1000 and torch.get_num_threads() == before
