"""The one process that holds a netns lab: PID 1 of its own PID namespace.

`python -m faultlab.runtimes.netns.supervisor` with a `Plan` on standard input; `faultlab.runtimes.netns.runtime` starts
it. Every namespace, device and process of the lab is held by this process alone, so when it ends, by whatever signal,
the kernel ends them too: there is nothing to clean up. It ends itself when a process of the lab dies, when it is told
to, and when the program that wanted the lab is gone without having said `keep`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from faultlab.engines.interface import Cable, LinkEngine
from faultlab.engines.registry import link_engine
from faultlab.errors import LabError, LabFailure, MissingCapability, UsageError, as_message, of_system
from faultlab.kernel import netlink, node_device, syscalls
from faultlab.kernel.node_device import CABLES
from faultlab.network.plan import Plan, Publication, Service
from faultlab.network.topology import Node
from faultlab.runtimes import isolation, kernel_drops, listening, node_links
from faultlab.runtimes.holder import Holder
from faultlab.runtimes.netns import port_relay

UP_SECONDS = 20.0
DRAIN_SECONDS = 1.0
"""For the servers to finish what they have received, when the lab is taken down on purpose."""
LAST_SECONDS = 0.3
"""The same when the lab broke: its user waits for nothing but the evidence."""
DEVICE = "eth0"
_POLL_SECONDS = 0.003


@dataclass(frozen=True)
class NodeSpace:
    """A node's network namespace, held open by its descriptor."""

    node: Node
    fd: int

    def inside(self) -> AbstractContextManager[None]:
        return syscalls.inside(self.fd)


class Supervisor(Holder):
    """Stands the lab up, serves orders, takes the lab down."""

    def __init__(self, plan: Plan, engine: LinkEngine) -> None:
        super().__init__(plan)
        self._engine = engine
        self._spaces: dict[str, NodeSpace] = {}
        self._base = syscalls.network_namespace()
        self._ended: set[str] = set()
        self._started_ns = time.monotonic_ns()
        self._network_ns = 0
        self._view: int | None = None
        """The mount namespace of the nodes' programs; None where they are trusted with the lab's own."""

    # -- up ------------------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """LabError where a part does not come up."""
        if not self._plan.trust:
            files = name_service(self._plan.resolver)
            self._view = isolation.make_view(Path(self._plan.evidence or "."), list(self._plan.sockets), files)
            isolation.limit_processes()
        self._join_nodes()
        self._engine.start(self._plan, self._processes.fork)
        self._network_ns = time.monotonic_ns() - self._started_ns
        for service in self._plan.services:
            self._serve(service)
        for via in sorted({one.via for one in self._plan.publications}):
            self._publish(via, [one for one in self._plan.publications if one.via == via])
        for publication in self._plan.publications:
            os.close(publication.fd)
        for service in self._plan.services:
            self._await_ports(service)

    def _join_nodes(self) -> None:
        """A namespace for each node, a cable from each to the engine, addresses."""
        plan, ends = self._plan, []
        for node in plan.nodes:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            self._spaces[node.name] = NodeSpace(node, syscalls.network_namespace())
            ends.append(Cable(node, DEVICE, CABLES[self._engine.cable](DEVICE)))
        syscalls.setns(self._base, syscalls.CLONE_NEWNET)
        self._engine.connect(ends, plan)
        for space in self._spaces.values():
            with space.inside():
                for name, value in node_links.quiet(DEVICE).items():
                    node_device.set_sysctl(name, value)
                node_device.turn_offloads_off(DEVICE)
                index = socket.if_nametoindex(DEVICE)
                prefixes = (plan.ipv4_prefix, plan.ipv6_prefix)
                netlink.send(node_links.of_its_own(index, space.node, plan.nodes, prefixes))

    def _serve(self, service: Service) -> None:
        space, folder = self._spaces[service.node], Path.cwd()

        def enter() -> None:
            syscalls.setns(space.fd, syscalls.CLONE_NEWNET)
            syscalls.unshare(syscalls.CLONE_NEWUTS)
            socket.sethostname(space.node.name)
            if self._view is not None:
                syscalls.setns(self._view, syscalls.CLONE_NEWNS)
                os.chdir(folder)
                isolation.confine()

        words = [word.replace("{run}", self._plan.evidence or ".") for word in service.argv]
        try:
            self._processes.spawn(service.name, words, enter=enter)
        except LabFailure as error:
            # A guest's command is what the user wrote.
            raise (LabFailure if service.families is None else UsageError)(str(error)) from error

    def _publish(self, via: str, publications: Sequence[Publication]) -> None:
        fds = [one.fd for one in publications]
        space = self._spaces[via]
        enter = partial(syscalls.setns, space.fd, syscalls.CLONE_NEWNET)
        self._processes.fork(f"relay-{via}", lambda: port_relay.main(publications), fds, enter)

    def _await_ports(self, service: Service) -> None:
        """Until each port of the service listens, as its node's own socket tables say."""
        patience = listening.ListenDeadline(UP_SECONDS if service.within_s is None else service.within_s)
        while True:
            self._processes.step(0)
            if service.name in self._ended or self._stopping:
                raise LabFailure(self._failure or f"{service.name} stopped while the lab came up")
            missing = self._closed_ports(service)
            if patience.ends(missing):
                if not missing:
                    return
                seconds = time.monotonic() - patience.began
                raise LabFailure(service.not_up(missing, seconds) + self._processes.last_words(service.name))
            self._processes.step(_POLL_SECONDS)

    def _closed_ports(self, service: Service) -> dict[str, str]:
        """Those of its ports on which it does not listen now, and why they count as closed."""
        with self._spaces[service.node].inside():
            return listening.troubles(service.ports, service.reach(self._plan.nodes))

    # -- running -------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Carry out orders until the lab stops. LabFailure where one of its processes died."""
        while not self._stopping:
            self._processes.step(None)
        if self._failure is not None:
            raise LabFailure(self._failure)

    def _process_ended(self, name: str, how: str) -> None:
        self._ended.add(name)
        if not self._stopping:
            self.failed(self.ended(name, how, self._processes.last_words(name)), name)

    def _carry_out(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        match order["do"]:
            case "status":
                return self.status()
            case "set" | "show" | "flush" | "note":
                return self._engine.order(order)
            case "toxiproxy":
                from faultlab.engines.toxiproxy import call_here  # only here: the lab's start waits for no HTTP client

                with self._spaces["toxiproxy"].inside():
                    return call_here(order["method"], order["path"], order["body"])
            case "enter":
                fds.extend(self._handles(order["node"]))
                return {"ok": True, "confined": self._view is not None}
            case "down":
                self._await_the_dying()
                return {"ok": True, "end": self.finish()}
        raise UsageError(f"no such order: {order['do']}")

    def _handles(self, node: str) -> list[int]:
        if node not in self._spaces:
            raise UsageError(f"no node {node!r}; the nodes are {', '.join(self._spaces)}")
        kinds = ("ipc", "pid") if syscalls.maps_all_users() else ("user", "ipc", "pid")
        handles = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
        view = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC) if self._view is None else os.dup(self._view)
        return [*handles, view, os.dup(self._spaces[node].fd)]

    def status(self) -> dict[str, Any]:
        plan = self._plan
        return {
            "name": plan.name,
            **self.made_by(),
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
            "evidence_inside": plan.evidence,
            "trust": plan.trust,
            "limits": None if plan.trust else isolation.limits(),
            "notes": plan.notes,
        }  # fmt: skip

    # -- down ----------------------------------------------------------------------------------------------------------

    def _all_listen(self) -> bool:
        return all(not self._closed_ports(service) for service in self._plan.services)

    def finish(self) -> dict[str, Any]:
        """Services drain and end, then the engine puts all evidence on disk. Safe to call twice."""
        self._stopping = True
        if self._finished is None:
            self._finished = {}
            processes, engine = self._processes, self._engine.name
            dropped = self._dropped_by_kernel()  # while the services are there to take what comes
            for pid in processes.running(but=[engine]):
                os.kill(pid, signal.SIGTERM)
            seconds = LAST_SECONDS if self._failure else DRAIN_SECONDS
            processes.wait_until(lambda: not processes.running(but=[engine]), seconds)
            if engine in processes.running().values():
                lost = self._lost_before_engine()  # what a stopped engine does not take is no loss
                self._finished = {**self._stop_engine(), "lost_before_wire": lost, "dropped_by_kernel": dropped}
                processes.wait_until(lambda: not processes.running(), seconds)
        return self._finished

    def _stop_engine(self) -> dict[str, Any]:
        try:
            return self._engine.stop()
        except LabError as error:
            return {"failed": f"{error}{self._processes.last_words(self._engine.name)}"}

    def _lost_before_engine(self) -> dict[str, int]:
        lost = {}
        for name, space in self._spaces.items():
            with space.inside():
                lost[name] = node_device.lost_before_engine(DEVICE)
        return {name: count for name, count in lost.items() if count}

    def _dropped_by_kernel(self) -> dict[str, dict[str, int]]:
        dropped = {}
        for name, space in self._spaces.items():
            with space.inside():
                dropped[name] = kernel_drops.counted()
        return {name: counts for name, counts in dropped.items() if counts}


