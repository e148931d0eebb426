import dns.name
import pytest
from faultlab_services.dns_faults import FaultPlan, parse_fault
from faultlab_services.errors import ServiceUsageError

LAB = dns.name.from_text("lab.")
HOST = dns.name.from_text("tcp-server.lab.")
OTHER = dns.name.from_text("udp-server.lab.")


def plan(*faults: str, seed: int = 1) -> FaultPlan:
    return FaultPlan([parse_fault(fault) for fault in faults], seed, LAB)


def struck(a_plan: FaultPlan, name: dns.name.Name = HOST, times: int = 1000) -> list[bool]:
    return [bool(a_plan.strike(name, "A")) for _ in range(times)]


def test_what_can_be_written() -> None:
    late = parse_fault("delay=200ms@tcp-server")
    assert (late.kind, late.delay_s, late.probability, late.name) == ("delay", 0.2, 1.0, "tcp-server")
    assert parse_fault("drop=20%").probability == pytest.approx(0.2)
    assert parse_fault("servfail").probability == 1.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slow", "expected one of delay, drop, servfail, truncate, wrong-id"),
        ("delay", "fault 'delay': '' is not a time"),
        ("delay=200", "write 200ms or 200s"),
        ("drop=20", "write 20%"),
        ("drop=", "is not a percentage"),
        ("drop@", "a name is missing after @"),
    ],
)
def test_nonsense_is_named(text: str, says: str) -> None:
    with pytest.raises(ServiceUsageError, match=says):
        parse_fault(text)


def test_the_same_seed_decides_the_same_whatever_else_is_asked() -> None:
    alone, busy = plan("drop=50%"), plan("drop=50%")
    mixed = []
    for _ in range(1000):
        busy.strike(OTHER, "A")
        mixed.append(bool(busy.strike(HOST, "A")))
        busy.strike(HOST, "AAAA")
    assert struck(alone) == mixed
    assert struck(plan("drop=50%", seed=2)) != mixed


def test_the_share_is_what_was_asked() -> None:
    # 1,000 draws at 20%: six standard deviations are 76.
    assert 124 <= sum(struck(plan("drop=20%"))) <= 276
    assert all(struck(plan("drop")))
    assert not any(struck(plan("drop=0%")))


def test_a_name_limits_it_bare_or_in_the_zone() -> None:
    assert all(struck(plan("drop@tcp-server"), times=3))
    assert all(struck(plan("drop@tcp-server.lab."), times=3))
    assert all(struck(plan("drop@tcp-server"), dns.name.from_text("TCP-SERVER."), times=3))
    assert not any(struck(plan("drop@tcp-server"), OTHER, times=3))


def test_case_does_not_change_the_ordinal() -> None:
    lower, mixed = plan("drop=50%"), plan("drop=50%")
    upper = dns.name.from_text("TCP-Server.LAB.")
    assert struck(lower) == [bool(mixed.strike(upper if n % 2 else HOST, "A")) for n in range(1000)]
