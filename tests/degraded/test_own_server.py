"""A server of the user's own in the lab: as a command, as an image, out of a Compose file; and a client of theirs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from faultlab.checks import Verdict
from faultlab.errors import LabError, MissingCapability, UsageError
from faultlab.report.text import result_lines
from faultlab.running.runner import RunOptions, run
from faultlab.scenario.model import Scenario, parse_scenario

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
    result = run(scenario(COMMAND, OURS, "reliability, ordering, framing"), RunOptions(out=tmp_path))
    assert result.verdict == Verdict.PASS, "\n".join(result_lines(result))


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
    result = run(scenario(server, THEIRS, "succeeds"), RunOptions(runtime="compose", out=tmp_path))
    ran_on("compose", result.engine)
    assert result.verdict == Verdict.PASS, "\n".join(result_lines(result))


SAYS = (
    "import os, pathlib; names = ('DOTENV', 'ENVFILE', 'DEFAULT', 'DOLLAR'); print(*map(os.environ.get, names)); "
    "print(pathlib.Path('/run/secrets/key').read_text(), os.path.ismount('/data'), os.path.exists('/data/old')); "
    "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=9000)"
)


def test_a_compose_file_is_read_as_compose_reads_it(needs_docker: None, ran_on: RanOn, tmp_path: Path) -> None:
    """Its .env and env_file, a profile, a secret, and a named volume, which is the lab's own."""
    for name, text in ((".env", "DOTENV=one\n"), ("web.env", "ENVFILE=two\n"), ("key", "secret")):
        (tmp_path / name).write_text(text)
    environment = {"DOTENV": "${DOTENV}", "DEFAULT": "${NOWHERE_SET:-three}", "DOLLAR": "$$HOME"}
    web = {"image": "fault-lab/node", "command": ["python3", "-c", SAYS], "env_file": ["web.env"], "profiles": ["x"]}
    web |= {"environment": environment, "secrets": ["key"], "volumes": ["data:/data"]}
    other = {"image": "other", "environment": {"OF_ANOTHER": "${NOT_SET_BUT_NOT_MINE}"}}
    file = tmp_path / "theirs.yaml"
    tops = {"secrets": {"key": {"file": "./key"}}, "volumes": {"data": {}}}
    file.write_text(json.dumps({"services": {"web": web, "other": other}, **tops}))
    made = scenario(f"compose: '{file}', service: web", THEIRS, "succeeds")
    result = run(made, RunOptions(runtime="compose", out=tmp_path / "out"))
    ran_on("compose", result.engine)
    assert result.verdict == Verdict.PASS, "\n".join(result_lines(result))
    said = (Path(result.evidence) / "log" / "server.txt").read_text()
    assert "one two three $HOME" in said
    assert "secret True False" in said


@pytest.mark.parametrize(
    ("service", "error", "told"),
    [
        ({"environment": {"MODE": "${NOWHERE_SET}"}}, UsageError, "variable NOWHERE_SET is not set and has no default"),
        ({"imagee": "a"}, UsageError, "'imagee' not allowed"),
        ({"links": ["other"]}, UsageError, "services.web.links: the service comes alone"),
        (
            {"image": "no-such-image:1"},
            MissingCapability,
            "the Docker engine has no image no-such-image:1. Fix: docker",
        ),
        (
            {"image": "fault-lab/node", "command": ["nope"]},
            UsageError,
            "server can't be started in its container: exec",
        ),
        (
            {"image": "fault-lab/node", "user": "nobody2"},
            UsageError,
            "server can't be started in its container: unable",
        ),
        ({"image": "fault-lab/node", "mem_limit": "1k"}, UsageError, "server can't be started in its container: Mini"),
    ],
)
def test_a_service_that_can_not_be_one_is_refused_in_a_line(
    service: dict[str, object], error: type[LabError], told: str, needs_docker: None, tmp_path: Path
) -> None:
    file = tmp_path / "theirs.yaml"
    file.write_text(json.dumps({"services": {"web": {"image": "fault-lab/node", **service}, "other": {"image": "a"}}}))
    with pytest.raises(error) as caught:
        run(
            scenario(f"compose: '{file}', service: web", OURS, "reliability"),
            RunOptions("compose", out=tmp_path / "out"),
        )
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_command_in_an_image_is_taken_word_by_word(needs_docker: None, tmp_path: Path) -> None:
    """`$` begins a variable in a Compose file, and none in a scenario."""
    server = "image: fault-lab/node, command: [sh, -c, 'echo $0 $HOME ${NOWHERE_SET} >&2; exit 1', a$b]"
    result = run(scenario(server, OURS, "reliability"), RunOptions(runtime="compose", out=tmp_path))
    assert "a$b /" in (result.error or "")


