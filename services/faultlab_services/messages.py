"""The messages our clients send: each says which it is, and anyone can recompute it.

Message `n` of connection `conn` reads `msg-<conn>-<n>-` and then filler: printable ASCII, no newline, different for
each message. So a check can tell what should have arrived, and a scenario can name one by its bytes (`msg-0-7-`).
"""

import hashlib


def message(conn: int, n: int, size: int) -> bytes:
    """Message `n` of connection `conn` (both from 0), `size` bytes long; cut short when `size` is small."""
    header = b"msg-%d-%d-" % (conn, n)
    missing = size - len(header)
    if missing <= 0:
        return header[:size]
    filler = hashlib.shake_128(header).hexdigest((missing + 1) // 2)
    return header + filler[:missing].encode("ascii")


def message_size(conn: int, n: int, smallest: int, largest: int, seed: int) -> int:
    """The size in bytes of message `n` of connection `conn`: drawn evenly from `smallest`..`largest` by `seed`."""
    key = b"%d/%d/%d" % (seed, conn, n)
    draw = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
    return smallest + draw * (largest - smallest + 1) // 2**64
