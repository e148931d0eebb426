"""The hub of a Compose lab: what it asks of a plug and tells its controller, with both of them played here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from faultlab.network.plan import Plan, Service
from faultlab.network.topology import Node
from faultlab.runtimes import control

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 20.0
NODES = (Node("a", "02:1a:b0:00:00:02", "10.0.0.2", "fd00::2"), Node("b", "02:1a:b0:00:00:03", "10.0.0.3", "fd00::3"))
ANSWERS = {"index": {"index": 7}, "await-ports": {"missing": {}}, "lost": {"lost": 0}, "kernel-drops": {"dropped": {}}}


def _retry(act: Callable[[], socket.socket]) -> socket.socket:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            return act()
        except OSError:
            time.sleep(0.01)
    return act()


class Plug:
    """Answers as a plug does; `answers` are for orders that this one answers otherwise; `orders` is what was asked."""

    def __init__(self, meeting: Path, node: str, answers: Mapping[str, dict[str, Any]]) -> None:
        self.silent: set[str] = set()
        self.orders: list[dict[str, Any]] = []
        self.cable = os.memfd_create(node)
        self._answers = {**ANSWERS, **answers}
        self.channel = _retry(lambda: control.dial(str(meeting)))
        self.channel.send(json.dumps({"node": node}).encode())
        self._thread = threading.Thread(target=self._obey, daemon=True)
        self._thread.start()

    def _obey(self) -> None:
        while data := self.channel.recv(1 << 17):
            order = json.loads(data)
            self.orders.append(order)
            if order["do"] in self.silent:
                continue
            answer = self._answers.get(order["do"], {"ok": True})
            cable = [self.cable] if order["do"] == "lay" and "error" not in answer else []
            socket.send_fds(self.channel, [json.dumps(answer).encode()], cable)

    def unplug(self) -> None:
        self.channel.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.channel.close()


class Controller:
    """What the supervisor is for the hub: a line in, a line out."""

    def __init__(self, name: str) -> None:
        self.channel = _retry(lambda: control.connect(name))
        self.channel.settimeout(SECONDS)

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        self.channel.send(json.dumps({"do": do, **fields}).encode())
        return self.hear()

    def hear(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.channel.recv(1 << 20))
        return answer

    def start(self, *nodes: Node, **fields: Any) -> dict[str, Any]:
        self.send("start", nodes=nodes, **fields)
        return self.hear()

    def send(self, do: str, nodes: tuple[Node, ...], **fields: Any) -> None:
        plan = Plan(
            name="tested", engine="parrot", seed=1, nodes=nodes, ipv4_prefix=24, ipv6_prefix=64, publications=(),
            control=-1, lifeline=-1, evidence=None, **{"services": (), **fields},
        )  # fmt: skip
        self.channel.send(json.dumps({"do": do, "plan": plan.to_json()}).encode())


class Hub:
    """The process under test."""

    def __init__(self, folder: Path, up_seconds: float = SECONDS, plug_seconds: float = SECONDS) -> None:
        self.folder = folder
        self.name = f"hub-test-{os.getpid()}-{folder.name}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.runtimes.one_hub", str(folder), self.name],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "UP_SECONDS": str(up_seconds), "PLUG_SECONDS": str(plug_seconds)},
        )  # fmt: skip
        try:
            self.controller = Controller(self.name)
        except OSError:
            self.__exit__()
            raise

    def plug(self, node: str, **answers: dict[str, Any]) -> Plug:
        return Plug(self.folder / "hub", node, {do.replace("_", "-"): answer for do, answer in answers.items()})

    def last_words(self) -> str:
        """When it has ended of itself."""
        return self.process.communicate(timeout=SECONDS)[1]

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path) as hub:
        yield hub


def test_a_start_is_given_up_when_its_asker_wants_the_end(tmp_path: Path) -> None:
    """A sidecar was killed while the lab came up: nobody waits for it any more. The answers keep their order."""
    with Hub(tmp_path, up_seconds=3600) as hub:
        hub.plug("a")
        hub.controller.send("start", NODES)
        hub.controller.channel.send(b'{"do": "finish"}')
        assert hub.controller.hear()["error"] == "no sidecar of b came before the lab was ended"
        assert hub.controller.hear() == {"end": {}}


def test_a_plug_that_does_not_answer_is_not_asked_again(tmp_path: Path) -> None:
    """Its late answer would pass for the next order's; and the lab goes down without it."""
    with Hub(tmp_path, plug_seconds=0.2) as hub:
        a, b = hub.plug("a"), hub.plug("b")
        assert hub.controller.start(*NODES, services=(Service("b", "echo", (), ("tcp/7",)),)) == {"ok": True}
        hub.controller.ask("lease", seconds=SECONDS)
        b.silent.add("await-ports")
        assert hub.controller.ask("closed-ports")["error"] == "the sidecar of b is gone: timed out"
        assert hub.controller.hear() == {"failed": "the sidecar of b is gone"}
        assert hub.controller.ask("finish") == {"end": {"strays": 0, "lost_before_wire": {}}}
        assert [order["do"] for order in (a.orders[-1], b.orders[-1])] == ["lost", "await-ports"]


