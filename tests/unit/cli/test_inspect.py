"""`lab inspect` on evidence that the wire's core wrote: what is printed, what is refused, and what is not imported."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from faultlab.checks.base import CheckResult, Verdict
from faultlab.checks.result_file import keep
from faultlab.checks.run_result import RunResult
from faultlab.cli import inspect as cli_look
from faultlab.cli.main import cli
from faultlab.errors import LabError, MissingCapability, UsageError
from faultlab.faults import Corrupt, Drop, Loss, Match

from tests.support.virtual_wire import ACK, CLIENT, PSH, SYN, TCP_SERVER, TO_UDP, tcp
from tests.unit.checks.histories import datagrams, record

SYN_ACK = tcp(flags=SYN | ACK, seq=5000, ack=1001, source=TCP_SERVER, target=CLIENT, port=8082, to=20_000)
FRAMES = [
    tcp(flags=SYN, seq=1000),
    SYN_ACK,
    SYN_ACK,
    tcp(seq=1001, ack=5001),
    tcp(b"\0\5hello", PSH | ACK, seq=1001, ack=5001),
    *datagrams([b"msg-0-0-", b"msg-0-1-"]),
]
RESULT = RunResult(
    "mine", "", "netns", "wire", 7, Verdict.PASS, 1.5, (CheckResult("reliability", Verdict.PASS, "5/5"),), "/elsewhere"
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A handshake whose first SYN-ACK is dropped, a message, and two datagrams of which one is lost."""
    faults = [("tcp-server->client", Drop(match=Match(tcp="syn+ack", which=1))), (TO_UDP, Loss(nth=2))]
    record(tmp_path, FRAMES, faults)
    keep(replace(RESULT, evidence=str(tmp_path)))
    return tmp_path


def inspect(*words: object) -> str:
    """Standard output, for people."""
    done = CliRunner().invoke(cli, ["inspect", *map(str, words)], catch_exceptions=True)
    if isinstance(done.exception, LabError):
        raise done.exception
    assert done.exception is None, done.output
    return done.stdout


def inspect_json(*words: object) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(inspect(*words, "--json"))
    assert facts["format"] == 1
    return facts


# -- the summary -------------------------------------------------------------------------------------------------------


def test_a_run_with_its_verdict_paths_and_flows(run: Path) -> None:
    lines = inspect(run).splitlines()
    assert lines[0] == "mine   netns/wire   seed 7   PASS   1.50 s"
    assert f"  evidence     {run}" in lines
    rows = [line.split() for line in lines]
    assert ["tcp-server->client", "2", "1", "0", "0", "0"] in [row[:6] for row in rows]
    assert ["client->udp-server", "2", "1", "0", "0", "0"] in [row[:6] for row in rows]
    assert ["1", "tcp", "client:20000", "<->", "tcp-server:8082", "5"] in [row[:6] for row in rows]
    assert ["2", "udp", "client:20000", "<->", "udp-server:41234", "2"] in [row[:6] for row in rows]


def test_a_capture_says_what_cannot_be_known_of_it(run: Path) -> None:
    text = inspect(run / "sent.pcapng")
    assert text.startswith("sent.pcapng   7 packets")
    assert "not known: what was decided about a packet, and by which fault: there is no ledger" in text
    assert "path " not in text


def test_captures_of_both_ends_have_paths_but_no_ledger(run: Path) -> None:
    both = run / "both"
    both.mkdir()
    (run / "sent.pcapng").rename(both / "a.pcapng")
    (run / "delivered.pcapng").rename(both / "b.pcapng")
    facts = inspect_json(both)
    assert len(facts["captures"]) == 2
    assert {one["path"]: one["sent"] for one in facts["paths"]} == {
        "client->tcp-server": 3,
        "tcp-server->client": 1,
        "client->udp-server": 1,  # up to the last that both captures have
    }
    assert all(one["asked_ns"]["p50"] is None for one in facts["paths"])


def test_a_run_whose_captures_are_gone_has_no_verdict_any_more(run: Path) -> None:
    for name in ("sent.pcapng", "delivered.pcapng"):
        (run / name).unlink()
    first, why = inspect(run).splitlines()[:2]
    assert first == "mine   netns/wire   seed 7   INCONCLUSIVE   1.50 s"
    assert why.endswith("(PASS then): delivered.pcapng is gone; sent.pcapng is gone")
    assert inspect_json(run)["result"]["verdict"] == "INCONCLUSIVE"
    with pytest.raises(UsageError, match=r"no packets to look at: .*sent\.pcapng"):
        inspect(run, "--ladder")


def test_as_json(run: Path) -> None:
    facts = inspect_json(run)
    assert facts["result"]["verdict"] == "PASS"
    assert [one["name"] for one in facts["captures"]] == ["sent.pcapng", "delivered.pcapng"]
    lost = {one["path"]: one["lost"] for one in facts["paths"]}
    assert lost == {"client->tcp-server": 0, "tcp-server->client": 1, "client->udp-server": 1}
    assert [(one["number"], one["protocol"], one["stream"], one["packets"]) for one in facts["flows"]] == [
        (1, "tcp", 0, [3, 2]),
        (2, "udp", 0, [2, 0]),
    ]
    assert [fault["description"] for fault in facts["faults"]] == ["drop (tcp syn+ack, which 1)", "loss nth 2"]
    assert inspect_json(run / "sent.pcapng")["result"] is None


# -- packets -----------------------------------------------------------------------------------------------------------


