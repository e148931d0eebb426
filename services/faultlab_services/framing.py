"""Codecs between messages and a byte stream: sans-IO, so no sockets and no clock.

| name      | a message on the wire                                   | longest message           |
| --------- | ------------------------------------------------------- | ------------------------- |
| `raw`     | its bytes and nothing else: boundaries are lost          | any                       |
| `line`    | its bytes, then one newline (0x0A); no newline inside    | `max_frame`               |
| `length2` | 2-byte big-endian length, then its bytes (RFC 1035 4.2.2)| 65,535, or `max_frame`    |
| `length4` | 4-byte big-endian length, then its bytes                 | `max_frame`               |
| `varint`  | unsigned LEB128 length (as protobuf), then its bytes     | `max_frame`               |

`max_frame` counts the message's bytes, without prefix or newline. Errors keep the two sides apart:

    FramingError
    ├── LocalError        our own caller asked for something impossible
    └── PeerError         the other side broke the framing
        ├── FrameTooLong  announced (or, in `line`, already sent) more than `max_frame`
        ├── BadPrefix     sent a length that is no length
        └── Truncated     ended the stream inside a frame
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

FRAMINGS: tuple[str, ...] = ("raw", "line", "length2", "length4", "varint")
MAX_FRAME_BYTES = 65536

_LENGTH2_MAX = 0xFFFF
_VARINT_MAX_BYTES = 10  # 64 bits of 7 each; protobuf's limit too
_NEWLINE = b"\n"


class FramingError(Exception):
    """The root; never raised itself."""


class LocalError(FramingError):
    """Our own caller asked for something this framing cannot carry."""


class PeerError(FramingError):
    """The other side broke the framing. `complete` holds the messages that the same `feed` finished before."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.complete: list[bytes] = []


class FrameTooLong(PeerError):
    """A frame over the limit, noticed when it is announced."""


class BadPrefix(PeerError):
    """A length prefix that is no length."""


class Truncated(PeerError):
    """The stream ended inside a frame."""


class Decoder(ABC):
    """Takes the stream in pieces of any size and gives back whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Bytes held of a frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes, in order. Raises `FrameTooLong` or `BadPrefix`."""
        self._buffer += data
        messages: list[bytes] = []
        position = 0
        try:
            while (found := self._next(position)) is not None:
                message, position = found
                messages.append(message)
        except PeerError as error:
            error.complete = messages
            raise
        finally:
            del self._buffer[:position]
        return messages

    def close(self) -> None:
        """The stream has ended. Raises `Truncated` when it ended inside a frame."""
        if self._buffer:
            raise Truncated(f"the stream ended inside a frame, {len(self._buffer)} bytes into it")

    @abstractmethod
    def _next(self, position: int) -> tuple[bytes, int] | None:
        """The message that starts at `position` and the position after it; None until it is all there."""


class Codec(ABC):
    """One framing with its limit."""

    def __init__(self, name: str, max_frame: int) -> None:
        self.name = name
        self.max_frame = max_frame

    def encode(self, message: bytes) -> bytes:
        """The frame that carries `message`. Raises `LocalError` when this framing cannot carry it."""
        if len(message) > self.max_frame:
            raise LocalError(f"a message of {len(message)} bytes is over {self.name}'s limit of {self.max_frame}")
        return self._frame(message)

    @abstractmethod
    def decoder(self) -> Decoder:
        """A decoder for one stream."""

    @abstractmethod
    def _frame(self, message: bytes) -> bytes:
        """The frame around a message that is known to fit."""


class _RawDecoder(Decoder):
    def _next(self, position: int) -> tuple[bytes, int] | None:
        if position == len(self._buffer):
            return None
        return bytes(self._buffer[position:]), len(self._buffer)


class _RawCodec(Codec):
    def encode(self, message: bytes) -> bytes:
        return message

    def decoder(self) -> Decoder:
        return _RawDecoder()

    def _frame(self, message: bytes) -> bytes:
        return message


