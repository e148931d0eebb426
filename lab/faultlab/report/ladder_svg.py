"""A ladder as SVG: time runs downwards, each packet is an arrow from one node to the other, or to the ✕ where it ended.

What happened at other times stands on other lines, so a packet that was held slopes, and one that overtook crosses.
The distance of two lines is no scale of time: a pause of a second would be all that one sees. Colours are classes of
the style sheet; each is told by a shape or a word as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import hypot, log10

from faultlab.analysis.ladder import Arrival, Fate, Gap, Ladder, Step
from faultlab.faults.base import Effect

WIDTH, HEAD = 1100, 34
LEFT, RIGHT = 360, 740
"""Where the two lifelines stand; between them the wire, beside them the words."""
MIDDLE = (LEFT + RIGHT) / 2
CLOCK, EDGE = 58, 12
LINE, SMALL, NEXT = 22, 14, 5
"""Heights in SVG units: a line of words, a second one below it, and an arrival without any."""
PAUSE_NS = 100_000_000
"""A pause as long as this is named."""
WORDS, SMALL_WORDS, BESIDE = 37, 48, 28
"""Characters that fit beside a lifeline, in a line and in a small one, and between the ✕ and a lifeline.

All of it is in the packet's title."""

_NAMED = re.compile(r"\bwhich (f\d+) (dropped|changed)\b")
"""How a remark says what a fault did."""


@dataclass(frozen=True)
class Shown:
    """One event on its line. `arrival` is None where it is the packet's sending."""

    at_ns: int
    step: Step
    arrival: Arrival | None = None


def ladder_head(ladder: Ladder) -> str:
    """The nodes' names, as a picture of its own that stays in sight while the ladder scrolls."""
    names = "".join(
        f'<text class="node" x="{x}" y="22" text-anchor="middle">{escape(name)}</text>'
        for x, name in ((LEFT, ladder.left), (MIDDLE, "the wire"), (RIGHT, ladder.right))
    )
    clock = f'<text class="clock" x="{CLOCK}" y="22" text-anchor="end">ms</text>'
    return f'<svg class="head" viewBox="0 0 {WIDTH} {HEAD}" aria-hidden="true">{clock}{names}</svg>'


def ladder_svg(ladder: Ladder, items: Sequence[Step | Gap]) -> str:
    """`items` of `faultlab.analysis.ladder.chosen`, or all steps. Each step is a group with its ledger id."""
    places, height = _places(items)
    drawn = "".join(_drawn(ladder, items, places))
    about = f"{ladder.left} and {ladder.right}: {sum(isinstance(one, Step) for one in items)} packets"
    return (
        f'<svg class="steps" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(about)}">'
        f"{_faults(ladder, places, height)}"
        f'<path class="life" d="M{LEFT} 0V{height:.0f}M{RIGHT} 0V{height:.0f}"/>{drawn}</svg>'
    )


# -- where things stand ------------------------------------------------------------------------------------------------

Places = list[tuple[int, float, Shown | Gap, int]]
"""(time, y, what, pause before it in ns where that is long), from the top down."""


def _places(items: Sequence[Step | Gap]) -> tuple[Places, float]:
    events: list[tuple[int, Shown | Gap]] = []
    for item in items:
        if isinstance(item, Gap):
            events.append((item.from_ns, item))
            continue
        events.append((item.at_ns, Shown(item.at_ns, item)))
        events += [(one.at_ns, Shown(one.at_ns, item, one)) for one in item.arrivals]
    events.sort(key=lambda event: event[0])
    places: Places = []
    y, free, before = 6.0, 6.0, events[0][0] if events else 0
    for at, event in events:
        pause = at - before if at - before >= PAUSE_NS else 0
        y += NEXT + 7 * log10(1 + max(0, at - before) / 1e6) + (LINE if pause else 0)
        if lines := _lines(event):
            y = max(y, free)
            free = y + LINE + SMALL * (lines - 1)
        places.append((at, y, event, pause))
        before = event.to_ns if isinstance(event, Gap) else at
    return places, max(free, y) + LINE


def _lines(event: Shown | Gap) -> int:
    """Lines of words that stand beside it."""
    if isinstance(event, Gap):
        return 2
    if event.arrival is not None:
        return len(_arrival_words(event.step, event.arrival))
    return 1 + len(_more(event.step))


# -- drawing -----------------------------------------------------------------------------------------------------------


def _drawn(ladder: Ladder, items: Sequence[Step | Gap], places: Places) -> Iterator[str]:
    sent: dict[int, float] = {}
    arrived: dict[tuple[int, int], float] = {}
    for _, y, event, pause in places:
        if pause:
            at, told = f"{y - LINE + 4:.0f}", f"{_span(pause)} later"
            yield f'<text class="pause" x="{MIDDLE}" y="{at}" text-anchor="middle">{told}</text>'
        if isinstance(event, Gap):
            yield _gap(event, y)
        elif event.arrival is None:
            sent[id(event.step)] = y
        else:
            arrived[id(event.step), event.arrival.frame] = y
    several = len({_port(ladder, item) for item in items if isinstance(item, Step)}) > 1
    for item in items:
        if isinstance(item, Step):
            yield _step(ladder, item, several, sent[id(item)], [arrived[id(item), one.frame] for one in item.arrivals])


