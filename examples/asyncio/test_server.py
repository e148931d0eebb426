"""The asyncio server under faults: `pytest examples/asyncio`."""

import socket
import sys
from pathlib import Path

import pytest
from faultlab.faults import Duplicate, Latency, Loss, Partition

SERVER = [sys.executable, str(Path(__file__).parent / "server.py"), "9000"]
pytestmark = pytest.mark.lab_server(SERVER, port=9000)


def shout(address):
    """Fifty lines, each in upper case from the server."""
    with socket.create_connection(address, timeout=30) as sock, sock.makefile("rw") as stream:
        for number in range(50):
            stream.write(f"line {number}\n")
            stream.flush()
            assert stream.readline() == f"LINE {number}\n"


def test_survives_loss_both_ways(lab):
    with lab.fault("client<->server", Loss(every=5), Latency(delay_ms=1)):
        shout(lab.address(9000))


def test_survives_doubled_packets(lab):
    with lab.fault("server->client", Duplicate(every=3)):
        shout(lab.address(9000))


def test_a_partition_is_not_for_ever(lab):
    with socket.create_connection(lab.address(9000), timeout=30) as sock:
        with lab.fault("client->server", Partition()):
            sock.sendall(b"into the void\n")
            sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                sock.recv(100)
        sock.settimeout(30)
        assert sock.recv(100) == b"INTO THE VOID\n"
