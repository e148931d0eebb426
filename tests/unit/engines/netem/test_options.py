"""netem's options: bytes on literals, tables by their moments."""

from struct import Struct, unpack_from

import pytest
from faultlab.engines.netem.messages import attributes
from faultlab.engines.netem.options import DISTRIBUTIONS, TABLE_SIZE, TABLE_UNIT, Burst, Netem, delay_table

FIXED = Struct("=6I")


def decoded(netem: Netem, seed: int = 0) -> tuple[tuple[int, ...], dict[int, bytes]]:
    data = netem.encode(seed)
    return FIXED.unpack_from(data), dict(attributes(data[FIXED.size :]))


def test_an_idle_netem_says_that_every_option_is_off() -> None:
    fixed, fields = decoded(Netem())
    assert fixed == (0, 32_768, 0, 0, 0, 0)
    assert fields[1] == bytes(12)  # no correlation
    assert fields[3] == fields[4] == bytes(8)  # no reordering, no corruption
    assert fields[6] == bytes(16)  # no rate
    assert fields[10] == fields[11] == bytes(8)  # no latency, no jitter
    assert 5 not in fields  # without a loss model, netem goes back to plain loss by itself


def test_delay_and_jitter_go_out_in_nanoseconds_and_in_64_ns_ticks_for_old_kernels() -> None:
    fixed, fields = decoded(Netem(delay=20_000_000, jitter=5_000_000))
    assert (fixed[0], fixed[5]) == (312_500, 78_125)
    assert unpack_from("=q", fields[10]) == (20_000_000,)
    assert unpack_from("=q", fields[11]) == (5_000_000,)


def test_chances_fill_32_bits() -> None:
    fixed, fields = decoded(Netem(loss=1.0, duplicate=0.5, reorder=0.25, gap=3, corrupt=0.1))
    assert fixed[2:5] == (0xFFFFFFFF, 3, 0x80000000)
    assert unpack_from("=II", fields[3]) == (0x40000000, 0)
    assert unpack_from("=II", fields[4]) == (429_496_730, 0)


def test_gilbert_elliott_has_the_chance_of_staying_whole_in_the_bad_state() -> None:
    _, fields = decoded(Netem(burst=Burst(to_bad=0.25, to_good=0.5, loss_in_bad=1.0, loss_in_good=0.0)))
    model = dict(attributes(fields[5]))
    assert unpack_from("=4I", model[2]) == (0x40000000, 0x80000000, 0, 0)


def test_a_rate_over_32_bits_has_its_own_attribute() -> None:
    _, slow = decoded(Netem(rate=125_000))
    assert unpack_from("=I", slow[6]) == (125_000,)
    assert 8 not in slow
    _, fast = decoded(Netem(rate=10**10))
    assert unpack_from("=I", fast[6]) == (0xFFFFFFFF,)
    assert unpack_from("=Q", fast[8]) == (10**10,)


def test_the_seed_goes_out_whole() -> None:
    assert unpack_from("=Q", decoded(Netem(), seed=2**63 + 5)[1][14]) == (2**63 + 5,)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_tables_are_centred_and_as_wide_as_the_jitter(name: str) -> None:
    values = [value / TABLE_UNIT for value in Struct(f"={TABLE_SIZE}h").unpack(delay_table(name))]
    assert sum(values) / TABLE_SIZE == pytest.approx(0, abs=0.05)
    if name == "uniform":
        assert (min(values), max(values)) == (pytest.approx(-1, abs=0.001), pytest.approx(1, abs=0.001))
    else:
        deviation = (sum(value**2 for value in values) / TABLE_SIZE) ** 0.5
        assert 0.7 < deviation < 1.05  # pareto's tail is cut off where 16 bits end


def test_least_delay_is_only_known_where_jitter_is_bounded() -> None:
    assert Netem(delay=20, jitter=5).least_delay == 15
    assert Netem(delay=5, jitter=20).least_delay == 0
    assert Netem(delay=20, jitter=5, distribution="normal").least_delay == 0
