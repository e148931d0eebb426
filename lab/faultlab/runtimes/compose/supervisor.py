"""The process that holds a Compose lab: `python -m faultlab.runtimes.compose.supervisor`, started by
`faultlab.runtimes.compose.runtime`.

It brings the project up, leases the hub (`faultlab.runtimes.compose.hub`), serves the orders that a netns lab's
supervisor serves, and takes the project down. It ends the lab when a container of it ends, when it is told to, and when
the program that wanted the lab is gone without having said `keep`. Where it is killed itself, the hub ends with its
lease, so every node's network is as it was, and the undertaker (`faultlab.runtimes.compose.reaper`) removes the rest.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import docker.errors

from faultlab.errors import LabError, LabFailure, NetworkTaken, UsageError, as_message, from_message, reason
from faultlab.kernel import syscalls
from faultlab.network.plan import Plan
from faultlab.network.topology import Network, Node
from faultlab.runtimes import control
from faultlab.runtimes.children import LAST_LINES, for_owner, words_of
from faultlab.runtimes.compose import project
from faultlab.runtimes.compose.project import EVIDENCE, HUB, NO_ANSWER, Project, plug_of
from faultlab.runtimes.compose.reaper import DONE
from faultlab.runtimes.holder import Holder

LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.0
STOP_SECONDS = 120.0
"""The last lease: what the engine of a busy host may take to stop the nodes."""
ORDER_SECONDS = 30.0
START_SECONDS = 120.0
FINISH_SECONDS = 300.0
"""What inferring the ledger of a long netem run may take."""
DRAIN_SECONDS = 1
NEWS_SECONDS = 3.0
"""How long after its sidecar's end the news of a node's own end may take, on a busy host."""
_SIGNAL = "signal"
_PORT_TAKEN = ("port is already allocated", "address already in use")


class Line:
    """Orders to the hub and its answers, through `docker exec`.

    `events` has news of containers that ended; `look` takes it and returns why the lab can't go on, if it can't.
    """

    def __init__(self, process: subprocess.Popen[bytes], events: socket.socket, look: Callable[[], str | None]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self._in, self._out = process.stdin, process.stdout
        os.set_blocking(self._out.fileno(), False)
        self._waiting = b""
        self._owed = 0
        """How many answers are still to come."""
        self._look = look
        self.events: socket.socket | None = events
        """None once there will be no more."""
        self.failed: str | None = None
        """What the hub said, unasked, of why the lab can't go on."""

    def fileno(self) -> int:
        return self._out.fileno()

    def ask(self, order: Mapping[str, Any], seconds: float = ORDER_SECONDS) -> dict[str, Any]:
        """UsageError, MissingCapability and LabFailure as the hub says; LabFailure where it is gone or silent."""
        try:
            self._in.write(json.dumps(order).encode() + b"\n")
            self._in.flush()
        except OSError as error:
            raise LabFailure(f"the hub is gone: {reason(error)}") from error
        self._owed += 1
        deadline = time.monotonic() + seconds
        answer: dict[str, Any] = {}
        while self._owed:  # those of orders that were given up come first
            if (message := self._next(deadline)) is not None:
                answer = message
                self._owed -= 1
        if "error" in answer:
            raise from_message(answer)
        return answer

    def listen(self) -> None:
        """Take what came unasked. LabFailure where the line has ended."""
        self._read()
        while b"\n" in self._waiting:
            if self._take() is not None:
                self._owed -= 1

    def _next(self, deadline: float) -> dict[str, Any] | None:
        if b"\n" in self._waiting:
            return self._take()
        left = deadline - time.monotonic()
        sources = [self.fileno(), *([] if self.events is None else [self.events.fileno()])]
        ready = select.select(sources, (), (), left)[0] if left > 0 else []
        if not ready:
            self.failed = "the hub gave no answer in time"  # a late one would pass for the next order's
            raise LabFailure(self.failed)
        if ready != [self.fileno()] and (reason := self._look()) is not None:
            raise LabFailure(reason)
        if self.fileno() in ready:
            self._read()
        return None

    def _read(self) -> None:
        data = self._out.read(1 << 20)
        if data == b"":
            raise LabFailure(self.failed or "the hub is gone: its line ended")
        self._waiting += data or b""

    def _take(self) -> dict[str, Any] | None:
        text, _, self._waiting = self._waiting.partition(b"\n")
        message: dict[str, Any] = json.loads(text)
        if "failed" in message:
            self.failed = self.failed or message["failed"]
            return None
        return message