def _step(ladder: Ladder, step: Step, several: bool, y: float, ends: Sequence[float]) -> str:
    """One packet: its words, and an arrow for each copy. Of `several` connections it says which."""
    rightwards = step.sender == ladder.left
    start, end = (LEFT, RIGHT) if rightwards else (RIGHT, LEFT)
    faults = {one.fault: one.describe for one in ladder.faults}
    parts = [_words(step, faults, y, rightwards, _port(ladder, step) if several else "")]
    if step.forged:
        start = round(MIDDLE)
        parts.append(f'<circle class="forge" cx="{start}" cy="{y:.0f}" r="4"/>')
    for arrival, arrived in zip(step.arrivals, ends, strict=True):
        parts.append(_arrow(start, y, end, arrived, "copy" if arrival.copy else ""))
        parts += [
            _beside(line, arrived + SMALL * row, end == RIGHT, "told", SMALL_WORDS)
            for row, line in enumerate(_arrival_words(step, arrival))
        ]
    if step.lost:
        parts.append(_loss(step, start, y, rightwards))
    if step.fate is Fate.UNKNOWN and not step.arrivals:
        parts.append(_arrow(start, y, end, y, "unknown"))
    if step.fate is Fate.WAITING and not step.arrivals:
        parts.append(f'<path class="line" d="M{start} {y:.0f}H{MIDDLE}"/>')
    bottom = max((y, *ends))
    return (
        f'<g class="step {_kind(step)}" data-packet="{step.ledger}" data-top="{y:.0f}" data-bottom="{bottom:.0f}"'
        f' data-frame="{frame_name(step)}" data-side="{"left" if rightwards else "right"}">'
        f"<title>{escape(in_full(step))}</title>{''.join(parts)}</g>"
    )


def _kind(step: Step) -> str:
    """The class that colours it: what happened to it, the worst first."""
    kinds = (
        ("dropped", step.lost > 0 or step.fate is Fate.DROPPED),
        ("changed", step.did(Effect.CHANGED) or any(one.damaged for one in step.arrivals)),
        ("forged", step.forged),
        ("duplicated", len(step.arrivals) > 1),
        ("late", bool(step.overtaken_by)),
        ("again", any(remark.startswith("repeats ") for remark in step.remarks)),
    )
    return next((name for name, is_so in kinds if is_so), "plain")


def _words(step: Step, faults: Mapping[str, str], y: float, rightwards: bool, port: str) -> str:
    clock = f'<text class="clock" x="{CLOCK}" y="{y + 4:.0f}" text-anchor="end">{step.at_ns / 1e6:.1f}</text>'
    number = " ".join(filter(None, ("forged" if step.frame is None else str(step.frame), port)))
    first = f'<tspan class="frame">{number}</tspan> {escape(_short(step.what, WORDS - len(number)))}'
    x, anchor = (LEFT - EDGE, "end") if rightwards else (RIGHT + EDGE, "start")
    told = f'<text class="what" x="{x}" y="{y + 4:.0f}" text-anchor="{anchor}">{first}</text>'
    more = [_NAMED.sub(lambda found: _blamed(faults.get(found[1], found[1]), found[2]), line) for line in _more(step)]
    lines = (
        _beside(line, y + SMALL * row, not rightwards, "more", SMALL_WORDS) for row, line in enumerate(more, start=1)
    )
    return clock + told + "".join(lines)


def _blamed(fault: str, deed: str) -> str:
    """In the fault's words, without what it was asked to match: `lost to loss 10%`, `changed by cut 13`."""
    name = fault.partition(" (")[0]
    return f"lost to {name}" if deed == "dropped" else f"changed by {name}"


def _port(ladder: Ladder, step: Step) -> str:
    """The left node's port, as the ledger names it (`:20000`, `:*3`), which tells connections apart."""
    source, _, target = step.flow.partition(" ")[2].partition(" -> ")
    end = source if step.sender == ladder.left else target
    return end.removeprefix(ladder.left)


def _beside(text: str, y: float, on_the_right: bool, kind: str, room: int) -> str:
    x, anchor = (RIGHT + EDGE, "start") if on_the_right else (LEFT - EDGE, "end")
    return f'<text class="{kind}" x="{x}" y="{y + 4:.0f}" text-anchor="{anchor}">{escape(_short(text, room))}</text>'


