"""The few Linux system calls that Python 3.11 lacks, each raising OSError as the standard library would.

Sources: unshare(2), setns(2), mount(2), mount_setattr(2), prctl(2), capset(2),
the kernel's Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from struct import Struct, pack

from faultlab.errors import MissingCapability

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MNT_DETACH = 2

TUN_DEVICE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000

MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
_MOUNT_SETATTR = 442
"""The same number on every architecture; the C library has no name for it before glibc 2.36."""
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR = Struct("4Q")

_CAPABILITY_HEADER, _CAPABILITIES = Struct("Ii"), Struct("6I")
_CAPABILITY_VERSION_3 = 0x20080522

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_TIMERSLACK = 29
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """New namespaces for this process (CLONE_NEWPID: for its children)."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that `fd` refers to; `kind` is its CLONE_NEW... flag, checked by the kernel."""
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    _checked(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), f"mount {target}")


def restrict_mount(target: str, take: int, give: int = 0, *, whole: bool = False) -> None:
    """Set and clear MOUNT_ATTR_... flags of a mount; with `whole` of all mounts below it too (mount_setattr(2)).

    MissingCapability where the kernel is older than 5.12.
    """
    facts = _MOUNT_ATTR.pack(take, give, 0, 0)
    words = (ctypes.c_long(_AT_FDCWD), target.encode(), ctypes.c_uint(_AT_RECURSIVE if whole else 0), facts)
    try:
        _checked(_libc.syscall(_MOUNT_SETATTR, *words, ctypes.c_size_t(len(facts))), f"mount_setattr {target}")
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        fix = "use Linux 5.12 or newer, or --trust, which gives nodes what you may do on this host"
        raise MissingCapability("isolation", "the kernel can't give nodes a mount view of their own", fix) from error


def unmount(target: str) -> None:
    """Take a mount out of sight at once; it ends when nobody uses it (MNT_DETACH)."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this process a signal when its parent's thread ends (PR_SET_PDEATHSIG)."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl PDEATHSIG")


def no_new_privileges() -> None:
    """No program from here on gains privileges by its file's set-user-ID bit or capabilities (PR_SET_NO_NEW_PRIVS)."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl NO_NEW_PRIVS")


def keep_capabilities(kept: set[int]) -> None:
    """Of the capabilities these alone after the next execve(2), and no way back to another (capabilities(7)).

    The bounding set is what root's programs start with. What is inheritable would be added to it, so nothing is.
    """
    for number in range(64):
        if number not in kept and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            if ctypes.get_errno() == errno.EINVAL:
                break  # the kernel knows no more
            _checked(-1, "prctl CAPBSET_DROP")
    header = _CAPABILITY_HEADER.pack(_CAPABILITY_VERSION_3, 0)
    have = ctypes.create_string_buffer(_CAPABILITIES.size)
    _checked(_libc.capget(header, have), "capget")
    low, allowed_low, _, high, allowed_high, _ = _CAPABILITIES.unpack(have.raw)
    masks = [sum(1 << number % 32 for number in kept if number // 32 == word) for word in (0, 1)]
    low, allowed_low, high, allowed_high = (
        low & masks[0],
        allowed_low & masks[0],
        high & masks[1],
        allowed_high & masks[1],
    )
    _checked(_libc.capset(header, _CAPABILITIES.pack(low, allowed_low, 0, high, allowed_high, 0)), "capset")


def maps_all_users() -> bool:
    """Whether this is the initial user namespace, which maps all ids (user_namespaces(7))."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def sharp_timers() -> None:
    """Let the kernel wake this process within 1 ns of the time asked for instead of the usual 50 us."""
    _checked(_libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0), "prctl TIMERSLACK")


def name_process(name: str) -> None:
    """The name that `ps -o comm` shows, cut to 15 bytes (PR_SET_NAME)."""
    _checked(_libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0), "prctl NAME")


def open_tap(device: str) -> int:
    """A new TAP device in the current network namespace; it lives as long as the descriptor returned."""
    fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        ioctl(fd, _TUNSETIFF, pack("16sH22x", device.encode(), _IFF_TAP | _IFF_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd


def network_namespace() -> int:
    """A descriptor of the current network namespace; holding it keeps the namespace alive."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Run a block in another network namespace. For single-threaded programs, or one thread's worth of work."""
    home = network_namespace()
    try:
        setns(namespace, CLONE_NEWNET)
        yield
    finally:
        setns(home, CLONE_NEWNET)
        os.close(home)
