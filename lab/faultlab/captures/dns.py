"""DNS in a capture: which query got which answer when, and what single messages say.

A query is known by its flow and its id (RFC 1035, 4.1.1); one that comes again before its answer is a retry. A resolver
that asks again from another port, or another server, begins another lookup.
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import numpy as np

from faultlab.captures.columns import I32, Columns
from faultlab.captures.files import CaptureFile
from faultlab.network.packets import TCP

_RESPONSE = 0x8000


@dataclass(slots=True)
class Lookup:
    """Packets by their numbers in the capture; times are ns since the epoch, `answered_ns` the first answer's or -1."""

    flow: int
    id: int
    queries: list[int]
    answers: list[int]
    asked_ns: int
    answered_ns: int = -1

    @property
    def retries(self) -> int:
        return len(self.queries) - 1

    @property
    def took_ns(self) -> int | None:
        """From the first query to the first answer; None without one."""
        return self.answered_ns - self.asked_ns if self.answers else None


class Lookups:
    """`all` are the lookups in the order of their queries. An answer that no query was seen for is in none."""

    def __init__(self) -> None:
        self.all: list[Lookup] = []
        self._last: dict[tuple[int, int], Lookup] = {}

    def feed(self, columns: Columns, flow: I32) -> None:
        """The next batch, with its packets' flows (`Marked.flow`, `FlowColumns.flow`)."""
        for index in np.flatnonzero(columns.dns & (flow >= 0)).tolist():
            key = int(flow[index]), int(columns.dns_id[index])
            number, now = int(columns.number[index]), int(columns.time_ns[index])
            lookup = self._last.get(key)
            if columns.dns_flags[index] & _RESPONSE:
                if lookup is not None:
                    lookup.answered_ns = lookup.answered_ns if lookup.answers else now
                    lookup.answers.append(number)
            elif lookup is None or lookup.answers:
                lookup = self._last[key] = Lookup(*key, [number], [], now)
                self.all.append(lookup)
            else:
                lookup.queries.append(number)


@dataclass(frozen=True, slots=True)
class DnsMessage:
    """What one DNS message says. `questions` are (name, type), `answers` the records as zone files write them."""

    id: int
    response: bool
    rcode: str
    truncated: bool
    questions: list[tuple[str, str]]
    answers: list[str]


def read(file: CaptureFile, columns: Columns, index: int) -> DnsMessage | None:
    """The message of a packet that `columns.dns` marks; None where it is no valid message or was cut off."""
    prefix = 2 if columns.protocol[index] == TCP else 0  # its length: RFC 1035, 4.2.2
    start = int(columns.payload_at[index])
    payload = file.frame(columns, index)[start + prefix : start + int(columns.payload[index])]
    try:
        message = dns.message.from_wire(payload, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    return DnsMessage(
        message.id,
        bool(message.flags & dns.flags.QR),
        dns.rcode.to_text(message.rcode()),
        bool(message.flags & dns.flags.TC),
        [(rrset.name.to_text(), dns.rdatatype.to_text(rrset.rdtype)) for rrset in message.question],
        [line for rrset in message.answer for line in rrset.to_text().splitlines()],
    )