class Supervisor(Holder):
    """Stands the lab up, serves orders, takes the lab down."""

    def __init__(self, plan: Plan, order: Mapping[str, Any]) -> None:
        super().__init__(plan)
        self._order = order
        self._folder = Path(plan.evidence or ".")
        self._project = Project(order["project"])
        self._client: Any = None
        self._line: Line | None = None
        self._ports: dict[tuple[str, str, int], int] = {}
        self._ended: dict[str, str] = {}
        self._started = time.monotonic()
        self._renewed = 0.0
        self.left = True
        """Whether there is something of the project with the engine, or evidence that is not here."""
        self._undertaker = self._start_undertaker()

    def _start_undertaker(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-P", "-m", "faultlab.runtimes.compose.reaper", self._project.name, str(self._folder)]
        with open(self._folder / "log" / "undertaker.txt", "wb", opener=for_owner) as log:
            return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)

    # -- up ------------------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """LabError where a part does not come up. NetworkTaken where the address block is somebody else's."""
        services = self._write_overlay()
        command = self._project.up_command(
            self._folder / "compose.yaml",
            services,
            with_api=("toxiproxy" in [one[2] for one in self._order["publish"]]),
        )
        network = Network.parse(*self._order["network"])
        nodes = [Node(**fields) for fields in self._order["all_nodes"]]
        environment = project.settings(nodes, network, self._plan.seed, self._order["udp_mode"])
        self._run_to_end("compose", command, {**os.environ, **environment})
        self._client = docker.from_env(timeout=60)
        self._watch_containers()
        for service, code in self._project.ended(self._client):
            raise LabFailure(self._container_failed(service, code))
        self._connect()
        plan = replace(self._plan, evidence=EVIDENCE, control=-1, lifeline=-1, resolver=self._resolver())
        if self._order["forced_drops"]:
            data = Path(self._order["forced_drops"]).read_bytes()
            plan = replace(plan, forced_drops=self._project.give(self._client, "forced-drops.json", data))
        waits = sum(service.within_s or 0.0 for service in plan.services)
        try:
            self._ask({"do": "start", "plan": plan.to_json()}, START_SECONDS + waits)
        except LabFailure as error:
            if self._failure is not None:
                raise
            words = [self._last_words(one.node) for one in plan.services if str(error).startswith(f"{one.name} ")]
            raise LabFailure("".join([str(error), *words])) from error
        self._ports = self._project.ports(self._client)

    def _resolver(self) -> str | None:
        return next((node.ipv4 for node in self._plan.nodes if node.name == "dns-server"), None)

    def _write_overlay(self) -> list[str]:
        """compose.yaml in the evidence folder; returns the services to start."""
        published = {via for _, _, via, _, _ in self._order["publish"]}
        services: dict[str, dict[str, Any]] = {}
        for node in self._plan.nodes:
            services[node.name] = {"ports": None} if node.name == "client" and "client" not in published else {}
            services[plug_of(node.name)] = {}
        if self._order["work"] is not None and "client" in services:
            services["client"] |= project.with_folder(self._order["work"])
        if self._order["guest"] is not None:
            name, made = (self._order["guest"][key] for key in ("node", "settings"))
            node = next(node for node in self._plan.nodes if node.name == name)
            services[name] = project.as_node(made, node)
            services[plug_of(name)] = project.plug_for(name)
            for protocol, _, via, serves, port in self._order["publish"]:
                if serves == name:
                    services[via] |= project.relaying(via, f"{protocol}/{GUEST_RELAYED}={node.ipv4}:{port}")
        named = {} if self._order["guest"] is None else self._order["guest"]["named"]
        services[HUB] = {"environment": {"LAB_NODES": "", "LAB_NAME": self._plan.name}}
        labels = {project.HOLDER_LABEL: project.holder(os.getpid()), project.EVIDENCE_LABEL: str(self._folder)}
        (self._folder / "compose.yaml").write_text(project.overlay(services, labels, named))
        return list(services)

    def _run_to_end(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        """A program whose failure is the lab's; it dies with this process."""
        with open(self._processes.log(name), "ab", opener=for_owner) as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(environment),
                preexec_fn=lambda: syscalls.die_with_parent(signal.SIGKILL),
            )  # fmt: skip
        self._processes.adopt(name, process)
        self._processes.wait_until(lambda: name in self._ended or self._stopping, START_SECONDS)
        how = self._ended.get(name)
        if how is None:
            process.kill()
            raise LabFailure(self._failure or f"{name} did not end within {START_SECONDS:g} s")
        if how != "exit status 0":
            words = self._processes.log(name).read_text(errors="replace").strip().splitlines()
            reason = f"docker {name} ended ({how}): {words[-1].strip() if words else 'no reason given'}"
            raise NetworkTaken(reason) if "overlaps with" in reason else self._not_up(words) or LabFailure(reason)

    def _not_up(self, words: list[str]) -> LabError | None:
        """What of the user's own keeps the containers from starting; None where it is the lab's."""
        said = words[-1].rpartition("unable to start container process: ")[2].removesuffix(": unknown") if words else ""
        said = said.strip().removeprefix("Error response from daemon: ")
        port = re.search(r"127\.0\.0\.1:(\d+)", said) if any(one in said for one in _PORT_TAKEN) else None
        asked = [
            name for name, value in os.environ.items() if name.startswith("LAB_PORT_") and port and value == port[1]
        ]
        if port and asked:
            return UsageError(f"{asked[0]}: port {port[1]} of 127.0.0.1 is taken; set another, or none for a free one")
        if self._order["guest"] is None:
            return None
        node = self._order["guest"]["node"]
        name = self._project.container(node)
        if any(line.strip().startswith(f"Container {name}  Error") for line in words):
            return UsageError(f"{node} can't be started in its container: {said}")
        try:
            self._client = docker.from_env(timeout=60)
            state = self._project.state(self._client, node, NEWS_SECONDS)
        except NO_ANSWER:
            return None
        if state["Error"]:
            return UsageError(f"{node} can't be started in its container: {said}")
        if state["Status"] in ("exited", "dead"):  # before its sidecar could join its network
            return LabFailure(self._container_failed(node, state["ExitCode"]))
        return None

    def _connect(self) -> None:
        """A line to the hub, which may still be starting, and the lease."""
        with open(self._processes.log("line"), "ab", opener=for_owner) as log:
            process = subprocess.Popen(
                self._project.line_command(self._plan.name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                bufsize=0,
            )  # fmt: skip
        self._line = Line(process, self._events, self._look_at_events)
        self._processes.adopt("line", process)
        self._processes.listen(self._line.fileno(), self._line_moved)
        self._ask({"do": "lease", "seconds": LEASE_SECONDS})

    def _watch_containers(self) -> None:
        """A thread that says over a socket which container ended: the Docker API has no other way to wait for it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # an order that waits for the hub looks at it too
        mine = {"label": f"{project.PROJECT_LABEL}={self._project.name}", "event": "die"}
        events = docker.from_env(timeout=None).events(decode=True, filters=mine)

        def watch() -> None:
            try:
                for event in events:
                    theirs.send(json.dumps(event["Actor"]["Attributes"]).encode())
            except (*NO_ANSWER, OSError, ValueError) as error:
                print(f"the Docker engine's events ended: {project.no_answer(error)}", file=sys.stderr, flush=True)
            finally:
                theirs.close()

        threading.Thread(target=watch, daemon=True).start()
        self._events = ours
        self._processes.listen(ours, self._container_ended)

    # -- running -------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Carry out orders until the lab stops. LabFailure where a part of it is gone."""
        while not self._stopping:
            self._processes.step(RENEW_SECONDS)
            if not self._stopping and time.monotonic() - self._renewed > RENEW_SECONDS:
                self._ask({"do": "renew"})
        if self._failure is not None:
            raise LabFailure(self._failure)

    def _ask(self, order: Mapping[str, Any], seconds: float = ORDER_SECONDS) -> dict[str, Any]:
        if self._line is None:
            raise LabFailure("the lab is not up yet")
        self._renewed = time.monotonic()
        try:
            return self._line.ask(order, seconds)
        finally:
            if self._line.failed is not None and not self._stopping:
                self.failed(f"{self._line.failed}, so the lab ended")

    def _process_ended(self, name: str, how: str) -> None:
        self._ended[name] = how

    def _line_moved(self) -> None:
        assert self._line is not None
        try:
            self._line.listen()
        except LabFailure as error:
            self._processes.ignore(self._line.fileno())
            if not self._stopping:
                # The container's own end says more, and its news may be a moment away.
                self._processes.wait_until(lambda: self._stopping, 1.0)
                how = self._ended.get("line")
                self.failed(f"{f'the line to the hub ended ({how})' if how else error}, so the lab ended")
        if self._line.failed is not None and not self._stopping:
            self.failed(f"{self._line.failed}, so the lab ended")

    def _look_at_events(self) -> str | None:
        """A container's end is the end of what is waited for, but not while the lab goes down."""
        going_down = self._stopping
        self._container_ended()
        return None if going_down else self._failure

    def _container_ended(self) -> None:
        try:
            data = self._events.recv(1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._processes.ignore(self._events)
            if self._line is not None:
                self._line.events = None
            if not self._stopping:
                self.failed("the Docker engine's events ended, so the lab ended")
            return
        facts = json.loads(data)
        if not self._stopping:
            self._container_failed(facts.get(project.SERVICE_LABEL, facts.get("name")), facts.get("exitCode"))

    def failed(self, reason: str, part: str | None = None) -> str:
        """A sidecar ends with its node, and the news of its end may come first: then the node is why."""
        for node in [one.name for one in self._plan.nodes] if self._failure is None else ():
            if part == plug_of(node) or f"the sidecar of {node} is gone" in reason:
                deadline = time.monotonic() + NEWS_SECONDS
                while (code := self._exit_status(node)) is None and time.monotonic() < deadline:
                    time.sleep(0.05)
                if code is not None:
                    return self._container_failed(node, code)
        return super().failed(reason, part)

    def _exit_status(self, service: str) -> int | None:
        """None while it runs, and where nobody can say."""
        try:
            return dict(self._project.ended(self._client)).get(service)
        except NO_ANSWER:
            return None

    def _container_failed(self, service: str, code: object) -> str:
        """Note which container ended, how, and what it said last; returns why the lab ends."""
        text = self.ended(service, f"exit status {code}", self._last_words(service), "container ")
        return self.failed(text, service)

    def _last_words(self, service: str) -> str:
        """As `Processes.last_words`, of a container."""
        try:
            words = words_of(self._project.output(self._client, service, LAST_LINES))
        except NO_ANSWER:
            words = ""
        return f"{words}; its output: {self._folder / 'log' / service}.txt"

    def _take(self, channel: socket.socket, order: dict[str, Any]) -> None:
        if order["do"] == "hold":
            self._hold(channel, order)
        else:
            super()._take(channel, order)

    def _hold(self, channel: socket.socket, order: Mapping[str, Any]) -> None:
        """A command's stand-in: what it says is for the command, and when it is gone, so is the command."""

        def moved() -> None:
            try:
                word, _ = control.receive(channel)
            except OSError:
                word = None
            if word is not None and "signal" in word:
                self._signal(order, word["signal"])
                return
            if word is None:
                self._signal(order, signal.SIGKILL)
            self._processes.ignore(channel)
            channel.close()

        self._processes.listen(channel, moved)

    def _signal(self, order: Mapping[str, Any], number: int) -> None:
        """A signal to every process in the container that has the command's token in its environment."""
        argv = ["docker", "exec", order["container"], "python", "-c", _SIGNALLER, order["token"], str(int(number))]
        self._processes.spawn(_SIGNAL, argv)

    def _carry_out(self, order: dict[str, Any], _: list[int]) -> dict[str, Any]:
        match order["do"]:
            case "status":
                return self.status()
            case "set" | "show" | "flush" | "note" | "toxiproxy":
                return self._ask(order)
            case "enter":
                return {"ok": True, "container": self._container(order["node"])}
            case "down":
                self._await_the_dying()
                return {"ok": True, "end": self.finish()}
        raise UsageError(f"no such order: {order['do']}")

    def _container(self, node: str) -> str:
        names = [one.name for one in self._plan.nodes]
        if node not in (*names, HUB):  # in the hub are the engine and its evidence
            raise UsageError(f"no node {node!r}; the nodes are {', '.join(names)}")
        return self._project.container(node)

    def status(self) -> dict[str, Any]:
        """What the hub says, and what only this side knows."""
        addresses = {node.name: node.ipv4 for node in self._plan.nodes}
        published = []
        for protocol, _, via, serves, port in self._order["publish"]:
            inside = port if via == serves or serves == "localhost" else RELAYED.get((protocol, port), port)
            if self._order["guest"] is not None and serves == self._order["guest"]["node"]:
                inside = GUEST_RELAYED
            host_port = self._ports.get((via, protocol, inside))
            if host_port is not None:
                to = f"{addresses.get(serves, '127.0.0.1')}:{port}"
                published.append({"address": f"127.0.0.1:{host_port}", "protocol": protocol, "to": to, "via": via})
        return {
            **self._ask({"do": "status"}),
            **self.made_by(),
            "evidence": str(self._folder),
            "evidence_inside": EVIDENCE,
            "published": published,
            "project": self._project.name,
            "trust": False,
            "limits": project.limits(),
            "up_seconds": round(time.monotonic() - self._started, 3),
        }

    # -- down ----------------------------------------------------------------------------------------------------------

    def _all_listen(self) -> bool:
        try:
            return not self._ask({"do": "closed-ports"})["closed"]
        except LabError as error:  # a part that does not answer must not keep the lab from going down
            print(f"not known who listens: {error}", file=sys.stderr, flush=True)
            return False

    def finish(self) -> dict[str, Any]:
        """Services drain and end, the hub puts the evidence on its disk, it comes here; then nothing is left there."""
        self._stopping = True
        if self._finished is None:
            self._finished = {}
            dropped: dict[str, Any] = {}
            try:
                if self._client is None:
                    self._client = docker.from_env(timeout=60)
                if self._line is not None and self._failure is None:  # while the services are there to take what comes
                    dropped = self._line.ask({"do": "kernel-drops"})
                    self._line.ask({"do": "lease", "seconds": STOP_SECONDS})
                self._project.stop(self._client, [node.name for node in self._plan.nodes], DRAIN_SECONDS)
                if self._line is not None:
                    self._finished = self._line.ask({"do": "finish"}, FINISH_SECONDS)["end"]
                    self._finished["dropped_by_kernel"] = dropped.get("dropped", {})
            except (LabError, *NO_ANSWER) as error:
                self._finished = {"failed": _in_words(error)}
            try:
                if self._client is None:
                    self._client = docker.from_env(timeout=60)
                if not self._project.collect(self._client, self._folder):
                    self._finished.setdefault("failed", "there was no hub, so there is no evidence of the network")
                self._project.remove(self._client)
                self.left = False
            except (LabFailure, *NO_ANSWER) as error:
                self._finished.setdefault("failed", _in_words(error))
                self._finished["failed"] += f"; {LEFT}"
        return self._finished

    def release_undertaker(self) -> None:
        """Where nothing is left to do. Else it sees this process end, and does the rest when the engine answers."""
        if self.left:
            return
        assert self._undertaker.stdin is not None
        self._undertaker.stdin.write(DONE)
        self._undertaker.stdin.close()
        self._undertaker.wait()


LEFT = (
    "the Docker engine still has containers and evidence of the lab: once it answers, lab down fetches and removes them"
)

RELAYED = {("udp", 53): 10053, ("tcp", 53): 10053}
"""The client relays DNS on a port of its own."""
GUEST_RELAYED = 10_900
"""And a user's own server: its port may be one that the client relays already."""


def _in_words(error: Exception) -> str:
    return str(error if isinstance(error, LabError) else project.no_answer(error))


_SIGNALLER = """
import os, sys
word = b"LAB_TOKEN=" + sys.argv[1].encode()
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            if word in file.read().split(b"\\0"):
                os.kill(int(pid), int(sys.argv[2]))
    except OSError:
        continue
"""


def _run(order: Mapping[str, Any]) -> int:
    plan = Plan.from_json(order["plan"])
    supervisor = Supervisor(plan, order)
    reason, message = "stopped", None
    try:
        supervisor.up()
        supervisor.tell(ready=True)
        supervisor.serve()
    except (LabError, OSError, *NO_ANSWER) as caught:
        error = caught if isinstance(caught, LabError) else project.no_answer(caught)
        reason = supervisor.failed(str(error))
        message = as_message(error, reason)
    finally:
        supervisor.leave_word(reason, supervisor.finish())
    supervisor.release_undertaker()
    if message is not None and supervisor.left:
        message["error"] += f"; {LEFT}"
    if message is not None:  # only now: who hears it may count on nothing being left
        supervisor.last_word(**message)
    return 0 if reason == "stopped" else 1


def main() -> None:
    order = json.loads(sys.stdin.read())
    if os.fork():
        os._exit(0)
    os.setsid()
    os._exit(_run(order))


if __name__ == "__main__":
    main()
