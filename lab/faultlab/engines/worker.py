"""An engine's own process and the supervisor: one JSON order in, one JSON answer out."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from faultlab.errors import LabError, LabFailure, as_message, from_message, reason

ANSWER_SECONDS = 10.0


class Worker:
    """The process at the other end of `channel`; made, it waits until that process says that it is ready."""

    def __init__(self, name: str, channel: socket.socket) -> None:
        self._name = name
        self._channel = channel
        self._answer(ANSWER_SECONDS)

    def ask(self, order: dict[str, Any], seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """The LabError that it refuses the order with; LabFailure where it is gone or silent for so long."""
        try:
            self._channel.send(json.dumps(order).encode())
        except OSError as error:
            raise LabFailure(f"the {self._name} is gone: {reason(error)}") from error
        answer = self._answer(seconds)
        if "error" in answer:
            raise from_message(answer)
        return answer

    def _answer(self, seconds: float) -> dict[str, Any]:
        self._channel.settimeout(seconds)
        try:
            data = self._channel.recv(1 << 20)
        except TimeoutError as error:
            # A late answer must not pass for the next order's. The process finds out and ends, and the lab with it.
            self._channel.close()
            raise LabFailure(f"the {self._name} gave no answer within {seconds:g} s") from error
        except ConnectionResetError as error:
            raise LabFailure(f"the {self._name} ended, and had not read its last order") from error
        if not data:
            raise LabFailure(f"the {self._name} ended")
        answer: dict[str, Any] = json.loads(data)
        return answer


def obey(channel: socket.socket, carry_out: Callable[[Mapping[str, Any]], dict[str, object]]) -> bool:
    """In the engine's process: take one order and answer it. False where the supervisor closed the channel."""
    data = channel.recv(1 << 20)
    if not data:
        return False
    try:
        answer = carry_out(json.loads(data))
    except LabError as error:
        answer = as_message(error)
    channel.send(json.dumps(answer).encode())
    return True
