"""Whether this kernel can do what the netem engine needs: found by trying, in namespaces that end with the attempt."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import partial

from faultlab.engines.netem import messages
from faultlab.engines.netem.options import Netem
from faultlab.errors import MissingCapability
from faultlab.kernel import netlink, syscalls

_CLASS, _NETEM = messages.HTB_HANDLE + 1, 0x1000000
_FIX = (
    "sudo modprobe sch_netem (Ubuntu: apt install linux-modules-extra-$(uname -r); Fedora: dnf install "
    "kernel-modules-extra; WSL2: a kernel built with CONFIG_NET_SCH_NETEM, named in .wslconfig), or use --engine wire"
)


def supported() -> str:
    """Empty where netem works here; else the reason why not, in one line."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        reason = "the attempt broke off"
        try:
            reason = _try_everything()
        finally:
            os.write(writing, reason.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        reason = pipe.read()
    os.waitpid(child, 0)
    return reason


def check() -> None:
    """MissingCapability, with the fix, where netem does not work here."""
    reason = supported()
    if reason:
        raise MissingCapability("netem", reason, _FIX)


def prove(device: str) -> None:
    """MissingCapability where a netem can't be hung in the HTB of this device of ours; leaves nothing there."""
    index = socket.if_nametoindex(device)
    try:
        netlink.send([messages.htb_class(index, _CLASS)])
        try:
            netlink.send([messages.new_netem(index, _CLASS, _NETEM, Netem().encode(seed=0))])
        finally:
            netlink.send([messages.drop_class(index, _CLASS)])
    except OSError as error:
        raise MissingCapability("netem", "the kernel has no netem (sch_netem)", _FIX) from error


def _try_everything() -> str:
    try:
        flags = syscalls.CLONE_NEWNET
        syscalls.unshare(flags if os.geteuid() == 0 else flags | syscalls.CLONE_NEWUSER)
        here = syscalls.network_namespace()
    except OSError as error:
        return f"the kernel refuses you new namespaces ({error.strerror})"
    netem = Netem().encode(seed=0)
    steps: tuple[tuple[str, Callable[[], bytes]], ...] = (
        ("bridges", partial(messages.bridge, "lab")),
        ("veth pairs", partial(messages.veth, "port", here, "peer", "02:00:00:00:00:01")),
        ("HTB (sch_htb)", lambda: messages.htb(socket.if_nametoindex("port"), 1)),
        ("HTB classes", lambda: messages.htb_class(socket.if_nametoindex("port"), _CLASS)),
        ("netem (sch_netem)", lambda: messages.new_netem(socket.if_nametoindex("port"), _CLASS, _NETEM, netem)),
        ("filters (cls_u32)", lambda: messages.claim(socket.if_nametoindex("port"), 1, "02:00:00:00:00:01", _CLASS)),
    )
    for name, step in steps:
        try:
            netlink.send([step()])
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
                return f"this kernel has no {name}"
            return f"this kernel refuses {name} ({error.strerror})"
    return ""
