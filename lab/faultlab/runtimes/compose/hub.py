"""The hub of a Compose lab: the process in which its engine lives, in a container of its own without any network.

    python -m faultlab.runtimes.compose.hub

A plug in each node's network namespace (`faultlab.runtimes.compose.plug`) hands it the node's end of a cable; the
engine is the one that a netns lab has. Its orders come over a control socket, as a supervisor's do: `start` with a
`Plan`, `lease`, `set`, `show`, `flush`, `note`, `status`, `finish`. A lease binds the lab to its holder: when it runs
out, or the holder's connection ends, the hub ends too, and every cable, route and fault with it. Started with LAB_NODES
set, it needs no `start` and no lease: plain `docker compose` then is all there is to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from faultlab.engines.interface import Cable, LinkEngine
from faultlab.engines.registry import link_engine
from faultlab.errors import LabError, LabFailure, MissingCapability, UsageError, as_message, of_system, reason
from faultlab.network.plan import Plan, Service
from faultlab.network.topology import Node
from faultlab.runtimes import control, node_links
from faultlab.runtimes.children import Processes, said_last
from faultlab.runtimes.compose.plug import MEETING_POINT

DEVICE = "lab0"
EVIDENCE = Path("/evidence")
READY = Path("/run/lab/ready")
LOG = Path("/tmp/log")
UP_SECONDS = 60.0
PLUG_SECONDS = 10.0


class PlugIn:
    """The hub's side of one plug."""

    def __init__(self, node: str, channel: socket.socket) -> None:
        self.node = node
        self.channel = channel
        channel.settimeout(PLUG_SECONDS)

    def ask(self, do: str, **order: Any) -> tuple[dict[str, Any], list[int]]:
        """LabFailure where the plug is gone or silent, or its node refuses. `within` is for orders that may wait."""
        try:
            self.channel.settimeout(PLUG_SECONDS + order.get("within", 0.0))
            self.channel.send(json.dumps({"do": do, **order}).encode())
            answer, fds = control.receive(self.channel)
        except OSError as error:
            # It may be gone already; if it is not, its late answer must not pass for the next order's.
            with contextlib.suppress(OSError):
                self.channel.shutdown(socket.SHUT_RDWR)
            raise LabFailure(f"the sidecar of {self.node} is gone: {reason(error)}") from error
        if answer is None:
            raise LabFailure(f"the sidecar of {self.node} is gone")
        if "fix" in answer:
            raise MissingCapability("docker", answer["error"], answer["fix"])
        if "error" in answer:
            raise LabFailure(f"the sidecar of {self.node} could not {do.replace('-', ' ')}: {answer['error']}")
        return answer, fds


