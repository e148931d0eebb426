"""The captures of both ends, as two tcpdumps would have made them, out of a run's evidence."""

from __future__ import annotations

from pathlib import Path

from faultlab.evidence.files import CaptureWriter
from faultlab.evidence.pcapng import Capture


def tcpdumps(run: Path, folder: Path, *nodes: str, ahead_ns: tuple[int, ...] = (0, 0)) -> Path:
    """A capture for each node: what it sent, and what was delivered to it, without the ledger's numbers.

    A node's clock is `ahead_ns` of the run's.
    """
    folder.mkdir()
    both = [*Capture(run / "sent.pcapng"), *Capture(run / "delivered.pcapng")]
    for node, ahead in zip(nodes, ahead_ns, strict=True):
        writer = CaptureWriter(folder / f"at-{node}.pcapng", ["eth0"], "by tcpdump")
        for one in sorted((one for one in both if one.node == node), key=lambda one: one.time):
            writer.packet(0, one.frame, 0, b"", one.time + ahead)
        writer.close()
    return folder
