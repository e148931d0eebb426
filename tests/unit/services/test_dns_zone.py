import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from faultlab_services.dns_zone import Zone
from faultlab_services.errors import ServiceUsageError

RECORDS = {"tcp-server": ["10.77.0.2", "fd77::2"], "v4-only": ["10.77.0.3"], "a.b": ["10.77.0.4"], "empty": []}


def ask(name: str, rdtype: str = "A", rdclass: str = "IN") -> dns.message.Message:
    return Zone("lab", RECORDS).answer(dns.message.make_query(name, rdtype, rdclass))


def answers(name: str, rdtype: str = "A") -> list[str]:
    response = ask(name, rdtype)
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    return [rdata.to_text() for rrset in response.answer for rdata in rrset]


@pytest.mark.parametrize("name", ["tcp-server.lab.", "tcp-server.", "TCP-Server.LAB.", "Tcp-Server."])
def test_names_are_served_in_the_zone_and_bare_whatever_their_case(name: str) -> None:
    assert answers(name) == ["10.77.0.2"]
    assert answers(name, "AAAA") == ["fd77::2"]
    assert ask(name).answer[0].name.to_text() == name


def test_names_of_several_labels_are_served_in_the_zone_only() -> None:
    assert answers("a.b.lab.") == ["10.77.0.4"]
    assert ask("a.b.").rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("2.0.77.10.in-addr.arpa.", "tcp-server.lab."),
        ("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.7.d.f.ip6.arpa.", "tcp-server.lab."),
        ("4.0.77.10.in-addr.arpa.", "a.b.lab."),
    ],
)
def test_reverse(name: str, host: str) -> None:
    assert answers(name, "PTR") == [host]


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode", "soa"),
    [
        ("v4-only.lab.", "AAAA", dns.rcode.NOERROR, "lab."),
        ("v4-only.", "AAAA", dns.rcode.NOERROR, "."),
        ("tcp-server.lab.", "MX", dns.rcode.NOERROR, "lab."),
        ("empty.lab.", "A", dns.rcode.NOERROR, "lab."),
        ("lab.", "A", dns.rcode.NOERROR, "lab."),
        ("b.lab.", "A", dns.rcode.NOERROR, "lab."),
        ("77.10.in-addr.arpa.", "PTR", dns.rcode.NOERROR, "in-addr.arpa."),
        ("nosuch.lab.", "A", dns.rcode.NXDOMAIN, "lab."),
        ("x.tcp-server.lab.", "A", dns.rcode.NXDOMAIN, "lab."),
        ("nosuch.", "A", dns.rcode.NXDOMAIN, "."),
        ("9.9.9.9.in-addr.arpa.", "PTR", dns.rcode.NXDOMAIN, "in-addr.arpa."),
    ],
)
def test_denials_tell_nodata_from_nxdomain_and_carry_the_soa(
    name: str, rdtype: str, rcode: dns.rcode.Rcode, soa: str
) -> None:
    response = ask(name, rdtype)
    assert response.rcode() == rcode
    assert response.flags & dns.flags.AA
    assert not response.answer
    [authority] = response.authority
    assert (authority.name.to_text(), authority.rdtype) == (soa, dns.rdatatype.SOA)


def test_the_soa_itself() -> None:
    assert answers("lab.", "SOA") == ["lab. hostmaster.lab. 1 3600 600 86400 60"]


@pytest.mark.parametrize(
    ("name", "rdtype", "rdclass"),
    [
        ("example.com.", "A", "IN"),
        ("tcp-server.lab.", "A", "CH"),
        ("lab.", "AXFR", "IN"),
        (".", "NS", "IN"),
        ("lab.example.", "A", "IN"),
    ],
)
def test_anything_else_is_refused(name: str, rdtype: str, rdclass: str) -> None:
    response = ask(name, rdtype, rdclass)
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA
    assert not response.answer
    assert not response.authority


def test_edns_is_answered_only_where_it_is_asked() -> None:
    zone = Zone("lab", RECORDS)
    assert zone.answer(dns.message.make_query("tcp-server.", "A", use_edns=0)).edns == 0
    assert zone.answer(dns.message.make_query("tcp-server.", "A")).edns == -1


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ({"host": ["10.77.0.300"]}, "record 'host': '10.77.0.300' is not an IPv4 or IPv6 address"),
        ({"host.example.": ["10.77.0.2"]}, r"record 'host.example.' is not in the zone lab\."),
        ({"a..b": ["10.77.0.2"]}, "'a..b' is not a DNS name"),
    ],
)
def test_bad_records_are_named(records: dict[str, list[str]], says: str) -> None:
    with pytest.raises(ServiceUsageError, match=says):
        Zone("lab", records)
