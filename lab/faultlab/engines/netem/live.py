"""What the netem process writes while the lab runs: every frame as it is seen, and the notes of the ledger.

The files have the names that the finished evidence has, and `faultlab.engines.netem.inference` replaces them at the end
with ones in which every packet has its number and its fate. After a `kill -9` they are what is left: captures as
complete as the wire's, a ledger of notes only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from faultlab.engines.netem.sniffer import Sighting
from faultlab.engines.recorder import FLUSH_BYTES
from faultlab.evidence import clock, ledger_format
from faultlab.evidence.files import Appender, CaptureWriter, written
from faultlab.network.topology import Node


class Live:
    """Evidence in `folder` as it comes. Its times are wall clock ns; notes have monotonic ns as everywhere."""

    def __init__(self, folder: Path, nodes: Sequence[Node], devices: Sequence[int], header: dict[str, object]) -> None:
        names = [node.name for node in nodes]
        self.folder, self.nodes, self.header = folder, nodes, header
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.clock = clock.measure()
        self._node_of = {device: number for number, device in enumerate(devices)}
        self._sent = CaptureWriter(folder / "sent.pcapng", names, "as sent", nodes)
        self._delivered = CaptureWriter(folder / "delivered.pcapng", names, "as delivered", nodes)
        self._ledger = Appender(folder / "ledger.bin")
        self._ledger.parts.append(ledger_format.MAGIC)
        self.sent = 0
        """Frames that nodes sent."""
        self._pending = 0
        self._cut_short = 0
        self._write_note(
            "run", {"epoch_offset": self.clock.offset_ns, "nodes": [vars(node) for node in nodes], **header}
        )
        self.flush()

    def see(self, sighting: Sighting) -> None:
        """Frames on other devices than the nodes' ports are nobody's."""
        node = self._node_of.get(sighting.device)
        if node is None:
            return
        file = self._delivered if sighting.outgoing else self._sent
        file.packet(node, sighting.frame, 0, b"", sighting.wall)
        self.sent += not sighting.outgoing
        if len(sighting.frame) < sighting.size:
            self._cut_short += 1
        self._pending += len(sighting.frame)
        if self._pending > FLUSH_BYTES:
            self.flush()

    def note(self, kind: str, t: int, **fields: object) -> None:
        """`t` is when, in monotonic ns."""
        self.notes.append((kind, {"t": t, **fields}))
        self._write_note(kind, {"t": t, **fields})

    def _write_note(self, kind: str, fields: dict[str, object]) -> None:
        text = json.dumps({"note": kind, **fields}, separators=(",", ":")).encode()
        self._ledger.parts.append(ledger_format.NOTE_HEADER.pack(ledger_format.NOTE, 0, 0, len(text)) + text)

    def flush(self) -> None:
        self._pending = 0
        for file in (self._ledger, self._sent, self._delivered):
            file.flush()

    @property
    def written(self) -> dict[str, int]:
        """As `files.written`, all from the same moments."""
        return written((self._ledger, self._sent, self._delivered))

    def close(self, lost: int) -> None:
        """Everything on disk; what makes the captures less than complete is noted. `lost` frames the sniffer missed."""
        now, step = time.monotonic_ns(), clock.measure().step_since(self.clock)
        left_out = {"sent": self._sent.left_out, "delivered": self._delivered.left_out}
        if lost or self._cut_short or any(left_out.values()):
            self.note(
                "warning", now, text="captures incomplete", lost=lost, cut_short=self._cut_short, left_out=left_out
            )
        if step:
            self.note("warning", now, text="the wall clock was stepped, so capture times are off", step_ns=step)
        for file in (self._ledger, self._sent, self._delivered):
            file.close()
