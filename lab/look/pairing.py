"""Which packet at the far end is which of those that were sent: by the ledger's number, or else by what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lab.captures.columns import I64, Flags
from lab.look.hosts import distinct
from lab.look.subject import Side

_LASTING = (
    "ip", "source_high", "source_low", "target_high", "target_low", "protocol", "ip_id", "fragment",
    "source_port", "target_port", "seq", "ack", "flags", "window", "dns_id",
)  # fmt: skip
"""What no router changes (RFC 1812, 5.2.2 to 5.3: TTL and header checksum do change, and so may type of service)."""


@dataclass(frozen=True)
class Pairing:
    """Two lists of packets: `sent` and `delivered` are indices into the two sides, each in its file's order.

    `of` says for each delivered packet which one it is of `sent` (its place in that array), or -1: nobody sent it.
    `changed` says for each delivered packet whether its bytes are others than were sent. `ambiguous` counts packets
    that were matched by their order alone, because others just like them were sent and not all of them arrived once.
    """

    sent: I64
    delivered: I64
    of: I64
    changed: Flags
    ambiguous: int = 0


def by_ids(sent: Side, sent_at: I64, delivered: Side, delivered_at: I64) -> Pairing:
    """Packets that carry the ledger's numbers. Whole frames are compared: nothing on a lab's wire may change them."""
    ids = sent.ids[sent_at]
    order = np.argsort(ids, kind="stable")
    wanted = delivered.ids[delivered_at]
    at = np.searchsorted(ids[order], wanted)
    hit = np.append(ids[order], 0)[at] == wanted
    of = np.where(hit, np.append(order, -1)[at], -1)
    changed = np.zeros(len(of), bool)
    for place in np.flatnonzero(hit):
        before, after = int(sent_at[of[place]]), int(delivered_at[place])
        changed[place] = sent.frame(before) != delivered.frame(after)
    return Pairing(sent_at, delivered_at, of, changed)


def match(sent: Side, sent_at: I64, delivered: Side, delivered_at: I64) -> Pairing:
    """Packets of two captures, by what stands in their headers above the link and does not change on the way.

    First with the payload's size and CRC-32: where several alike were sent, the first to arrive is taken for the first
    that was sent. Then, among those left over, without: an arrival whose headers are like one packet's only is that
    one, changed. (A datagram without an IP id is like many; changed, it counts as lost, and as never sent.) A payload
    that either capture cut off is not compared at all.
    """
    whole = _whole(sent, sent_at) and _whole(delivered, delivered_at)
    of, guessed = _in_order(*_groups(_keys(sent, sent_at, whole), _keys(delivered, delivered_at, whole)))
    changed = np.zeros(len(of), bool)
    if whole:
        here, there = np.setdiff1d(np.arange(len(sent_at)), of), np.flatnonzero(of < 0)
        ours, theirs = _keys(sent, sent_at[here], False), _keys(delivered, delivered_at[there], False)
        of[there] = np.append(here, -1)[_alone(*_groups(ours, theirs))]
        changed[there] = of[there] >= 0
    return Pairing(sent_at, delivered_at, of, changed, guessed)


def _whole(side: Side, at: I64) -> bool:
    columns = side.columns
    return bool(np.all(columns.captured[at] >= columns.original[at]))


def _keys(side: Side, at: I64, with_payload: bool) -> list[NDArray[np.generic]]:
    columns = side.columns
    keys = [getattr(columns, name)[at] for name in _LASTING]
    if with_payload:
        starts = columns.payload_at[at].astype(np.int64)
        ends = (starts + columns.payload[at]).tolist()
        places = zip(at.tolist(), starts.tolist(), ends, strict=True)
        crcs = [crc32(side.frame(index)[start:end]) for index, start, end in places]
        keys += [columns.ip_bytes[at], np.array(crcs, np.uint32)]
    return keys


def _groups(sent: list[NDArray[np.generic]], delivered: list[NDArray[np.generic]]) -> tuple[I64, I64]:
    """A number for each packet of both lists; the same one for packets that are alike."""
    _, group = distinct(*(np.concatenate(pair) for pair in zip(sent, delivered, strict=True)))
    return group[: len(sent[0])], group[len(sent[0]) :]


def _in_order(sent: I64, delivered: I64) -> tuple[I64, int]:
    """For each delivered packet the one sent, -1 for none; and how many of them are a guess.

    In a group of k alike, the n-th to arrive is the n-th sent, and all from the k-th on are the last one's copies.
    """
    total = int(max(sent.max(initial=-1), delivered.max(initial=-1))) + 1
    counts = np.bincount(sent, minlength=total)
    arrived = np.bincount(delivered, minlength=total)
    order = np.argsort(sent, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.minimum(_rank(delivered, arrived), counts[delivered] - 1)
    found = np.where(counts[delivered] > 0, np.append(order, -1)[starts[delivered] + np.maximum(rank, 0)], -1)
    guessed = (counts > 1) & (arrived > 0) & (arrived != counts)
    return found, int(counts[guessed].sum())


def _alone(sent: I64, delivered: I64) -> I64:
    """For each delivered packet the only one of its group that was sent; -1 for none, or several."""
    total = int(max(sent.max(initial=-1), delivered.max(initial=-1))) + 1
    only = np.full(total, -1, np.int64)
    only[sent] = np.arange(len(sent))
    return np.where(np.bincount(sent, minlength=total)[delivered] == 1, only[delivered], -1)


def _rank(group: I64, counts: I64) -> I64:
    """Each element's place among those of its group, from 0, in order."""
    order = np.argsort(group, kind="stable")
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank
