"""What the wire's core remembers: paths, flows, the faults on them, and packets on their way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from faultlab.engines.wire.receiver import Receiver
from faultlab.faults.base import Decider, Effect, Fault, FaultAct
from faultlab.faults.match import Selected
from faultlab.network.packets import Packet
from faultlab.network.sendings import Sending, Sendings

Out = tuple[int, bytes]
"""(target node's index, frame)"""


class Recorder(Protocol):
    """Who writes down what the core decides. Node arguments are indices into the core's nodes."""

    def flow(self, number: int, path: PathState, label: str) -> None: ...
    def passed(self, path: PathState, flow: PathFlow, packet_id: int, frame: bytes, payload_at: int, now: int) -> None:
        """Arrived, untouched and delivered in one step."""

    def decided(self, path: PathState, flow: PathFlow, packet_id: int, transit: Transit, now: int) -> None:
        """Arrived, and touched by a fault or sent to wait. Told of the original, and of each copy that is dropped."""

    def decided_later(self, path: PathState, transit: Transit) -> None:
        """More was decided about a copy that waited: its acts, delay and end take the place of those told before."""

    def delivered(self, path: PathState, transit: Transit, now: int) -> None: ...
    def note(self, kind: str, **fields: object) -> None: ...


@dataclass(slots=True, eq=False)
class Active:
    """A fault on a path, since when, and its id in the ledger. `decider` is that of all flows, where they share one."""

    fault: Fault
    id: str
    rank: int
    since: int
    is_link: bool
    decider: Decider | None = None


DecidingFault = tuple[Active, Selected | None, Decider]


@dataclass(slots=True, eq=False)
class PathFlow:
    """One direction of one conversation on one path. `sendings` names its packets, in a replay.

    `receiver` is what its other end expects, on a path that is `watched`.
    """

    number: int
    label: str
    sendings: Sendings | None = None
    ordinal: int = 0
    first_seq: int | None = None
    generation: int = -1
    steps: tuple[DecidingFault, ...] = ()
    held: list[Transit] = field(default_factory=list)
    receiver: Receiver | None = None


@dataclass(slots=True, eq=False)
class PathState:
    """One directed path: its flows, its faults and what waits on it.

    `backward` is what the faults of the way there do on this one. `last_due` is when the last of its packets leaves,
    `link_due` when the last one gets to its link, `floor` what `last_due` was when the faults last changed. On a
    `watched` path, or on its way back, connections are reset.
    """

    name: str
    source: int
    target: int
    flows: dict[bytes, PathFlow] = field(default_factory=dict)
    active: tuple[Active, ...] = ()
    backward: tuple[DecidingFault, ...] = ()
    generation: int = 0
    plain: bool = True
    watched: bool = False
    may_reorder: bool = False
    waiting: int = 0
    last_due: int = 0
    link_due: int = 0
    floor: int = 0


@dataclass(slots=True, eq=False)
class Transit:
    """A packet on its way through the faults: one copy of it, what was done to it, when it leaves.

    `names` are what a replay knows it by. `step` is the fault it comes to next; `before_link` says that it waits for
    its turn there. Of a forged packet, `receiver` is who gets it.
    """

    original: Packet
    packet: Packet
    packet_id: int
    flow: PathFlow
    frame: bytes
    arrived: int
    due: int
    delay: int = 0
    acts: tuple[FaultAct, ...] = ()
    dropped: bool = False
    injected: bool = False
    overtakes: bool = False
    passes_left: int = 0
    detail: int = 0
    copies: int = 1
    names: tuple[Sending, ...] = ()
    step: int = 0
    before_link: bool = False
    holder: Active | None = None
    receiver: Receiver | None = None

    def act(self, fault_id: str, effect: Effect, reason: str) -> None:
        self.acts = (*self.acts, (fault_id, effect, reason))

    def drop(self, fault_id: str, reason: str) -> None:
        self.dropped = True
        self.act(fault_id, Effect.DROPPED, reason)
