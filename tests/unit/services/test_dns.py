"""The DNS server as a process, our resolver and getaddrinfo against it, and the resolver against forgers."""

import asyncio
import json
import os
import socket
import struct
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
from faultlab_services import dns_client
from faultlab_services.dns_client import DnsClientOptions
from faultlab_services.dns_resolver import ResolvConf, read_resolv_conf
from faultlab_services.errors import ServiceUsageError

from .conftest import LOOPBACKS, PATIENCE_S, Service, Start, read_journal, until

Run = Callable[..., subprocess.CompletedProcess[str]]
RECORDS = ("--record=tcp-server=10.77.0.2", "--record=tcp-server=fd77::2", "--record=v4-only=10.77.0.3")


def serve(start: Start, *faults: str, records: tuple[str, ...] = RECORDS) -> Service:
    return start("dns-server", "--port=0", *records, *(f"--fault={fault}" for fault in faults))


def resolve(service: Service, journal: Path, *names: str, **changes: Any) -> int:
    """The client's exit code after resolving `names` at `service`."""
    settings = {"how": "resolve", "count": len(names), "timeout_s": 1.0, "retries": 0, **changes}
    work = DnsClientOptions(names=names, server=f"127.0.0.1:{service.port()}", **settings)
    return asyncio.run(dns_client.run(work, journal, as_json=True))


def results(journal: Path) -> dict[str, Any]:
    """How each name ended: its addresses, or why there are none."""
    ends = [line for line in read_journal(journal, "resolve") if line["phase"] in ("ok", "fail", "unknown")]
    return {line["name"]: line["addresses"] or (line["phase"], line["why"]) for line in ends}


def test_a_job_of_the_pool_waits_for_lookups(tmp_path: Path) -> None:
    """One thread, and names that nobody has to be asked for: each job is done, or said to have been stopped."""
    journal = tmp_path / "client.jsonl"
    work = DnsClientOptions(
        how="lookup", names=("localhost",), count=20, concurrency=20, pool_size=1, job_every_s=0.001
    )
    assert asyncio.run(dns_client.run(work, journal, as_json=True)) == 0
    jobs = read_journal(journal, "job")
    begun = [line["n"] for line in jobs if line["phase"] == "invoke"]
    assert begun == list(range(len(begun)))
    assert begun
    assert sorted(line["n"] for line in jobs if line["phase"] in ("ok", "unknown")) == begun


def test_a_pace_lies_between_two_beginnings(start: Start, tmp_path: Path) -> None:
    journal = tmp_path / "client.jsonl"
    work = {"names": ("tcp-server",), "count": 4, "concurrency": 4, "pace_s": 0.02}
    service = serve(start)
    asyncio.run(
        dns_client.run(
            DnsClientOptions(how="resolve", server=f"127.0.0.1:{service.port()}", **work), journal, as_json=True
        )
    )
    begun = [line["t"] for line in read_journal(journal, "resolve", "invoke")]
    assert len(begun) == 4
    assert all(later - sooner >= 19e6 for sooner, later in pairwise(begun))


@pytest.mark.parametrize("host", LOOPBACKS)
def test_over_udp_and_tcp(start: Start, host: str) -> None:
    service = serve(start)
    assert service.listening[0].startswith("dns-server: listening on [::]:")
    query = dns.message.make_query("tcp-server.lab.", "A")
    for ask in (dns.query.udp, dns.query.tcp):
        response = ask(query, host, timeout=PATIENCE_S, port=service.port())
        assert response.answer[0].to_text() == "tcp-server.lab. 60 IN A 10.77.0.2"
    lines = service.journal("query", "invoke")
    assert [(line["n"], line["qname"], line["transport"]) for line in lines] == [
        (0, "tcp-server.lab.", "udp"),
        (1, "tcp-server.lab.", "tcp"),
    ]
    assert service.stop() == 0
    assert service.journal()[-1]["op"] == "journal"


