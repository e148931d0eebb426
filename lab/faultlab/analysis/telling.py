"""Which conversations are worth a look first: those in which a fault, or TCP, did something."""

from __future__ import annotations

import numpy as np

from faultlab.analysis.conversations import Conversations
from faultlab.analysis.subject import Subject
from faultlab.captures.columns import Flags
from faultlab.captures.tcp_marks import Mark
from faultlab.faults.base import Effect


def telling(subject: Subject, conversations: Conversations) -> list[int]:
    """Numbers of flows, in the order in which the first thing happened in them; the first flow where nothing did.

    Of those that are read together (`Conversations.together`) only the first.
    """
    of = conversations.of
    flows = of[(_touched(subject) | _marked(conversations)) & (of >= 0)]
    _, first = np.unique(flows, return_index=True)
    found: dict[object, int] = {}
    for flow in flows[np.sort(first)].tolist():
        facts = conversations.all[flow]
        found.setdefault(frozenset(facts.hosts) if facts.protocol == "udp" else facts.number, facts.number)
    return list(found.values()) or [one.number for one in conversations.all[:1]]


def _marked(conversations: Conversations) -> Flags:
    """Packets of which TCP's analysis says something; a window that opens again is everyday."""
    return np.asarray(conversations.marked.marks & ~np.uint16(Mark.WINDOW_UPDATE.value) != 0)


def _touched(subject: Subject) -> Flags:
    """Packets to which a fault did more than delay them."""
    entries = subject.ledger.entries if subject.ledger else ()
    ids = {entry.packet for entry in entries if any(effect != Effect.DELAYED for _, effect, _ in entry.acts)}
    return np.isin(subject.main.ids, list(ids)) & (subject.main.ids > 0)
