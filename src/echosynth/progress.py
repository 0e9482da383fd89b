"""Progress bars: one way to show long work, with the time left; a plain line now and then where there is no terminal."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)
_PLAIN_EVERY = 30.0  # seconds between lines where nobody watches a bar


def say(line: str) -> None:
    """Prints one line to standard error as it is, however long: a path in it stays whole."""
    console.print(line, markup=False, soft_wrap=True)


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
    """Yields `advance(n=1, note="")`; `done` units were finished before (a resumed run). Only the main thread draws a bar: there can be one."""
    if console.is_terminal and threading.current_thread() is threading.main_thread():
        columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=total, completed=done, note="")

            def advance(n: int = 1, note: str = "") -> None:
                bar.update(task, advance=n, **({"note": note} if note else {}))

            yield advance
        return

    start = last = time.monotonic()
    count = done

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal last, count
        count += n
        now = time.monotonic()
        if now - last >= _PLAIN_EVERY:
            last = now
            left = (now - start) / max(count - done, 1) * (total - count)
            console.print(f"{title}: {count}/{total}, {left:.0f} s left {note}".rstrip())

    yield advance
    console.print(f"{title}: {count}/{total} in {time.monotonic() - start:.1f} s")
