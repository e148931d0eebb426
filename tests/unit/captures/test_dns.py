from __future__ import annotations

from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
from faultlab.captures.columns import Columns
from faultlab.captures.dns import Lookup, Lookups, read
from faultlab.captures.files import CaptureFile
from faultlab.captures.flows import Flows
from faultlab.network.packets import with_checksums

from tests.support.capture_bytes import START_NS, pcap


def datagram(port: int, payload: bytes, answer: bool = False) -> bytes:
    ends, ports = [bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))], [port.to_bytes(2), b"\0\x35"]
    if answer:
        ends.reverse(), ports.reverse()
    udp = b"".join(ports) + (8 + len(payload)).to_bytes(2) + b"\0\0" + payload
    ip = b"\x45\0" + (20 + len(udp)).to_bytes(2) + b"\0\0\0\0\x40\x11\0\0" + b"".join(ends)
    return with_checksums(bytes(12) + b"\x08\0" + ip + udp)


def query(number: int, name: str = "a.lab.") -> bytes:
    message = dns.message.make_query(name, "A", id=number)
    return message.to_wire()


def answer(number: int, name: str = "a.lab.") -> bytes:
    message = dns.message.make_response(dns.message.make_query(name, "A", id=number))
    message.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "10.0.0.9", "10.0.0.8"))
    return message.to_wire()


def looked_up(folder: Path, *frames: bytes) -> tuple[CaptureFile, Columns, list[Lookup]]:
    path = folder / "some.pcap"
    path.write_bytes(pcap(frames, nano=True))
    file, flows, lookups = CaptureFile(path), Flows(), Lookups()
    (columns,) = file.batches()
    lookups.feed(columns, flows.feed(columns).flow)
    return file, columns, lookups.all


def test_answers_retries_and_what_is_unanswered(tmp_path: Path) -> None:
    frames = [
        datagram(4000, query(7)),
        datagram(4001, query(7)),
        datagram(4000, query(7)),
        datagram(4000, answer(7), answer=True),
        datagram(4000, answer(7), answer=True),
        datagram(4000, query(7)),
        datagram(4002, answer(9), answer=True),
    ]
    _, _, (first, other, later) = looked_up(tmp_path, *frames)
    assert (first.queries, first.answers, first.retries, first.took_ns) == ([1, 3], [4, 5], 1, 3)
    assert (other.queries, other.answers, other.took_ns, other.asked_ns) == ([2], [], None, START_NS + 1)
    assert (later.queries, later.answers) == ([6], [])


def test_what_messages_say(tmp_path: Path) -> None:
    file, columns, _ = looked_up(tmp_path, datagram(4000, query(7)), datagram(4000, answer(7), answer=True))
    asked, answered = read(file, columns, 0), read(file, columns, 1)
    assert asked is not None and answered is not None
    assert (asked.response, asked.questions, asked.answers) == (False, [("a.lab.", "A")], [])
    assert (answered.response, answered.rcode, answered.truncated) == (True, "NOERROR", False)
    assert sorted(answered.answers) == ["a.lab. 60 IN A 10.0.0.8", "a.lab. 60 IN A 10.0.0.9"]


def test_a_message_that_is_none(tmp_path: Path) -> None:
    broken = query(7)[:12] + b"\xc0\x0c\xc0"
    file, columns, _ = looked_up(tmp_path, datagram(4000, broken))
    assert read(file, columns, 0) is None
