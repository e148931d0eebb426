"""Every toxic of toxiproxy 2.12, on the real server: its mark is in the captures, and it is gone when removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from faultlab.checks import Verdict
from faultlab.checks.run_result import RunResult
from faultlab.errors import UsageError
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults.toxics import LatencyToxic, SlicerToxic
from faultlab.lab.lab import Lab
from faultlab.network import standard_lab
from faultlab.network.packets import RST, Packet
from faultlab.report.text import result_lines
from faultlab.running.runner import RunOptions, run
from faultlab.scenario.model import Scenario, load_scenario, parse_scenario

from tests.conftest import RanOn
from tests.degraded.deaf import DeafToxiproxy, Silent
from tests.support.capabilities import missing

TOXICS = {
    "latency": "{type: latency, stream: upstream, latency: 100ms, jitter: 20ms}",
    "bandwidth": "{type: bandwidth, stream: upstream, rate: 800kbit}",
    "slow_close": "{type: slow_close, stream: upstream, delay: 300ms}",
    "timeout": "{type: timeout, stream: upstream, timeout: 500ms}",
    "reset_peer": "{type: reset_peer, stream: downstream, timeout: 100ms}",
    "slicer": "{type: slicer, stream: upstream, average_size: 20B, delay: 100us}",
    "limit_data": "{type: limit_data, stream: upstream, bytes: 1000B}",
}


@pytest.fixture
def needs_toxiproxy(needs_netns: None, ran_on: RanOn) -> None:
    if standard_lab.find_toxiproxy() is None:
        missing("toxiproxy", standard_lab.TOXIPROXY_HINT)
    ran_on("netns", "toxiproxy")


EACH = pytest.mark.parametrize("toxic", TOXICS.values(), ids=TOXICS)


def one_toxic(toxic: str, patience: str = "2s", workload: str = "", fault: str = "") -> Scenario:
    return parse_scenario(
        "about: One toxic.\n"
        "workload:\n"
        "  - tcp: {to: 'toxiproxy:8082', framing: length2, messages: 10, size: 4KiB, window: 10, "
        f"timeout: {patience}}}\n"
        f"{workload}"
        "faults:\n"
        f"{fault}"
        f"  - {{on: 'toxiproxy:8082', toxic: {toxic}}}\n"
        "checks: [reliability]\n",
        "one-toxic",
    )


def proof(result: RunResult) -> Verdict:
    return next(check.verdict for check in result.checks if check.name == "fault_seen")


@EACH
def test_leaves_its_mark(toxic: str, tmp_path: Path, needs_toxiproxy: None) -> None:
    result = run(one_toxic(toxic), RunOptions(out=tmp_path))
    assert proof(result) == Verdict.PASS, "\n".join(result_lines(result))


@EACH
def test_one_that_never_came_left_none(toxic: str, tmp_path: Path, needs_toxiproxy: None) -> None:
    result = run(one_toxic(toxic), RunOptions(out=tmp_path, placer=Silent))
    assert proof(result) == Verdict.INCONCLUSIVE, "\n".join(result_lines(result))


def test_anothers_reset_is_no_mark(tmp_path: Path, needs_toxiproxy: None) -> None:
    """An answer that comes when the client has given up meets a RST (RFC 9293, 3.5.2): that was not toxiproxy."""
    late = "  - {on: toxiproxy->client, latency: {delay: 300ms, match: {data: true}}}\n"
    longer = "  - tcp: {to: 'tcp-server:8082', framing: length2, messages: 50, pace: 20ms}\n"
    scenario = one_toxic("{type: reset_peer, stream: upstream}", "100ms", longer, late)
    result = run(scenario, RunOptions(out=tmp_path, placer=DeafToxiproxy))
    assert proof(result) == Verdict.INCONCLUSIVE, "\n".join(result_lines(result))
    came = Evidence(Path(result.evidence)).delivered
    at_proxy = [Packet.parse(came.frame(index)) for index in range(len(came)) if came.node(index) == "toxiproxy"]
    assert any(packet.flags & RST for packet in at_proxy), "the reset that is not to be taken for a mark"


def test_ends_when_the_file_says(tmp_path: Path, needs_toxiproxy: None) -> None:
    """50 messages, one after the other, 100 ms late each: they take 5 s, unless the delay ends long before they do."""
    file = tmp_path / "for-a-while.yaml"
    file.write_text(
        "about: One toxic for a while.\n"
        "workload:\n"
        '  - tcp: {to: "toxiproxy:8082", framing: length2, messages: 50, size: 100B, window: 1}\n'
        "faults:\n"
        "  - {on: 'toxiproxy:8082', at: 300ms, for: 700ms, toxic: {type: latency, stream: upstream, latency: 100ms}}\n"
        '  - {on: "client->toxiproxy", latency: 20ms}\n'
        "checks: [reliability]\n"
    )
    result = run(load_scenario(file), RunOptions(out=tmp_path))
    assert result.verdict == Verdict.PASS, "\n".join(result_lines(result))
    evidence = Evidence(Path(result.evidence))
    (begin,), (end,) = evidence.ledger.noted("toxic-set"), evidence.ledger.noted("toxic-cleared")
    sent = [entry.arrived for entry in evidence.ledger.entries if entry.path == "client->toxiproxy"]
    assert sent[0] < begin["t"] < end["t"] < sent[-1]


def test_is_gone_when_removed(lab: Lab, needs_toxiproxy: None) -> None:
    engine = lab.toxiproxy()
    placed = engine.place(8082, LatencyToxic(stream="upstream", latency_ms=10))
    also = engine.place(8082, SlicerToxic(stream="downstream", average_size_bytes=100))
    assert len(engine.shown()) == 2
    engine.remove(placed)
    engine.remove(placed)
    assert [one["type"] for one in engine.shown()] == ["slicer"]
    engine.remove(also)
    assert engine.shown() == []


def test_random_ones_say_that_no_seed_reaches_them(lab: Lab, needs_toxiproxy: None) -> None:
    engine = lab.toxiproxy()
    placed = engine.place(8082, LatencyToxic(latency_ms=10, toxicity_percent=50))
    engine.remove(placed)
    assert "no seed" in placed["note"]


def test_a_port_without_a_proxy_is_refused(lab: Lab, needs_toxiproxy: None) -> None:
    with pytest.raises(UsageError, match="no proxy listens on port 9"):
        lab.toxiproxy().place(9, LatencyToxic(latency_ms=10))


def test_its_api_is_published_for_nobody(lab: Lab, needs_toxiproxy: None) -> None:
    """But the lab itself reaches it; also in Compose, where the engine says what is published."""
    facts = lab.status()
    assert [one for one in facts["published"] if one["via"] == "toxiproxy"] == []
    assert "version" in lab.toxiproxy().version()
    if facts["runtime"] == "compose":
        said = subprocess.run(["docker", "port", f"{facts['project']}-toxiproxy-1"], capture_output=True, text=True)
        assert (said.returncode, said.stdout) == (0, ""), said.stderr


def test_its_api_is_published_where_asked(runtime: str, needs_toxiproxy: None, ran_on: RanOn, tmp_path: Path) -> None:
    ran_on(runtime, "toxiproxy")
    nodes = ("tcp-server", "toxiproxy", "client", "dns-server", "udp-server")
    with Lab.up(
        f"api-{os.getpid()}", runtime=runtime, nodes=nodes, evidence=tmp_path, publish=standard_lab.CONTROL
    ) as lab:
        (address,) = [one["address"] for one in lab.status()["published"] if one["via"] == "toxiproxy"]
        with urlopen(f"http://{address}/version", timeout=20) as answer:
            assert b"version" in answer.read()


def shown(lab: Lab, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "faultlab", *words, "--name", lab.name], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_what_was_set_past_the_lab_is_shown_as_well(lab: Lab, needs_toxiproxy: None) -> None:
    """By toxiproxy's own API, as its clients do it: a toxic, and a proxy that is off."""
    ask = lab.toxiproxy()._call
    ask("POST", "/proxies/tcp-length2/toxics", {"type": "latency", "attributes": {"latency": 70}})
    ask("POST", "/proxies/tcp-line", {"enabled": False})
    try:
        assert {where: [one["describe"] for one in acts] for where, acts in lab.toxics().items()} == {
            "toxiproxy:8082": ["toxic latency downstream: jitter 0, latency 70"],
            "toxiproxy:8081": ["proxy disabled"],
        }
        for words in (("status",), ("fault", "show"), ("top", "--once")):
            text = " ".join(shown(lab, *words).split())
            assert "toxic latency downstream: jitter 0, latency 70" in text and "proxy disabled" in text, text
            assert "no faults" not in text
            assert "latency 70" in shown(lab, *words, "--json")
    finally:
        ask("POST", "/reset")
    assert lab.toxics() == {}
    assert "no faults" in shown(lab, "status")
