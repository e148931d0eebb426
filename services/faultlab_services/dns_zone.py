"""The lab's names, answered with authority: sans-IO, a DNS message in and a DNS message out.

Served are the zone's names (`NAME.ZONE`), each single label as well (`NAME`, so that programs that add no search
domain work too), and the reverse tree. An unknown name there is NXDOMAIN, a known name without the type asked is
NODATA, both with the SOA that RFC 2308 section 3 asks for. Anything else is REFUSED.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Mapping, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from faultlab_services.errors import ServiceUsageError

TTL_S = 60
EDNS_PAYLOAD_BYTES = 1232  # fits one packet on any path (DNS flag day 2020)

_REVERSE = (dns.name.from_text("in-addr.arpa."), dns.name.from_text("ip6.arpa."))
_Data = defaultdict[dns.name.Name, defaultdict[dns.rdatatype.RdataType, list[dns.rdata.Rdata]]]


class Zone:
    """`records` maps names, relative to `zone` unless they end with a dot, to addresses. Raises `ServiceUsageError`."""

    def __init__(self, zone: str, records: Mapping[str, Sequence[str]]) -> None:
        self.origin = absolute_name(zone)
        self._data: _Data = defaultdict(lambda: defaultdict(list))
        for origin in (self.origin, *_REVERSE, dns.name.root):
            self._add(origin, dns.rdatatype.SOA, self._soa_text(origin))
        for name, addresses in records.items():
            self._add_host(name, addresses)
        self._parents = {parent for name in self._data for parent in _ancestors(name)}

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """The response to a query of exactly one question."""
        question = query.question[0]
        response = dns.message.make_response(query, our_payload=EDNS_PAYLOAD_BYTES, pad=0)
        origin = self._origin_of(question.name)
        if origin is None or question.rdclass != dns.rdataclass.IN or dns.rdatatype.is_metatype(question.rdtype):
            response.set_rcode(dns.rcode.REFUSED)
            return response
        response.flags |= dns.flags.AA
        found = self._data[question.name].get(question.rdtype) if question.name in self._data else None
        if found:
            response.answer.append(dns.rrset.from_rdata_list(question.name, TTL_S, found))
            return response
        response.authority.append(dns.rrset.from_rdata_list(origin, TTL_S, self._data[origin][dns.rdatatype.SOA]))
        if question.name not in self._data and question.name not in self._parents:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    def _origin_of(self, name: dns.name.Name) -> dns.name.Name | None:
        for origin in (self.origin, *_REVERSE):
            if name.is_subdomain(origin):
                return origin
        return dns.name.root if len(name) == 2 else None

    def _add_host(self, name: str, addresses: Sequence[str]) -> None:
        host = absolute_name(name, self.origin)
        if not host.is_subdomain(self.origin):
            raise ServiceUsageError(f"record {name!r} is not in the zone {self.origin}")
        relative = host.relativize(self.origin)
        owners = [host, relative.derelativize(dns.name.root)] if len(relative) == 1 else [host]
        for owner in owners:
            self._data[owner]
        for text in addresses:
            address = _address(name, text)
            rdtype = dns.rdatatype.A if address.version == 4 else dns.rdatatype.AAAA
            for owner in owners:
                self._add(owner, rdtype, str(address))
            self._add(dns.reversename.from_address(str(address)), dns.rdatatype.PTR, host.to_text())

    def _add(self, owner: dns.name.Name, rdtype: dns.rdatatype.RdataType, text: str) -> None:
        self._data[owner][rdtype].append(dns.rdata.from_text(dns.rdataclass.IN, rdtype, text))

    def _soa_text(self, origin: dns.name.Name) -> str:
        """Primary server, mailbox, serial, refresh, retry, expire, and the time that a denial may be kept."""
        return f"{self.origin} hostmaster.{self.origin} 1 3600 600 86400 {TTL_S}"


def absolute_name(text: str, origin: dns.name.Name = dns.name.root) -> dns.name.Name:
    """`text` as a name under `origin` unless it ends with a dot. Raises `ServiceUsageError`."""
    try:
        return dns.name.from_text(text, origin)
    except dns.exception.DNSException as error:
        raise ServiceUsageError(f"{text!r} is not a DNS name: {error}") from error


def _address(name: str, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise ServiceUsageError(f"record {name!r}: {text!r} is not an IPv4 or IPv6 address") from error


def _ancestors(name: dns.name.Name) -> list[dns.name.Name]:
    """Names that exist because something exists below them (RFC 8020), the root left out."""
    ancestors = []
    while len(name) > 2:
        name = name.parent()
        ancestors.append(name)
    return ancestors