def _arrow(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    """A line with its head; the head points the way the line goes."""
    length = hypot(to_x - x, to_y - y)
    ux, uy = (to_x - x) / length, (to_y - y) / length
    back_x, back_y = to_x - 9 * ux, to_y - 9 * uy
    sides = f"{back_x - 4 * uy:.1f} {back_y + 4 * ux:.1f}L{back_x + 4 * uy:.1f} {back_y - 4 * ux:.1f}"
    head = f"M{to_x:.0f} {to_y:.0f}L{sides}z"
    return f'<path class="line {kind}" d="M{x:.0f} {y:.0f}L{back_x:.1f} {back_y:.1f}"/><path class="point" d="{head}"/>'


def _loss(step: Step, start: float, y: float, rightwards: bool) -> str:
    """The line that ends at a ✕, and beside that who did it."""
    way = 1 if rightwards else -1
    x, at = MIDDLE - 6 * way, y + 3
    cross = f"M{x - 5:.0f} {at - 5:.0f}l10 10m0-10l-10 10"
    why = next((deed.describe for deed in step.deeds if deed.effect is Effect.DROPPED), "lost")
    words = _short(why if step.lost == 1 else f"{why} ({step.lost} copies)", BESIDE)
    anchor = "start" if rightwards else "end"
    return (
        f'<path class="line" d="M{start} {y:.0f}L{x:.0f} {at:.0f}"/><path class="cross" d="{cross}"/>'
        f'<text class="why" x="{x + 12 * way:.0f}" y="{at + 4:.0f}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def _gap(gap: Gap, y: float) -> str:
    packets = f"{gap.packets} packet{'' if gap.packets == 1 else 's'}"
    told = f"{packets} not drawn" if gap.stories else f"{packets} as asked"
    return (
        f'<g class="gap"><rect x="{LEFT}" y="{y - 4:.0f}" width="{RIGHT - LEFT}" height="22"/>'
        f'<text x="{MIDDLE}" y="{y + 11:.0f}" text-anchor="middle">… {told} …</text></g>'
    )


def _faults(ladder: Ladder, places: Places, height: float) -> str:
    """The wire is shaded while a fault stands."""
    bands = []
    for fault in ladder.faults:
        top = _y_at(places, fault.from_ns)
        bottom = height if fault.to_ns is None else _y_at(places, fault.to_ns)
        told = f"{fault.describe} on {fault.path}"
        bands.append(
            f'<rect class="stands" x="{MIDDLE - 10}" y="{top:.0f}" width="20" height="{max(2.0, bottom - top):.0f}">'
            f"<title>{escape(told)}</title></rect>"
        )
    return "".join(bands)


def _y_at(places: Places, at_ns: int) -> float:
    """Just above the first event that is not before this time."""
    return next((y - NEXT for at, y, _, _ in places if at >= at_ns), places[-1][1] + LINE if places else 0.0)


# -- words -------------------------------------------------------------------------------------------------------------


def _more(step: Step) -> tuple[str, ...]:
    """What stands below a packet's words, a line each."""
    return tuple(filter(None, (step.holds, *step.remarks)))


def _arrival_words(step: Step, arrival: Arrival) -> tuple[str, ...]:
    """What is worth a line where a copy arrives; a delay alone shows as the arrow's slope."""
    told = []
    if arrival.copy:
        told.append(f"a copy, by {_by(step, Effect.DUPLICATED)}")
    if step.did(Effect.CHANGED):
        told.append(f"changed by {_by(step, Effect.CHANGED)}")
    if arrival.damaged:
        told.append("its checksum is wrong")
    if arrival.what != step.what:
        told.append(f"arrives as {arrival.what}")
    if arrival.holds != step.holds:
        told.append(arrival.holds)
    if step.overtaken_by and not arrival.copy:
        told.append(f"{_span(arrival.at_ns - step.at_ns)} later, overtaken by {_frames(step.overtaken_by)}")
    return tuple(told)


def fate_in_words(step: Step) -> str:
    """What became of it, and by whom: `dropped by loss 10%`, `delivered after 5.1 ms as frame 12`."""
    told = [f"{deed.effect} by {deed.describe} ({deed.reason})" for deed in step.deeds]
    told += [f"delivered after {_span(one.at_ns - step.at_ns)} as frame {one.frame}" for one in step.arrivals]
    if step.overtaken_by:
        told.append(f"overtaken by {_frames(step.overtaken_by)}")
    if step.fate is Fate.WAITING:
        told.append("still on the wire at the end")
    return "; ".join((*told, *step.remarks))


def frame_name(step: Step) -> str:
    return "forged" if step.frame is None else f"frame {step.frame}"


def in_full(step: Step) -> str:
    """All that is known of a packet, in one line."""
    way = f"{step.sender} -> {step.receiver}"
    return f"{frame_name(step)} (ledger {step.ledger}), {way}: {step.what}; {fate_in_words(step)}"


def _by(step: Step, effect: Effect) -> str:
    return next((deed.describe for deed in step.deeds if deed.effect is effect), "the network")


def _frames(frames: Sequence[int]) -> str:
    more = f" and {len(frames) - 1} more" if len(frames) > 1 else ""
    return f"frame {frames[0]}{more}"


def _span(ns: int) -> str:
    """1.02 s, 5.1 ms, 80 us."""
    if ns >= 1_000_000_000:
        return f"{ns / 1e9:.2f} s"
    return f"{ns / 1e6:.1f} ms" if ns >= 1_000_000 else f"{ns / 1e3:.0f} us"


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
