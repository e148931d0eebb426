"""What a node's own kernel dropped after delivery is told, so that nobody looks for it on the wire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faultlab.checks import Verdict
from faultlab.checks.base import KERNEL_WORDS
from faultlab.report.text import result_lines
from faultlab.running.runner import RunOptions, run
from faultlab.runtimes import kernel_drops
from faultlab.scenario.model import parse_scenario

OVERFLOW = """
import json, socket, sys
from faultlab.kernel import syscalls
from faultlab.runtimes import kernel_drops
if sys.argv[1] != "here":
    syscalls.unshare(syscalls.CLONE_NEWUSER * (sys.argv[1] == "user") | syscalls.CLONE_NEWNET)
    import fcntl, struct
    with socket.socket() as one:
        fcntl.ioctl(one, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
before = kernel_drops.counted()
for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
    with socket.socket(family, socket.SOCK_DGRAM) as full, socket.socket(family, socket.SOCK_DGRAM) as client:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        full.bind((host, 0))
        for _ in range(20):
            client.sendto(bytes(1000), full.getsockname()[:2])
        full.setblocking(False)
        taken = 0
        try:
            while full.recv(2000):
                taken += 1
        except BlockingIOError:
            pass
        print(20 - taken)
with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
    clients = [socket.socket() for _ in range(5)]
    for one in clients:
        one.setblocking(False)
        one.connect_ex(server.getsockname())
print(json.dumps([before, kernel_drops.counted()]))
"""


def test_what_overflows_is_counted(netns_host: None) -> None:
    """In a namespace of its own, whose counters begin at nothing."""
    how = "own" if os.geteuid() == 0 else "user"
    done = subprocess.run([sys.executable, "-c", OVERFLOW, how], capture_output=True, text=True, timeout=60, check=True)
    lost4, lost6, counts = done.stdout.splitlines()
    before, after = json.loads(counts)
    assert before == {}
    assert int(lost4) > 0
    assert int(lost6) > 0
    assert after.pop("UdpRcvbufErrors") == int(lost4) + int(lost6)
    assert after.pop("TcpExtListenOverflows") > 0
    assert after == {}


DEAF = (
    "import socket as s, time; a = s.socket(type=s.SOCK_DGRAM); a.setsockopt(s.SOL_SOCKET, s.SO_RCVBUF, 0); "
    "a.bind(('', 9000)); time.sleep(99)"
)
"""A server with the least of receive buffers (SO_RCVBUF), which reads nothing from it."""


@pytest.mark.parametrize("runtime", ["netns", "compose"])
def test_a_server_that_does_not_keep_up_is_told(runtime: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The wire delivered every datagram: what is missing is the business of the server's node."""
    request.getfixturevalue("needs_docker" if runtime == "compose" else "needs_netns")
    server = f"protocol: udp, port: 9000, image: fault-lab/node, command: [python3, -c, {json.dumps(DEAF)}]"
    scenario = parse_scenario(
        f"about: A deaf server.\nserver: {{{server}}}\n"
        "workload: [udp: {to: 'server:9000', messages: 50, size: 1KiB, timeout: 100ms}]\n"
        "faults: [{on: client->server, latency: 1ms}]\nchecks: [udp_accounting]\n",
        "deaf",
    )
    result = run(scenario, RunOptions(runtime=runtime, out=tmp_path))
    text = "\n".join(result_lines(result))
    counts = json.loads((Path(result.evidence) / "end.json").read_text())["dropped_by_kernel"]
    assert counts.keys() == {"server"}, text
    assert 40 <= counts["server"]["UdpRcvbufErrors"] < 50
    count = counts["server"]["UdpRcvbufErrors"]
    why = "UdpRcvbufErrors: the socket's receive buffer was full"
    told = f"; the kernel of server dropped, after delivery, {count} ({why})"
    assert f"50 packets: 50 delivered, 0 dropped; captures agree{told}" in text
    assert f"delivered to the server 1 times, answered by it 0 times{told}" in text
    assert result.verdict == Verdict.FAIL, text


def test_each_counter_is_one_that_the_kernel_has_and_has_words() -> None:
    assert KERNEL_WORDS.keys() == set(kernel_drops.COUNTERS)
    text = "".join((Path("/proc/net") / name).read_text() for name in ("snmp", "netstat"))
    names = {line.split()[0].removesuffix(":") + one for line in text.splitlines() for one in line.split()[1:]}
    missing = [one for one in kernel_drops.COUNTERS if one not in names]
    assert not missing, f"this kernel has no {missing}"
