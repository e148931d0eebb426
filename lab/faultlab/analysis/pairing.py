"""Which packet at the far end is which of those that were sent: by the ledger's number, or else by what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from faultlab.analysis.hosts import distinct
from faultlab.analysis.resized import Resized, resized
from faultlab.analysis.subject import Side
from faultlab.captures.columns import I64, Flags

_LASTING = (
    "ip", "source_high", "source_low", "target_high", "target_low", "protocol", "ip_id", "fragment",
    "source_port", "target_port", "seq", "ack", "flags", "window", "dns_id",
)  # fmt: skip
"""What no router changes (RFC 1812, 5.2.2 to 5.3: TTL and header checksum do change, and so may type of service)."""

_TCP_OPTIONS_AT = 20


@dataclass(frozen=True)
class Pairing:
    """Two lists of packets: `sent` and `delivered` are indices into the two sides, each in its file's order.

    `of` says for each delivered packet which one it is of `sent` (its place in that array), or -1: nobody sent it.
    `changed` says for each delivered packet whether its bytes are others than were sent. `ambiguous` counts packets
    that were matched by their times alone, because others just like them were sent and not all of them arrived once.
    `resized` counts segments that arrived in others, larger or smaller: `delivered` has the arrival of the first byte
    of each, more than once where it holds several, and not those of its other bytes.
    """

    sent: I64
    delivered: I64
    of: I64
    changed: Flags
    ambiguous: int = 0
    resized: int = 0


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

    First with a CRC-32 of the payload, and of TCP's options, which tell one sending from the next (RFC 7323, 3). Where
    several alike were sent and not all of them arrived once, those are taken whose delay is nearest to the usual one.
    Then, among those left over, TCP segments by their sequence numbers, whatever their sizes
    (`faultlab.analysis.resized`). Then without content: an arrival whose headers are like one packet's only is that
    one, changed. (A datagram without an IP id is like many; changed, it counts as lost, and as never sent.) A payload
    that either capture cut off is not compared at all.
    """
    whole = _whole(sent, sent_at) and _whole(delivered, delivered_at)
    ours, theirs = _groups(_keys(sent, sent_at, True, whole), _keys(delivered, delivered_at, True, whole))
    of, guessed = _in_order(ours, theirs)
    _take_nearest(of, guessed, ours, theirs, sent.time_ns[sent_at], delivered.time_ns[delivered_at])
    ambiguous = int(np.isin(ours, guessed).sum())
    other = resized(sent, sent_at, delivered, delivered_at, of, whole)
    changed = np.zeros(len(of), bool)
    if whole:
        there = np.setdiff1d(np.flatnonzero(of < 0), list(other.pieces))
        alone = _alone(
            *_groups(_keys(sent, sent_at, False, False), _keys(delivered, delivered_at[there], False, False))
        )
        of[there] = np.where(np.isin(alone, [*of, *other.sent]), -1, alone)
        changed[there] = of[there] >= 0
    return _with(Pairing(sent_at, delivered_at, of, changed, ambiguous), other)


def _with(pairing: Pairing, other: Resized) -> Pairing:
    """With the segments that arrived in others."""
    if not other.pieces:
        return pairing
    kept = np.setdiff1d(np.arange(len(pairing.of)), list(other.pieces))
    place = np.concatenate((kept, np.array(other.delivered, np.int64)))
    of = np.concatenate((pairing.of[kept], np.array(other.sent, np.int64)))
    changed = np.concatenate((pairing.changed[kept], np.array(other.changed, bool)))
    order = np.lexsort((of, place))
    return Pairing(
        pairing.sent, pairing.delivered[place[order]], of[order], changed[order], pairing.ambiguous, len(other.sent)
    )


def _whole(side: Side, at: I64) -> bool:
    columns = side.columns
    return bool(np.all(columns.captured[at] >= columns.original[at]))


def _keys(side: Side, at: I64, with_size: bool, with_content: bool) -> list[NDArray[np.generic]]:
    columns = side.columns
    keys = [getattr(columns, name)[at] for name in _LASTING]
    if with_size:
        keys.append(columns.ip_bytes[at])
    if with_content:
        header, payload = columns.tcp_header[at].tolist(), columns.payload[at].tolist()
        places = zip(at.tolist(), header, columns.payload_at[at].tolist(), payload, strict=True)
        keys.append(np.array([_content(side.frame(index), *rest) for index, *rest in places], np.uint32))
    return keys


def _content(frame: bytes, tcp_header: int, payload_at: int, payload: int) -> int:
    """Without TCP's checksum: at its sender a network card may yet have to fill it in."""
    options_at = payload_at - max(0, tcp_header - _TCP_OPTIONS_AT)
    return crc32(frame[options_at : payload_at + payload])


def _groups(sent: list[NDArray[np.generic]], delivered: list[NDArray[np.generic]]) -> tuple[I64, I64]:
    """A number for each packet of both lists; the same one for packets that are alike."""
    _, group = distinct(*(np.concatenate(pair) for pair in zip(sent, delivered, strict=True)))
    return group[: len(sent[0])], group[len(sent[0]) :]


def _in_order(sent: I64, delivered: I64) -> tuple[I64, I64]:
    """For each delivered packet the one sent, -1 for none; and the groups in which that is a guess.

    In a group of k alike, the n-th to arrive is the n-th sent, and all from the k-th on are the last one's copies.
    """
    total = int(max(sent.max(initial=-1), delivered.max(initial=-1))) + 1
    counts, arrived = np.bincount(sent, minlength=total), np.bincount(delivered, minlength=total)
    order = np.argsort(sent, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.minimum(_rank(delivered, arrived), counts[delivered] - 1)
    found = np.where(counts[delivered] > 0, np.append(order, -1)[starts[delivered] + np.maximum(rank, 0)], -1)
    return found, np.flatnonzero((counts > 1) & (arrived > 0) & (arrived != counts))


def _take_nearest(of: I64, guessed: I64, sent: I64, delivered: I64, sent_ns: I64, delivered_ns: I64) -> None:
    """Set `of` anew in each guessed group of which fewer arrived than were sent."""
    paired = np.flatnonzero(of >= 0)
    if not len(guessed) or not len(paired):
        return
    later = delivered_ns[paired] - sent_ns[of[paired]]
    sure = ~np.isin(delivered[paired], guessed)
    # Taken in order, what comes before the first loss is right, and all that follows seems later than it is.
    usual = int(np.median(later[sure]) if sure.any() else later.min())
    ours, theirs = _members(sent, guessed), _members(delivered, guessed)
    for here, there in zip(ours, theirs, strict=True):
        if len(there) < len(here):
            of[there] = here[_nearest((sent_ns[here] + usual).tolist(), delivered_ns[there].tolist())]


def _members(group: I64, wanted: I64) -> list[I64]:
    """The elements of each of these groups, in order."""
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], wanted, side="left")
    last = np.searchsorted(group[order], wanted, side="right")
    return [order[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)]


def _nearest(expected: list[int], times: list[int]) -> list[int]:
    """For each of fewer times the place of one that was expected about then, each only once and in order."""
    places: list[int] = []
    at = 0
    for number, time in enumerate(times):
        last = len(expected) - len(times) + number  # leaves one for each that is to come
        while at < last and abs(expected[at + 1] - time) <= abs(expected[at] - time):
            at += 1
        places.append(at)
        at += 1
    return places


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