def enter_namespaces() -> None:
    """New namespaces for the lab: the caller's next child is PID 1. An ordinary user becomes root inside."""
    uid, gid = os.getuid(), os.getgid()
    if uid != 0:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    syscalls.unshare(syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC)


def name_service(resolver: str | None) -> dict[str, str]:
    """The lab's own name service files, by their names; none where the lab has no name server."""
    if resolver is None:
        return {}
    return {
        "/etc/resolv.conf": f"search lab\nnameserver {resolver}\noptions timeout:1 attempts:5\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "/etc/nsswitch.conf": "hosts: files dns\n",
    }


def private_files(resolver: str | None) -> None:
    """The lab's own /proc and name service files, seen by its processes alone, on mounts that end with them."""
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    try:
        syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    except PermissionError as error:
        # In a container whose /proc is masked the kernel refuses a fresh one; the host's serves all but `ps`.
        print(f"keeping the host's /proc: {error}", file=sys.stderr)
    files = name_service(resolver)
    if not files:
        return
    real = {Path(name).resolve(): text for name, text in files.items() if Path(name).exists()}
    stage = "/tmp"
    syscalls.mount("tmpfs", stage, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV)
    for number, (target, text) in enumerate(real.items()):
        source = Path(stage) / str(number)
        source.write_text(text)
        syscalls.mount(str(source), str(target), "", syscalls.MS_BIND)
    syscalls.unmount(stage)
    if not Path("/etc/resolv.conf").exists():
        raise MissingCapability("resolv.conf", "the host has no /etc/resolv.conf", "create an empty /etc/resolv.conf")


def _run(plan: Plan) -> int:
    supervisor = Supervisor(plan, link_engine(plan.engine))
    reason, message = "stopped", None
    try:
        private_files(plan.resolver)
        supervisor.up()
        supervisor.tell(ready=True)
        supervisor.serve()
    except (LabError, OSError) as caught:
        error = of_system(caught) if isinstance(caught, OSError) else caught
        reason = supervisor.failed(str(error))
        message = as_message(error, reason)
    finally:
        supervisor.leave_word(reason, supervisor.finish())
    if message is not None:  # only now: who hears it may count on nothing being left
        supervisor.last_word(**message)
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
