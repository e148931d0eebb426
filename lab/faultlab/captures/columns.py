"""Packets as columns: one numpy array for each field, an element for each packet of a batch, in the file's order.

A field that a packet does not have, or that was cut off, is 0; `ip`, `protocol` and `cut` say which case it is.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]
Batch = TypeVar("Batch")


@dataclass(frozen=True, slots=True)
class Columns:
    """A batch of packets. All arrays have the same length.

    Of the file: `number` (from 1, over all batches, as Wireshark counts), `time_ns` (since the epoch), `interface`
    (index into the file's interfaces), `link_type` (LINKTYPE_ value), `at` (offset of the frame in the file),
    `captured` and `original` (bytes).

    Of IP (RFC 791, RFC 8200): `ip` (4, 6, or 0 for no IP), addresses as two big-endian halves (an IPv4 address is in
    the low one), `protocol` (after IPv6's extension headers), `ttl` (or hop limit), `ip_id`, `ip_bytes` (the packet's
    whole size by its header), `fragment` (offset in bytes), `more_fragments`. Of what is not IP: `ethertype` (or the
    length that Ethernet has in its place).

    Of TCP and UDP (RFC 9293, RFC 768): ports, `payload_at` (offset in the frame) and `payload` (bytes, by the headers;
    what was captured may be less). Of TCP: `seq`, `ack`, `flags` (low nine bits: NS to FIN), `window` (unscaled),
    `tcp_header` (bytes).

    Of DNS (RFC 1035), on port 53: `dns_id`, `dns_flags`, and `dns`, which says that there is such a header. `cut`: a
    header was not captured whole, or contradicts itself.
    """

    number: I64
    time_ns: I64
    interface: I32
    link_type: U16
    at: I64
    captured: U32
    original: U32
    ip: U8
    source_high: U64
    source_low: U64
    target_high: U64
    target_low: U64
    protocol: U8
    ttl: U8
    ip_id: U32
    ip_bytes: U32
    fragment: U16
    more_fragments: Flags
    ethertype: U16
    source_port: U16
    target_port: U16
    payload_at: U32
    payload: U32
    seq: U32
    ack: U32
    flags: U16
    window: U16
    tcp_header: U8
    dns: Flags
    dns_id: U16
    dns_flags: U16
    cut: Flags

    def __len__(self) -> int:
        return len(self.number)


def _kind(hint: Any) -> np.dtype[Any]:
    """`NDArray[np.uint8]` has it in its `np.dtype[np.uint8]`."""
    kind: np.dtype[Any] = np.dtype(get_args(get_args(hint)[1])[0])
    return kind


def joined(kind: type[Batch], batches: Sequence[Batch]) -> Batch:
    """One batch of several, of a dataclass of arrays; of none at all it is empty."""
    empty = {name: np.zeros(0, _kind(hint)) for name, hint in get_type_hints(kind).items()}
    parts = {name: [none, *(getattr(batch, name) for batch in batches)] for name, none in empty.items()}
    return kind(**{name: np.concatenate(arrays) for name, arrays in parts.items()})


KINDS = {name: _kind(hint) for name, hint in get_type_hints(Columns).items()}
"""The type of each column's elements."""
OF_THE_FILE = ("number", "time_ns", "interface", "link_type", "at", "captured", "original")
"""What the file says of a packet; all others are what the packet says."""


def address_text(ip: int, high: int, low: int) -> str:
    """An address of `Columns` as people write it (RFC 5952 for IPv6); empty where `ip` is 0."""
    if ip == 4:
        return socket.inet_ntop(socket.AF_INET, low.to_bytes(4))
    return socket.inet_ntop(socket.AF_INET6, high.to_bytes(8) + low.to_bytes(8)) if ip == 6 else ""
