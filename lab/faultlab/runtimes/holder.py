"""What every lab's supervisor does for those who want the lab: a lifeline to the first, a control socket for all."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from faultlab.errors import LabError, LabFailure, as_message
from faultlab.network.plan import Plan
from faultlab.runtimes import control
from faultlab.runtimes.children import Processes
from faultlab.runtimes.control import KEEP

DYING_SECONDS = 1.0
"""What may pass between a service's last sign and its end: the rest of its program, a core dump."""


class Holder:
    """Holds a lab until it is told to stop, its starter is gone without having said `keep`, or it fails.

    A runtime's supervisor says what its orders are (`_carry_out`), what a process's end means (`_process_ended`),
    and whether all of its services are there (`_all_listen`).
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder_of_asker = str(Path.cwd())
        self._failure: str | None = None
        self._part: str | None = None
        self._stopping = False
        self._finished: dict[str, Any] | None = None
        self._lifeline = socket.socket(fileno=plan.lifeline)
        self._control = socket.socket(fileno=plan.control)
        self._control.setblocking(False)
        self._processes = Processes(Path(plan.evidence or ".") / "log", self._process_ended, self._stop_soon)
        self._processes.listen(self._lifeline, self._lifeline_moved)
        self._processes.listen(self._control, self._accept)

    def made_by(self) -> dict[str, str]:
        """Whose the lab is, for its status: the installation that it is of, and where it was asked for."""
        return {"installation": control.INSTALLATION, "folder": self._folder_of_asker}

    def tell(self, **message: Any) -> None:
        """A line to the program that asked for this lab, if it still listens."""
        try:
            self._lifeline.send(json.dumps(message).encode())
        except OSError:
            self._stopping = True

    def last_word(self, **message: Any) -> None:
        """Why the lab did not stand, when nothing of it is left: its name is free for whoever hears it and tries again.

        The kernel would free it too, but closes what a process had in no promised order.
        """
        self._processes.ignore(self._control)
        self._control.close()
        self.tell(**message)

    def failed(self, reason: str, part: str | None = None) -> str:
        """Note why the lab ends, and which part of it ended; returns the first reason there was."""
        if self._failure is None:
            self._failure, self._part = reason, part
        self._stopping = True
        return self._failure

    def ended(self, name: str, how: str, last_words: str, what: str = "") -> str:
        """That a part of the lab ended, and so the lab; for people."""
        guests = {service.name for service in self._plan.services if service.families is not None}
        hint = "; one that goes on in the background counts as ended: keep it in the foreground"
        background = hint if name in guests and how == "exit status 0" else ""
        return f"{what}{name} ended ({how}), so the lab ended{last_words}{background}"

    def _check_whole(self) -> None:
        """LabFailure where a part of the lab has ended: what it would answer meanwhile is no lab's answer."""
        if self._failure is not None:
            raise LabFailure(self._failure)

    def _await_the_dying(self) -> None:
        """A part that stopped listening before it was told to end may be ending by itself: LabFailure where it does."""
        if not self._all_listen():
            self._processes.wait_until(lambda: self._stopping, DYING_SECONDS)
        self._check_whole()

    def leave_word(self, reason: str, end: dict[str, Any]) -> None:
        """Why the lab ended, beside its evidence."""
        if self._plan.evidence is not None:
            word = {"reason": reason, "part": self._part, **end}
            with suppress(OSError):  # no room for it: whoever looks for it says so
                (Path(self._plan.evidence) / "end.json").write_text(json.dumps(word) + "\n")

    def _process_ended(self, name: str, how: str) -> None:
        raise NotImplementedError

    def _all_listen(self) -> bool:
        """Whether each service still listens on its ports; no where that can't be found out."""
        raise NotImplementedError

    def _carry_out(self, order: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """The answer to an order; descriptors to hand out with it go into `fds`. LabError where it can't be done."""
        raise NotImplementedError

    def _stop_soon(self) -> None:
        self._stopping = True

    def _lifeline_moved(self) -> None:
        """The program that wanted the lab said `keep`: the lab stays without it; or it is gone: so is the lab."""
        try:
            word = self._lifeline.recv(64)
        except ConnectionResetError:
            word = b""
        if word != KEEP:
            self._stopping = True
        self._processes.ignore(self._lifeline)
        self._lifeline.close()

    def _accept(self) -> None:
        channel = control.accept(self._control)
        if channel is None:
            return
        channel.settimeout(5)
        if control.same_user(channel):
            self._processes.listen(channel, lambda: self._hear(channel))
        else:
            channel.close()

    def _hear(self, channel: socket.socket) -> None:
        """Only once there is something to hear: who says nothing keeps nobody waiting."""
        self._processes.ignore(channel)
        try:
            order, _ = control.receive(channel)
        except OSError:
            order = None  # the asker left; nothing of the lab depends on it
        if order is None:
            channel.close()
        else:
            self._take(channel, order)

    def _take(self, channel: socket.socket, order: dict[str, Any]) -> None:
        """One order, one answer, and the connection is over."""
        fds: list[int] = []
        try:
            self._check_whole()
            answer = self._carry_out(order, fds)
        except LabError as error:
            answer = as_message(error)
        try:
            with channel:
                control.answer(channel, answer, fds)
        except OSError:
            return  # the asker left, as above
        finally:
            for fd in fds:
                os.close(fd)