def test_each_node_is_joined(hub: Hub) -> None:
    a, b = hub.plug("a"), hub.plug("b")
    service = Service("b", "echo", (), ("tcp/7",))
    assert hub.controller.start(*NODES, resolver="10.0.0.3", services=(service,)) == {"ok": True}
    assert [order["do"] for order in a.orders] == ["lay", "index", "carry-out", "resolver"]
    assert [order["do"] for order in b.orders] == ["lay", "index", "carry-out", "resolver", "await-ports"]
    assert (a.orders[0]["cable"], a.orders[0]["device"]) == ("string", "lab0")
    assert hub.controller.ask("closed-ports") == {"closed": []}
    assert b.orders[-1]["within"] == 0
    assert "nameserver 10.0.0.3\n" in a.orders[3]["text"]
    cables = [["a", os.fstat(a.cable).st_ino], ["b", os.fstat(b.cable).st_ino]]
    assert hub.controller.ask("show")["nodes"] == cables, "each node's own cable came to the engine"
    assert hub.controller.ask("flush")["nodes"] == cables, "the engine is asked, not the hub"
    assert (hub.folder / "ready").exists()
    assert hub.controller.ask("status")["nodes"].keys() == {"a", "b"}


def test_a_plug_that_comes_at_the_same_moment_as_the_order_to_start_is_met_once(hub: Hub) -> None:
    """Starting waits for plugs inside the walk over what was ready, and the plug is in that walk's list too."""
    hub.controller.ask("lease", seconds=SECONDS)
    os.kill(hub.process.pid, signal.SIGSTOP)
    hub.controller.send("start", nodes=NODES)
    plugs = [hub.plug("a"), hub.plug("b")]
    os.kill(hub.process.pid, signal.SIGCONT)
    assert hub.controller.hear() == {"ok": True}
    assert hub.controller.ask("status")["nodes"].keys() == {"a", "b"}
    assert [plug.orders[0]["do"] for plug in plugs] == ["lay", "lay"]


def test_of_two_orders_to_start_that_wait_for_the_same_plugs_one_is_refused(hub: Hub) -> None:
    other = Controller(hub.name)
    for one in (hub.controller, other):
        one.send("start", nodes=NODES)
    plugs = [hub.plug("a"), hub.plug("b")]
    answers = [hub.controller.hear(), other.hear()]
    assert sorted(one.get("error", "") for one in answers) == ["", "the hub has started already"]
    assert [sum(order["do"] == "lay" for order in plug.orders) for plug in plugs] == [1, 1]


