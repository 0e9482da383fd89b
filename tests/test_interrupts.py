"""Ctrl-C and SIGTERM: a command ends within two seconds with one line, whatever it is at, and drops what is queued."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from echosynth.interrupts import LINE, thread_pool

SOURCE = Path(__file__).parents[1] / "src"
# `busy` is a C function that takes minutes, lets other threads run meanwhile, and returns for no signal.
SCRIPT = """
import hashlib, signal, threading, time
from echosynth import cli, interrupts
def busy(_=None): hashlib.pbkdf2_hmac("sha256", b"", b"", 2**30)
def ready(): print("ready", flush=True)
def work(**_):
{work}
cli.app = work
cli.main()
"""
IN_THREADS = """
    from echosynth.interrupts import thread_pool
    with thread_pool(2, "busy") as pool:
        found = pool.map(busy, range(100))
        ready()
        list(found)
"""
IN_MAIN = """
    ready()
    busy()
"""
IN_CLEANING = """
    ready()
    try:
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep(60)
"""
FAILED = """
    from echosynth.errors import InputError
    threading.Thread(target=busy).start()
    ready()
    raise InputError("a bad row")
"""
HELD = """
    with interrupts.held():
        signal.signal(signal.SIGINT, lambda *_: None)
        ready()
        time.sleep(interrupts.PATIENCE + 1)
        print("whole", flush=True)
"""


@pytest.fixture
def start(monkeypatch):
    """Starts a command that does `work`, in a process group of its own, and waits until it is at it."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    begun = []

    def begin(work: str, before: str = "") -> subprocess.Popen:
        command, pipe = [sys.executable, "-c", before + SCRIPT.format(work=work)], subprocess.PIPE
        process = subprocess.Popen(command, start_new_session=True, stdout=pipe, stderr=pipe, text=True)
        begun.append(process)
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        return process

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child would inherit that it is ignored
    yield begin
    signal.signal(signal.SIGINT, before)
    for process in begun:
        process.kill()
        process.communicate()


def end_of(process: subprocess.Popen, *signals: int) -> tuple[int, str, float]:
    """The exit code, what was printed as an error, and the seconds from the first signal to the end."""
    since = time.monotonic()
    for number in signals:
        time.sleep(0.2)
        os.killpg(process.pid, number)
    _, err = process.communicate(timeout=30)
    return process.returncode, err, time.monotonic() - since


@pytest.mark.parametrize("work", [IN_THREADS, IN_MAIN, IN_CLEANING], ids=["threads", "main", "cleaning"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_one_line(start, work, number, code):
    found, err, seconds = end_of(start(work), number)
    assert (found, err) == (code, LINE + "\n") and seconds < 2.5


def test_a_second_signal_ends_it_at_once(start):
    process = start(IN_CLEANING)
    code, err, seconds = end_of(process, signal.SIGINT, signal.SIGINT)
    assert (code, err) == (130, LINE + "\n") and seconds < 1.2


def test_threads_do_not_delay_the_end_of_a_command_that_failed(start):
    code, err, seconds = end_of(start(FAILED))
    assert (code, err) == (2, "echosynth: error: a bad row\n") and seconds < 2


def test_a_block_that_stops_by_itself_has_the_time_for_it(start):
    process = start(HELD)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "whole\n", "")


def test_an_ignored_signal_stays_ignored(start):
    ignored = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    process = start("\n    ready()\n    time.sleep(1)\n", ignored)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(30) == 0


def test_what_is_queued_is_cancelled_and_what_is_running_is_not_waited_for():
    done, running, release = [], threading.Event(), threading.Event()

    def work(item: int) -> None:
        running.set()
        release.wait(30)
        done.append(item)

    since = time.monotonic()
    with pytest.raises(KeyboardInterrupt), thread_pool(2, "slow") as pool:
        found = pool.map(work, range(50))
        running.wait()
        raise KeyboardInterrupt
    assert time.monotonic() - since < 5 and not done
    del found
    release.set()
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("slow") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(done) <= 2


EARLY = """
import builtins, time
real = builtins.__import__
def slow(name, *arguments, **options):
    if name == "typer":
        print("ready", flush=True)
        time.sleep(60)
    return real(name, *arguments, **options)
builtins.__import__ = slow
from echosynth.__main__ import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_still_being_imported_ends_with_one_line(monkeypatch, number, code):
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child would inherit that it is ignored
    try:
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, "-c", EARLY], start_new_session=True, stdout=pipe, stderr=pipe, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code and err.strip() == LINE
