"""The netns runtime, seen from the host: starts a lab's supervisor, finds running labs, enters their nodes.

Works for root and for an ordinary user alike, who becomes root of a user namespace of their own.
See `faultlab.runtimes.netns.supervisor` for the inside.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from faultlab.errors import LabFailure, MissingCapability, UsageError, reason
from faultlab.kernel import syscalls
from faultlab.network import standard_lab
from faultlab.network.plan import Guest, Plan, Publication, Service
from faultlab.network.topology import Network, Node, free_networks
from faultlab.runtimes import control, isolation
from faultlab.runtimes.launch import READY_SECONDS, Standing, Wish, supervise

NAME = "netns"
PYTHON: tuple[str, ...] = (sys.executable, "-P")
KERNEL_IS_OURS = True
NO_TOXIPROXY = f"no toxiproxy server found, so the lab is up without it; {standard_lab.TOXIPROXY_HINT}"


def check_host() -> None:
    """MissingCapability, with the fix, where this host can't hold a netns lab; found by trying."""
    child = os.fork()
    if child == 0:
        try:
            flags = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET
            syscalls.unshare(flags if os.getuid() == 0 else flags | syscalls.CLONE_NEWUSER)
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        raise MissingCapability(
            "namespaces",
            "the kernel refuses you new namespaces",
            "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000; "
            "in a container: run it with --privileged",
        )


def check_network(network: Network) -> None:
    """UsageError where the lab's block overlaps a route of the host: it would hide real hosts from the lab's user."""
    for route in host_routes():
        mine: ipaddress.IPv4Network | ipaddress.IPv6Network = network.ipv4 if route.version == 4 else network.ipv6
        if route.prefixlen and route.overlaps(mine):
            option = "--network" if route.version == 4 else "--network6"
            raise UsageError(f"network {mine} overlaps the host's route to {route}; choose another with {option} BLOCK")


def host_routes() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Destinations of the host's unicast routes (proc(5): /proc/net/route, /proc/net/ipv6_route)."""
    routes: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    ipv4 = Path("/proc/net/route")
    for line in ipv4.read_text().splitlines()[1:] if ipv4.exists() else ():
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[n]), "little") for n in (1, 7))
        routes.append(ipaddress.IPv4Network((destination, mask.bit_count())))
    ipv6 = Path("/proc/net/ipv6_route")
    for line in ipv6.read_text().splitlines() if ipv6.exists() else ():
        fields = line.split()
        if fields[9] != "lo":
            routes.append(ipaddress.IPv6Network((int(fields[0], 16), int(fields[1], 16))))
    return routes


def publish(
    wishes: Sequence[tuple[str, int, str, str, int]], nodes: Sequence[Node]
) -> tuple[list[Publication], list[socket.socket]]:
    """Sockets on the host's 127.0.0.1 for each wish whose nodes exist: the wished port if free, else any."""
    by_name = {node.name: node for node in nodes}
    publications, sockets = [], []
    taken: dict[int, int] = {}
    for protocol, wished, via, serves, port in wishes:
        if via not in by_name or serves not in (*by_name, "localhost"):
            continue
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        end = _bound(kind, taken.get(wished, wished))
        taken[wished] = end.getsockname()[1]
        host = "127.0.0.1" if serves == "localhost" else by_name[serves].ipv4
        publications.append(Publication(protocol, end.getsockname()[1], via, host, port, end.fileno()))
        sockets.append(end)
    return publications, sockets


def _bound(kind: int, port: int) -> socket.socket:
    """A socket on that port; on any where it is taken, which a listening socket may learn of in listen(2) only.

    socket(7): with SO_REUSEADDR two may bind one port as long as neither listens; labs do start at the same moment.
    """
    try:
        return _bound_to(kind, port)
    except OSError:
        return _bound_to(kind, 0)


def _bound_to(kind: int, port: int) -> socket.socket:
    end = socket.socket(socket.AF_INET, kind)
    try:
        if kind == socket.SOCK_STREAM:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            end.listen(128)
    except OSError:
        end.close()
        raise
    return end


