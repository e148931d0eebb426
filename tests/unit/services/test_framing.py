import random

import pytest
from faultlab_services.framing import (
    FRAMINGS,
    BadPrefix,
    Codec,
    Decoder,
    FrameTooLong,
    LocalError,
    PeerError,
    Truncated,
    codec,
)
from hypothesis import given
from hypothesis import strategies as st

FRAMED = tuple(name for name in FRAMINGS if name != "raw")
MESSAGES = [b"", b"a", b"hello world", b"\x00\xff\r" * 50, b"x" * 300, b"", b"end"]

# Written by hand, so that a bug in the codec cannot hide behind itself.
GOLDEN = [
    ("raw", b"hi", b"hi"),
    ("line", b"", b"\n"),
    ("line", b"hi\r", b"hi\r\n"),
    ("length2", b"", b"\x00\x00"),
    ("length2", b"hi", b"\x00\x02hi"),
    ("length2", b"a" * 258, b"\x01\x02" + b"a" * 258),
    ("length2", b"a" * 65535, b"\xff\xff" + b"a" * 65535),
    ("length4", b"", b"\x00\x00\x00\x00"),
    ("length4", b"hi", b"\x00\x00\x00\x02hi"),
    ("length4", b"a" * 65536, b"\x00\x01\x00\x00" + b"a" * 65536),
    ("varint", b"", b"\x00"),
    ("varint", b"hi", b"\x02hi"),
    ("varint", b"a" * 127, b"\x7f" + b"a" * 127),
    ("varint", b"a" * 128, b"\x80\x01" + b"a" * 128),
    ("varint", b"a" * 300, b"\xac\x02" + b"a" * 300),
]


def joined(coder: Codec, messages: list[bytes]) -> bytes:
    return b"".join(coder.encode(message) for message in messages)


def fed(decoder: Decoder, *pieces: bytes) -> list[bytes]:
    return [message for piece in pieces for message in decoder.feed(piece)]


def outcome(decoder: Decoder, pieces: list[bytes]) -> tuple[list[bytes], type[PeerError] | None]:
    """The messages, and the error that ended them: the same however the stream was cut."""
    messages: list[bytes] = []
    try:
        for piece in pieces:
            messages += decoder.feed(piece)
        decoder.close()
    except PeerError as error:
        return messages + error.complete, type(error)
    return messages, None


@pytest.mark.parametrize(("name", "message", "wire"), GOLDEN)
def test_golden_bytes(name: str, message: bytes, wire: bytes) -> None:
    assert codec(name).encode(message) == wire
    assert codec(name).decoder().feed(wire) == [message]


@pytest.mark.parametrize("name", FRAMED)
def test_whole(name: str) -> None:
    coder = codec(name)
    decoder = coder.decoder()
    assert decoder.feed(joined(coder, MESSAGES)) == MESSAGES
    decoder.close()


@pytest.mark.parametrize("name", FRAMED)
def test_byte_by_byte(name: str) -> None:
    coder = codec(name)
    decoder = coder.decoder()
    wire = joined(coder, MESSAGES)
    assert fed(decoder, *(wire[i : i + 1] for i in range(len(wire)))) == MESSAGES
    decoder.close()


@pytest.mark.parametrize("name", FRAMED)
def test_every_split_point(name: str) -> None:
    coder = codec(name)
    wire = joined(coder, MESSAGES)
    for cut in range(len(wire) + 1):
        decoder = coder.decoder()
        assert fed(decoder, wire[:cut], wire[cut:]) == MESSAGES
        decoder.close()


@pytest.mark.parametrize("name", FRAMED)
def test_trailing_data_waits_for_its_rest(name: str) -> None:
    coder = codec(name)
    decoder = coder.decoder()
    second = coder.encode(b"second")
    assert decoder.feed(coder.encode(b"first") + second[:-1]) == [b"first"]
    assert decoder.pending_bytes == len(second) - 1
    assert decoder.feed(second[-1:]) == [b"second"]
    assert decoder.pending_bytes == 0


