"""Sends netlink messages in one batch (rtnetlink(7)). Light on purpose: a sidecar imports it and little else."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from struct import Struct

_NETLINK_ROUTE = 0
_NLMSG_ERROR = 2
_HEADER = Struct("=IHHII")


def send(messages: Iterable[bytes]) -> None:
    """Carry out all messages in the current network namespace; OSError for the first that the kernel refused."""
    batch = list(messages)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as channel:
        channel.bind((0, 0))
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for start in range(0, len(batch), 100):
            part = batch[start : start + 100]
            channel.send(b"".join(part))
            _await_answers(channel, len(part))


def _await_answers(channel: socket.socket, count: int) -> None:
    while count:
        data = channel.recv(1 << 16)
        while data:
            size, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind == _NLMSG_ERROR:
                number = -int.from_bytes(data[16:20], "little", signed=True)
                if number and number != errno.EEXIST:
                    raise OSError(number, f"netlink: {os.strerror(number)}")
                count -= 1
            data = data[(size + 3) & ~3 :]
