"""A server of the user's own in the lab: as a command, as an image, out of a Compose file; and a client of theirs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.checks import Verdict
from lab.errors import UsageError
from lab.report.text import lines
from lab.runner import Options, run
from lab.scenario import Scenario, parse_scenario
from tests.conftest import RanOn

ECHO = Path(__file__).parent / "wrong" / "tcp_server.py"
WEB = "[python, -m, http.server, '9000']"


def scenario(server: str, workload: str, check: str) -> Scenario:
    return parse_scenario(
        f"about: A server of my own.\nserver: {{port: 9000, {server}}}\nworkload: [{workload}]\n"
        f"faults: [{{on: client->server, latency: 5ms}}]\nchecks: [{check}]\n",
        "own",
    )


COMMAND = f"command: ['{sys.executable}', '{ECHO}', '9000', right]"
OURS = "tcp: {to: 'server:9000', framing: length2, messages: 20}"
THEIRS = "command: {run: [python, -c, \"import urllib.request as u; u.urlopen('http://{server}:9000/')\"]}"
CONTENT = "command: {run: [python, -c, 'pass']}"
CROSS = "command: {run: [python, -c, 'raise SystemExit(3)']}"


def test_a_command(needs_netns: None, tmp_path: Path) -> None:
    result = run(scenario(COMMAND, OURS, "reliability, ordering, framing"), Options(out=tmp_path))
    assert result.verdict == Verdict.PASS, "\n".join(lines(result))


@pytest.mark.parametrize("how", ["image", "compose"])
def test_in_a_container(how: str, needs_docker: None, ran_on: RanOn, tmp_path: Path) -> None:
    """The image is our nodes', which the engine has anyway; the file has a network and a host port to be left out."""
    file = tmp_path / "theirs.yaml"
    service = (
        "services:\n  web:\n    image: fault-lab/node\n    container_name: theirs\n    ports: ['127.0.0.1:9000:9000']\n"
        f"    networks: [theirs]\n    command: {WEB}\nnetworks: {{theirs: {{}}}}\n"
    )
    file.write_text(service)
    image = f"image: fault-lab/node, command: {WEB}"
    server = image if how == "image" else f"compose: '{file}', service: web"
    result = run(scenario(server, THEIRS, "succeeds"), Options(runtime="compose", out=tmp_path))
    ran_on("compose", result.engine)
    assert result.verdict == Verdict.PASS, "\n".join(lines(result))


@pytest.mark.parametrize(("client", "verdict"), [(CONTENT, Verdict.INCONCLUSIVE), (CROSS, Verdict.FAIL)])
def test_a_client_of_theirs(client: str, verdict: Verdict, needs_netns: None, tmp_path: Path) -> None:
    """A client that is content without having sent a packet proves nothing: no fault was seen."""
    result = run(scenario(COMMAND, client, "succeeds"), Options(out=tmp_path))
    assert result.verdict == verdict, "\n".join(lines(result))


@pytest.mark.parametrize(
    ("server", "runtime", "told"),
    [
        ("image: a", "netns", "server is image a; expected a command for runtime netns; use --runtime compose"),
        ("command: [no-such-server]", "netns", "server: no command 'no-such-server' here"),
        ("compose: nowhere.yaml, service: a", "compose", "server: there is no Compose file nowhere.yaml"),
        ("command: [a]", "compose", "server is a command; expected image or compose for runtime compose"),
    ],
)
def test_what_a_runtime_can_not_hold_is_refused(
    server: str, runtime: str, told: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.getfixturevalue("needs_docker" if runtime == "compose" else "needs_netns")
    with pytest.raises(UsageError, match=told):
        run(scenario(server, OURS, "reliability"), Options(runtime=runtime, out=tmp_path))


def test_one_that_does_not_come_up_says_so(needs_netns: None, tmp_path: Path) -> None:
    failing = f"command: ['{sys.executable}', -c, 'raise SystemExit(\"no such config\")']"
    result = run(scenario(failing, OURS, "reliability"), Options(out=tmp_path))
    assert result.verdict == Verdict.INCONCLUSIVE
    assert "server ended (exit status 1)" in (result.error or "")
    assert "no such config" in (Path(result.evidence) / "log" / "server.txt").read_text()