class Hub:
    """Waits for plugs and orders; runs one engine, once."""

    def __init__(self, name: str) -> None:
        server = control.listen(name)
        if server is None:
            raise LabFailure(f"a hub {name!r} runs here already")
        self._name = name
        self._control = server
        self._control.setblocking(False)
        self._plugs: dict[str, PlugIn] = {}
        self._plan: Plan | None = None
        self._engine: LinkEngine | None = None
        self._holder: socket.socket | None = None
        self._unanswered: dict[socket.socket, list[dict[str, Any]]] = {}
        self._lease_seconds = 0.0
        self._lease_end = float("inf")
        self._failure: str | None = None
        self._stopping = False
        self._finished: dict[str, Any] | None = None
        self._started = time.monotonic()
        self._processes = Processes(LOG, self._process_ended, self._stop)
        self._meeting = _meeting_socket()
        self._processes.listen(self._meeting, self._meet)
        self._processes.listen(self._control, self._accept)

    # -- up ------------------------------------------------------------------------------------------------------------

    def start(self, plan: Plan) -> None:
        """Join the plan's nodes and start the engine. LabError where that fails; such a hub is of no more use."""
        engine = link_engine(plan.engine)
        self._await_plugs([node.name for node in plan.nodes])
        if self._engine is not None:  # only now: who waits longer for plugs may be told second
            raise UsageError("the hub has started already")
        self._plan, self._engine = plan, engine
        ends = []
        for node in plan.nodes:
            _, fds = self._plugs[node.name].ask("lay", cable=engine.cable, device=DEVICE)
            ends.append(Cable(node, DEVICE, fds[0]))
        try:
            engine.connect(ends, plan)
        except OSError as error:
            raise MissingCapability(
                plan.engine, f"the Docker engine's kernel refuses engine {plan.engine}: {error.strerror}",
                "use --engine wire",
            ) from error  # fmt: skip
        for node in plan.nodes:
            self._join(self._plugs[node.name], node, plan)
        engine.start(plan, self._processes.fork)
        for service in plan.services:
            seconds = UP_SECONDS if service.within_s is None else service.within_s
            began = time.monotonic()
            if closed := self._closed_ports(service, seconds):
                raise LabFailure(service.not_up(closed, time.monotonic() - began))
        READY.touch()

    def _closed_ports(self, service: Service, seconds: float) -> dict[str, str]:
        """Those of its ports on which it does not listen, once there is no use in waiting, and why they count so."""
        assert self._plan is not None
        reach = service.reach(self._plan.nodes)
        answer, _ = self._plugs[service.node].ask("await-ports", ports=service.ports, reach=reach, within=seconds)
        return dict(answer["missing"])

    def _await_plugs(self, names: Sequence[str]) -> None:
        """LabFailure where one does not come in time, and at once where whoever asked for it wants something else."""

        def there() -> bool:
            return self._plugs.keys() >= set(names)

        def given_up() -> bool:
            return self._stopping or any(len(orders) > 1 for orders in self._unanswered.values())

        self._processes.wait_until(lambda: there() or given_up(), UP_SECONDS)
        if not there() or self._stopping:
            missing = ", ".join(name for name in names if name not in self._plugs)
            late = "before the lab was ended" if given_up() else f"within {UP_SECONDS:g} s"
            raise LabFailure(f"no sidecar of {missing} came {late}")

    def _join(self, plug: PlugIn, node: Node, plan: Plan) -> None:
        index = plug.ask("index", device=DEVICE)[0]["index"]
        messages = [message.hex() for message in node_links.beside_another(index, node, plan.nodes)]
        plug.ask("carry-out", device=DEVICE, messages=messages)
        if plan.resolver is not None:
            plug.ask("resolver", text=f"search lab\nnameserver {plan.resolver}\noptions timeout:1 attempts:5\n")

    # -- running -------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Until told to end, until the lease is over, or until a part of the lab is gone."""
        while not self._stopping:
            self._processes.step(max(0.0, min(1.0, self._lease_end - time.monotonic())))
            if time.monotonic() > self._lease_end:
                self._fail(f"the controller did not renew its lease of {self._lease_seconds:g} s")
        self.finish()

    def _stop(self) -> None:
        self._stopping = True

    def _fail(self, reason: str) -> None:
        """Tell the holder why; without one the hub ends. Only the first reason counts."""
        if self._failure is not None or self._finished is not None:
            return
        self._failure = reason
        print(f"hub: {reason}", file=sys.stderr, flush=True)
        if self._holder is None or time.monotonic() > self._lease_end:
            self._stopping = True
        else:
            try:
                self._holder.send(json.dumps({"failed": reason}).encode())
            except OSError:
                self._left(self._holder)

    def _process_ended(self, name: str, how: str) -> None:
        words = self._processes.log(name).read_text(errors="replace").strip().splitlines()
        self._fail(f"{name} ended ({how}){': ' + words[-1] if words else ''}")

    def _meet(self) -> None:
        channel = control.accept(self._meeting)
        if channel is not None:
            channel.settimeout(PLUG_SECONDS)
            self._processes.listen(channel, lambda: self._greet(channel))

    def _greet(self, channel: socket.socket) -> None:
        """A plug's first word is its node's name; who says nothing keeps nobody waiting."""
        self._processes.ignore(channel)
        try:
            hello, _ = control.receive(channel)
        except OSError:
            hello = None
        if hello is None:
            channel.close()
            return
        plug = PlugIn(hello["node"], channel)
        self._plugs[plug.node] = plug
        self._processes.listen(channel, lambda: self._unplugged(plug))

    def _unplugged(self, plug: PlugIn) -> None:
        """A plug speaks only when asked: what can be read unasked is its end."""
        self._processes.ignore(plug.channel)
        plug.channel.close()
        if self._plugs.get(plug.node) is plug:
            del self._plugs[plug.node]
            if self._plan is not None and plug.node in {node.name for node in self._plan.nodes}:
                self._fail(f"the sidecar of {plug.node} is gone")

    def _accept(self) -> None:
        channel = control.accept(self._control)
        if channel is None:
            return
        channel.settimeout(5)
        if control.same_user(channel):
            self._processes.listen(channel, lambda: self._obey(channel))
        else:
            channel.close()

    def _obey(self, channel: socket.socket) -> None:
        try:
            order, _ = control.receive(channel)
        except OSError:
            order = None
        if order is None:
            self._left(channel)
        elif channel in self._unanswered:
            self._unanswered[channel].append(order)
        else:
            orders = self._unanswered[channel] = [order]
            while orders:  # answered in the order that they came in: another may come while one is carried out
                self._answer(channel, orders[0])
                del orders[0]
            del self._unanswered[channel]

    def _answer(self, channel: socket.socket, order: Mapping[str, Any]) -> None:
        if channel is self._holder:
            self._lease_end = time.monotonic() + self._lease_seconds
        try:
            answer = self._carry_out(order, channel)
        except (LabError, OSError) as error:
            answer = as_message(error)
        try:
            channel.send(json.dumps(answer).encode())
        except OSError:
            self._left(channel)
            return
        if channel is self._holder:  # what was asked may have taken longer than the lease
            self._lease_end = time.monotonic() + self._lease_seconds

    def _left(self, channel: socket.socket) -> None:
        """An asker is gone: nothing depends on it, unless it holds the lab."""
        if channel.fileno() != -1:  # else that was noticed while its order was carried out
            self._processes.ignore(channel)
            channel.close()
        if channel is self._holder:
            print("hub: the controller is gone", file=sys.stderr, flush=True)
            self._holder, self._stopping = None, True

    def _carry_out(self, order: Mapping[str, Any], channel: socket.socket) -> dict[str, Any]:
        match order["do"]:
            case "lease":
                self._holder, self._lease_seconds = channel, float(order["seconds"])
            case "renew":
                pass
            case "start":
                self.start(Plan.from_json(order["plan"]))
            case "set" | "show" | "flush" | "note":
                return self._running().order(dict(order))
            case "toxiproxy":
                if "toxiproxy" not in self._plugs:
                    raise LabFailure("the sidecar of toxiproxy is gone")
                call = {key: order[key] for key in ("method", "path", "body")}
                return self._plugs["toxiproxy"].ask("call", **call)[0]
            case "status":
                return self.status()
            case "closed-ports":
                return {"closed": [port for one in self._serving() for port in self._closed_ports(one, 0.0)]}
            case "kernel-drops":
                return {"dropped": self._of_plugs("kernel-drops", "dropped")}
            case "finish":
                return {"end": self.finish()}
            case unknown:
                raise UsageError(f"no such order: {unknown}")
        return {"ok": True}

    def _running(self) -> LinkEngine:
        if self._engine is None:
            raise LabFailure("the hub has no engine yet")
        return self._engine

    def _serving(self) -> tuple[Service, ...]:
        """The services whose nodes are still joined."""
        return () if self._plan is None else tuple(one for one in self._plan.services if one.node in self._plugs)

    def status(self) -> dict[str, Any]:
        """What `lab status` shows, as far as the hub knows it."""
        plan = self._plan
        if plan is None:
            raise LabFailure("the hub has not started yet")
        return {
            "name": plan.name,
            "runtime": "compose",
            "engine": plan.engine,
            "seed": plan.seed,
            "up_seconds": round(time.monotonic() - self._started, 3),
            "nodes": {node.name: {"ipv4": node.ipv4, "ipv6": node.ipv6, "mac": node.mac} for node in plan.nodes},
            "services": {one.name: {"node": one.node, "ports": one.ports} for one in plan.services},
            "published": [],
            "faults": self._running().order({"do": "show"})["faults"],
            "evidence": plan.evidence,
            "notes": plan.notes,
        }

    # -- down ----------------------------------------------------------------------------------------------------------

    def finish(self) -> dict[str, Any]:
        """All evidence on disk, no cable any more. Safe to call twice."""
        if self._finished is None:
            self._finished = {}
            if self._engine is not None and self._engine.name in self._processes.running().values():
                lost = self._of_plugs("lost", "lost")
                try:
                    self._finished = self._engine.stop()
                except LabError as error:
                    self._finished = {"failed": f"{error}{said_last(self._processes.log(self._engine.name))}"}
                self._finished["lost_before_wire"] = lost
                self._processes.wait_until(lambda: not self._processes.running(), PLUG_SECONDS)
        return self._finished

    def _of_plugs(self, order: str, answer: str) -> dict[str, Any]:
        """What each node counted, where it counted anything; a plug that is gone says nothing."""
        counts = {}
        for name, plug in list(self._plugs.items()):
            try:
                counts[name] = plug.ask(order, device=DEVICE)[0][answer]
            except LabFailure as error:
                print(f"hub: {error}", file=sys.stderr, flush=True)
        return {name: count for name, count in counts.items() if count}


