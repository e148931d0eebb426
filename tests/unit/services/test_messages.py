import pytest
from faultlab_services.messages import message, message_size


def test_a_message_says_which_it_is() -> None:
    assert message(0, 7, 100).startswith(b"msg-0-7-")
    assert message(12, 345, 100).startswith(b"msg-12-345-")


def test_golden_message() -> None:
    """Pins the filler (openssl dgst -shake128): captures and journals of old runs must stay recomputable."""
    assert message(0, 7, 24) == b"msg-0-7-34a17f530a72c4d9"


@pytest.mark.parametrize("size", [0, 1, 5, 8, 9, 100, 65507])
def test_it_is_as_long_as_asked_and_printable(size: int) -> None:
    data = message(0, 7, size)
    assert len(data) == size
    assert all(0x20 < byte < 0x7F for byte in data)


def test_messages_differ_beyond_their_header() -> None:
    assert message(0, 1, 100)[8:] != message(0, 2, 100)[8:]
    assert message(0, 1, 100)[8:] != message(1, 1, 100)[8:]


def test_sizes_come_from_the_seed_and_fill_the_range() -> None:
    sizes = [message_size(0, n, 10, 19, seed=1) for n in range(500)]
    assert sizes == [message_size(0, n, 10, 19, seed=1) for n in range(500)]
    assert set(sizes) == set(range(10, 20))
    assert sizes != [message_size(0, n, 10, 19, seed=2) for n in range(500)]


def test_a_range_of_one_size() -> None:
    assert message_size(3, 4, 100, 100, seed=5) == 100
