"""The one place where text goes out: to a terminal, and into reports.

Much of what is printed was written by somebody else: payloads, names in a capture, the last line of a client. A control
character in it would move the cursor, clear the screen or set the window's title (ECMA-48), and a direction mark
(Unicode, UAX 9) would show words in another order. So each is printed by its number, as Python writes it: `\\x1b`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, Self

import rich.text
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_ESCAPES = re.compile(r"\\(?:ud[89ab]..\\ud[c-f]..|u(d[89a-f]..)|.)")
"""Of JSON in ASCII; in the group is half of a surrogate pair that has no other half."""


def printable(text: str) -> str:
    """The text with each character that is none to be seen by its number; lines stay lines, and tabs stay."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else _numbered(one) for one in text)


def _numbered(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class Text(rich.text.Text):
    """rich's, which of itself drops BEL, BS, VT, FF and CR without a word."""

    def __init__(self, text: str = "", style: str = "", **options: Any) -> None:
        super().__init__(printable(text), style, **options)

    def append(self, text: rich.text.Text | str, style: Any = None) -> Self:
        super().append(printable(text) if isinstance(text, str) else text, style)
        return self


class Terminal(Console):
    """A rich Console whose own styles and cursor moves go out as they are, and all text printable."""

    def on_broken_pipe(self) -> None:
        """rich would end the program, with status 1."""
        raise

    def render_str(self, text: str, **options: Any) -> rich.text.Text:
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def echo(text: object = "", *, end: str = "\n") -> None:
    """A line on standard output."""
    print(printable(str(text)), end=end)


def say(text: str) -> None:
    """A line on standard error, at once: what is no result."""
    print(printable(text), file=sys.stderr, flush=True)


def json_text(facts: Any, *, indent: int | None = 2) -> str:
    """JSON in printable ASCII: of control characters it escapes all but DEL by itself (RFC 8259, 7).

    A file name that is not UTF-8 has lone surrogates in Python, and readers refuse them (RFC 8259, 8.2): each is
    in printable characters here already, `\\udcff`.
    """
    text = json.dumps(facts, indent=indent).replace("\x7f", "\\u007f")
    return _ESCAPES.sub(lambda found: f"\\\\u{found[1]}" if found[1] else found[0], text)


def echo_json(facts: Any, *, indent: int | None = 2) -> None:
    echo(json_text(facts, indent=indent))
    sys.stdout.flush()


class Telling:
    """What is told on standard output as long as it can be: a full disk or a reader who left must not end a run."""

    def __init__(self) -> None:
        self.lost: OSError | None = None
        """Why it could no longer be told."""

    def __call__(self, tell: Callable[[], None]) -> None:
        if self.lost is None:
            try:
                tell()
                sys.stdout.flush()
            except OSError as error:
                self.lost = error
                let_go_of_stdout()


def let_go_of_stdout() -> None:
    """What it still holds goes nowhere: Python would try once more at its end, and end with status 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
