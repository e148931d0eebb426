"""The capture sidecar: every packet of a node's devices, as the node itself sees them, into `capture-NODE.pcapng`.

    python -m faultlab.runtimes.compose.capture_sidecar NODE

A second witness beside the engine's own captures, and the only one where no engine is there. It shares the node's
network namespace and needs NET_RAW and nothing else. READY is there once it really sees packets, so whoever waits for
the container's health misses none; on SIGTERM it writes what it has seen and ends.
"""

from __future__ import annotations

import select
import signal
import socket
import sys
from pathlib import Path

from faultlab.engines.netem.sniffer import Sniffer
from faultlab.evidence.files import CaptureWriter

READY = Path("/tmp/ready")
EVIDENCE = Path("/evidence")
DEVICES = ("eth0", "lab0")
FLUSH_MS = 200
BATCH = 256


class SidecarCapture:
    """Writes to a file what a sniffer sees on the devices of these names, whenever they come and go."""

    def __init__(self, file: Path, sniffer: Sniffer) -> None:
        self._sniffer = sniffer
        self._writer = CaptureWriter(file, list(DEVICES), "as the node saw it")
        self._names: dict[int, str] = {}

    def run(self) -> None:
        """Until SIGTERM; then the rest, and how many packets were missed."""
        stopping: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
        poller = select.poll()
        poller.register(self._sniffer, select.POLLIN)
        while not stopping:
            poller.poll(FLUSH_MS)
            self._take()
        while self._take():
            continue
        if lost := self._sniffer.lost:
            print(f"capture: {lost} packets found the ring full and are missing", file=sys.stderr, flush=True)

    def _take(self) -> int:
        count = 0
        for sighting in self._sniffer.read(BATCH):
            count += 1
            name = self._name(sighting.device)
            if name in DEVICES:
                self._writer.packet(DEVICES.index(name), sighting.frame, 0, b"", sighting.wall)
        self._writer.flush()
        return count

    def _name(self, device: int) -> str:
        if device not in self._names:
            try:
                self._names[device] = socket.if_indextoname(device)
            except OSError:
                return ""  # gone before its packet was read
        return self._names[device]


def main() -> None:
    capture = SidecarCapture(EVIDENCE / f"capture-{sys.argv[1]}.pcapng", Sniffer())
    READY.touch()
    capture.run()


if __name__ == "__main__":
    main()
