"""An echo server for length-prefixed frames (two bytes, big endian) that is wrong in the one way it is told.

python tcp_server.py PORT HOW
"""

import asyncio
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator

TURN = 5
"""Every fifth frame of a connection is treated badly."""


def whole(frame: bytes) -> bytes:
    return struct.pack("!H", len(frame)) + frame


class Right:
    """Answers each frame with itself. A wrong one changes one method."""

    def __init__(self, writers: list[asyncio.StreamWriter]) -> None:
        self.writers = writers
        self.count = 0

    def answer(self, frame: bytes) -> Iterator[bytes]:
        self.count += 1
        yield from self.bad(frame) if self.count % TURN == 0 else self.good(frame)

    def good(self, frame: bytes) -> Iterator[bytes]:
        yield whole(frame)

    def bad(self, frame: bytes) -> Iterator[bytes]:
        yield whole(frame)

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()


class Loses(Right):
    def bad(self, frame: bytes) -> Iterator[bytes]:
        return iter(())


class Repeats(Right):
    def bad(self, frame: bytes) -> Iterator[bytes]:
        yield whole(frame) * 2


class Corrupts(Right):
    def bad(self, frame: bytes) -> Iterator[bytes]:
        yield whole(frame[:-1] + bytes([frame[-1] ^ 1]))


class Truncates(Right):
    def bad(self, frame: bytes) -> Iterator[bytes]:
        yield whole(frame[:-3])


class Splits(Right):
    def bad(self, frame: bytes) -> Iterator[bytes]:
        yield whole(frame[:7]) + whole(frame[7:])


class OffByOne(Right):
    """The length says one byte more than there is."""

    def bad(self, frame: bytes) -> Iterator[bytes]:
        yield struct.pack("!H", len(frame) + 1) + frame


class Swaps(Right):
    """Keeps one frame back until the next has been answered."""

    kept = b""

    def good(self, frame: bytes) -> Iterator[bytes]:
        yield whole(frame)
        if self.kept:
            yield whole(self.kept)
            self.kept = b""

    def bad(self, frame: bytes) -> Iterator[bytes]:
        self.kept = frame
        return iter(())


class Merges(Right):
    """Puts one frame in front of the next, as one."""

    kept = b""

    def good(self, frame: bytes) -> Iterator[bytes]:
        yield whole(self.kept + frame)
        self.kept = b""

    def bad(self, frame: bytes) -> Iterator[bytes]:
        self.kept = frame
        return iter(())


class Sticks(Merges):
    """Takes the next frame, with its own length, for a part of the one before."""

    def good(self, frame: bytes) -> Iterator[bytes]:
        yield whole(self.kept + whole(frame)) if self.kept else whole(frame)
        self.kept = b""


class ForgetsTheLast(Right):
    """Answers a frame when the next has come."""

    kept = b""

    def answer(self, frame: bytes) -> Iterator[bytes]:
        if self.kept:
            yield whole(self.kept)
        self.kept = frame


class AnswersAnother(Right):
    """Sends every fifth answer to the client that came last."""

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await super().send(self.writers[-1] if self.count % TURN == 0 else writer, data)


class AnswersTwoAtOnce(Right):
    """Sends a frame's second half before its first."""

    def bad(self, frame: bytes) -> Iterator[bytes]:
        yield whole(frame[len(frame) // 2 :] + frame[: len(frame) // 2])


class StallsAfterAReset(Right):
    """Once a client has reset its connection, no other is served."""

    stalled = False

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while StallsAfterAReset.stalled:
            await asyncio.sleep(1)
        await super().send(writer, data)


WAYS: dict[str, Callable[[list[asyncio.StreamWriter]], Right]] = {
    "right": Right,
    "loses": Loses,
    "repeats": Repeats,
    "corrupts": Corrupts,
    "truncates": Truncates,
    "splits": Splits,
    "off-by-one": OffByOne,
    "swaps": Swaps,
    "merges": Merges,
    "sticks": Sticks,
    "forgets-the-last": ForgetsTheLast,
    "answers-another": AnswersAnother,
    "turns-around": AnswersTwoAtOnce,
    "stalls-after-a-reset": StallsAfterAReset,
    "dies": Right,
    "dies-slowly": Right,
}


def die(slowly: bool) -> None:
    """Its clients may hear of it, and be gone, before it is: so it is where a core dump takes its time."""
    if slowly:
        os.closerange(3, 1024)
        time.sleep(0.5)
        os._exit(7)
    sys.exit(7)


async def main(port: int, how: str) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        server = WAYS[how](writers)
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                for data in server.answer(await reader.readexactly(size)):
                    await server.send(writer, data)
                if how.startswith("dies") and server.count > 2 * TURN:
                    die(slowly=how == "dies-slowly")
        except asyncio.IncompleteReadError:
            writer.close()
        except ConnectionError:
            StallsAfterAReset.stalled = True

    listening = await asyncio.start_server(serve, None, port)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
