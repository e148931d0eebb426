"""Each packet's fields as tshark gives them, and as we do, in the same form."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faultlab.captures.columns import Columns, address_text
from faultlab.captures.files import CaptureFile

TSHARK_OPTIONS = [
    "-n", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE",
    "-o", "tcp.analyze_sequence_numbers:FALSE",
]  # fmt: skip
"""Fragments and segments each by themselves, as we read them."""

FRAME = [
    "frame.number",
    "frame.time_epoch",
    "frame.len",
    "frame.cap_len",
    "frame.protocols",
    "frame.encap_type",
    "_ws.malformed",
]
IPV4 = ["ip.src", "ip.dst", "ip.proto", "ip.ttl", "ip.id", "ip.len", "ip.frag_offset", "ip.flags.mf"]
IPV6 = ["ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.plen"]
FRAGMENT = ["ipv6.fraghdr.offset", "ipv6.fraghdr.more", "ipv6.fraghdr.ident"]
TCP = [
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.window_size_value",
    "tcp.hdr_len",
    "tcp.len",
]
UDP = ["udp.srcport", "udp.dstport", "udp.length"]
DNS = ["dns.id", "dns.flags"]
FIELDS = FRAME + IPV4 + IPV6 + FRAGMENT + TCP + UDP + DNS
SUN_ATM = 123
_LINKS = {
    "eth", "sll", "ethertype", "vlan", "ieee8021ad", "raw", "null", "loop", "mpls", "pppoes", "ppp", "llc",
    "eth_withoutfcs", "eth_maybefcs",
}  # fmt: skip
_EXTENSIONS = {"ipv6.hopopts", "ipv6.routing", "ipv6.fraghdr", "ipv6.dstopts", "ah"}

Row = dict[str, Any]


class StoppedError(Exception):
    pass


def theirs(path: Path) -> Iterator[Row]:
    """StoppedError where tshark ends with an error: it stopped there, or does not know the link type at all."""
    command = ["tshark", "-r", str(path), *TSHARK_OPTIONS, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=;"]
    command += [part for field in FIELDS for part in ("-e", field)]
    number = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tshark:
        assert tshark.stdout is not None
        for line in tshark.stdout:
            row = dict(zip(FIELDS, line.rstrip("\n").split("\t"), strict=True))
            if row["frame.encap_type"]:  # else it is a block of somebody's own, which tshark counts too
                number += 1
                yield _innermost(row | {"frame.number": str(number)})
    if tshark.returncode:
        raise StoppedError


def _innermost(row: dict[str, str]) -> Row:
    """What belongs to the innermost IP packet that we read; ICMP errors and other tunnels have more inside."""
    out: Row = {name: int(row[name].split(";")[0]) for name in ("frame.number", "frame.len", "frame.cap_len")}
    out["time_ns"] = _nanoseconds(row["frame.time_epoch"])
    out["malformed"] = bool(row["_ws.malformed"])
    protocols = row["frame.protocols"].split(":")
    met: Counter[str] = Counter()  # how many of a layer there were: which of its values is the next one's
    values: Row = {}
    network = ""
    while True:
        while protocols and protocols[0] in _LINKS:
            protocols.pop(0)
        if not protocols or protocols[0] not in ("ip", "ipv6"):
            break
        network, values = protocols.pop(0), {}
        layers = [(network, {"ip": IPV4, "ipv6": IPV6}[network])]
        while network == "ipv6" and protocols and protocols[0] in _EXTENSIONS:
            layers += [("ipv6.fraghdr", FRAGMENT)] if protocols.pop(0) == "ipv6.fraghdr" else []
        transport = protocols.pop(0) if protocols and protocols[0] in ("tcp", "udp", "gre") else ""
        layers += [(transport, {"tcp": TCP, "udp": UDP}.get(transport, []))]
        for layer, names in layers:
            values.update((name, one) for name in names if (one := _one(row[name], met[layer])))
            met[layer] += 1
        if "53" in (values.get(f"{transport}.srcport"), values.get(f"{transport}.dstport")):
            values.update((name, one) for name in DNS if (one := _one(row[name], 0)))
        if transport == "udp" and protocols[:1] == ["vxlan"]:
            protocols.pop(0)
        elif transport != "gre":
            break
    out["network"] = network
    for name, value in values.items():
        out[name] = value if name.endswith((".src", ".dst")) else int(value, 0)
    return _in_our_terms(out)


def _one(values: str, at: int) -> str:
    found = values.split(";")
    return found[at] if at < len(found) else ""


def _in_our_terms(row: Row) -> Row:
    """tshark's offset of a fragment counts in eights, and its TCP flags have the reserved bits."""
    for name in ("ip.frag_offset", "ipv6.fraghdr.offset"):
        if name in row:
            row[name] *= 8
    if "tcp.flags" in row:
        row["tcp.flags"] &= 0x1FF
    return row


