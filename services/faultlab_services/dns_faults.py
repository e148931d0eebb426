"""Faults that the DNS server commits on demand: late, missing, refused, cut short or wrongly numbered answers.

A fault is written `KIND[=VALUE][@NAME]`: `delay=200ms`, `drop=20%`, `servfail`, `truncate=50%@tcp-server`.
Each decision is a pure function of the seed, the fault, the question and how often it was asked before; so other
questions never change it.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import dns.name

from faultlab_services.dns_zone import absolute_name
from faultlab_services.errors import ServiceUsageError
from faultlab_services.quantities import duration_s, share

KINDS = ("delay", "drop", "servfail", "truncate", "wrong-id")


@dataclass(frozen=True)
class DnsFault:
    """One fault: `probability` from 0 to 1; `delay_s` in seconds, for `delay` only; `name` None means every name."""

    text: str
    kind: str
    probability: float
    delay_s: float
    name: str | None


def parse_fault(text: str) -> DnsFault:
    """The fault that `text` asks for. Raises `ServiceUsageError`."""
    rule, at, name = text.partition("@")
    kind, equals, value = rule.partition("=")
    if kind not in KINDS:
        raise ServiceUsageError(f"fault {text!r}: no fault called {kind!r}; expected one of {', '.join(KINDS)}")
    if at and not name:
        raise ServiceUsageError(f"fault {text!r}: a name is missing after @")
    try:
        delay_s = duration_s(value) if kind == "delay" else 0.0
        probability = share(value) if equals and kind != "delay" else 1.0
    except ServiceUsageError as error:
        raise ServiceUsageError(f"fault {text!r}: {error}") from error
    return DnsFault(text, kind, probability, delay_s, name or None)


class FaultPlan:
    """Decides, question by question, which faults strike. Raises `ServiceUsageError` for a fault whose name is none."""

    def __init__(self, faults: Sequence[DnsFault], seed: int, origin: dns.name.Name) -> None:
        self._seed = seed
        self._asked: Counter[str] = Counter()
        self._faults = [(fault, _names(fault, origin)) for fault in faults]

    def strike(self, qname: dns.name.Name, qtype: str) -> list[DnsFault]:
        """The faults that this question, asked once more, meets."""
        if not self._faults:
            return []
        question = f"{qname.to_text().lower()} {qtype}"
        ordinal = self._asked[question]
        self._asked[question] += 1
        return [
            fault
            for fault, names in self._faults
            if (names is None or qname in names) and self._draw(fault, question, ordinal) < fault.probability
        ]

    def _draw(self, fault: DnsFault, question: str, ordinal: int) -> float:
        key = f"{self._seed}\0{fault.text}\0{question}\0{ordinal}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64


def _names(fault: DnsFault, origin: dns.name.Name) -> set[dns.name.Name] | None:
    """Both readings of the fault's name: as it stands, and relative to the zone."""
    if fault.name is None:
        return None
    return {absolute_name(fault.name), absolute_name(fault.name, origin)}
