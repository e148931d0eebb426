"""What a fault should have hit: it is asked again about each packet that was sent while it stood.

The answer needs neither the engine's word nor the delivered capture, so a deaf engine can't fake it. Chance is taken
out: where a fault draws a number, it draws the one that hits.
"""

from __future__ import annotations

from faultlab.evidence.ledger_reader import FaultNote, LedgerEntry
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import fault_from_json
from faultlab.faults.base import Draw
from faultlab.network.packets import SYN, TCP, Packet, stream_offset


class _AlwaysHits(Draw):
    """A fault acts where its number is below its probability: 0 is below each that is not 0."""

    __slots__ = ()

    def four(self, packet: Packet) -> tuple[float, float, float, float]:
        return 0.0, 0.0, 0.0, 0.0


def first_it_should_have_hit(evidence: Evidence, fault: FaultNote) -> LedgerEntry | None:
    """The first packet of the path that the fault, as asked, could not leave alone; None where there was none.

    Forged packets are no node's, and no fault's.
    """
    asked = fault_from_json(fault.asked)
    draw = _AlwaysHits()
    frames = {packet: index for index, packet in enumerate(evidence.sent.packets)}
    shared = asked.decider(draw) if asked.per_path else None
    flows = {}
    first_seq: dict[str, int] = {}
    for entry in evidence.ledger.entries:
        if entry.path != fault.path or entry.copy or entry.packet not in frames:
            continue
        packet = Packet.parse(evidence.sent.frame(frames[entry.packet]))
        packet.ordinal = entry.ordinal
        if packet.protocol == TCP and packet.flags & SYN:
            first_seq[entry.flow] = packet.seq
        if packet.protocol == TCP and entry.flow in first_seq:
            packet.stream_at = stream_offset(packet, first_seq[entry.flow])
        if entry.arrived < fault.set_at or (fault.cleared_at is not None and entry.arrived >= fault.cleared_at):
            continue
        if entry.flow not in flows:
            flows[entry.flow] = asked.match.selector(), shared or asked.decider(draw)
        selected, decide = flows[entry.flow]
        since = entry.arrived - fault.set_at
        if (selected is None or selected(packet, since)) and decide(packet, since) is not None:
            return entry
    return None
