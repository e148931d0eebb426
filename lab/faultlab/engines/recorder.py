"""Writes a run's evidence as it happens: the ledger, and the captures as sent and as delivered.

    ledger.bin          every decision (see `faultlab.evidence.ledger_format`)
    sent.pcapng         frames as their nodes sent them; an interface for each node
    delivered.pcapng    frames as their nodes were handed them; an interface for each node

Blocks are gathered in memory and appended whole, so each file is readable up to its last block at any time, also
after `kill -9`. Each captured packet carries its ledger id (`epb_packetid`) and the decision as its comment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from zlib import crc32

from faultlab.engines.transit import PathFlow, PathState, Transit
from faultlab.evidence import clock, ledger_format
from faultlab.evidence.files import BLOCK, Appender, CaptureWriter, comment_option, written
from faultlab.faults.base import FaultAct
from faultlab.network.topology import Node

FLUSH_BYTES = 1 << 18

_PLAIN_COMMENT = Struct("<HH12s").pack(1, 9, b"delivered")
_WORDS: dict[object, str] = {ledger_format.DROPPED: "dropped", ledger_format.WAITING: "goes on"}
_PLAIN_TAIL = [Struct(f"<{pad}x16sHHQHHI") for pad in (0, 1, 2, 3)]
_PACKET = ledger_format.PACKET_RECORD.pack
_DEPART = ledger_format.DEPART_RECORD.pack


class FileRecorder:
    """The core's `Recorder` that writes to files in `folder`.

    `epoch`: wall clock less monotonic ns, for packets that were seen earlier; now's where not given.
    """

    def __init__(
        self, folder: Path, nodes: Sequence[Node], header: dict[str, object], epoch: int | None = None
    ) -> None:
        self._nodes = nodes
        self._epoch = clock.measure().offset_ns if epoch is None else epoch
        self._ledger = Appender(folder / "ledger.bin")
        names = [node.name for node in nodes]
        self._sent = CaptureWriter(folder / "sent.pcapng", names, "as sent", nodes)
        self._delivered = CaptureWriter(folder / "delivered.pcapng", names, "as delivered", nodes)
        self._acts: dict[tuple[FaultAct, ...], int] = {}
        self._comments: dict[tuple[object, ...], bytes] = {}
        self._pending = 0
        self._ledger.parts.append(ledger_format.MAGIC)
        self.note("run", epoch_offset=self._epoch, nodes=[vars(node) for node in nodes], **header)
        self.flush()

    def flow(self, number: int, path: PathState, label: str) -> None:
        self.note("flow", flow=number, path=path.name, label=label)

    def acts(self, acts: tuple[FaultAct, ...]) -> int:
        number = self._acts.get(acts)
        if number is None:
            number = self._acts[acts] = len(self._acts) + 1
            self.note("acts", acts=number, list=[[fault, effect.value, reason] for fault, effect, reason in acts])
        return number

    def passed(self, path: PathState, flow: PathFlow, packet_id: int, frame: bytes, payload_at: int, now: int) -> None:
        size = len(frame)
        self._ledger.parts.append(
            _PACKET(
                1, 0, path.source, path.target, flow.number, packet_id, now, now, flow.ordinal,
                crc32(frame[payload_at:]), 0, size, size - payload_at, 0, 0, 1, 0,
            )
        )  # fmt: skip
        wall = now + self._epoch
        high, low = wall >> 32, wall & 0xFFFFFFFF
        pad = -size & 3
        total = 64 + size + pad
        tail = _PLAIN_TAIL[pad].pack(_PLAIN_COMMENT, 5, 8, packet_id, 0, 0, total)
        self._sent.parts += (BLOCK.pack(6, total, path.source, high, low, size, size), frame, tail)
        self._delivered.parts += (BLOCK.pack(6, total, path.target, high, low, size, size), frame, tail)
        self._pending += size
        if self._pending > FLUSH_BYTES:
            self.flush()

    def decided(self, path: PathState, flow: PathFlow, packet_id: int, transit: Transit, now: int) -> None:
        decision = (
            ledger_format.DROPPED
            if transit.dropped
            else ledger_format.INJECTED
            if transit.injected
            else ledger_format.WAITING
        )
        acts = self._put_down(path, flow, packet_id, transit, decision)
        if transit.packet.copy == 0 and not transit.injected:
            comment = self._comment(decision, acts, transit)
            self._capture(self._sent, path.source, transit.original.frame, packet_id, comment, now)

    def decided_later(self, path: PathState, transit: Transit) -> None:
        decision = ledger_format.LATER | (ledger_format.DROPPED if transit.dropped else ledger_format.WAITING)
        self._put_down(path, transit.flow, transit.packet_id, transit, decision)

    def _put_down(self, path: PathState, flow: PathFlow, packet_id: int, transit: Transit, decision: int) -> int:
        """One PACKET record; returns the number of its acts."""
        acts = self.acts(transit.acts) if transit.acts else 0
        original, packet = transit.original.frame, transit.packet
        payload = transit.original.payload
        self._ledger.parts.append(
            _PACKET(
                1, decision, path.source, path.target, flow.number, packet_id, transit.arrived, 0, packet.ordinal,
                crc32(payload), acts, len(original), len(payload), transit.delay, transit.detail,
                transit.copies, packet.copy,
            )
        )  # fmt: skip
        return acts

    def delivered(self, path: PathState, transit: Transit, now: int) -> None:
        frame = transit.frame
        self._ledger.parts.append(
            _DEPART(2, transit.packet.copy, path.source, path.target, len(frame), 0, transit.packet_id, now)
        )
        acts = self.acts(transit.acts) if transit.acts else 0
        comment = self._comment("delivered", acts, transit)
        self._capture(self._delivered, path.target, frame, transit.packet_id, comment, now)

    def note(self, kind: str, **fields: object) -> None:
        text = json.dumps({"note": kind, **fields}, separators=(",", ":")).encode()
        self._ledger.parts.append(ledger_format.NOTE_HEADER.pack(ledger_format.NOTE, 0, 0, len(text)) + text)

    def flush(self) -> bool:
        """Returns whether there was anything to write."""
        self._pending = 0
        wrote = [file.flush() for file in (self._ledger, self._sent, self._delivered)]
        return any(wrote)

    @property
    def written(self) -> dict[str, int]:
        """As `files.written`, all from the same moments."""
        return written((self._ledger, self._sent, self._delivered))

    def close(self, **last_words: object) -> None:
        """The normal end: an `end` note, then everything on disk."""
        left_out = {"sent": self._sent.left_out, "delivered": self._delivered.left_out}
        self.note("end", t=time.monotonic_ns(), left_out=left_out, **last_words)
        for file in (self._ledger, self._sent, self._delivered):
            file.close()

    def _comment(self, decision: object, acts: int, transit: Transit) -> bytes:
        key = (decision, acts)
        option = self._comments.get(key)
        if option is None:
            what = _WORDS.get(decision, "delivered")
            why = "; ".join(f"{effect.value} by {fault} ({reason})" for fault, effect, reason in transit.acts)
            option = self._comments[key] = comment_option(f"{what}: {why}" if why else what)
        return option

    def _capture(
        self, file: CaptureWriter, interface: int, frame: bytes, packet_id: int, comment: bytes, now: int
    ) -> None:
        file.packet(interface, frame, packet_id, comment, now + self._epoch)
        self._pending += len(frame)
        if self._pending > FLUSH_BYTES:
            self.flush()
