"""Frames decoded in batches: each field of each header; and headers that are cut, or that contradict themselves."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from faultlab.captures.columns import KINDS, OF_THE_FILE, Columns, address_text
from faultlab.captures.files import CaptureFile
from faultlab.captures.flows import in_a_flow
from faultlab.captures.noticed import Noticed
from faultlab.network.packets import Packet

from tests.support.capture_bytes import LINKS, ORDERS, TUNNELS, enhanced, interface, outer, over_udp, pcapng, section
from tests.support.golden_frames import FRAMES

TCP4, TCP6, UDP4, UDP6 = (FRAMES[name] for name in ("tcp v4", "tcp v6", "udp v4", "udp v6"))
FIELDS = list(Columns.__dataclass_fields__)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.pcapng"


def decoded(path: Path, frames: list[bytes], link_type: int = 1, packets: int = 1 << 16) -> list[dict[str, int]]:
    """Of each frame its fields, from `ip` on."""
    path.write_bytes(pcapng(frames, link_type=link_type))
    return read(path, packets)


def read(path: Path, packets: int = 1 << 16) -> list[dict[str, int]]:
    batches = CaptureFile(path).batches(packets)
    fields = [name for name in FIELDS if name not in OF_THE_FILE]
    rows = [zip(*(getattr(columns, name).tolist() for name in fields), strict=True) for columns in batches]
    return [dict(zip(fields, row, strict=True)) for batch in rows for row in batch]


def one(path: Path, frame: bytes, link_type: int = 1) -> dict[str, int]:
    (fields,) = decoded(path, [frame], link_type)
    return {name: value for name, value in fields.items() if value}


def changed(frame: bytes, at: int, value: str) -> bytes:
    new = bytes.fromhex(value)
    return frame[:at] + new + frame[at + len(new) :]


ADDRESSES_4 = {"source_low": 0x0A4D0002, "target_low": 0x0A4D0003}
ADDRESSES_6 = {
    "source_high": 0xFD7701AB00000000, "source_low": 2, "target_high": 0xFD7701AB00000000, "target_low": 3,
}  # fmt: skip
SEGMENT = {
    "source_port": 20000, "target_port": 8082, "seq": 7, "ack": 9, "flags": 0x18, "window": 8192, "tcp_header": 24,
}  # fmt: skip
V4 = {"ip": 4, "ttl": 64, "ip_id": 0x1234} | ADDRESSES_4
V6 = {"ip": 6, "ttl": 64} | ADDRESSES_6
IN_TCP4 = V4 | SEGMENT | {"protocol": 6, "ip_bytes": 49, "payload": 5, "payload_at": 58}
IN_UDP6 = V6 | {"protocol": 17, "ip_bytes": 53, "source_port": 20000, "target_port": 41234, "payload": 5}


def test_tcp_over_ipv4(path: Path) -> None:
    assert one(path, TCP4) == IN_TCP4


def test_tcp_over_ipv6(path: Path) -> None:
    assert one(path, TCP6) == V6 | SEGMENT | {"protocol": 6, "ip_bytes": 69, "payload": 5, "payload_at": 78}


def test_udp_over_ipv6(path: Path) -> None:
    assert one(path, UDP6) == IN_UDP6 | {"payload_at": 62}


def test_all_flags(path: Path) -> None:
    assert one(path, changed(TCP4, 46, "6fff"))["flags"] == 0x1FF


@pytest.mark.parametrize("name", LINKS)
def test_link_types(path: Path, name: str) -> None:
    link_type, frame = LINKS[name]
    fields = one(path, frame, link_type)
    known = {4: IN_TCP4, 6: IN_UDP6}[fields["ip"]]
    if name in ("one tag", "VXLAN with a tag"):
        known = V4 | {"protocol": 17, "ip_bytes": 29, "source_port": 20000, "target_port": 41234, "payload": 1}
    assert fields == known | {"payload_at": len(frame) - fields["payload"]}


IN_OUTER = {
    "GRE of PPTP": outer(47, bytes.fromhex("3001 880b 0000 0000 00000001") + TCP4[14:]),
    "GRE with another protocol": outer(47, bytes.fromhex("0000 88be") + TCP4),
    "GRE with a version that is not there": outer(47, bytes.fromhex("0000 86dd") + TCP4[14:]),
    "GRE with a header that is cut": outer(47, bytes.fromhex("0000 0800") + TCP4[14:30]),
    "GRE with too short a header": outer(47, bytes.fromhex("0000 0800 44") + TCP4[15:]),
    "VXLAN with ARP": over_udp(4789, bytes.fromhex("0800000000002a00") + changed(TCP4, 12, "0806")),
    "VXLAN's port, and nothing like it": over_udp(4789, bytes.fromhex("0800000100002a00") + TCP4),
    "another port": over_udp(4790, bytes.fromhex("0800000000002a00") + TCP4),
}


@pytest.mark.parametrize("name", IN_OUTER)
def test_a_tunnel_without_an_ip_packet_is_what_its_outer_headers_say(path: Path, name: str) -> None:
    fields = one(path, IN_OUTER[name], 101)
    assert (fields["source_low"], fields["ip_id"], fields["ttl"]) == (0xC0000201, 0x5678, 33)
    assert (fields["protocol"], fields["ip_bytes"]) == (IN_OUTER[name][9], len(IN_OUTER[name]))
    assert ("payload" in fields) is (fields["protocol"] == 17)


def test_a_later_fragment_of_a_tunnel_has_no_header_of_it(path: Path) -> None:
    fragment = changed(TUNNELS["GRE"][1], 20, "0010")
    assert one(path, fragment)["ip_id"] == 0x5678


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (TCP4[:12] + bytes.fromhex("8864 11000007 0006 c021 01010004"), 0x8864),
        (TCP4[:12] + bytes.fromhex("8847 00010140 00000000") + TCP4, 0x8847),
        (TCP4[:12] + bytes.fromhex("0026 424203") + bytes(35), 0x26),
        (TCP4[:12] + bytes.fromhex("0026 aaaa03 00000c 2000") + bytes(30), 0x26),
    ],
    ids=["PPPoE's own", "a pseudowire", "LLC", "SNAP of another organisation"],
)
def test_what_carries_no_ip(path: Path, frame: bytes, kind: int) -> None:
    assert one(path, frame) == {"ethertype": kind}


@pytest.mark.parametrize("name", TUNNELS)
def test_a_tunnel_cut_anywhere_is_in_a_flow_or_told(path: Path, name: str) -> None:
    link_type, frame = TUNNELS[name]
    for size in range(len(frame)):
        path.write_bytes(pcapng([frame[:size]], link_type=link_type))
        (columns,) = CaptureFile(path).batches()
        noticed = Noticed()
        noticed.feed(columns)
        assert bool(noticed.notes) is not bool(in_a_flow(columns)[0]), size


def test_other_link_types_have_no_ip(path: Path) -> None:
    assert one(path, TCP4, link_type=147) == {}
    assert one(path, b"\x07\0\0\0" + TCP4[14:], link_type=0) == {}


def test_no_ip(path: Path) -> None:
    assert one(path, changed(TCP4, 12, "0806")) == {"ethertype": 0x0806}


def test_as_the_labs_own_parser(path: Path) -> None:
    """`faultlab.network.packets`, which takes frames one by one, and the decoder agree on what both read."""
    frames = [frame for name, frame in FRAMES.items() if name != "vlan"]
    for fields, frame in zip(decoded(path, frames), frames, strict=True):
        packet = Packet.parse(frame)
        assert (fields["ip"], fields["protocol"]) == (packet.version, packet.protocol)
        assert (fields["source_port"], fields["target_port"]) == (packet.source_port, packet.target_port)
        assert (fields["seq"], fields["ack"], fields["ip_id"]) == (packet.seq, packet.ack, packet.ip_id)
        source = address_text(fields["ip"], fields["source_high"], fields["source_low"])
        assert source == {4: "10.77.0.2", 6: "fd77:1ab::2"}[packet.version]
        assert fields["fragment"] == (packet.fragment & 0x1FFF) * 8
        assert fields["cut"] == 0


def test_fragments(path: Path) -> None:
    first4, later4, first6, later6 = (
        FRAMES[f"v{ip} {which} fragment"] for ip in (4, 6) for which in ("first", "later")
    )
    first, later = one(path, first4), one(path, later4)
    assert (first["more_fragments"], first["ip_id"], first["source_port"], first["payload"]) == (1, 5, 20000, 16)
    assert later == ADDRESSES_4 | {"ip": 4, "ttl": 64, "protocol": 17, "ip_id": 5, "ip_bytes": 25, "fragment": 24}
    first, later = one(path, first6), one(path, later6)
    assert (first["more_fragments"], first["ip_id"], first["source_port"], first["payload"]) == (1, 77, 20000, 16)
    assert later == V6 | {"protocol": 17, "ip_id": 77, "ip_bytes": 53, "fragment": 24}


def test_a_fragment_far_away(path: Path) -> None:
    assert one(path, changed(FRAMES["v4 later fragment"], 20, "1fff"))["fragment"] == 65528
    assert one(path, changed(FRAMES["v6 later fragment"], 56, "fff8"))["fragment"] == 65528


def test_a_first_fragment_may_hold_less_than_its_datagram(path: Path) -> None:
    fields = one(path, changed(FRAMES["v4 first fragment"], 38, "1000"))
    assert (fields["payload"], "cut" in fields) == (16, False)


EXTENSIONS = {
    "hop by hop": ("00", "{next}000104000000 00"),
    "routing": ("2b", "{next}00000000000000"),
    "destination options, longer": ("3c", "{next}01" + "00" * 14),
    "authentication": ("33", "{next}04000000000100000002" + "00" * 12 + "0000"),
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_ipv6_extension_headers(path: Path, name: str) -> None:
    kind, text = EXTENSIONS[name]
    header = bytes.fromhex(text.format(next="11"))
    header = header[: len(header) // 8 * 8]
    size = len(header)
    frame = changed(UDP6, 18, f"{13 + size:04x}{kind}")[:54] + header + UDP6[54:]
    assert one(path, frame) == IN_UDP6 | {"ip_bytes": 53 + size, "payload_at": 62 + size}


def test_more_extension_headers_than_anyone_sends(path: Path) -> None:
    header = bytes.fromhex("3c00010400000000")
    frame = changed(UDP6, 18, "08083c")[:54] + header * 256 + changed(header, 0, "11") + UDP6[54:]
    assert one(path, frame)["cut"] == 1


def test_more_tags_than_anyone_sends(path: Path) -> None:
    assert one(path, TCP4[:12] + bytes.fromhex("81000007") * 300 + TCP4[12:]) == {"ethertype": 0x8100, "cut": 1}


def test_segments_that_the_device_cuts(path: Path) -> None:
    """A size of 0 in the IP header: the packet goes to the frame's end (segmentation offload; RFC 2675)."""
    assert one(path, changed(TCP4, 16, "0000")) == IN_TCP4
    assert one(path, changed(UDP6, 18, "0000")) == IN_UDP6 | {"payload_at": 62}


