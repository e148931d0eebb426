"""What a capture says of itself, by its bytes and by tshark: interfaces, and names of addresses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from faultlab.evidence.files import CaptureWriter, comment_option, name_resolution
from faultlab.evidence.pcapng import Capture
from faultlab.faults import Loss
from faultlab.network.topology import Node
from tests.support.capabilities import missing
from tests.unit.checks.histories import datagrams, record
from tests.support.virtual_wire import TO_UDP

HOST = Node("ab", "02:00:00:00:00:01", "10.0.0.1", "fd00::1")


def tshark(file: Path, *fields: str) -> list[list[str]]:
    """These fields of each packet, addresses by name."""
    program = shutil.which("tshark")
    if program is None:
        missing("tshark", "apt-get install tshark")
    words = [program, "-r", str(file), "-N", "n", "-T", "fields", *(word for field in fields for word in ("-e", field))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_names_of_addresses_by_their_bytes() -> None:
    """Type 4; a record of IPv4 (kind 1, 7 bytes, padded to 8), one of IPv6 (kind 2, 19 bytes), the end (kind 0)."""
    total = (12 + 4 + 8 + 4 + 20 + 4).to_bytes(4, "little")
    assert name_resolution([HOST]) == (
        b"\x04\0\0\0" + total
        + b"\x01\0\x07\0" + bytes((10, 0, 0, 1)) + b"ab\0" + b"\0"
        + b"\x02\0\x13\0" + b"\xfd" + bytes(14) + b"\x01" + b"ab\0" + b"\0"
        + bytes(4) + total
    )  # fmt: skip


def test_our_own_reader_passes_over_the_names(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "c.pcapng", ["ab"], "as sent", [HOST])
    writer.packet(0, b"frame", 7, comment_option("delivered"), 1)
    writer.close()
    (packet,) = Capture(tmp_path / "c.pcapng")
    assert (packet.node, packet.packet, packet.frame) == ("ab", 7, b"frame")


@pytest.mark.parametrize("side", ["sent", "delivered"])
def test_tshark_shows_the_nodes_by_name_and_the_decisions_as_comments(side: str, tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one", b"two"]), [(TO_UDP, Loss(nth=2))])
    rows = tshark(tmp_path / f"{side}.pcapng", "ip.src_host", "ip.dst_host", "frame.interface_name", "frame.comment")
    end = "client" if side == "sent" else "udp-server"
    passed = ["client", "udp-server", end, "goes on" if side == "sent" else "delivered"]
    dropped = ["client", "udp-server", end, "dropped: dropped by f1 (number 2)"]
    assert rows == [passed, dropped][: 2 if side == "sent" else 1]