def _meeting_socket() -> socket.socket:
    meeting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    Path(MEETING_POINT).unlink(missing_ok=True)
    READY.unlink(missing_ok=True)
    meeting.bind(MEETING_POINT)
    meeting.listen(64)
    meeting.setblocking(False)
    return meeting


def plan_of(environment: Mapping[str, str]) -> Plan:
    """The plan of a lab that plain `docker compose` started: LAB_NODES is `NAME=IPV4,IPV6 NAME=...`.

    UsageError where a variable can't be meant.
    """
    nodes = []
    seed = environment.get("LAB_SEED", "0")
    if not re.fullmatch("[0-9]{1,18}", seed):
        raise UsageError(f"LAB_SEED: found {seed!r}; expected a whole number, 0 or more")
    for number, word in enumerate(environment["LAB_NODES"].split(), start=2):
        name, _, addresses = word.partition("=")
        ipv4, _, ipv6 = addresses.partition(",")
        try:
            IPv4Address(ipv4), IPv6Address(ipv6)
        except ValueError as error:
            raise UsageError(f"LAB_NODES: {word}: expected NAME=IPV4,IPV6: each node has both ({error})") from error
        nodes.append(Node(name, f"02:1a:b0:00:00:{number:02x}", ipv4, ipv6))
    return Plan(
        name=environment.get("LAB_NAME", "lab"),
        engine=environment.get("LAB_ENGINE", "wire"),
        seed=int(seed),
        nodes=tuple(nodes),
        ipv4_prefix=0,
        ipv6_prefix=0,
        services=(),
        publications=(),
        control=-1,
        lifeline=-1,
        evidence=str(EVIDENCE),
        resolver=next((node.ipv4 for node in nodes if node.name == "dns-server"), None),
    )


def main(environment: Mapping[str, str] = os.environ) -> None:
    try:
        plan = plan_of(environment) if environment.get("LAB_NODES") else None
        hub = Hub(environment.get("LAB_NAME", "lab"))
        try:
            if plan is not None:
                hub.start(plan)
                print("hub: every node is joined", file=sys.stderr, flush=True)
            hub.serve()
        finally:
            hub.finish()
    except (LabError, OSError) as caught:
        error = of_system(caught) if isinstance(caught, OSError) else caught
        print(f"hub: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
