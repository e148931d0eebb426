"""Packets that no honest kernel sends, made by hand in a node: what the stack and the server must do with each.

`probes/tcp_peer.py` is one end of a TCP connection in a node whose own kernel keeps out of it; `probes/datagrams.py`
sends single packets, and after them one that is as it should be, whose answer shows that the server lives on.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultlab.lab.lab import Lab

from tests.conftest import RanOn

PROBES = Path(__file__).parent / "probes"
GHOST = "ghost"
NO_ADDRESS = (
    "import socket; from pyroute2 import IPRoute; IPRoute().flush_addr(index=socket.if_nametoindex('eth0'), family=2)"
)
# In a Compose lab no node may make packets by hand; a sidecar of the client sends the datagrams there (tests/compose).


@pytest.fixture(scope="module")
def haunted(netns_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with a node whose kernel answers nothing, as it has no address."""
    nodes = ("client", "tcp-server", "udp-server", "dns-server", GHOST)
    with Lab.up("probes", nodes=nodes, evidence=tmp_path_factory.mktemp("evidence"), publish=()) as lab:
        assert lab.exec(GHOST, ["python", "-c", NO_ADDRESS]).returncode == 0
        yield lab


def played(lab: Lab, node: str, program: str, *words: str) -> Any:
    argv = ["python", str(PROBES / program), *words, "eth0"]
    done = lab.exec(node, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


TCP = {
    # RFC 9293, 3.8.1 and 3.10.7.4; RFC 4987: it sends its SYN-ACK again, and serves others meanwhile.
    "half-open": {"syn_acks": 20, "again": True, "served": True},
    # RFC 9293, 3.10.7.4: in each state that a server's end may be in, a RST ends the connection for good.
    "reset-in-syn-received": {"gone": True},
    "reset-in-established": {"gone": True},
    "reset-in-close-wait": {"gone": True},
    "reset-in-last-ack": {"gone": True},
    "reset-in-fin-wait-1": {"gone": True},
    "reset-in-fin-wait-2": {"gone": True},
    "reset-in-time-wait": {"gone": True},
    # RFC 5961, 3.2: a RST in the window that is not exactly the next number is answered, and ends nothing.
    "reset-not-exact": {"challenged": True, "stays": True},
    # RFC 9293, 3.10.7.4: what is outside the window is acknowledged as what was expected, and thrown away.
    "out-of-window": {"acked_what_it_has": True, "alone": True},
    # RFC 9293, 3.4: bytes that come again, in whatever segments, are the same bytes.
    "overlapping": {"whole": True, "once": True},
    # RFC 9293, 3.1: a segment whose checksum is wrong never was.
    "bad-checksum": {"alone": True},
    # RFC 9293, 3.8.6.1: nothing goes into a closed window but probes; when it opens, all goes on.
    "zero-window": {"kept": True, "probed": True, "answered": True},
    # RFC 6093; tcp(7): the urgent byte is not a part of the stream, unless the application asked for it there.
    "urgent": {"out_of_band": True},
}


@pytest.mark.parametrize("case", TCP)
def test_tcp(case: str, haunted: Lab, ran_on: RanOn) -> None:
    ran_on("netns", "wire")
    nodes = haunted.status()["nodes"]
    server = nodes["tcp-server"]
    seen = played(haunted, GHOST, "tcp_peer.py", case, nodes[GHOST]["ipv4"], server["ipv4"], server["mac"])
    assert seen == TCP[case]


ACK = "Message Received"
DATAGRAMS = {
    "udp": ("udp-server", ACK),
    # RFC 768: a wrong checksum costs the datagram, none at all (zero) is allowed over IPv4.
    "udp-bad-checksum": ("udp-server", None),
    "udp-no-checksum": ("udp-server", ACK),
    # RFC 768: the length counts header and data; what the packet can't hold is refused, what it has more is cut off.
    "udp-length-too-long": ("udp-server", None),
    "udp-length-below-a-header": ("udp-server", None),
    "udp-length-too-short": ("udp-server", ACK),
    # RFC 791, 3.2: fragments may come in any order, and all must come.
    "fragments": ("udp-server", ACK),
    "fragments-reversed": ("udp-server", ACK),
    "fragment-missing": ("udp-server", None),
    # RFC 5722, 4 (and Linux for IPv4 too): fragments that overlap are all thrown away.
    "fragments-overlapping": ("udp-server", None),
    # RFC 1035, 4.1.4: a pointer is to a prior occurrence; RFC 9267: anything else is a FORMERR, not a loop.
    "dns-loop": ("dns-server", "rcode 1"),
    "dns-two-pointers": ("dns-server", "rcode 1"),
    "dns-forward-pointer": ("dns-server", "rcode 1"),
    # RFC 792: the echo is the kernel's own.
    "ping": ("udp-server", "made by hand"),
}


@pytest.mark.parametrize("case", DATAGRAMS)
def test_datagrams(case: str, haunted: Lab, ran_on: RanOn) -> None:
    ran_on("netns", "wire")
    node, answer = DATAGRAMS[case]
    server = haunted.status()["nodes"][node]
    seen = played(haunted, "client", "datagrams.py", case, server["ipv4"], server["mac"])
    assert seen == {"answer": answer}