def test_one_flow_a_line_each(run: Path) -> None:
    lines = inspect(run, "--flow", 1).splitlines()
    assert len(lines) == 6
    assert lines[2].split()[:6] == ["1.000", "2", "tcp-server", "->", "client", "SYN-ACK"]
    assert lines[2].endswith("dropped by drop (tcp syn+ack, which 1)")
    assert lines[3].endswith("repeats frame 2, which f1 dropped")
    assert "data 1..8 (7 B): message 0" in lines[5]


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (["--only", "dropped"], [2, 7]),
        (["--on", "udp-server"], [6, 7]),
        (["--on", "tcp-server->client"], [2, 3]),
        (["--protocol", "udp"], [6, 7]),
        (["--port", "8082", "--between", "2ms..3ms"], [3, 4]),
        (["--between", "..1ms"], [1, 2]),
        (["--between", "5ms.."], [6, 7]),
        (["--between", f"5ms..{10**200}s"], [6, 7]),
        (["--flow", "2", "--only", "dropped"], [7]),
    ],
)
def test_filters(run: Path, words: list[str], frames: list[int]) -> None:
    assert [one["frame"] for one in inspect_json(run, *words)["packets"]] == frames


def test_many_packets_are_not_all_shown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_look, "PACKETS_SHOWN", 3)
    assert inspect(run, "--flow", 1).splitlines()[-1] == "2 packets more; --all shows them"
    assert len(inspect(run, "--flow", 1).splitlines()) == 5
    assert len(inspect(run, "--flow", 1, "--all").splitlines()) == 6


def test_one_packet_taken_apart(run: Path) -> None:
    text = inspect(run, "--packet", 5)
    assert "data 1..8 (7 B): message 0" in text
    assert "###[ TCP ]###" in text
    assert "sent.pcapng frame 5" in text
    assert "delivered.pcapng" not in text  # it arrived as it was sent
    assert "dport     = 8082" in inspect_json(run, "--packet", 5)["dissected"]["sent.pcapng frame 5"]


def test_a_changed_packet_taken_apart_as_sent_and_as_it_arrived(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"hello"]), [(TO_UDP, Corrupt(percent=100))])
    facts = inspect_json(tmp_path, "--packet", 1)["dissected"]
    assert list(facts) == ["sent.pcapng frame 1", "delivered.pcapng frame 1"]
    assert len(set(facts.values())) == 2


def test_without_scapy_it_says_how_to_get_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_look, "find_spec", lambda name: None)
    with pytest.raises(MissingCapability, match=r"scapy.*pip install scapy==") as raised:
        inspect(run, "--packet", 1)
    assert raised.value.exit_code == 4


# -- ladders -----------------------------------------------------------------------------------------------------------


def test_the_ladder_shows_the_conversation_in_which_something_happened(run: Path) -> None:
    text = inspect(run, "--ladder")
    assert text.startswith("client <-> tcp-server: 5 packets")
    assert "✗──────────────────── SYN-ACK" in text
    assert "dropped by drop (tcp syn+ack, which 1)" in text
    assert text.endswith("\nsomething happened in flow 2 too: --ladder --flow 2\n")


def test_a_ladder_of_all_has_one_for_each_pair(run: Path) -> None:
    text = inspect(run, "--ladder", "--all")
    assert "client <-> tcp-server: 5 packets" in text
    assert "client <-> udp-server: 2 packets" in text


def test_a_ladder_of_a_capture_has_one_side(run: Path) -> None:
    text = inspect(run / "delivered.pcapng", "--ladder")
    assert "can't be known" in text
    assert "the wire" not in text


def test_a_ladder_as_json_is_the_model(run: Path) -> None:
    (ladder,) = inspect_json(run, "--ladder")["ladders"]
    assert (ladder["left"], ladder["right"]) == ("client", "tcp-server")
    assert [(step["what"], step["fate"]) for step in ladder["steps"]][:2] == [
        ("SYN", "delivered"),
        ("SYN-ACK", "dropped"),
    ]


def test_too_many_packets_for_a_ladder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_look, "MOST_IN_LADDER", 3)
    with pytest.raises(UsageError, match=r"5 packets are too many .*--between"):
        inspect(run, "--ladder")


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--flow", "9"], "no such flow .* expected 1 to 2"),
        (["--flow", "0"], "no such flow"),
        (["--packet", "1", "--ladder"], "no other option"),
        (["--packet", "99"], "sent.pcapng has 7 packets"),
        (["--on", "nobody"], "no node 'nobody'"),
        (["--only", "changed"], "no packet is like that"),
        (["--port", "9", "--ladder"], "no packet is like that"),
        (["--between", "1s"], "expected FROM..TO"),
        (["--between", ".."], "expected FROM..TO"),
        (["--between", "1..2"], "has no unit"),
        (["--between", "2s..1s"], "ends before it begins"),
    ],
)
def test_options_that_cannot_be_meant(run: Path, words: list[str], error: str) -> None:
    with pytest.raises(UsageError, match=error) as raised:
        inspect(run, *words)
    assert "\n" not in str(raised.value)


def test_a_result_that_is_none(run: Path) -> None:
    (run / "result.json").write_text("{}")
    with pytest.raises(UsageError, match="not a result of lab run"):
        inspect(run)


# -- what is imported --------------------------------------------------------------------------------------------------


def test_the_command_line_starts_without_what_only_looking_takes() -> None:
    """The image of a Compose lab's sidecars has `faultlab.cli.main`, and none of these."""
    program = "import sys, faultlab.cli.main; print(sorted({'numpy', 'plotly', 'jinja2', 'scapy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_summary_does_without_what_draws_pages(run: Path) -> None:
    program = "import sys; from faultlab.cli.main import cli; cli(['inspect', sys.argv[1]], standalone_mode=False); "
    program += "assert {'plotly', 'jinja2'}.isdisjoint(sys.modules)"
    subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, check=True)
