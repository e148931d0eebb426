"""The ledger: the engine's own record of every packet, in a binary file that survives `kill -9`.

The file starts with `MAGIC`; then come records, each beginning with one byte that says its kind:

    PACKET  64 bytes: a packet arrived (or was forged), and what was decided
    DEPART  24 bytes: one copy of a packet left the wire towards its target
    NOTE     8 bytes + JSON: the run's header, nodes, flows, acts, faults set and cleared, warnings, the end

All numbers are little-endian; all times are CLOCK_MONOTONIC nanoseconds. A ledger whose last record is no `end`
note was cut short; what precedes is whole.

PACKET: kind u8, decision u8, source node u8, target node u8, flow u32, packet id u64, arrived u64, left u64 (0: see
DEPART, or never), ordinal in flow u32, CRC-32 of the payload u32, acts u32, frame size u16, payload size u16, asked
delay u64 (ns), detail u32, copies u16, copy u16.
A packet of which copies met different fates has one PACKET record for the original and one for each dropped copy.
Where more is decided about a packet that waits (a queue behind a jittered delay), one more record says all anew.
"""

from __future__ import annotations

from struct import Struct

MAGIC = b"FLEDGER1"
PACKET, DEPART, NOTE = 1, 2, 3
DELIVERED, DROPPED, WAITING, INJECTED = 0, 1, 2, 3
"""Decisions. WAITING: to be delivered later, as DEPART records say. INJECTED: forged by a fault, then as WAITING."""
LATER = 0x80
"""Added to the decision where it was made about a packet that waited: it takes the place of the one told before."""

PACKET_RECORD = Struct("<BBBBIQQQIIIHHQIHH")
DEPART_RECORD = Struct("<BBBBHHQQ")
"""kind, copy, source node, target node, frame size, 0 (1: the target's device refused it), packet id, left."""
NOTE_HEADER = Struct("<BBHI")
"""kind, 0, 0, length of the JSON that follows."""
assert PACKET_RECORD.size == 64 and DEPART_RECORD.size == 24 and NOTE_HEADER.size == 8