class _LineDecoder(Decoder):
    def __init__(self, max_frame: int) -> None:
        super().__init__()
        self._max_frame = max_frame
        self._searched = 0  # how much of the buffer is known to hold no newline

    def _next(self, position: int) -> tuple[bytes, int] | None:
        end = self._buffer.find(_NEWLINE, position + self._searched)
        length = (len(self._buffer) if end < 0 else end) - position
        self._searched = 0 if end >= 0 else length
        if length > self._max_frame:
            raise FrameTooLong(f"a line of more than {self._max_frame} bytes")
        return None if end < 0 else (bytes(self._buffer[position:end]), end + 1)


class _LineCodec(Codec):
    def decoder(self) -> Decoder:
        return _LineDecoder(self.max_frame)

    def _frame(self, message: bytes) -> bytes:
        if _NEWLINE in message:
            raise LocalError("a line message cannot hold a newline")
        return message + _NEWLINE


ReadPrefix = Callable[[bytearray, int], tuple[int, int] | None]
"""(buffer, position) -> (length announced, position of the message), or None until the prefix is all there."""


class _PrefixDecoder(Decoder):
    def __init__(self, read_prefix: ReadPrefix, max_frame: int) -> None:
        super().__init__()
        self._read_prefix = read_prefix
        self._max_frame = max_frame

    def _next(self, position: int) -> tuple[bytes, int] | None:
        prefix = self._read_prefix(self._buffer, position)
        if prefix is None:
            return None
        length, start = prefix
        if length > self._max_frame:
            raise FrameTooLong(f"a frame of {length} bytes announced, over the limit of {self._max_frame}")
        end = start + length
        return None if end > len(self._buffer) else (bytes(self._buffer[start:end]), end)


class _LengthCodec(Codec):
    def __init__(self, name: str, width: int, max_frame: int) -> None:
        super().__init__(name, max_frame)
        self._width = width

    def decoder(self) -> Decoder:
        return _PrefixDecoder(self._read_prefix, self.max_frame)

    def _frame(self, message: bytes) -> bytes:
        return len(message).to_bytes(self._width, "big") + message

    def _read_prefix(self, buffer: bytearray, position: int) -> tuple[int, int] | None:
        start = position + self._width
        if start > len(buffer):
            return None
        return int.from_bytes(buffer[position:start], "big"), start


class _VarintCodec(Codec):
    def decoder(self) -> Decoder:
        return _PrefixDecoder(_read_varint, self.max_frame)

    def _frame(self, message: bytes) -> bytes:
        return _varint(len(message)) + message


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _read_varint(buffer: bytearray, position: int) -> tuple[int, int] | None:
    number = 0
    for index, digit in enumerate(buffer[position : position + _VARINT_MAX_BYTES]):
        number |= (digit & 0x7F) << (7 * index)
        if digit < 0x80:
            return number, position + index + 1
    if len(buffer) - position >= _VARINT_MAX_BYTES:
        raise BadPrefix(f"a varint length of more than {_VARINT_MAX_BYTES} bytes")
    return None


def codec(name: str, max_frame: int = MAX_FRAME_BYTES) -> Codec:
    """The framing called `name`; `max_frame` is the longest message in bytes. Raises `LocalError`."""
    if max_frame < 1:
        raise LocalError(f"a frame limit of {max_frame} bytes: expected at least 1")
    match name:
        case "raw":
            return _RawCodec(name, max_frame)
        case "line":
            return _LineCodec(name, max_frame)
        case "length2":
            return _LengthCodec(name, 2, min(max_frame, _LENGTH2_MAX))
        case "length4":
            return _LengthCodec(name, 4, max_frame)
        case "varint":
            return _VarintCodec(name, max_frame)
        case _:
            raise LocalError(f"no framing called {name!r}: expected one of {', '.join(FRAMINGS)}")
