"""Which packets a fault touches: by protocol, port, TCP flags, payload, place in the stream, number, time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from faultlab.network.packets import ACK, FIN, FLAG_NAMES, PSH, RST, SYN, TCP, UDP, URG, Packet
from faultlab.units import Milliseconds, quantity_text


def numbering() -> Callable[[Packet], int]:
    """Counts the packets of a flow that it is asked about, from 1; a packet's copies bear its number."""
    count = last = 0

    def number(packet: Packet) -> int:
        nonlocal count, last
        if packet.ordinal != last:
            count, last = count + 1, packet.ordinal
        return count

    return number


Selected = Callable[[Packet, int], bool]
"""(packet, ns since the fault was set) -> is it meant. Counts per flow where `which` asks for it."""


def _numbers(value: Any) -> Any:
    """`first`, `3` and `[3, 4]` all say which."""
    if value == "first":
        return (1,)
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    return value


Ordinals = Annotated[
    tuple[Annotated[int, Field(ge=1, strict=True)], ...],
    BeforeValidator(_numbers, json_schema_input_type=Literal["first"] | int | list[int]),
    Field(min_length=1),
]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]

StreamByte = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class Match(BaseModel):
    """All conditions must hold; no condition means every packet.

    Fields:
        protocol: `tcp`, `udp`; other packets (ICMP, later IP fragments) match only where none is asked.
        port: either end's port. source_port, target_port: that end's.
        tcp: flags such as `syn+ack`. Those named are set; SYN, FIN and RST not named are clear; `syn` alone has no ACK.
        data: only packets with (true) or without (false) payload.
        payload: the payload contains this text (UTF-8).
        stream: [first, last] bytes of the TCP stream, counted from 0; a segment that holds any of them matches. Beyond
            4 GiB the count starts again, as sequence numbers do.
        which: the numbers, from 1, of the packets meant, among those of one flow that fit all else.
        after_ms, until_ms: the time window, counted from when the fault was set.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=lambda name: name.removesuffix("_ms"),
        allow_inf_nan=False,
    )

    protocol: Literal["tcp", "udp"] | None = None
    port: Port | None = None
    source_port: Port | None = None
    target_port: Port | None = None
    tcp: str | None = None
    data: bool | None = None
    payload: Annotated[str, Field(min_length=1)] | None = None
    stream: tuple[StreamByte, StreamByte] | None = None
    which: Ordinals | None = None
    after_ms: Milliseconds = 0.0
    until_ms: Milliseconds | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Match:
        if self.tcp is not None:
            parse_flags(self.tcp)
        if self.protocol == "udp" and (self.tcp is not None or self.stream is not None):
            raise ValueError("protocol udp has neither TCP flags nor a stream; drop one of the two")
        if self.stream is not None and self.stream[0] > self.stream[1]:
            raise ValueError(f"stream {list(self.stream)}: expected [first byte, last byte], first <= last")
        if self.until_ms is not None and self.until_ms <= self.after_ms:
            raise ValueError("until must come after 'after'")
        return self

    def selector(self) -> Selected | None:
        """A fresh selector for one flow; None where every packet is meant, so that an engine need not ask."""
        tests = self._tests()
        if self.which is not None:
            return _counted(tests, frozenset(self.which))
        if not tests:
            return None
        return lambda packet, now_ns: all(test(packet, now_ns) for test in tests)

    def _tests(self) -> list[Selected]:
        tests: list[Selected] = []
        if self.after_ms or self.until_ms is not None:
            start = round(self.after_ms * 1e6)
            end = round(self.until_ms * 1e6) if self.until_ms is not None else 2**63
            tests.append(lambda packet, now_ns: start <= now_ns < end)
        if self.protocol is not None:
            number = {"tcp": TCP, "udp": UDP}[self.protocol]
            tests.append(lambda packet, now_ns: packet.protocol == number)
        if self.port is not None:
            tests.append(lambda packet, now_ns: self.port in (packet.source_port, packet.target_port))
        if self.source_port is not None:
            tests.append(lambda packet, now_ns: packet.source_port == self.source_port)
        if self.target_port is not None:
            tests.append(lambda packet, now_ns: packet.target_port == self.target_port)
        if self.tcp is not None:
            wanted, mask = parse_flags(self.tcp)
            tests.append(lambda packet, now_ns: packet.protocol == TCP and packet.flags & mask == wanted)
        if self.data is not None:
            tests.append(lambda packet, now_ns: (packet.payload_at < packet.payload_end) == self.data)
        if self.payload is not None:
            text = self.payload.encode()
            tests.append(lambda packet, now_ns: text in packet.payload)
        if self.stream is not None:
            first, last = self.stream
            tests.append(lambda packet, now_ns: _overlaps(packet, first, last))
        return tests

    def describe(self) -> str:
        """The conditions that are set, in one phrase."""
        given = [(name, value) for name, value in self if value != type(self).model_fields[name].default]
        return ", ".join(" ".join(quantity_text(name, value)) for name, value in given)


def _counted(tests: list[Selected], which: frozenset[int]) -> Selected:
    number = numbering()
    return lambda packet, now_ns: all(test(packet, now_ns) for test in tests) and number(packet) in which


def _overlaps(packet: Packet, first: int, last: int) -> bool:
    size = packet.payload_end - packet.payload_at
    return packet.stream_at >= 0 and size > 0 and packet.stream_at <= last and packet.stream_at + size > first


def parse_flags(text: str) -> tuple[int, int]:
    """`syn+ack` -> (flags that must be set, mask of the flags that are looked at). ValueError names a bad word."""
    wanted = 0
    for word in text.lower().split("+"):
        if word.strip() not in FLAG_NAMES:
            raise ValueError(
                f"TCP flags {text!r}: {word!r} is none of {', '.join(FLAG_NAMES)}; write them as 'syn+ack'"
            )
        wanted |= FLAG_NAMES[word.strip()]
    mask = SYN | FIN | RST | (wanted & (ACK | PSH | URG))
    if wanted & SYN:
        mask |= ACK
    return wanted, mask