def stand_up(wish: Wish, progress: Callable[[str], None]) -> Standing:
    """See `faultlab.runtimes.launch.Runtime`."""
    network = wish.network if wish.network is not None else next(free_networks(host_routes()), Network())
    check_network(network)
    nodes = network.nodes(wish.nodes)
    guests = () if wish.guest is None else (_guest_service(wish.guest),)
    services = (*standard_lab.services(nodes, wish.evidence, wish.seed, wish.udp_mode), *guests)
    running = {service.node for service in services}
    wishes = [one for one in wish.publish if (one[3] if one[3] != "localhost" else one[2]) in running]
    publications, sockets = publish(wishes, nodes)
    without = "toxiproxy" in wish.nodes and "toxiproxy" not in running
    plan = Plan(
        name=wish.name,
        engine=wish.engine,
        seed=wish.seed,
        nodes=nodes,
        ipv4_prefix=network.ipv4.prefixlen,
        ipv6_prefix=network.ipv6.prefixlen,
        services=services,
        publications=tuple(publications),
        control=-1,
        lifeline=-1,
        evidence=str(wish.evidence),
        record=wish.record,
        resolver=next((node.ipv4 for node in nodes if node.name == "dns-server"), None),
        forced_drops=str(wish.forced_drops) if wish.forced_drops else None,
        trust=wish.trust,
        sockets=tuple(isolation.listening_sockets()),
        notes=(*wish.notes, NO_TOXIPROXY) if without else wish.notes,
    )
    try:
        return supervise(
            "faultlab.runtimes.netns.supervisor",
            wish.name,
            lambda control_fd, lifeline_fd: replace(plan, control=control_fd, lifeline=lifeline_fd).to_json(),
            [one.fileno() for one in sockets],
            wish.evidence,
            progress,
            READY_SECONDS + (wish.guest.within_s if wish.guest is not None else 0.0),
        )
    finally:
        for one in sockets:
            one.close()


def _guest_service(guest: Guest) -> Service:
    """UsageError where the guest is none that lives in a namespace: without a command, or out of a Compose file."""
    if guest.compose_file or not guest.argv:
        what = f"image {guest.image}" if guest.image else "of a Compose file"
        raise UsageError(f"{guest.node} is {what}; expected a command for runtime netns; use --runtime compose")
    program = shutil.which(guest.argv[0])
    if program is None:
        raise UsageError(f"{guest.node}: no command {guest.argv[0]!r} here; install it, or give its path")
    argv = (program, *guest.argv[1:])
    return Service(guest.node, guest.node, argv, guest.ports, guest.families, guest.within_s)


def popen(name: str, node: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a command in a node, as a child of this process and a member of the lab's PID namespace.

    The child is a small proxy: it enters the namespaces, forks the command, passes SIGTERM and SIGINT on and ends with
    the command's status. When the lab ends, the kernel ends the command; when this process ends, so does the command.
    """
    answer, fds = control.ask(name, {"do": "enter", "node": node})
    if not answer.get("ok") or len(fds) not in (4, 5):
        raise LabFailure(f"lab {name!r} did not hand out the namespaces of {node!r}")
    kinds = [syscalls.CLONE_NEWUSER] * (len(fds) - 4)
    kinds += [syscalls.CLONE_NEWIPC, syscalls.CLONE_NEWPID, syscalls.CLONE_NEWNS, syscalls.CLONE_NEWNET]
    here = Path("/proc/self/ns/user").stat()

    def enter() -> None:
        for fd, kind in zip(fds, kinds, strict=True):
            if kind != syscalls.CLONE_NEWUSER or not os.path.samestat(os.fstat(fd), here):  # one's own can't be entered
                syscalls.setns(fd, kind)
        syscalls.unshare(syscalls.CLONE_NEWUTS)
        socket.sethostname(node)
        child = os.fork()
        if child:
            _stand_in_for(child)
        syscalls.die_with_parent(signal.SIGKILL)
        try:
            os.chdir(directory)
        except OSError as error:
            os.write(2, f"lab: a node has no folder {directory} ({error.strerror})\n".encode())
            raise
        if answer["confined"]:
            isolation.confine()

    directory = options.pop("cwd", None) or Path.cwd()
    try:
        return subprocess.Popen(list(argv), preexec_fn=enter, **options)
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"can't run {argv[0]!r} in {node}: {reason(error)}") from error
    finally:
        for fd in fds:
            os.close(fd)


def _stand_in_for(child: int) -> None:
    """Be the command's stand-in: forward signals to it, end as it ends. Never returns."""
    os.closerange(3, 1024)
    syscalls.die_with_parent(signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: os.kill(child, received))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the command itself
    while True:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