def test_what_follows_the_packet_is_not_payload(path: Path) -> None:
    assert one(path, TCP4 + bytes(20)) == IN_TCP4


def test_a_packet_cannot_hold_more_than_its_frame(path: Path) -> None:
    assert one(path, TCP4[:-2]) == IN_TCP4 | {"payload": 3}
    assert one(path, TCP6[:-2])["payload"] == 3


@pytest.mark.parametrize(
    ("frame", "fields"),
    [
        (changed(TCP4, 14, "65"), {"ip": 4}),  # not the version that the link says
        (changed(UDP6, 14, "45"), {"ip": 6}),
        (changed(TCP4, 14, "44"), {"ip": 4}),  # a header smaller than any
        (changed(TCP4, 16, "0013"), V4 | {"protocol": 6, "ip_bytes": 19}),  # a packet smaller than its header
        (changed(TCP4, 16, "0027"), V4 | {"protocol": 6, "ip_bytes": 39}),  # one without room for TCP's
        (changed(TCP4, 46, "4018"), IN_TCP4 | {"tcp_header": 16, "payload": 0, "payload_at": 0}),
        (changed(TCP4, 46, "8018"), IN_TCP4 | {"tcp_header": 32, "payload": 0, "payload_at": 0}),
        (changed(UDP6, 58, "0007"), IN_UDP6 | {"payload": 0, "payload_at": 0}),
        (changed(UDP6, 58, "000e"), IN_UDP6 | {"payload_at": 62}),  # more than the packet holds
    ],
)
def test_contradictions(path: Path, frame: bytes, fields: dict[str, int]) -> None:
    assert one(path, frame) == {name: value for name, value in fields.items() if value} | {"cut": 1}


