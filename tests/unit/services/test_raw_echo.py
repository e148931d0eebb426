import pytest
from faultlab_services.framing import PeerError, Truncated
from faultlab_services.journal import digest
from faultlab_services.raw_echo import GREETING, RawEchoDecoder, answer
from hypothesis import given
from hypothesis import strategies as st


def stream(*chunks: bytes) -> bytes:
    return GREETING + b"".join(answer(chunk) for chunk in chunks)


def test_golden_bytes() -> None:
    assert GREETING == b"Welcome to the raw TCP server!\r\n"
    assert answer(b"hi") == b"You said: hi\r\n"


@pytest.mark.parametrize(
    ("chunks", "stuck", "split"),
    [
        ([b"one", b"three", b"four"], 0, 0),
        ([b"onethree", b"four"], 1, 0),
        ([b"onethreefour"], 2, 0),
        ([b"o", b"ne", b"three", b"four"], 0, 1),
        ([b"o", b"n", b"e", b"three", b"fo", b"ur"], 0, 2),
        ([b"onet", b"hreefour"], 2, 1),
        ([b"onet", b"hr", b"eef", b"our"], 2, 2),
    ],
)
def test_messages_that_stuck_together_or_were_split(chunks: list[bytes], stuck: int, split: int) -> None:
    decoder = RawEchoDecoder([3, 5, 4])
    assert decoder.feed(stream(*chunks)) == [b"one", b"three", b"four"]
    assert (decoder.stuck, decoder.split) == (stuck, split)
    assert (decoder.echoed_bytes, decoder.echoed_digest) == (12, digest(b"onethreefour"))
    decoder.close()


@given(st.data())
def test_the_same_however_it_is_cut(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 20), min_size=1))
    sent = bytes(97 + index % 26 for index in range(sum(sizes)))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(sent) - 1, 1)))))
    chunks = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True) if start < end]
    wire = stream(*chunks)
    whole, pieces = RawEchoDecoder(sizes), RawEchoDecoder(sizes)
    messages = whole.feed(wire)
    assert b"".join(messages) == sent
    assert [len(message) for message in messages] == sizes
    assert [m for i in range(len(wire)) for m in pieces.feed(wire[i : i + 1])] == messages
    assert (whole.stuck, whole.split) == (pieces.stuck, pieces.split)
    whole.close()


def test_a_stream_that_is_not_the_servers() -> None:
    with pytest.raises(PeerError, match="greeted with"):
        RawEchoDecoder([1]).feed(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(PeerError, match="does not start with") as caught:
        RawEchoDecoder([1, 1]).feed(stream(b"a") + b"You sad: b\r\n")
    assert caught.value.complete == [b"a"]


def test_an_end_inside_an_answer_and_surplus_bytes() -> None:
    decoder = RawEchoDecoder([3])
    decoder.feed(stream(b"one")[:-1])
    with pytest.raises(Truncated, match="14 bytes"):
        decoder.close()
    surplus = RawEchoDecoder([3])
    assert surplus.feed(stream(b"oneone")) == [b"one"]
    with pytest.raises(PeerError, match="3 bytes more"):
        surplus.close()
