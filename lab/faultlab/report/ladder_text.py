"""The ladder in a terminal: both ends and the wire between them, a line for each thing that happened.

   ms frame   client                      the wire                  tcp-server
0.000     1   │ SYN ────────────────────────┼─────────────────────────────▶ │
0.427     2   │                             ✗ ◀─────────────────── SYN-ACK │
              │ └ dropped by drop (tcp syn+ack, which 1)                     │
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from faultlab.analysis.ladder import Arrival, Deed, Fate, Gap, Ladder, Step
from faultlab.faults.base import Effect
from faultlab.printing import Text
from faultlab.report.quantities import duration

SMALLEST_WIDTH = 80
_TIME, _FRAME = 9, 6
_LANE = SMALLEST_WIDTH - _TIME - _FRAME - 5
_NOTES_BESIDE = 118
"""From so many columns on, notes stand beside the ladder, not under the packet that they are about."""
_PAUSE_NS = 100_000_000
"""A time in which nothing happened that is worth a line."""
_DELAY_SHOWN_NS = 100_000
_FAULTS_NAMED = 8
_PLAIN_REASONS = {"named packet", "fixed"}


@dataclass(frozen=True, slots=True)
class Symbols:
    """What the ladder is drawn with."""

    line: str
    right: str
    left: str
    end: str
    wire: str
    cross: str
    dropped: str
    changed: str
    forged: str
    note: str
    more: str
    dots: str


UNICODE = Symbols("─", "▶", "◀", "│", "┊", "┼", "✗", "≠", "✱", "└", "…", "⋮")
ASCII = Symbols("-", ">", "<", "|", ":", "+", "X", "#", "*", "`", "...", ":")

_BAD, _ODD, _GOOD, _DIM, _NAME = "bold red", "yellow", "", "dim", "bold"
_STYLES = {
    Effect.DROPPED: _BAD,
    Effect.CHANGED: "bold magenta",
    Effect.INJECTED: "bold magenta",
    Effect.DUPLICATED: "cyan",
    Effect.HELD: _ODD,
    Effect.OVERTOOK: _ODD,
    Effect.DELAYED: _DIM,
}
_VERBS = {Effect.INJECTED: "forged", Effect.DELAYED: "delayed", Effect.HELD: "held back", Effect.OVERTOOK: "sent ahead"}


def symbols_for(encoding: str | None) -> Symbols:
    """Those that a terminal of this encoding can show."""
    try:
        "".join(getattr(UNICODE, name) for name in Symbols.__slots__).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def ladder_text(
    ladder: Ladder, shown: Sequence[Step | Gap], width: int = SMALLEST_WIDTH, symbols: Symbols = UNICODE
) -> Iterator[Text]:
    """Lines of at most `width` columns (80 where there are fewer). `shown` are the ladder's steps, or some of them."""
    yield from _Drawing(ladder, max(width, SMALLEST_WIDTH), symbols).lines(shown)


@dataclass(slots=True)
class _Event:
    """A line to draw: a packet was sent (and arrived, where nothing else happened in between), or a copy arrived."""

    at_ns: int
    what: Step | Gap
    sent: bool = True
    arrival: Arrival | None = None


def _events(shown: Sequence[Step | Gap]) -> list[_Event]:
    """In the order in which they happened; what was sent and arrived with nothing in between is one."""
    found: list[_Event] = []
    for one in shown:
        if isinstance(one, Gap):
            found.append(_Event(one.from_ns, one))
            continue
        found += [] if one.forged else [_Event(one.at_ns, one)]
        found += [_Event(arrival.at_ns, one, False, arrival) for arrival in one.arrivals]
    found.sort(key=lambda event: event.at_ns)
    joined: list[_Event] = []
    for event in found:
        before = joined[-1] if joined else None
        if before is not None and before.what is event.what and before.sent and before.arrival is None:
            before.arrival = event.arrival
        else:
            joined.append(event)
    return joined