@pytest.mark.parametrize("name", FRAMED)
def test_a_stream_that_ends_inside_a_frame_is_truncated(name: str) -> None:
    coder = codec(name)
    wire = coder.encode(b"message")
    for cut in range(1, len(wire)):
        decoder = coder.decoder()
        decoder.feed(wire[:cut])
        with pytest.raises(Truncated, match=f"{cut} bytes"):
            decoder.close()


def test_raw_keeps_no_boundaries() -> None:
    decoder = codec("raw").decoder()
    assert decoder.feed(b"onetwo") == [b"onetwo"]
    assert decoder.feed(b"") == []
    decoder.close()


@given(
    name=st.sampled_from(FRAMED),
    messages=st.lists(st.binary(max_size=400).map(lambda data: data.replace(b"\n", b""))),
    seed=st.integers(),
)
def test_any_messages_cut_anywhere(name: str, messages: list[bytes], seed: int) -> None:
    coder = codec(name)
    wire = joined(coder, messages)
    generator = random.Random(seed)
    decoder = coder.decoder()
    pieces, rest = [], wire
    while rest:
        size = generator.randint(1, len(rest))
        pieces.append(rest[:size])
        rest = rest[size:]
    assert fed(decoder, *pieces) == messages
    decoder.close()


@given(name=st.sampled_from(FRAMED), garbage=st.binary(max_size=200), cut=st.integers(0, 200))
def test_garbage_means_the_same_however_it_is_cut(name: str, garbage: bytes, cut: int) -> None:
    coder = codec(name, max_frame=20)
    whole = outcome(coder.decoder(), [garbage])
    assert outcome(coder.decoder(), [garbage[:cut], garbage[cut:]]) == whole
    assert outcome(coder.decoder(), [garbage[i : i + 1] for i in range(len(garbage))]) == whole


@pytest.mark.parametrize(
    ("name", "announcement"),
    [
        ("length2", b"\x00\x0b"),
        ("length4", b"\x00\x00\x00\x0b"),
        ("length4", b"\xff\xff\xff\xff"),
        ("varint", b"\x0b"),
        ("varint", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("line", b"a" * 11),
    ],
)
def test_a_frame_over_the_limit_is_refused_at_its_announcement(name: str, announcement: bytes) -> None:
    decoder = codec(name, max_frame=10).decoder()
    with pytest.raises(FrameTooLong, match="10"):
        decoder.feed(announcement)


@pytest.mark.parametrize("name", FRAMED)
def test_a_frame_of_just_the_limit_passes(name: str) -> None:
    coder = codec(name, max_frame=10)
    assert coder.decoder().feed(coder.encode(b"a" * 10)) == [b"a" * 10]
    with pytest.raises(LocalError, match="limit of 10"):
        coder.encode(b"a" * 11)


@pytest.mark.parametrize("name", FRAMED)
def test_messages_before_the_fault_are_handed_over(name: str) -> None:
    coder, roomy = codec(name, max_frame=10), codec(name)
    with pytest.raises(FrameTooLong) as caught:
        coder.decoder().feed(joined(coder, [b"one", b"two"]) + roomy.encode(b"a" * 11))
    assert caught.value.complete == [b"one", b"two"]


@pytest.mark.parametrize("name", FRAMED)
def test_a_broken_stream_stays_broken(name: str) -> None:
    decoder = codec(name, max_frame=10).decoder()
    for _ in range(2):
        with pytest.raises(FrameTooLong):
            decoder.feed(codec(name).encode(b"a" * 11))


def test_a_varint_that_never_ends_is_no_length() -> None:
    with pytest.raises(BadPrefix, match="more than 10 bytes"):
        codec("varint").decoder().feed(b"\x80" * 10)
    assert codec("varint").decoder().feed(b"\x80" * 9) == []


def test_what_the_caller_may_not_ask() -> None:
    with pytest.raises(LocalError, match="newline"):
        codec("line").encode(b"a\nb")
    with pytest.raises(LocalError, match="limit of 65535"):
        codec("length2", max_frame=1 << 20).encode(b"a" * 65536)
    with pytest.raises(LocalError, match="expected one of raw, line"):
        codec("chunked")
    with pytest.raises(LocalError, match="at least 1"):
        codec("line", max_frame=0)
