"""The one process that holds a netns lab: PID 1 of its own PID namespace.

`python -m lab.supervisor` with a `Plan` on standard input; `lab.runtimes.netns` starts it. Every namespace, device and
process of the lab is held by this process alone, so when it ends, by whatever signal, the kernel ends them too: there
is nothing to clean up. It ends itself when a process of the lab dies, when it is told to, and when
the program that wanted the lab is gone without having said `keep`.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab import control, relay
from lab.engines.base import link_engine
from lab.errors import LabError, LabFailure, MissingCapability, UsageError
from lab.runtimes import linux
from lab.runtimes.base import KEEP, LinkEngine, NodeSpace, Plan, Publication, Service

UP_SECONDS = 20.0
DRAIN_SECONDS = 1.0
"""For the servers to finish what they have received, when the lab is taken down on purpose."""
LAST_SECONDS = 0.3
"""The same when the lab broke: its user waits for nothing but the evidence."""
_OUR_SIGNALS = (signal.SIGCHLD, signal.SIGTERM)
_POLL_SECONDS = 0.003


class Supervisor:
    """Stands the lab up, serves orders, takes the lab down."""

    def __init__(self, plan: Plan, engine: LinkEngine) -> None:
        self._plan = plan
        self._engine = engine
        self._spaces: dict[str, NodeSpace] = {}
        self._base = linux.network_namespace()
        self._children: dict[int, str] = {}
        # A Popen that is let go is reaped by the next one made (subprocess._cleanup), and its end goes unnoticed here.
        self._held: list[subprocess.Popen[bytes]] = []
        self._ended: dict[str, str] = {}
        self._failure: str | None = None
        self._stopping = False
        self._started_ns = time.monotonic_ns()
        self._network_ns = 0
        self._lifeline = socket.socket(fileno=plan.lifeline)
        self._control = socket.socket(fileno=plan.control)
        self._selector = selectors.DefaultSelector()
        self._logs = Path(plan.evidence or ".") / "log"

    # -- up ------------------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """LabError where a part does not come up."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._watch()
        for node in self._plan.nodes:
            linux.unshare(linux.CLONE_NEWNET)
            self._spaces[node.name] = NodeSpace(node, linux.network_namespace())
        linux.setns(self._base, linux.CLONE_NEWNET)
        self._engine.connect(tuple(self._spaces.values()), self._plan)
        self._engine.start(self._plan, _Spawner(self))
        self._network_ns = time.monotonic_ns() - self._started_ns
        for service in self._plan.services:
            self.spawn(service.name, service.argv, (), self._spaces[service.node])
        for via in sorted({one.via for one in self._plan.publications}):
            self._publish(via, [one for one in self._plan.publications if one.via == via])
        for publication in self._plan.publications:
            os.close(publication.fd)
        for service in self._plan.services:
            self._await_ports(service)

    def _watch(self) -> None:
        """Children's ends and signals wake the selector; only the lifeline can do so before the lab is up."""
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.fileno())
        self._woken = woken
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop_soon())
        self._selector.register(wake, selectors.EVENT_READ, lambda: self._reap(wake))
        self._selector.register(self._lifeline, selectors.EVENT_READ, self._lifeline_moved)
        self._selector.register(self._control, selectors.EVENT_READ, self._accept)

    def spawn(self, name: str, argv: Sequence[str], fds: Sequence[int], space: NodeSpace | None) -> int:
        """Start a process of the lab; its output goes to a file of its name, its end ends the lab."""

        def enter() -> None:
            if space is not None:
                linux.setns(space.fd, linux.CLONE_NEWNET)
                linux.unshare(linux.CLONE_NEWUTS)
                socket.sethostname(space.node.name)

        words = [word.replace("{run}", self._plan.evidence or ".") for word in argv]
        with (self._logs / f"{name}.txt").open("ab") as log:
            try:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds, preexec_fn=enter
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise LabFailure(f"{name}: can't start {words[0]}: {error}") from error
        self._children[process.pid] = name
        self._held.append(process)
        return process.pid

    def fork(self, name: str, work: Callable[[], None], fds: Sequence[int], space: NodeSpace | None) -> int:
        """Run a function in a process of its own, with these descriptors; its end ends the lab."""
        log = os.open(self._logs / f"{name}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _OUR_SIGNALS)
        pid = os.fork()
        if pid == 0:
            try:
                self._become(name, log, fds, space)
                work()
            except BaseException:  # noqa: BLE001 - whatever it is, a forked child must end here and say why
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            os._exit(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        os.close(log)
        self._children[pid] = name
        return pid

    def _become(self, name: str, log: int, fds: Sequence[int], space: NodeSpace | None) -> None:
        """Shed what a forked child has of the supervisor: its signals, its descriptors, its name."""
        signal.set_wakeup_fd(-1)
        for number in _OUR_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        # Only now: a SIGTERM that came between fork and here would have gone to the supervisor's handler, unheard.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OUR_SIGNALS)
        if space is not None:
            linux.setns(space.fd, linux.CLONE_NEWNET)
        os.dup2(log, 1)
        os.dup2(log, 2)
        kept = {0, 1, 2, *fds}
        for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if fd not in kept:
                with contextlib.suppress(OSError):  # the listing's own descriptor is closed already
                    os.close(fd)
        linux.name_process(f"lab-{name}")

    def _publish(self, via: str, publications: Sequence[Publication]) -> None:
        fds = [one.fd for one in publications]
        self.fork(f"relay-{via}", lambda: relay.main(publications), fds, self._spaces[via])

    def _await_ports(self, service: Service) -> None:
        """Until each port of the service listens, as its node's own socket tables say (proc(5), /proc/net/tcp)."""
        deadline = time.monotonic() + UP_SECONDS
        missing = set(service.ports)
        while missing:
            self._step(0)
            if service.name in self._ended or self._stopping:
                raise LabFailure(self._failure or f"{service.name} stopped while the lab came up")
            with self._spaces[service.node].inside():
                missing -= {f"{protocol}/{port}" for protocol, port in _open_ports()}
            if missing and time.monotonic() > deadline:
                raise LabFailure(
                    f"{service.name} does not listen on {', '.join(sorted(missing))} after {UP_SECONDS:g} s; "
                    f"its output: {self._logs / service.name}.txt"
                )
            if missing:
                self._step(_POLL_SECONDS)

    # -- running -------------------------------------------------------------------------------------------------------

    def tell(self, **message: Any) -> None:
        """A line to the program that asked for this lab, if it still listens."""
        try:
            self._lifeline.send(json.dumps(message).encode())
        except OSError:
            self._stopping = True

    def failed(self, reason: str) -> str:
        """Note why the lab ends; returns the first reason there was."""
        self._failure = self._failure or reason
        return self._failure

    def serve(self) -> None:
        """Carry out orders until the lab stops. LabFailure where one of its processes died."""
        while not self._stopping:
            self._step(None)
        if self._failure is not None:
            raise LabFailure(self._failure)

    def _step(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            key.data()

    def _reap(self, wake: socket.socket) -> None:
        while True:
            try:
                wake.recv(4096)
            except BlockingIOError:
                break
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._children.pop(pid, None)
            if name is not None:
                self._ended[name] = _how(status)
                if not self._stopping:
                    self._failure = (
                        f"{name} ended ({_how(status)}), so the lab ended; its output: {self._logs / name}.txt"
                    )
                    self._stopping = True

    def _stop_soon(self) -> None:
        self._stopping = True

    def _lifeline_moved(self) -> None:
        """The program that wanted the lab said `keep`: the lab stays without it; or it is gone: so is the lab."""
        try:
            word = self._lifeline.recv(64)
        except ConnectionResetError:
            word = b""
        if word != KEEP:
            self._stopping = True
        self._selector.unregister(self._lifeline)
        self._lifeline.close()

    def _accept(self) -> None:
        channel, _ = self._control.accept()
        channel.settimeout(5)
        with channel:
            try:
                if not control.same_user(channel):
                    return
                order, _ = control.receive(channel)
                if order is not None:
                    self._answer(channel, order)
            except (TimeoutError, BrokenPipeError, ConnectionResetError):
                return  # the asker left; nothing of the lab depends on it

    def _answer(self, channel: socket.socket, order: dict[str, Any]) -> None:
        fds: list[int] = []
        try:
            answer = self._carry_out(order, fds)
        except LabError as error:
            answer = {"error": str(error), "usage": isinstance(error, UsageError)}
        try:
            control.answer(channel, answer, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _carry_out(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        match order["do"]:
            case "status":
                return self.status()
            case "set" | "show" | "note":
                return self._engine.order(order)
            case "enter":
                fds.extend(self._handles(order["node"]))
                return {"ok": True, "user_namespace": os.geteuid() == 0 and len(fds) == 4}
            case "down":
                self._stopping = True
                return {"ok": True, "end": self.finish()}
        raise UsageError(f"no such order: {order['do']}")

    def _handles(self, node: str) -> list[int]:
        if node not in self._spaces:
            raise UsageError(f"no node {node!r}; the nodes are {', '.join(self._spaces)}")
        kinds = ("user", "mnt", "pid") if _in_user_namespace() else ("mnt", "pid")
        handles = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
        return [*handles, os.dup(self._spaces[node].fd)]

    def status(self) -> dict[str, Any]:
        plan = self._plan
        return {
            "name": plan.name,
            "runtime": "netns",
            "engine": self._engine.name,
            "seed": plan.seed,
            "network_seconds": round(self._network_ns / 1e9, 4),
            "up_seconds": round((time.monotonic_ns() - self._started_ns) / 1e9, 3),
            "nodes": {node.name: {"ipv4": node.ipv4, "ipv6": node.ipv6, "mac": node.mac} for node in plan.nodes},
            "services": {one.name: {"node": one.node, "ports": one.ports} for one in plan.services},
            "published": [
                {"address": f"127.0.0.1:{one.host_port}", "protocol": one.protocol, "to": f"{one.host}:{one.port}",
                 "via": one.via}
                for one in plan.publications
            ],
            "faults": self._engine.order({"do": "show"})["faults"],
            "evidence": plan.evidence,
            "notes": plan.notes,
        }  # fmt: skip

    # -- down ----------------------------------------------------------------------------------------------------------

    def finish(self) -> dict[str, Any]:
        """Services drain and end, then the engine puts all evidence on disk. Safe to call twice."""
        self._stopping = True
        if self._finished is None:
            self._finished = {}
            for pid, name in list(self._children.items()):
                if name != self._engine.name:
                    os.kill(pid, signal.SIGTERM)
            seconds = LAST_SECONDS if self._failure else DRAIN_SECONDS
            self._wait_until(lambda: set(self._children.values()) <= {self._engine.name}, seconds)
            if self._engine.name in self._children.values():
                try:
                    self._finished = self._engine.stop()
                except LabError as error:
                    self._finished = {"failed": str(error)}
                self._wait_until(lambda: not self._children, seconds)
        return self._finished

    _finished: dict[str, Any] | None = None

    def _wait_until(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self._step(max(0.0, deadline - time.monotonic()))


class _Spawner:
    """`lab.runtimes.base.Spawner`: the engine's processes live in the lab's own network namespace."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def __call__(self, name: str, argv: Sequence[str], fds: Sequence[int]) -> int:
        return self._supervisor.spawn(name, argv, fds, None)

    def fork(self, name: str, work: Callable[[], None], fds: Sequence[int]) -> int:
        return self._supervisor.fork(name, work, fds, None)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _open_ports() -> set[tuple[str, int]]:
    """(protocol, port) of the TCP listeners and bound UDP sockets in the current network namespace."""
    listening = "0A"
    ports = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        file = Path(f"/proc/thread-self/net/{table}")
        for line in file.read_text().splitlines()[1:] if file.exists() else ():
            fields = line.split()
            if table.startswith("udp") or fields[3] == listening:
                ports.add((table[:3], int(fields[1].rpartition(":")[2], 16)))
    return ports


def _in_user_namespace() -> bool:
    """Whether this is not the initial user namespace (user_namespaces(7): the initial one maps all ids)."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def enter_namespaces() -> None:
    """New namespaces for the lab: the caller's next child is PID 1. An ordinary user becomes root inside."""
    uid, gid = os.getuid(), os.getgid()
    if uid != 0:
        linux.unshare(linux.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC)


def private_files(resolver: str | None) -> None:
    """The lab's own /proc and name service files, seen by its processes alone, on mounts that end with them."""
    linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    try:
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    except PermissionError as error:
        # In a container whose /proc is masked the kernel refuses a fresh one; the host's serves all but `ps`.
        print(f"keeping the host's /proc: {error}", file=sys.stderr)
    if resolver is None:
        return
    files = {
        "/etc/resolv.conf": f"search lab\nnameserver {resolver}\noptions timeout:1 attempts:5\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "/etc/nsswitch.conf": "hosts: files dns\n",
    }
    real = {Path(name).resolve(): text for name, text in files.items() if Path(name).exists()}
    stage = "/tmp"
    linux.mount("tmpfs", stage, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV)
    for number, (target, text) in enumerate(real.items()):
        source = Path(stage) / str(number)
        source.write_text(text)
        linux.mount(str(source), str(target), "", linux.MS_BIND)
    linux.unmount(stage)
    if not Path("/etc/resolv.conf").exists():
        raise MissingCapability("resolv.conf", "the host has no /etc/resolv.conf", "create an empty /etc/resolv.conf")


def _as_message(error: Exception, reason: str) -> dict[str, str]:
    if isinstance(error, MissingCapability):
        return {"error": error.what, "name": error.name, "fix": error.fix}
    return {"error": reason}


def _run(plan: Plan) -> int:
    supervisor = Supervisor(plan, link_engine(plan.engine))
    reason = "stopped"
    try:
        private_files(plan.resolver)
        supervisor.up()
        supervisor.tell(ready=True)
        supervisor.serve()
    except (LabError, OSError) as error:
        reason = supervisor.failed(str(error))
        supervisor.tell(**_as_message(error, reason))
    finally:
        end = supervisor.finish()
        if plan.evidence is not None:
            (Path(plan.evidence) / "end.json").write_text(json.dumps({"reason": reason, **end}) + "\n")
    return 0 if reason == "stopped" else 1


def main() -> None:
    plan = Plan.from_json(sys.stdin.read())
    enter_namespaces()
    if os.fork():
        os._exit(0)
    os.setsid()
    os._exit(_run(plan))


if __name__ == "__main__":
    main()