def _nanoseconds(text: str) -> int:
    """A part of a second that is too large for 32 bits is negative in tshark, and it writes that sign before all."""
    seconds, _, part = text.lstrip("-").partition(".")
    return int(seconds or 0) * 1_000_000_000 + (-1 if text.startswith("-") else 1) * int(part or 0)


def ours(path: Path) -> Iterator[tuple[Row, dict[str, int]]]:
    """Each packet as a row like tshark's, and its columns."""
    names = list(Columns.__dataclass_fields__)
    for columns in CaptureFile(path).batches():
        for values in zip(*(getattr(columns, name).tolist() for name in names), strict=True):
            packet = dict(zip(names, values, strict=True))
            yield _row(packet), packet


def _row(packet: dict[str, int]) -> Row:
    frame = packet["number"], packet["original"], packet["captured"], packet["time_ns"]
    out: Row = dict(zip(("frame.number", "frame.len", "frame.cap_len", "time_ns"), frame, strict=True))
    out["network"] = {4: "ip", 6: "ipv6", 0: ""}[packet["ip"]]
    if packet["ip"] and packet["ip_bytes"]:
        out.update(_network(packet))
    ports = packet["source_port"], packet["target_port"]
    if packet["protocol"] == 6 and packet["payload_at"]:
        names = ("seq", "ack", "flags", "window", "tcp_header", "payload")
        out.update(zip(TCP, (*ports, *(packet[name] for name in names)), strict=True))
    if packet["protocol"] == 17 and packet["payload_at"]:
        out.update(zip(UDP, (*ports, packet["payload"] + 8), strict=True))
    if packet["dns"]:
        out.update(zip(DNS, (packet["dns_id"], packet["dns_flags"]), strict=True))
    return out


def _network(packet: dict[str, int]) -> Row:
    source, target = (
        address_text(packet["ip"], packet[f"{end}_high"], packet[f"{end}_low"]) for end in ("source", "target")
    )
    part = packet["fragment"], packet["more_fragments"], packet["ip_id"]
    if packet["ip"] == 6:
        out = dict(zip(IPV6, (source, target, packet["ttl"], packet["ip_bytes"] - 40), strict=True))
        return out | (dict(zip(FRAGMENT, part, strict=True)) if any(part) else {})
    values = (source, target, packet["protocol"], packet["ttl"], packet["ip_id"], packet["ip_bytes"], *part[:2])
    return dict(zip(IPV4, values, strict=True))


def differences(path: Path) -> Iterator[str]:
    """A line for each field of each packet in which we differ without a reason."""
    mine = ours(path)
    try:
        for row in theirs(path):
            our_row, packet = next(mine, ({}, {}))
            for name in sorted(row.keys() | our_row.keys() - {"malformed"}):
                a, b = our_row.get(name), row.get(name)
                if a != b and not (packet and _explained(name, a, b, packet, row)):
                    yield f"{path.name} frame {row['frame.number']}: {name} is {a}, tshark has {b}"
    except StoppedError:
        return
    for our_row, _ in mine:
        yield f"{path.name} frame {our_row['frame.number']}: tshark does not have it"


def _explained(name: str, a: Any, b: Any, packet: dict[str, int], row: Row) -> bool:
    if name == "network":
        return bool(packet["cut"] and not b)  # a header of a wrong version is none for it
    if name == "malformed" or (name == "tcp.len" and b is None and row["malformed"]):
        return True  # the application's dissector gave up, before that field was added
    if a is None:
        # Of a header that was cut off it gives what there is; and it guesses where a DNS message of a stream starts.
        return bool(packet["cut"] or (name in DNS and packet["protocol"] == 6))
    if b is None:
        return False
    if name == "time_ns":
        # It keeps the part of a second in 32 bits; our nanoseconds end in the year 2262.
        return bool((a - b) % (1 << 32) == 0 or (a == (1 << 63) - 1 and b > a))
    if name == "udp.length":
        return bool(b > a and (packet["cut"] or packet["more_fragments"]))  # we count what the packet can hold
    if name == "ipv6.plen":
        return bool(b == 0)  # a jumbogram, or one that the device cuts in segments; we count what there is
    return name in ("frame.len", "frame.cap_len") and packet["link_type"] == SUN_ATM  # it takes a pseudo-header off
