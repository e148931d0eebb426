"""Answers that no good server gives, and names that are none: each name is accounted for, and the client goes on."""

from __future__ import annotations

import asyncio
import selectors
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faultlab_services import dns_client
from faultlab_services.dns_client import DnsClientOptions
from hypothesis import given
from hypothesis import strategies as st

from .conftest import read_journal

A, CNAME, AAAA = 1, 5, 28
SERVFAIL, NXDOMAIN = 2, 3
TRUNCATED = 0x8380
HOST = b"\xc0\x0c"  # the name of the question, as a pointer to it (RFC 1035, 4.1.4)
ADDRESSES = {A: bytes([192, 0, 2, 7]), AAAA: bytes.fromhex("20010db8000000000000000000000007")}

Answer = Callable[[bytes, int], list[bytes]]
"""(query, type asked) -> the messages to send back."""


def record(owner: bytes, rdtype: int, rdata: bytes) -> bytes:
    return owner + struct.pack("!HHIH", rdtype, 1, 60, len(rdata)) + rdata


def question_end(query: bytes) -> int:
    at = 12
    while query[at]:
        at += query[at] + 1
    return at + 5


def reply(query: bytes, *records: bytes, flags: int = 0x8180, count: int | None = None) -> bytes:
    """With the query's id and question; `flags` hold the rcode."""
    end = question_end(query)
    header = query[:2] + struct.pack("!HHHHH", flags, 1, len(records) if count is None else count, 0, 0)
    return header + query[12:end] + b"".join(records)


def ends_of_one_port() -> tuple[socket.socket, socket.socket]:
    """UDP and TCP; the port that the kernel chooses for one may be taken for the other."""
    for _ in range(100):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        try:
            return udp, socket.create_server(udp.getsockname())
        except OSError:
            udp.close()
    raise AssertionError("no port is free for UDP and TCP both")


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A name server on UDP and TCP of one port, for as long as the block; its address."""
    stop, woken = socket.socketpair()
    udp, tcp = ends_of_one_port()

    def answers(query: bytes) -> list[bytes]:
        return answer(query, struct.unpack_from("!H", query, question_end(query) - 4)[0])

    def serve() -> None:
        with selectors.DefaultSelector() as ready:
            for one in (udp, tcp, woken):
                ready.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is udp:
                        query, peer = udp.recvfrom(4096)
                        for wire in answers(query):
                            udp.sendto(wire, peer)
                    elif key.fileobj is tcp:
                        with tcp.accept()[0] as channel:
                            channel.settimeout(10)
                            query = channel.recv(4096)[2:]
                            channel.sendall(b"".join(struct.pack("!H", len(one)) + one for one in answers(query)))
                    else:
                        return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{udp.getsockname()[1]}"
    finally:
        stop.close()
        thread.join()
        for end in (udp, tcp, woken):
            end.close()


def ends(work: DnsClientOptions) -> list[dict[str, Any]]:
    """How each name ended, as journaled: none is left out."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "j"
        asyncio.run(dns_client.run(work, journal, as_json=True))
        lines = [line for line in read_journal(journal, work.how) if line["phase"] in ("ok", "fail", "unknown")]
    assert sorted(line["n"] for line in lines) == list(range(work.count))
    return sorted(lines, key=lambda line: line["n"])


def resolve(server: str, *names: str, timeout_s: float = 10.0) -> list[dict[str, Any]]:
    work = DnsClientOptions("resolve", names, len(names), server=server, timeout_s=timeout_s, retries=0)
    return ends(work)


def of_one_family(rest: Answer) -> Answer:
    return lambda query, rdtype: [reply(query, record(HOST, A, ADDRESSES[A]))] if rdtype == A else rest(query, rdtype)


@pytest.mark.parametrize(
    "other",
    [
        lambda query, rdtype: [reply(query, flags=0x8180 | SERVFAIL)],
        lambda query, rdtype: [reply(query, flags=0x8180 | NXDOMAIN)],
        lambda query, rdtype: [reply(query)],
        lambda query, rdtype: [reply(query, record(HOST, CNAME, HOST))],
        lambda query, rdtype: [],
    ],
    ids=["servfail", "nxdomain", "no data", "a loop", "silence"],
)
def test_one_family_is_an_answer(other: Answer) -> None:
    """getaddrinfo(3) finds such a name too."""
    with serving(of_one_family(other)) as server:
        (line,) = resolve(server, "host.", timeout_s=3.0)
    assert (line["phase"], line["addresses"]) == ("ok", ["192.0.2.7"])