@pytest.mark.parametrize(("client", "verdict"), [(CONTENT, Verdict.INCONCLUSIVE), (CROSS, Verdict.FAIL)])
def test_a_client_of_theirs(client: str, verdict: Verdict, needs_netns: None, tmp_path: Path) -> None:
    """A client that is content without having sent a packet proves nothing: no fault was seen."""
    result = run(scenario(COMMAND, client, "succeeds"), RunOptions(out=tmp_path))
    assert result.verdict == verdict, "\n".join(result_lines(result))


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
        run(scenario(server, OURS, "reliability"), RunOptions(runtime=runtime, out=tmp_path))


LISTEN = "import socket as s, time; a = s.socket({kind}); a.bind(({host!r}, {port})); {more}; time.sleep(99)"
SAYS_SO = "print('up', 'at', 'last', flush=True); "
DAEMON = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); time.sleep(99)"
TROUBLES = {
    "ends": ('raise SystemExit("no such config")', Verdict.FAIL, "ended (exit status 1)", "last words: no such config"),
    "goes into the background": (DAEMON, Verdict.FAIL, "ended (exit status 0)", "keep it in the foreground"),
    "elsewhere": (
        SAYS_SO + LISTEN.format(kind="", host="", port=9001, more="a.listen()"),
        Verdict.INCONCLUSIVE,
        "server does not listen on tcp/9000, but on tcp 0.0.0.0:9001",
        "ready: {within: 60s}",
        "last words: up at last; its output: ",
    ),
    "for itself alone": (
        SAYS_SO + LISTEN.format(kind="", host="127.0.0.1", port=9000, more="a.listen()"),
        Verdict.INCONCLUSIVE,
        "server listens only on 127.0.0.1:9000, and is asked at ",
        "it must listen on 0.0.0.0 or ",
        "last words: up at last; its output: ",
    ),
}


@pytest.mark.parametrize("runtime", ["netns", "compose"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_that_does_not_come_up_says_why(
    trouble: str, runtime: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """That it ended is what the run found out. One that other nodes do not reach was not tested."""
    request.getfixturevalue("needs_docker" if runtime == "compose" else "needs_netns")
    code, verdict, *words = TROUBLES[trouble]
    within = "5s" if trouble == "elsewhere" else "60s"  # all others are told at once
    server = f"command: [python3, -c, {json.dumps(code)}], image: fault-lab/node, ready: {{within: {within}}}"
    result = run(scenario(server, OURS, "reliability"), RunOptions(runtime=runtime, out=tmp_path))
    assert result.verdict == verdict, "\n".join(result_lines(result))
    assert all(word in (result.error or "") for word in words), result.error
    assert "(60." not in (result.error or "")


@pytest.mark.parametrize(("family", "verdict"), [(4, Verdict.INCONCLUSIVE), (6, Verdict.PASS)])
def test_one_for_ipv6_alone_is_for_workloads_over_ipv6(
    family: int, verdict: Verdict, needs_netns: None, tmp_path: Path
) -> None:
    code = (
        "import asyncio, runpy, sys; real = asyncio.start_server; "
        "asyncio.start_server = lambda serve, host, port: real(serve, '::', port); "  # sets IPV6_V6ONLY
        f"sys.argv = ['x', '9000', 'right']; runpy.run_path({str(ECHO)!r}, run_name='__main__')"
    )
    server = f"command: [python3, -c, {json.dumps(code)}], ready: {{within: 60s}}"
    workload = f"tcp: {{to: 'server:9000', framing: length2, messages: 20, family: {family}}}"
    result = run(scenario(server, workload, "reliability"), RunOptions(out=tmp_path))
    assert result.verdict == verdict, "\n".join(result_lines(result))
    if verdict == Verdict.INCONCLUSIVE:
        assert "listens only on [::]:9000 (IPv6 alone), and is asked at 10." in (result.error or "")


def test_one_that_needs_its_time_gets_it(needs_netns: None, tmp_path: Path) -> None:
    code = f"import os, time; time.sleep(2); os.execv({sys.executable!r}, ['x', {str(ECHO)!r}, '9000', 'right'])"
    for within, verdict in (("1s", Verdict.INCONCLUSIVE), ("60s", Verdict.PASS)):
        server = f"command: [python3, -c, {json.dumps(code)}], ready: {{within: {within}}}"
        result = run(scenario(server, OURS, "reliability"), RunOptions(out=tmp_path / within))
        assert result.verdict == verdict, "\n".join(result_lines(result))


def test_one_that_can_not_be_run_is_the_users(needs_netns: None, tmp_path: Path) -> None:
    program = tmp_path / "mine"
    program.write_text("#!/nowhere/python\n")
    program.chmod(0o755)
    with pytest.raises(UsageError, match=r"server: can't start .*mine: .*No such file"):
        run(scenario(f"command: ['{program}']", OURS, "reliability"), RunOptions(out=tmp_path / "out"))
