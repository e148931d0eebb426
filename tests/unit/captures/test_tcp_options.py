from __future__ import annotations

import pytest
from faultlab.captures.tcp_options import reports_duplicate, sack_blocks, tcp_options, window_scale


def test_options_between_fillers() -> None:
    assert list(tcp_options(bytes.fromhex("0204 05b4 01 030307 00 030301"))) == [(2, b"\x05\xb4"), (3, b"\x07")]


@pytest.mark.parametrize("data", ["03", "0300", "0301", "0305 0102", "0104"])
def test_options_end_where_one_does_not_fit(data: str) -> None:
    assert list(tcp_options(bytes.fromhex(data))) == []


def test_window_scale() -> None:
    assert window_scale(bytes.fromhex("01 030307")) == 7
    assert window_scale(bytes.fromhex("0303ff")) == 14  # RFC 7323, 2.3
    assert window_scale(bytes.fromhex("020405b4")) is None


def test_sack_blocks() -> None:
    assert sack_blocks(bytes.fromhex("0101 0512 00000064 00000078 0000012c 00000190")) == [(100, 120), (300, 400)]
    assert sack_blocks(bytes.fromhex("050600000064")) == []


def test_which_blocks_are_dsacks() -> None:
    """RFC 2883, 4.1 and 4.2: below the acknowledgement, or within the second block."""
    assert reports_duplicate([(100, 200)], ack=300)
    assert reports_duplicate([(500, 600), (400, 700)], ack=300)
    assert not reports_duplicate([(500, 600), (700, 800)], ack=300)
    assert not reports_duplicate([], ack=300)
    assert reports_duplicate([(0xFFFFFF00, 0xFFFFFFF0)], ack=5)