def test_garbage_harms_nobody(start: Start) -> None:
    service = serve(start)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for size in (0, 1, 11, 12, 13, 100, 65507):
            sock.sendto(os.urandom(size), ("127.0.0.1", service.port()))
    for garbage in (b"\xff\xff", struct.pack("!H", 12) + b"\x00" * 12, b"\x00\x00"):
        with socket.create_connection(("127.0.0.1", service.port()), timeout=PATIENCE_S) as tcp:
            tcp.sendall(garbage)
    query = dns.message.make_query("tcp-server.", "A")
    assert dns.query.udp(query, "127.0.0.1", timeout=PATIENCE_S, port=service.port()).answer


def test_tcp_queries_may_be_pipelined(start: Start) -> None:
    service = serve(start)
    queries = [dns.message.make_query("tcp-server.lab.", rdtype) for rdtype in ("A", "AAAA", "MX")]
    with socket.create_connection(("127.0.0.1", service.port()), timeout=PATIENCE_S) as sock:
        sock.sendall(b"".join(query.to_wire(prepend_length=True) for query in queries))
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while piece := sock.recv(65536):
            data += piece
    for query in queries:
        (length,) = struct.unpack_from("!H", data)
        assert dns.message.from_wire(data[2 : 2 + length]).id == query.id
        data = data[2 + length :]
    assert data == b""


def test_the_resolver_tells_outcomes_apart(start: Start, tmp_path: Path) -> None:
    service = serve(start, "servfail@v4-only.lab.")
    names = ("tcp-server.lab.", "tcp-server", "v4-only.", "v4-only.lab.", "nosuch.lab.", "lab.", "example.com.")
    assert resolve(service, tmp_path / "j", *names, concurrency=3) == 1
    where = f"127.0.0.1:{service.port()}"
    assert results(tmp_path / "j") == {
        "tcp-server.lab.": ["10.77.0.2", "fd77::2"],
        "tcp-server": ["10.77.0.2", "fd77::2"],
        "v4-only.": ["10.77.0.3"],
        "v4-only.lab.": ("fail", f"{where}: SERVFAIL"),
        "nosuch.lab.": ("fail", "NXDOMAIN for every name tried."),
        "lab.": ("fail", "The name exists, without an address of the family asked."),
        "example.com.": ("fail", f"{where}: REFUSED"),
    }


@pytest.mark.parametrize(("family", "addresses"), [("4", ["10.77.0.2"]), ("6", ["fd77::2"])])
def test_one_family_only(start: Start, tmp_path: Path, family: str, addresses: list[str]) -> None:
    assert resolve(serve(start), tmp_path / "j", "tcp-server.lab.", family=family) == 0
    assert results(tmp_path / "j") == {"tcp-server.lab.": addresses}