@pytest.mark.parametrize("frame", [*FRAMES.values(), LINKS["two tags"][1]])
def test_cut_at_every_byte(path: Path, frame: bytes) -> None:
    """A field is what it is in the whole frame, or 0; and `cut` is set until the last header is whole."""
    parts = [frame[:size] for size in range(len(frame) + 1)]
    blocks = b"".join(enhanced("little", part, 0, original=len(frame)) for part in parts)
    path.write_bytes(section("little") + interface("little") + blocks)
    *cut, whole = read(path)
    assert not whole["cut"]
    for size, fields in enumerate(cut):
        if fields["ip"] == 6 and fields["cut"]:
            del fields["protocol"]  # of the last extension header that is whole
        assert all(value in (whole[name], 0) for name, value in fields.items() if name != "cut"), size
        assert fields["cut"] or size >= (whole["payload_at"] or 34)
        assert not (fields["cut"] and whole["payload_at"] and size >= whole["payload_at"]), size


DNS = bytes.fromhex("abcd 8180 0001 0001 0000 0000 00")


def with_payload(frame: bytes, payload: bytes, ports: str) -> bytes:
    """The golden datagram or segment over IPv4, with another payload and other ports."""
    tcp = frame[23] == 6
    head = changed(frame[: 58 if tcp else 42], 34, ports)
    head = head if tcp else changed(head, 38, f"{8 + len(payload):04x}")
    return changed(head, 16, f"{len(head) - 14 + len(payload):04x}") + payload


