"""Wire and netem, the same faults on the same kernel: `python -m bench.side_by_side`.

In a guest where the kernel has no netem: `tools/uml/run .venv/bin/python -m bench.side_by_side`. Delays go from the
moment at which a program sends to that at which the other node's kernel takes the datagram in. Rates carry their
binomial bounds.
Exit status 1 where the wire's median delay is further from what was asked than netem's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median

from faultlab.faults import Fault, Latency, Loss, Reorder

from bench.places import PORT, in_lab, measure

ASKED_MS = 20.0
LOSS_PERCENT, REORDER_PERCENT = 10.0, 25.0
PACED = ("200", "10")
BUSY = ("400", "10")
ROUNDS = 3
ENGINES = ("wire", "netem")


@dataclass
class Seen:
    """One engine's figures: ms, and shares of the datagrams sent."""

    delays_ms: list[float]
    lost: float
    overtaken: float

    def delay(self, share: float) -> float:
        ordered = sorted(self.delays_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def stamps(engine: str, faults: Sequence[Fault], pace: tuple[str, str]) -> tuple[dict[int, int], list[tuple[int, int]]]:
    """When each datagram left, and (number, when) of each arrival in the order of arrival."""
    with in_lab(*faults, engine=engine) as place:
        said = measure(place, ("delay_sink", PORT, "udp"), ("sleeping_sender", place.address, PORT, *pace))
    arrived = sorted(said["arrived_ns"], key=lambda one: one[1])
    return dict(said["sent_ns"]), [(number, when) for number, when in arrived]


def look(engine: str) -> Seen:
    sent, arrived = stamps(engine, [Latency(delay_ms=ASKED_MS)], PACED)
    delays = [(when - sent[number]) / 1e6 for number, when in arrived if number in sent]
    faults = [Latency(delay_ms=ASKED_MS), Loss(percent=LOSS_PERCENT), Reorder(percent=REORDER_PERCENT)]
    _, arrived = stamps(engine, faults, BUSY)
    highest = overtaken = 0
    for number, _ in arrived:
        overtaken += number < highest
        highest = max(highest, number)
    count = int(BUSY[0]) * int(BUSY[1])
    return Seen(delays, 1 - len(arrived) / count, overtaken / count)


def main() -> int:
    found: dict[str, list[Seen]] = {engine: [] for engine in ENGINES}
    for number in range(ROUNDS):
        for engine in ENGINES:
            print(f"{engine}: {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            found[engine].append(look(engine))
    rows: dict[str, Callable[[Seen], str]] = {
        f"delay p50, asked {ASKED_MS:g} ms": lambda seen: f"{seen.delay(0.5):.3f} ms",
        "delay p99": lambda seen: f"{seen.delay(0.99):.3f} ms",
        f"lost, asked {LOSS_PERCENT:g}%": lambda seen: f"{seen.lost:.2%}",
        f"overtaken, with {REORDER_PERCENT:g}% sent ahead": lambda seen: f"{seen.overtaken:.2%}",
    }
    print(f"| median of {ROUNDS} | {' | '.join(ENGINES)} |\n| --- | --- | --- |")
    for name, show in rows.items():
        middle = [sorted(found[engine], key=show)[ROUNDS // 2] for engine in ENGINES]
        print(f"| {name} | {' | '.join(show(seen) for seen in middle)} |")
    count = int(BUSY[0]) * int(BUSY[1])
    spread = 5 * sqrt(LOSS_PERCENT / 100 * (1 - LOSS_PERCENT / 100) / count)
    print(f"(a fair {LOSS_PERCENT:g}% of {count} datagrams is within {LOSS_PERCENT:g}% +/- {spread:.1%}: 5 sigma)")
    error = {engine: median(abs(seen.delay(0.5) - ASKED_MS) for seen in found[engine]) for engine in ENGINES}
    kept = error["wire"] <= error["netem"]
    print(f"median error: wire {error['wire']:.3f} ms, netem {error['netem']:.3f} ms: {'held' if kept else 'NOT HELD'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