@dataclass(slots=True)
class _Lane:
    """One line between the two ends; columns from 0 to `size` - 1."""

    size: int
    symbols: Symbols
    cells: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cells = [(" ", "")] * self.size

    @property
    def wire(self) -> int:
        return self.size // 2

    def put(self, at: int, text: str, style: str = "") -> None:
        for offset, character in enumerate(text[: self.size - at]):
            self.cells[at + offset] = (character, style)

    def arrow(self, start: int, end: int, label: str, style: str) -> None:
        """From `start` to the head at `end`, with its label at the start; a label too long is cut."""
        marks, low, high = self.symbols, min(start, end), max(start, end)
        crossing = self.cells[self.wire][0] == marks.wire and low < self.wire < high
        self.put(low, marks.line * (high - low + 1), style)
        if crossing:
            self.put(self.wire, marks.cross, style)
        self.put(end, marks.right if end > start else marks.left, style)
        text = f" {_cut(label, high - low - 4, marks)} "
        self.put(start if end > start else start - len(text) + 1, text, style)

    def middle(self, text: str, style: str) -> None:
        self.put((self.size - len(text)) // 2, text, style)

    def text(self) -> Text:
        line = Text()
        for character, style in self.cells:
            line.append(character, style or None)
        return line


Note = tuple[str, str]
"""(words, style)"""


class _Drawing:
    """One ladder at one width."""

    def __init__(self, ladder: Ladder, width: int, symbols: Symbols) -> None:
        self._ladder, self._symbols, self._width = ladder, symbols, width
        self._beside = width >= _NOTES_BESIDE
        last = max((one.at_ns for one in ladder.steps), default=0)
        self._several = len({frozenset(one.flow.split(" ")) for one in ladder.steps}) > 1
        self._unit, self._ns = ("ms", 1e6) if last < 100e9 else ("s", 1e9)
        frames = max((one.frame or 0 for one in ladder.steps), default=0)
        self._time = max(_TIME, len(f"{last / self._ns:.3f}"))
        self._frame = max(_FRAME, len(str(frames)) + 1)
        self._lane = _LANE if self._beside else width - self._time - self._frame - 5

    def lines(self, shown: Sequence[Step | Gap]) -> Iterator[Text]:
        yield from self._heading(shown)
        yield from self._names(top=True)
        before: int | None = None
        for event in _events(shown):
            if before is not None and event.at_ns - before >= _PAUSE_NS:
                yield self._pause(event.at_ns - before)
            yield from self._event(event)
            before = event.what.to_ns if isinstance(event.what, Gap) else event.at_ns
        yield from self._names(top=False)

    # -- around the lanes ----------------------------------------------------------------------------------------------

    def _heading(self, shown: Sequence[Step | Gap]) -> Iterator[Text]:
        ladder = self._ladder
        start = datetime.fromtimestamp(ladder.start_ns / 1e9, UTC)
        count = f"{len(ladder.steps):,} packet{'' if len(ladder.steps) == 1 else 's'}"
        yield from self._wrapped(
            f"{ladder.left} <-> {ladder.right}: {count}; time 0 is {start:%Y-%m-%d %H:%M:%S.%f} UTC", _NAME
        )
        for fault in ladder.faults[:_FAULTS_NAMED]:
            end = "the end" if fault.to_ns is None else duration(fault.to_ns)
            begin = "the start" if fault.from_ns <= 0 else duration(fault.from_ns)
            yield from self._wrapped(f"fault {fault.fault}: {fault.describe} on {fault.path}, from {begin} to {end}")
        if len(ladder.faults) > _FAULTS_NAMED:
            yield Text(f"and {len(ladder.faults) - _FAULTS_NAMED} faults more")
        if ladder.unknown:
            yield from self._wrapped(f"note: {ladder.unknown}")
        yield from self._wrapped(self._legend(shown), _DIM)
        yield Text()

    def _legend(self, shown: Sequence[Step | Gap]) -> str:
        marks, steps = self._symbols, [one for one in shown if isinstance(one, Step)]
        words = [f"{marks.line}{marks.right} {'passed' if self._ladder.unknown else 'delivered'}"]
        if any(arrival.at_ns - step.at_ns >= _DELAY_SHOWN_NS for step in steps for arrival in step.arrivals):
            words.append(f"{marks.right}{marks.wire} delivered later")
        if any(step.lost for step in steps):
            words.append(f"{marks.dropped} dropped")
        if any(step.did(Effect.CHANGED) for step in steps):
            words.append(f"{marks.changed} changed on the way")
        if any(step.forged for step in steps):
            words.append(f"{marks.forged} forged by a fault")
        if self._several:
            words.append(f"20000: a port of {self._ladder.left}")
        if any(step.protocol == "tcp" for step in steps):
            words.append("data 1..101 is answered by ACK 101 (bytes of the stream; the SYN is 0)")
        return f"legend: {'   '.join(words)}"

    def _wrapped(self, text: str, style: str = "") -> Iterator[Text]:
        for line in textwrap.wrap(text, self._width, subsequent_indent="  ", break_on_hyphens=False):
            yield Text(line, style)

    def _names(self, *, top: bool) -> Iterator[Text]:
        """On a line; on two where both are so long, as IPv6 addresses are, that they would run into each other."""
        left, right, inner = self._ladder.left, self._ladder.right, self._lane + 2
        over = (self._unit, "frame") if top else ("", "")
        margin = f"{over[0]:>{self._time}}{over[1]:>{self._frame}}  "
        if len(left) + len(right) + 2 > inner:
            yield Text(margin, _DIM).append(left[:inner], _NAME)
            yield Text(" " * len(margin)).append(f"{right[:inner]:>{inner}}", _NAME)
            return
        names = f"{left}{right:>{inner - len(left)}}"
        wire, at = "the wire", (inner - len("the wire")) // 2
        if not self._ladder.unknown and not names[at - 1 : at + len(wire) + 1].strip():
            names = names[:at] + wire + names[at + len(wire) :]
        yield Text(margin, _DIM).append(names, _NAME)

    def _pause(self, ns: int) -> Text:
        lane = _Lane(self._lane, self._symbols)
        lane.middle(f"{duration(ns)} pass", _DIM)
        return self._row("", "", lane, self._symbols.dots)

    def _row(self, time: str, frame: str, lane: _Lane, end: str | None = None) -> Text:
        end = end or self._symbols.end
        line = Text(f"{time:>{self._time}}", _DIM)
        line.append(f"{frame:>{self._frame}}  ", _DIM)
        line.append(end)
        line.append_text(lane.text())
        line.append(end)
        return line

    # -- what happened -------------------------------------------------------------------------------------------------

    def _event(self, event: _Event) -> Iterator[Text]:
        if isinstance(event.what, Gap):
            lane = _Lane(self._lane, self._symbols)
            lane.middle(f"{self._symbols.more} {self._left_out(event.what)} {self._symbols.more}", _DIM)
            yield self._row("", "", lane)
            return
        step, lane = event.what, self._empty_lane()
        notes = self._draw(lane, step, event)
        frame = str(step.frame) if event.sent and step.frame is not None else ""
        row = self._row(f"{event.at_ns / self._ns:.3f}", frame, lane)
        yield from self._with_notes(row, notes)

    def _left_out(self, gap: Gap) -> str:
        count = f"{gap.packets:,} packet{'' if gap.packets == 1 else 's'}"
        if gap.stories:
            return f"{count}, {gap.stories:,} of them with a story (--all)"
        return f"{count} more" if self._ladder.unknown else f"{count} as asked"

    def _empty_lane(self) -> _Lane:
        lane = _Lane(self._lane, self._symbols)
        if not self._ladder.unknown:
            lane.put(lane.wire, self._symbols.wire, _DIM)
        return lane

    def _draw(self, lane: _Lane, step: Step, event: _Event) -> list[Note]:
        """Draws the arrows, and returns what else is to be said."""
        rightwards = step.sender == self._ladder.left
        start, end = (0, lane.size - 1) if rightwards else (lane.size - 1, 0)
        before, after = (lane.wire - 1, lane.wire + 1) if rightwards else (lane.wire + 1, lane.wire - 1)
        arrival, style = event.arrival, self._style(step)
        if not event.sent:
            return self._draw_arrival(lane, step, arrival, (after, end), style)
        if step.fate is Fate.UNKNOWN or (arrival is not None and not _changed(step, arrival)):
            label, held = _label(self._what(step), step.holds, lane.size - 5)
            lane.arrow(start, end, label, style)
            if arrival is not None and arrival.at_ns - step.at_ns >= _DELAY_SHOWN_NS:
                self._draw_delay(lane, arrival.at_ns - step.at_ns, rightwards, len(label), style)
            return [*held, *about(step, arrival)]
        label, held = _label(self._what(step), step.holds, lane.wire - 6)
        lane.arrow(start, before, label, style)
        notes = [*held, *about(step, arrival)]
        if arrival is not None:
            lane.put(lane.wire, self._symbols.changed, style)
            label, rest = _label(arrival.what, arrival.holds, lane.wire - 6, "arrives with")
            lane.arrow(after, end, label, style)
            notes += rest
        elif step.fate is Fate.DROPPED:
            lane.put(lane.wire, self._symbols.dropped, _BAD)
            lane.put(before, self._symbols.line, style)
        return notes

    def _draw_delay(self, lane: _Lane, ns: int, rightwards: bool, label: int, style: str) -> None:
        text = f" {duration(ns)} "
        room = lane.size - label - 6
        if len(text) + 4 <= room:
            lane.put(lane.size - len(text) - 3 if rightwards else 3, text, style)

    def _draw_since(self, lane: _Lane, step: Step, arrival: Arrival, *, rightwards: bool) -> None:
        """In the half that the packet has behind it: which one it is, and since when it was on its way."""
        text = f"frame {step.frame}, sent {duration(arrival.at_ns - step.at_ns)} ago"
        lane.put(lane.wire - len(text) - 1 if rightwards else lane.wire + 2, text, _DIM)

    def _draw_arrival(
        self, lane: _Lane, step: Step, arrival: Arrival | None, way: tuple[int, int], style: str
    ) -> list[Note]:
        """The second half of the way, of a packet that waited, a further copy, or one that nobody sent."""
        assert arrival is not None
        label, rest = _label(arrival.what, arrival.holds, lane.wire - 6)
        lane.arrow(*way, label, style)
        if step.forged:
            lane.put(lane.wire, self._symbols.forged, style)
            return [*rest, *about(step, arrival)]
        notes: list[Note] = []
        if arrival.copy:
            notes.append((f"copy {arrival.copy + 1}{_of_frame(step)}", _STYLES[Effect.DUPLICATED]))
        else:
            self._draw_since(lane, step, arrival, rightwards=way[1] > way[0])
            notes += _waited(step)
        changed = _changed(step, arrival)
        if changed:
            lane.put(lane.wire, self._symbols.changed, style)
        return [*notes, *(rest if changed else []), *_damage(arrival)]

    def _what(self, step: Step) -> str:
        """Where there are several conversations, with the port of the left one's end."""
        if not self._several or ":" not in step.flow:
            return step.what
        _, source, _, target = step.flow.split(" ")
        port = (source if step.sender == self._ladder.left else target).rpartition(":")[2]
        return f"{port}: {step.what}"

    def _style(self, step: Step) -> str:
        if step.fate is Fate.DROPPED:
            return _BAD
        effects = [deed.effect for deed in step.deeds if deed.effect is not Effect.DELAYED]
        if effects:
            return _STYLES[effects[-1]]
        return _ODD if step.overtaken_by or step.remarks else _GOOD

    def _with_notes(self, row: Text, notes: Sequence[Note]) -> Iterator[Text]:
        if not self._beside:
            yield row
            for words, style in notes:
                yield from self._notes_under(words, style)
            return
        room = self._width - self._time - self._frame - self._lane - 6
        lines = [(line, style) for words, style in notes for line in textwrap.wrap(words, room, subsequent_indent="  ")]
        for number, (line, style) in enumerate(lines or [("", "")]):
            row = self._row("", "", self._empty_lane()) if number else row
            row.append(f"  {line}" if line else "", style or None)
            yield row

    def _notes_under(self, words: str, style: str) -> Iterator[Text]:
        for number, line in enumerate(textwrap.wrap(words, self._lane - 4)):
            lane = _Lane(self._lane, self._symbols)
            lane.put(1, f"{' ' if number else self._symbols.note} {line}", style)
            yield self._row("", "", lane)


# -- words -------------------------------------------------------------------------------------------------------------


def about(step: Step, arrival: Arrival | None) -> list[Note]:
    """What the faults did to a packet, what TCP's analysis says of it, and what is wrong with this arrival of it."""
    waits = arrival is None
    notes: list[Note] = []
    for deed in step.deeds:
        if deed.effect in (Effect.DELAYED, Effect.HELD) and (waits or deed.effect is Effect.DELAYED):
            continue  # said where it arrives, or drawn
        notes.append((_did(deed), _STYLES[deed.effect]))
    if step.lost and step.fate is Fate.DELIVERED:
        notes.append((f"{step.lost} of its copies dropped", _BAD))
    if step.fate is Fate.WAITING:
        notes.append(("still on the wire when the lab ended", _ODD))
    if step.overtaken_by and not waits:
        notes.append((_overtaken(step), _ODD))
    notes += [(remark, _ODD) for remark in step.remarks]
    return [*notes, *(_damage(arrival) if arrival else ())]


def _changed(step: Step, arrival: Arrival) -> bool:
    return step.did(Effect.CHANGED) or (arrival.what, arrival.holds) != (step.what, step.holds)


def _damage(arrival: Arrival) -> list[Note]:
    return [("checksum wrong now: the receiver throws it away", _BAD)] if arrival.damaged else []


def _overtaken(step: Step) -> str:
    first, more = step.overtaken_by[0], len(step.overtaken_by) - 1
    return f"overtaken by frame {first}" + (f" and {more} more" if more else "")


def _waited(step: Step) -> list[Note]:
    """Why it arrives so late, where more than a delay was to blame; and what came before it."""
    held = [(_did(deed), _STYLES[deed.effect]) for deed in step.deeds if deed.effect is Effect.HELD]
    return [*held, *([(_overtaken(step), _ODD)] if step.overtaken_by else [])]


def _did(deed: Deed) -> str:
    """`dropped by loss 5%`; the reason too where it says more than the fault's own words."""
    numbers = re.findall(r"\d+", deed.reason)
    known = set(numbers) <= set(re.findall(r"\d+", deed.describe)) and (numbers or deed.reason in _PLAIN_REASONS)
    return f"{_VERBS.get(deed.effect, deed.effect)} by {deed.describe}" + ("" if known else f" ({deed.reason})")


def _of_frame(step: Step) -> str:
    return "" if step.frame is None else f" (frame {step.frame})"


def _label(what: str, holds: str, room: int, beginning: str = "carries") -> tuple[str, list[Note]]:
    """What stands on the arrow, and as a note what has no room there."""
    short = re.sub(r" \(\d+ B\)", "", what)
    for one in (what, short):
        both = f"{one}: {holds}" if holds else one
        if len(both) <= room:
            return both, []
    if len(short) > room:
        return short, [(f"{what}: {holds}" if holds else what, "")]
    return what if len(what) <= room else short, [(f"{beginning} {holds}", "")]


def _cut(text: str, room: int, symbols: Symbols) -> str:
    return text if len(text) <= room else text[: max(0, room - len(symbols.more))] + symbols.more