def test_a_truncated_answer_is_asked_for_again_over_tcp(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    addresses = [f"10.1.{n // 100}.{n % 100}" for n in range(200)]
    file.write_text(json.dumps({"many": addresses}))
    service = serve(start, records=(f"--records={file}",))
    assert resolve(service, tmp_path / "j", "many.lab.", family="4") == 0
    assert results(tmp_path / "j") == {"many.lab.": addresses}
    assert [line["transport"] for line in service.journal("query", "invoke")] == ["udp", "tcp"]
    assert [line["truncated"] for line in service.journal("query", "ok")] == [True, False]


def test_loss_is_overcome_by_retries_and_the_same_each_time(start: Start, tmp_path: Path) -> None:
    said = []
    for turn in range(2):
        service = start("dns-server", "--port=0", *RECORDS, "--fault=drop=50%", "--seed=2")
        journal = tmp_path / f"j{turn}"
        assert resolve(service, journal, "tcp-server.lab.", "v4-only.lab.", timeout_s=0.5, retries=3, family="4") == 0
        lines = read_journal(journal, "resolve")
        said.append([(line["phase"], line["name"] if "name" in line else line["qname"]) for line in lines])
    assert said[0] == said[1]
    assert any(phase == "note" for phase, _ in said[0])


def test_silence_is_unknown(start: Start, tmp_path: Path) -> None:
    service = serve(start, "drop")
    assert resolve(service, tmp_path / "j", "tcp-server.lab.", timeout_s=0.1, retries=1) == 1
    why = f"no answer from 127.0.0.1:{service.port()} within 0.1 s"
    assert results(tmp_path / "j") == {"tcp-server.lab.": ("unknown", why)}
    until(lambda: len(service.journal("query", "fail")) == 4)


def test_a_wrong_id_is_ignored(start: Start, tmp_path: Path) -> None:
    service = serve(start, "wrong-id")
    assert resolve(service, tmp_path / "j", "tcp-server.lab.", timeout_s=0.2, family="4") == 1
    assert read_journal(tmp_path / "j", "resolve", "note")[0]["why"] == "ignored: another id or question"
    assert results(tmp_path / "j")["tcp-server.lab."][0] == "unknown"


def test_a_delay_delays(start: Start, tmp_path: Path) -> None:
    service = serve(start, "delay=100ms")
    assert resolve(service, tmp_path / "j", "tcp-server.lab.", timeout_s=5.0) == 0
    invoked, answered = (read_journal(tmp_path / "j", "resolve", phase)[0]["t"] for phase in ("invoke", "ok"))
    assert answered - invoked >= 100_000_000


def test_each_attempt_has_its_own_source_port(start: Start, tmp_path: Path) -> None:
    service = serve(start, "drop")
    base = 20000 + os.getpid() * 64 % 12000  # room for the search domains of any host, apart from a parallel run
    names = ("tcp-server.lab.", "v4-only.lab.")
    assert resolve(service, tmp_path / "j", *names, retries=2, timeout_s=0.05, family="4", source_port=base) == 1
    until(lambda: len(service.journal("query", "invoke")) == 6)
    ports = [int(line["peer"].rpartition(":")[2]) for line in service.journal("query", "invoke")]
    assert ports[:3] == [base, base + 1, base + 2]
    assert len(set(ports)) == 6


def test_lookup_asks_the_system(run: Run, tmp_path: Path) -> None:
    journal = tmp_path / "j"
    options = ("--count=4", "--concurrency=4", "--pool-size=2", "--family=4", f"--journal={journal}", "--json")
    done = run("dns-client", "--how=lookup", "--names=localhost", *options)
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, 4)
    assert [line["addresses"] for line in read_journal(journal, "lookup", "ok")] == [["127.0.0.1"]] * 4


def test_lookup_tells_failure_from_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(name: str, *rest: object, **more: object) -> list[object]:
        raise socket.gaierror({"gone": socket.EAI_NONAME, "mute": socket.EAI_AGAIN}[name], name)

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    work = DnsClientOptions(how="lookup", names=("gone", "mute"), count=2)
    assert asyncio.run(dns_client.run(work, tmp_path / "j", as_json=False)) == 1
    ends = {line["name"]: line["phase"] for line in read_journal(tmp_path / "j", "lookup") if line["phase"] != "invoke"}
    assert ends == {"gone": "fail", "mute": "unknown"}


def test_resolv_conf(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# lab\nnameserver 10.77.0.4\nnameserver fd77::4\nsearch lab example.\noptions timeout:1 ndots:2\n")
    servers = (("10.77.0.4", 53), ("fd77::4", 53))
    assert read_resolv_conf(file) == ResolvConf(servers, ("lab", "example."), 2)
    assert read_resolv_conf(tmp_path / "absent").servers == (("127.0.0.1", 53),)


def test_single_labels_take_the_search_domain(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = serve(start)
    conf = ResolvConf((("127.0.0.1", service.port()),), ("nowhere.lab", "lab"))
    monkeypatch.setattr(dns_client, "read_resolv_conf", lambda: conf)
    work = DnsClientOptions(how="resolve", names=("v4-only",), count=1, family="4")
    assert asyncio.run(dns_client.run(work, tmp_path / "j", as_json=False)) == 0
    asked = [line["qname"] for line in service.journal("query", "invoke")]
    assert asked == ["v4-only.nowhere.lab.", "v4-only.lab."]


def test_what_makes_no_sense_is_refused() -> None:
    for changes, says in (
        ({"server": "dns-server"}, "is not an address"),
        ({"server": "127.0.0.1", "source_port": 65000, "count": 500}, "no room"),
    ):
        work = DnsClientOptions(**{"how": "resolve", "names": ("a",), "count": 1, **changes})
        with pytest.raises(ServiceUsageError, match=says):
            asyncio.run(dns_client.run(work, None, as_json=False))
