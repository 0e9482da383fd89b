"""Ctrl-C and SIGTERM: what is queued is dropped, and a command ends within two seconds, whatever its threads are at.

Every result is written whole or not at all (files.py), so a process may end at any moment; the same command resumes.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

LINE = "echosynth: interrupted; give the same command again to resume where it stopped"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 1.5  # seconds that the main thread has, after a signal, to end by itself
_received: list[int] = []
_holds: list[object] = []
_said = threading.Event()
_watching = threading.Event()


@contextmanager
def thread_pool(count: int, name: str, **options: Any) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads. When the block fails or is interrupted, what is queued is cancelled.

    Nobody waits then for what is running: a thread ends after the piece of work that it is at.

    Args:
        count: Threads at most.
        name: The beginning of their names.
        **options: Further arguments of `ThreadPoolExecutor`.
    """
    pool = ThreadPoolExecutor(count, name, **options)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


@contextmanager
def held() -> Iterator[None]:
    """For a block that stops by itself soon after a first signal (a training ends its step), by handlers of its own.

    The process is not ended for that signal.
    """
    _holds.append(None)
    try:
        yield
    finally:
        _holds.pop()


def watch() -> None:
    """Makes Ctrl-C and SIGTERM end this command, within `PATIENCE` and a little, and a second one at once.

    They raise KeyboardInterrupt in the main thread; where that does not end the process in time, a thread does.
    A signal that is ignored stays ignored. To be called from the main thread; a second call changes nothing.
    """
    if _watching.is_set():
        return
    _watching.set()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    # Python runs handlers between two steps of the main thread, so not while that is in a long matrix product.
    threading.Thread(target=_end_in_time, args=(reader, writer), name="interrupts", daemon=True).start()


def exit_code() -> int:
    """What an interrupted command exits with: 128 and the number of the signal, as in a shell."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def say() -> None:
    """Prints the line of an interrupted command, once."""
    if not _said.is_set():
        _said.set()
        print(LINE, file=sys.stderr, flush=True)


def leave(code: int) -> None:
    """Ends the process: at once where the command was interrupted, or has failed while threads are still at work.

    Python would wait for those threads, and takes seconds to take down what torch has loaded while the machine is busy.
    What a thread writes appears whole or not at all, so that ending it is safe.
    """
    busy = any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate())
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads on, or the disk is full; Python would try, and complain, once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if code >= 128 or (code and busy):
        os._exit(code)
    for number in SIGNALS:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)  # all is done
    sys.exit(code)


def _interrupt(number: int, _frame: Any) -> None:
    _received.append(number)
    if len(_received) > 1:
        _end(number)
    raise KeyboardInterrupt


def _end_in_time(reader: socket.socket, writer: socket.socket) -> None:
    """Waits for a signal and ends the process where the main thread does not. Each signal is a byte in the socket."""
    seen = 0
    while seen <= bool(_holds):
        number = reader.recv(1)[0]
        seen += number in SIGNALS
    time.sleep(PATIENCE)
    _end(number)


def _end(number: int) -> None:
    if not _said.is_set():
        _said.set()
        cursor = "\x1b[?25h\n" if os.isatty(2) else ""  # which a progress bar hides
        os.write(2, f"{cursor}{LINE}\n".encode())  # past Python's stream, whose lock another thread may hold
    os._exit(128 + number)
