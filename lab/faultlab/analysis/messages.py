"""Which of a stream's messages lie in a segment, and where it cuts one: TCP keeps no boundaries (RFC 9293, 3.9.1).

Where the messages lie is for somebody to say who knows the stream's framing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream; `number` from 0, as in journals. All else are offsets in the stream, from 0 too.

    From `start` to `body` is its prefix (the length), from `body` to `tail` what it says, from `tail` to `end` what
    closes it (a newline); either may be empty.
    """

    number: int
    start: int
    body: int
    tail: int
    end: int


def contents(messages: Sequence[Message], begin: int, end: int) -> str:
    """What the bytes `begin` up to `end` of the stream hold: "message 2; 1 of the 2 length bytes of message 3".

    `messages` in the stream's order. Empty where the bytes belong to none of them.
    """
    at = max(bisect_right(messages, begin, key=attrgetter("start")) - 1, 0)
    words: list[str] = []
    whole: list[int] = []
    for message in messages[at:]:
        if message.start >= end:
            break
        if begin <= message.start and message.end <= end:
            whole.append(message.number)
        elif begin < message.end:
            words += [*_whole(whole), _part(message, begin, end)]
            whole = []
    return "; ".join([*words, *_whole(whole)])


def _whole(numbers: list[int]) -> list[str]:
    if len(numbers) < 2:
        return [f"message {number}" for number in numbers]
    return [f"messages {numbers[0]} to {numbers[-1]}"]


def _part(message: Message, begin: int, end: int) -> str:
    """Not the whole of it: it ends in the next segment, or began in the one before."""
    prefix, name = message.body - message.start, f"message {message.number}"
    if begin > message.start:
        return f"{'the rest' if message.end <= end else 'a part'} of {name}"
    if end < message.body:
        return f"{end - message.start} of the {prefix} length bytes of {name}"
    if end == message.body:
        return f"only the length of {name}"
    if end < message.tail:
        return f"{end - message.body} of the {message.tail - message.body} bytes of {name}"
    return f"{name} without its end mark"