def test_a_plug_that_does_not_say_who_it_is_keeps_nobody_waiting(hub: Hub) -> None:
    """It may be stopped, or starved, between its connection and its first word; the hub's lease runs meanwhile."""
    silent = _retry(lambda: control.dial(str(hub.folder / "hub")))
    hub.plug("a")
    hub.controller.channel.settimeout(SECONDS / 2)
    assert hub.controller.start(NODES[0]) == {"ok": True}
    silent.close()
    assert hub.controller.ask("status")["nodes"].keys() == {"a"}


def test_it_waits_for_every_node_and_names_who_is_missing(tmp_path: Path) -> None:
    with Hub(tmp_path, up_seconds=0.2) as hub:
        assert hub.controller.start(*NODES)["error"] == "no sidecar of a, b came within 0.2 s"


def test_what_a_node_refuses_is_said_with_its_name(hub: Hub) -> None:
    hub.plug("a", lay={"error": "a: Operation not permitted"})
    hub.plug("b")
    assert hub.controller.start(*NODES)["error"] == "the sidecar of a could not lay: a: Operation not permitted"
    assert not (hub.folder / "ready").exists()


def test_what_a_node_lacks_comes_with_the_fix(hub: Hub) -> None:
    hub.plug("a", carry_out={"error": "IPv6 is off in node a", "fix": "turn it on"})
    answer = hub.controller.start(NODES[0])
    assert (answer["error"], answer["kind"], answer["fix"]) == (
        "IPv6 is off in node a",
        "MissingCapability",
        "turn it on",
    )


@pytest.mark.parametrize(
    "nodes", ["a=10.0.0.2,", "a=10.0.0.2", "a=,fd00::2", "a=10.0.0.2,fd00::2 b", "a=10.0.0.2,fd00::x"]
)
def test_an_address_that_is_missing_is_one_line(nodes: str) -> None:
    """As in a Compose network without IPv6, whose nodes have no such address."""
    env = {**os.environ, "LAB_NODES": nodes}
    done = subprocess.run(
        [sys.executable, "-m", "faultlab.runtimes.compose.hub"], env=env, capture_output=True, text=True, timeout=60
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.startswith(f"hub: LAB_NODES: {nodes.split()[-1]}: expected NAME=IPV4,IPV6")) == (
        2,
        True,
    )


def test_a_service_that_does_not_listen_is_named(hub: Hub) -> None:
    hub.plug("a", await_ports={"missing": {"tcp/7": "does not listen on tcp/7"}})
    answer = hub.controller.start(NODES[0], services=(Service("a", "echo", (), ("tcp/7",)),))
    assert "echo does not listen on tcp/7" in answer["error"]


def test_a_sidecar_that_goes_is_told_to_the_holder_once(hub: Hub) -> None:
    a, b = hub.plug("a"), hub.plug("b")
    hub.controller.ask("lease", seconds=SECONDS)
    assert hub.controller.start(*NODES) == {"ok": True}
    a.unplug()
    assert hub.controller.hear() == {"failed": "the sidecar of a is gone"}
    b.unplug()
    assert "error" not in hub.controller.ask("renew"), "not told again"
    end = hub.controller.ask("finish")["end"]
    assert end == {"strays": 0, "lost_before_wire": {}}


def test_without_a_holder_a_lost_sidecar_ends_it(hub: Hub) -> None:
    a = hub.plug("a")
    assert hub.controller.start(NODES[0]) == {"ok": True}
    a.unplug()
    assert "hub: the sidecar of a is gone" in hub.last_words()


def test_a_sidecar_of_no_node_of_the_lab_may_go(hub: Hub) -> None:
    hub.plug("a")
    other = hub.plug("other")
    hub.controller.ask("lease", seconds=SECONDS)
    assert hub.controller.start(NODES[0]) == {"ok": True}
    other.unplug()
    assert hub.controller.ask("renew") == {"ok": True}


def test_a_lease_that_is_not_renewed_ends_it(hub: Hub) -> None:
    hub.plug("a")
    hub.controller.ask("lease", seconds=SECONDS)
    assert hub.controller.start(NODES[0]) == {"ok": True}
    hub.controller.ask("lease", seconds=0.2)
    assert "the controller did not renew its lease of 0.2 s" in hub.last_words()