@pytest.mark.parametrize(("rest", "timeout_s", "phase"), [("servfail", 10.0, "fail"), ("silence", 0.3, "unknown")])
def test_without_an_address_the_other_family_decides(rest: str, timeout_s: float, phase: str) -> None:
    """That the name has no A says nothing of its AAAA, and silence nothing at all."""

    def answer(query: bytes, rdtype: int) -> list[bytes]:
        if rdtype == A:
            return [reply(query)]
        return [reply(query, flags=0x8180 | SERVFAIL)] if rest == "servfail" else []

    with serving(answer) as server:
        (line,) = resolve(server, "host.", timeout_s=timeout_s)
    assert line["phase"] == phase


@pytest.mark.parametrize(
    "records",
    [
        [record(HOST, CNAME, HOST)],
        [record(HOST, CNAME, b"\1b\0"), record(b"\1b\0", CNAME, HOST)],
        [record(HOST, CNAME, b"\2n0\0")]
        + [record(b"\2n" + b"%x\0" % n, CNAME, b"\2n" + b"%x\0" % (n + 1)) for n in range(15)]
        + [record(b"\2nf\0", CNAME, b"\1x\0")],
    ],
    ids=["to itself", "of two", "without end"],
)
def test_aliases_that_lead_nowhere_are_a_failure(records: list[bytes]) -> None:
    """RFC 1034, 3.6.2: such a loop is an error to report. The names after it are asked for all the same."""

    def answer(query: bytes, rdtype: int) -> list[bytes]:
        return [reply(query, *records) if b"loop" in query else reply(query, record(HOST, rdtype, ADDRESSES[rdtype]))]

    with serving(answer) as server:
        loop, good = resolve(server, "loop.", "good.")
    assert loop["phase"] == "fail"
    assert good["addresses"] == ["192.0.2.7", "2001:db8::7"]


names = st.sampled_from([HOST, b"\1b\0", b"\1c\0", b"\0", b"\xc0\xff", b"\xc0\x00", b"\x3f" + b"a" * 63 + b"\0"])
rdatas = st.one_of(names, st.sampled_from(list(ADDRESSES.values())), st.binary(max_size=20))
records = st.builds(record, names, st.sampled_from([A, AAAA, CNAME, CNAME, 6, 41, 255, 65_280]), rdatas)
damages = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4)


@given(
    st.lists(records, max_size=4),
    st.sampled_from([0x8180, 0x8180, TRUNCATED, 0x8180 | NXDOMAIN, 0xF98F]),
    st.one_of(st.none(), st.integers(0, 0xFFFF)),
    damages,
    st.integers(0, 60),
)
def test_no_answer_ends_the_client(
    held: list[bytes], flags: int, count: int | None, damage: list[tuple[int, int]], cut: int
) -> None:
    """What is no answer to the question is passed over; so that nobody waits, the server then gives a plain failure."""

    def answer(query: bytes, rdtype: int) -> list[bytes]:
        if b"bad" not in query:
            return [reply(query, record(HOST, rdtype, ADDRESSES[rdtype]))]
        wire = bytearray(reply(query, *held, flags=flags, count=count))
        for at, byte in damage:
            wire[at % len(wire)] = byte
        # A truncated answer's second copy meets a client that asks over TCP already.
        return [bytes(wire[: len(wire) - cut if damage else None]), reply(query, flags=0x8180 | SERVFAIL)]

    with serving(answer) as server:
        _, good = resolve(server, "bad.", "good.")
    assert good["phase"] == "ok"


any_name = st.one_of(
    st.text(min_size=1, max_size=80),
    st.lists(st.text("ab-.\\ÄßI\u0130\u3002\ud800", max_size=70), min_size=1, max_size=6).map(".".join),
    st.sampled_from(["a..b", ".a", "a" * 64, ".".join(["a" * 63] * 5), "\\", "\\300", "xn--", "\0", "1.2.3", "a%"]),
)


@given(any_name)
def test_no_name_ends_a_lookup(name: str) -> None:
    """The real getaddrinfo(3), kept from asking anybody."""
    real = socket.getaddrinfo

    def numeric(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return real(host, port, flags=socket.AI_NUMERICHOST)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", numeric)
        odd, good = ends(DnsClientOptions("lookup", (name, "127.0.0.1"), 2))
    assert odd["phase"] in ("ok", "fail")
    assert set(good["addresses"]) == {"127.0.0.1"}


@given(any_name)
def test_no_name_ends_a_resolver(name: str) -> None:
    with serving(lambda query, rdtype: [reply(query, record(HOST, A, ADDRESSES[A]), flags=0x8180)]) as server:
        odd, good = resolve(server, name, "good.")
    assert odd["phase"] in ("ok", "fail")
    assert good["phase"] == "ok"
