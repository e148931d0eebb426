"""Netlink messages against an independent reader of them: pyroute2."""

from __future__ import annotations

from typing import Any

import pytest
from faultlab.engines.netem import messages
from faultlab.engines.netem.messages import Counters
from faultlab.engines.netem.options import Netem
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

MAC = "02:1a:b0:00:00:02"


def decoded(kind: Any, data: bytes) -> Any:
    message = kind(data)
    message.decode()
    assert message["header"]["length"] == len(data)
    return message


def test_a_bridge_is_up_and_neither_blocks_nor_asks() -> None:
    message = decoded(ifinfmsg, messages.bridge("lab"))
    info = message.get_attr("IFLA_LINKINFO")
    assert (message.get_attr("IFLA_IFNAME"), info.get_attr("IFLA_INFO_KIND")) == ("lab", "bridge")
    assert message["flags"] & 1
    data = info.get_attr("IFLA_INFO_DATA")
    assert data.get_attr("IFLA_BR_STP_STATE") == data.get_attr("IFLA_BR_MCAST_SNOOPING") == 0


def test_a_pair_has_its_other_end_in_the_node() -> None:
    message = decoded(ifinfmsg, messages.veth("port3", 7, "eth0", MAC))
    peer = message.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert message.get_attr("IFLA_IFNAME") == "port3"
    assert (peer.get_attr("IFLA_IFNAME"), peer.get_attr("IFLA_ADDRESS")) == ("eth0", MAC)
    assert peer.get_attr("IFLA_NET_NS_FD") == 7


def test_a_port_neither_learns_nor_floods_and_knows_its_owner() -> None:
    info = decoded(ifinfmsg, messages.closed_port(4)).get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_SLAVE_DATA")
    names = ("LEARNING", "UNICAST_FLOOD", "MCAST_FLOOD", "BCAST_FLOOD")
    assert [data.get_attr(f"IFLA_BRPORT_{name}") for name in names] == [0, 0, 0, 0]
    entry = decoded(ndmsg, messages.owner(4, MAC))
    assert (entry["ifindex"], entry.get_attr("NDA_LLADDR")) == (4, MAC)


def test_htb_lets_out_at_once_what_no_class_claims() -> None:
    message = decoded(tcmsg, messages.htb(4, 10_000))
    assert (message["index"], message["handle"], message["parent"]) == (4, 0x10000, 0xFFFFFFFF)
    init = message.get_attr("TCA_OPTIONS").get_attr("TCA_HTB_INIT")
    assert (init["version"], init["defcls"]) == (3, 0)


def test_a_class_never_binds() -> None:
    message = decoded(tcmsg, messages.htb_class(4, 0x10003))
    parms = message.get_attr("TCA_OPTIONS").get_attr("TCA_HTB_PARMS")
    assert (message["handle"], message["parent"]) == (0x10003, 0x10000)
    assert parms["rate"] == parms["ceil"] == 0xFFFFFFFF


def test_netem_s_own_options_are_where_the_kernel_looks() -> None:
    message = decoded(tcmsg, messages.new_netem(4, 0x10003, 0x1020000, Netem(loss=1.0, limit=77).encode(0)))
    options = message.get_attr("TCA_OPTIONS")
    assert (message["handle"], message["parent"], message.get_attr("TCA_KIND")) == (0x1020000, 0x10003, "netem")
    assert (options["limit"], options["loss"]) == (77, 0xFFFFFFFF)


def test_a_filter_reads_the_source_mac() -> None:
    message = decoded(tcmsg, messages.claim(4, 3, MAC, 0x10003))
    options = message.get_attr("TCA_OPTIONS")
    assert options.get_attr("TCA_U32_CLASSID") == 0x10003
    assert message["info"] >> 16 == 3
    raw = messages.claim(4, 3, MAC, 0x10003)
    assert bytes.fromhex("ffffffff021ab000f8ffffff") in raw  # mask, value, offset -8
    assert bytes.fromhex("ffff000000020000fcffffff") in raw  # mask, value, offset -4


def test_counters_come_from_the_statistics_of_a_qdisc() -> None:
    basic = messages.attribute(1, (1500).to_bytes(8, "little") + (12).to_bytes(4, "little") + bytes(4))
    queue = messages.attribute(3, b"".join(number.to_bytes(4, "little") for number in (2, 3000, 5, 0, 0)))
    assert messages.counters({7: basic + queue}) == Counters(sent=12, dropped=5, waiting=2)


@pytest.mark.parametrize("size", range(9))
def test_attributes_are_padded_and_found_again(size: int) -> None:
    data = messages.attribute(3, bytes(size)) + messages.attribute(0x8004, b"end")
    assert list(messages.attributes(data)) == [(3, bytes(size)), (4, b"end")]
