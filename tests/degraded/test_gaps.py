"""A wire that was stopped says so: what nobody saw is no measured delay."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lab.checks import run_check
from lab.evidence.evidence import Evidence
from lab.faults import Latency
from lab.lab import Lab

STOPPED_SECONDS = 0.5
CLIENT = (
    *("python", "-m", "services", "udp-client", "--to", "udp-server:41234"),
    *("--messages", "300", "--pace", "5ms", "--timeout", "3s"),
)


def engine_of(supervisor: int) -> int:
    """The wire's process: the one of the supervisor's children that was forked and has a TAP device open."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    (found,) = [int(pid) for pid in children if has_tap(pid)]
    return found


def has_tap(pid: str) -> bool:
    return any(file.readlink() == Path("/dev/net/tun") for file in Path(f"/proc/{pid}/fd").iterdir())


def test_a_stopped_wire_makes_a_delay_inconclusive(tmp_path: Path, needs_netns: None) -> None:
    with Lab.up(f"gaps-{os.getpid()}", evidence=tmp_path, seed=1) as lab:
        lab.set_faults("client->udp-server", Latency(delay_ms=20))
        engine = engine_of(lab.status()["supervisor_pid"])
        client = lab.popen("client", CLIENT)
        deadline = time.monotonic() + 20
        while lab.packets() < 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(engine, signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        os.kill(engine, signal.SIGCONT)
        client.wait(timeout=30)
        lab.await_quiet()
    evidence = Evidence(tmp_path)
    begin, end = evidence.gaps.longest
    assert end - begin >= STOPPED_SECONDS * 1e9
    options = {"path": "client->udp-server", "percentile": 100, "at_most": 200}
    result = run_check("delay", options, evidence)
    assert result.verdict == "INCONCLUSIVE", result
    assert "the wire did not see its devices for up to" in result.summary
    assert run_check("delay", {**options, "at_most": 120_000}, evidence).verdict == "PASS"
    assert run_check("ledger", {}, evidence).verdict == "PASS"
