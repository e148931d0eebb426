"""What a fault is: a frozen value that can make deciders, and the verdicts that a decider may give.

An engine asks each fault of a path, in the order of `Stage`, about each packet that its `match` selects; the fault
answers with a verdict or None (leave it alone). Faults know nothing of engines, clocks or files.

Every random number comes from `Draw`, a pure function of (seed, path, fault, flow, ordinal, copy): what happens to
one flow never changes what happens to another, and the same run can be had again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from hashlib import blake2b
from struct import Struct
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from faultlab.faults.match import Match
from faultlab.network.packets import Packet
from faultlab.units import quantity_text


class Stage(IntEnum):
    """The order in which the faults of one path act: netem's (tc-netem(8), sch_netem), with ours around it."""

    REBIND = 0
    CUT = 1
    RESET = 2
    DUPLICATE = 3
    LOSS = 4
    CORRUPT = 5
    REORDER = 6
    LATENCY = 7
    RATE = 8


class Effect(StrEnum):
    """What a fault did to a packet, as the ledger says it and the captures must show it."""

    DROPPED = "dropped"
    DELAYED = "delayed"
    DUPLICATED = "duplicated"
    CHANGED = "changed"
    HELD = "held"
    OVERTOOK = "overtook"
    INJECTED = "injected"


FaultAct = tuple[str, Effect, str]
"""(fault id, what it did, why)"""


@dataclass(frozen=True, slots=True)
class DropPacket:
    """The packet ends here."""

    reason: str


@dataclass(frozen=True, slots=True)
class DelayPacket:
    """Deliver `ns` nanoseconds later than the stages before would have."""

    ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class CopyPacket:
    """`extra` further copies go through the stages that follow, each with its own fate."""

    extra: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChangePacket:
    """Go on with these bytes instead. `detail` is a number for the ledger (the bit flipped, the new port)."""

    frame: bytes
    reason: str
    detail: int = 0


@dataclass(frozen=True, slots=True)
class HoldPacket:
    """Keep the packet until `passes` later packets of its flow have been delivered."""

    passes: int
    reason: str


@dataclass(frozen=True, slots=True)
class OvertakePackets:
    """Skip the latency and the rate of this path: the packet leaves at once, ahead of those that wait."""

    reason: str


@dataclass(frozen=True, slots=True)
class InjectPackets:
    """Put forged frames on the wire: `onward` on this path in the packet's place, `back` to its sender."""

    onward: tuple[bytes, ...]
    back: tuple[bytes, ...]
    reason: str


Decision = DropPacket | DelayPacket | CopyPacket | ChangePacket | HoldPacket | OvertakePackets | InjectPackets
Decider = Callable[[Packet, int], Decision | None]
"""Asked about one packet at a time in ns since the fault was set; may keep state for its flow (or path)."""

_FOUR = Struct("<4Q")
_UNIT = 2.0**-53


class Draw:
    """Uniform numbers in [0, 1) for one (seed, path, fault, flow); four for each (ordinal, copy)."""

    __slots__ = ("_keyed",)

    def __init__(self, *key: object) -> None:
        self._keyed = blake2b("\0".join(map(str, key)).encode(), digest_size=32)

    def four(self, packet: Packet) -> tuple[float, float, float, float]:
        """Four independent numbers for this packet; the same for the same packet, always."""
        keyed = self._keyed.copy()
        keyed.update(b"%d.%d" % (packet.ordinal, packet.copy))
        a, b, c, d = _FOUR.unpack(keyed.digest())
        return (a >> 11) * _UNIT, (b >> 11) * _UNIT, (c >> 11) * _UNIT, (d >> 11) * _UNIT

    def one(self, packet: Packet) -> float:
        return self.four(packet)[0]


UNIT_SUFFIXES = ("_ms", "_kbit")


def _scenario_name(field: str) -> str:
    """`delay_ms` is `delay` in a scenario file, because its value there carries the unit: `delay: 50ms`."""
    for suffix in UNIT_SUFFIXES:
        field = field.removesuffix(suffix)
    return field


class Fault(BaseModel):
    """The base of all faults. A subclass is one file: a sentence, its fields, and `decider`.

    Attributes of the class:
        kind: its word in scenario files, on the command line and in the ledger.
        stage: where it stands among the faults of one path.
        leaves: the effects that prove it; at least one packet must show one of them, or the run proves nothing.
        per_path: one decider for all flows of the path (a queue, say) instead of one for each flow.
        short: the field that a bare value in a scenario file sets: `loss: 10%`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_scenario_name,
        populate_by_name=True,
        allow_inf_nan=False,
    )

    kind: ClassVar[str]
    stage: ClassVar[Stage]
    leaves: ClassVar[frozenset[Effect]]
    per_path: ClassVar[bool] = False
    short: ClassVar[str | None] = None

    match: Match = Match()

    def decider(self, draw: Draw) -> Decider:
        """A fresh decider for one flow (for the path where `per_path`)."""
        raise NotImplementedError

    @property
    def needs(self) -> frozenset[str]:
        """Kinds of which one must stand on the same path."""
        return frozenset()

    @property
    def reorders(self) -> bool:
        """Whether packets of one path may leave in another order than they came."""
        return False

    def backward(self, decider: Decider) -> Decider | None:
        """For a fault that also touches the way back (as a NAT does): who decides there. Default: nobody."""
        return None

    def describe(self) -> str:
        """One short phrase for people: `loss 10%`."""
        fields = [(name, value) for name, value in self if name != "match" and value != _default(self, name)]
        words = [self.kind, *(_phrase(name, value, self.short) for name, value in fields)]
        if self.match != Match():
            words.append(f"({self.match.describe()})")
        return " ".join(words)


def _phrase(name: str, value: object, short: str | None) -> str:
    """`jitter 5ms`; the value alone for the field that a bare value sets."""
    word, text = quantity_text(name, value)
    return text if short in (name, word) else f"{word} {text}"


def _default(fault: Fault, name: str) -> Any:
    return type(fault).model_fields[name].default
