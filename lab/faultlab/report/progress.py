"""What is going on while scenarios run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

Say = Callable[[str], None]


class Progress(Protocol):
    """Shown while some scenarios run, one after another or several at once."""

    def running(self, name: str) -> AbstractContextManager[Say]:
        """For as long as `name` runs; what is called with says what it does just now."""


@contextmanager
def progress(total: int, console: Console) -> Iterator[Progress]:
    """`console` should be that of standard error, so that results can be piped."""
    if not console.is_terminal:
        yield _Lines(total, console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=console, transient=True) as display:
        yield _Live(total, display)


class _Lines:
    """One line as each begins: a log keeps every line, so there are few."""

    def __init__(self, total: int, console: Console) -> None:
        self._total = total
        self._console = console
        self._begun = 0

    @contextmanager
    def running(self, name: str) -> Iterator[Say]:
        self._begun += 1
        self._console.print(
            f"running {name} ({self._begun} of {self._total})", soft_wrap=True, highlight=False, markup=False
        )
        yield lambda text: None


class _Live:
    """A line for each that runs, and one for all."""

    def __init__(self, total: int, display: RichProgress) -> None:
        self._display = display
        self._all = display.add_task("scenarios", total=total)

    @contextmanager
    def running(self, name: str) -> Iterator[Say]:
        line = self._display.add_task(name, total=None)
        try:
            yield lambda text: self._display.update(line, description=f"{name}: {text}")
        finally:
            self._display.remove_task(line)
            self._display.advance(self._all)