def test_the_holders_end_ends_it_and_another_askers_does_not(hub: Hub) -> None:
    hub.plug("a")
    hub.controller.ask("lease", seconds=SECONDS)
    other = Controller(hub.name)
    assert other.start(NODES[0]) == {"ok": True}
    other.channel.close()
    assert hub.controller.ask("renew") == {"ok": True}
    hub.controller.channel.close()
    assert "the controller is gone" in hub.last_words()


def test_an_asker_that_leaves_before_its_answer_costs_the_lab_nothing(hub: Hub) -> None:
    hub.plug("a")
    hub.controller.ask("lease", seconds=SECONDS)
    assert hub.controller.start(NODES[0]) == {"ok": True}
    for _ in range(20):
        other = Controller(hub.name)
        os.kill(hub.process.pid, signal.SIGSTOP)
        other.channel.send(json.dumps({"do": "status"}).encode())
        other.channel.close()
        os.kill(hub.process.pid, signal.SIGCONT)
        assert hub.controller.ask("renew") == {"ok": True}


def test_the_holders_end_while_its_lab_comes_up_ends_it(hub: Hub) -> None:
    hub.controller.ask("lease", seconds=SECONDS)
    hub.controller.send("start", nodes=NODES)
    hub.controller.channel.close()
    assert hub.last_words() == "hub: the controller is gone\n"


def test_its_engines_end_is_a_failure_with_its_last_words(hub: Hub) -> None:
    hub.plug("a")
    hub.controller.ask("lease", seconds=SECONDS)
    assert hub.controller.start(NODES[0]) == {"ok": True}
    children = Path(f"/proc/{hub.process.pid}/task/{hub.process.pid}/children").read_text().split()
    (hub.folder / "log" / "parrot.txt").write_text("not a cracker left\n")
    os.kill(int(children[0]), 9)
    assert hub.controller.hear() == {"failed": "parrot ended (killed by SIGKILL): not a cracker left"}


def test_orders_that_make_no_sense_are_refused_and_it_goes_on(hub: Hub) -> None:
    assert hub.controller.ask("set") == {"error": "the hub has no engine yet", "kind": "LabFailure"}
    assert hub.controller.ask("status") == {"error": "the hub has not started yet", "kind": "LabFailure"}
    assert hub.controller.ask("dance") == {"error": "no such order: dance", "kind": "UsageError"}
    hub.plug("a")
    assert hub.controller.start(NODES[0]) == {"ok": True}
    assert hub.controller.start(NODES[0]) == {"error": "the hub has started already", "kind": "UsageError"}
    assert hub.controller.ask("set") == {"error": "this engine does nothing", "kind": "UsageError"}


def test_toxiproxy_is_asked_in_its_own_node(hub: Hub) -> None:
    question = {"method": "GET", "path": "/proxies", "body": None}
    assert "sidecar of toxiproxy is gone" in hub.controller.ask("toxiproxy", **question)["error"]
    plug = hub.plug("toxiproxy", call={"status": 200, "text": "{}"})
    hub.controller.start(Node("toxiproxy", "02:1a:b0:00:00:04", "10.0.0.4", "fd00::4"))
    assert hub.controller.ask("toxiproxy", **question) == {"status": 200, "text": "{}"}
    assert plug.orders[-1] == {"do": "call", **question}


def test_what_never_came_to_the_engine_is_counted_at_the_end(hub: Hub) -> None:
    hub.plug("a", lost={"lost": 3})
    hub.plug("b")
    assert hub.controller.start(*NODES) == {"ok": True}
    assert hub.controller.ask("finish") == {"end": {"strays": 0, "lost_before_wire": {"a": 3}}}
    assert hub.controller.ask("finish") == {"end": {"strays": 0, "lost_before_wire": {"a": 3}}}, "and again"