@pytest.mark.parametrize("ports", ["00354e20", "4e200035"])
def test_dns(path: Path, ports: str) -> None:
    heard = {"dns": 1, "dns_id": 0xABCD, "dns_flags": 0x8180}
    for frame in (with_payload(UDP4, DNS[:12], ports), with_payload(TCP4, b"\0\x0d" + DNS, ports)):
        assert heard.items() <= one(path, frame).items()


@pytest.mark.parametrize(
    "frame",
    [
        with_payload(UDP4, DNS, "4e2014e9"),  # another port
        with_payload(UDP4, DNS[:11], "4e200035"),  # less than a header
        with_payload(TCP4, DNS, "4e200035"),  # of a stream, some segment
        with_payload(TCP4, b"\0\x0e" + DNS, "4e200035"),  # a message that goes on in the next
        with_payload(TCP4, b"\0\x0c" + DNS, "4e200035"),  # more than one message
    ],
)
def test_no_dns(path: Path, frame: bytes) -> None:
    assert one(path, frame).keys().isdisjoint({"dns", "dns_id", "dns_flags", "cut"})


@pytest.mark.parametrize("packets", [1, 7, 64])
def test_a_batch_is_as_its_frames_one_by_one(path: Path, packets: int) -> None:
    frames = [*FRAMES.values(), *(frame[:40] for frame in FRAMES.values()), b""] * 3
    random.Random(1).shuffle(frames)
    alone = [decoded(path, [frame])[0] for frame in frames]
    assert decoded(path, frames, packets=packets) == alone


def test_types_are_as_the_columns_say(path: Path) -> None:
    for order in ORDERS:
        path.write_bytes(pcapng(list(FRAMES.values()), order))
        (columns,) = CaptureFile(path).batches()
        assert {name: getattr(columns, name).dtype for name in FIELDS} == KINDS
        assert (KINDS["ip"], KINDS["time_ns"], KINDS["cut"]) == (np.uint8, np.int64, np.bool_)


@pytest.mark.parametrize(
    ("address", "text"),
    [((4, 0, 0x0A4D0002), "10.77.0.2"), ((6, 0xFD7701AB << 32, 2), "fd77:1ab::2"), ((6, 0, 1), "::1"), ((0, 0, 0), "")],
)
def test_addresses_as_people_write_them(address: tuple[int, int, int], text: str) -> None:
    assert address_text(*address) == text
