"""The raw TCP server's answers, read back: sans-IO.

The server answers each chunk it reads, and TCP keeps no boundaries: two sends may come back as one answer (they
stuck together), one send as several (it was split). What must hold all the same is the stream: the chunks, joined,
are the bytes that were sent. Our clients send neither CR nor LF, so the end of an answer is certain.
"""

import hashlib
from collections.abc import Iterable

from faultlab_services.framing import PeerError, Truncated
from faultlab_services.journal import DIGEST_BYTES

GREETING = b"Welcome to the raw TCP server!\r\n"
PREFIX = b"You said: "
SUFFIX = b"\r\n"


def answer(chunk: bytes) -> bytes:
    """What the raw server answers to one chunk."""
    return PREFIX + chunk + SUFFIX


class RawEchoDecoder:
    """Turns the server's stream back into messages, whose `sizes` in bytes the sender knows.

    `stuck` counts the messages that shared an answer with the one before them, `split` the messages that came back
    in more than one answer.
    """

    def __init__(self, sizes: Iterable[int]) -> None:
        self.stuck = 0
        self.split = 0
        self.echoed_bytes = 0
        self._sizes = iter(sizes)
        self._size = next(self._sizes, None)
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._buffer = bytearray()
        self._stream = bytearray()
        self._greeted = False

    @property
    def echoed_digest(self) -> str:
        """Digest of the whole echoed stream so far."""
        return self._digest.hexdigest()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes. Raises `PeerError` when this is no raw server's stream."""
        self._buffer += data
        messages: list[bytes] = []
        while (end := self._buffer.find(SUFFIX)) >= 0:
            reply = bytes(self._buffer[: end + len(SUFFIX)])
            del self._buffer[: end + len(SUFFIX)]
            try:
                messages += self._take(reply)
            except PeerError as error:
                error.complete = messages
                raise
        return messages

    def close(self) -> None:
        """The stream has ended. Raises `Truncated` when it ended inside an answer, `PeerError` on surplus bytes."""
        if self._buffer:
            raise Truncated(f"the stream ended inside an answer, {len(self._buffer)} bytes into it")
        if self._size is None and self._stream:
            raise PeerError(f"{len(self._stream)} bytes more came back than were sent")

    def _take(self, reply: bytes) -> list[bytes]:
        if not self._greeted:
            if reply != GREETING:
                raise PeerError(f"greeted with {reply[:40]!r}")
            self._greeted = True
            return []
        if not reply.startswith(PREFIX):
            raise PeerError(f"answered {reply[:40]!r}, which does not start with {PREFIX!r}")
        return self._split_chunk(reply[len(PREFIX) : -len(SUFFIX)])

    def _split_chunk(self, chunk: bytes) -> list[bytes]:
        self._digest.update(chunk)
        self.echoed_bytes += len(chunk)
        self._stream += chunk
        continued = len(self._stream) > len(chunk)
        messages: list[bytes] = []
        while self._size is not None and len(self._stream) >= self._size:
            messages.append(bytes(self._stream[: self._size]))
            del self._stream[: self._size]
            self._size = next(self._sizes, None)
        self._count(continued, len(messages))
        return messages

    def _count(self, continued: bool, completed: int) -> None:
        begun = self._size is not None and bool(self._stream)
        self.stuck += max(completed + begun - 1, 0)
        if begun and (completed or not continued):
            self.split += 1
