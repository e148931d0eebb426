"""A node's end of its link: what the engine needs of it, and what can be read off it. Light: sidecars import it."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable, Mapping
from fcntl import ioctl
from pathlib import Path
from struct import pack

from faultlab.kernel import syscalls

QUEUE = 10_000
"""Frames a device holds while the engine is busy; what does not fit, the kernel drops and counts as `tx_dropped`."""
_SIOCETHTOOL = 0x8946
_OFFLOADS = {
    "receive checksum": 0x15,
    "transmit checksum": 0x17,
    "scatter-gather": 0x19,
    "TSO": 0x1F,
    "GSO": 0x24,
    "GRO": 0x2C,
}
"""ETHTOOL_S... commands (linux/ethtool.h): with any of these on, a frame may be 64 KiB, or lack its checksum."""


CABLES: Mapping[str, Callable[[str], int]] = {
    "tap": syscalls.open_tap,
    "namespace": lambda device: syscalls.network_namespace(),
}
"""What an engine may ask of a node: a TAP device, or its namespace, to put a device into. Each returns a descriptor."""


def turn_offloads_off(device: str) -> None:
    """OSError where the kernel refuses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in _OFFLOADS.values():
            value = ctypes.create_string_buffer(pack("=II", command, 0))
            try:
                ioctl(any_socket, _SIOCETHTOOL, pack("16sP16x", device.encode(), ctypes.addressof(value)))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:  # an offload that the device doesn't have is off
                    raise


def set_sysctl(name: str, value: str) -> None:
    """Write `/proc/sys/net/NAME` of the current network namespace."""
    fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def sysctl(name: str) -> str:
    return Path(f"/proc/sys/net/{name}").read_text().strip()


def lost_before_engine(device: str) -> int:
    """Frames that the device lost before the engine could have them (proc_net_dev(5), `tx_dropped`)."""
    with Path("/proc/thread-self/net/dev").open() as file:
        for line in file:
            name, _, counts = line.partition(":")
            if name.strip() == device:
                return int(counts.split()[11])
    return 0
