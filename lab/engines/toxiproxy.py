"""The engine `toxiproxy`: toxics on the proxies of the real toxiproxy server, through toxiproxy-python.

What to know of it: it works on TCP streams, not packets; its latency counts from each chunk's arrival and can't delay a
handshake; its random toxics follow a global generator that `-seed` does not reach, so a toxicity below 100% is not
reproducible. `place` says so in its answer and in the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

import requests
from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from lab.errors import LabFailure, UsageError

NOT_REPRODUCIBLE = "toxiproxy's random choices follow no seed: this toxic hits other connections in another run"

_ONE_SERVER = threading.Lock()
"""toxiproxy-python keeps the server's address on a class, so calls to different servers take turns."""


class ToxicValue(Protocol):
    """What the engine asks of a toxic; see `lab.faults.toxics`."""

    type: Any
    stream: Any

    @property
    def toxicity(self) -> float:
        """0 to 1: the share of connections that it hits."""

    def attributes(self) -> dict[str, Any]:
        """In toxiproxy's own names and units."""


class Notebook(Protocol):
    """Where the engine writes down what it set and cleared: the lab's ledger."""

    def now(self) -> int:
        """The time on the ledger's clock, in monotonic ns."""

    def note(self, kind: str, **fields: object) -> None: ...


class ToxiproxyEngine:
    """The toxiproxy of one lab, by the host address of its API (which never passes the wire).

    Each toxic that it sets and clears is in the ledger: a toxic counts whoever asked for it, the runner or a test.
    """

    name = "toxiproxy"

    def __init__(self, host: str, port: int, ledger: Notebook) -> None:
        self._host = host
        self._port = port
        self._ledger = ledger

    def version(self) -> str:
        return str(self._call(lambda server: server.version()))

    def place(self, port: int, toxic: ToxicValue) -> dict[str, Any]:
        """Add one toxic to the proxy that listens on `port`; returns what the server now has of it, and `set_t`.

        UsageError where there is no such proxy or the server refuses the toxic; LabFailure where it does not answer.
        """

        def add(server: Toxiproxy) -> dict[str, Any]:
            proxy = _proxy(server, port)
            name = f"{toxic.type}_{toxic.stream}_{len(proxy.toxics())}"
            proxy.add_toxic(
                name=name,
                type=toxic.type,
                stream=toxic.stream,
                toxicity=toxic.toxicity,
                attributes=toxic.attributes(),
            )
            placed = proxy.get_toxic(name)
            if placed is None:
                raise LabFailure(f"toxiproxy took {toxic.type} but does not show it")
            note = NOT_REPRODUCIBLE if toxic.toxicity < 1 or toxic.attributes().get("jitter") else None
            return {"proxy": proxy.name, "port": port, "note": note, **vars(placed)}

        placed = {**self._call(add), "set_t": self._ledger.now(), "cleared_t": None}
        self._ledger.note("toxic-set", **{name: value for name, value in placed.items() if name != "note"})
        if placed["note"]:
            self._ledger.note("warning", text=placed["note"])
        return placed

    def shown(self) -> list[dict[str, Any]]:
        """All toxics of all proxies, as the server says, each with its `proxy` and the `port` that this listens on."""

        def look(server: Toxiproxy) -> list[dict[str, Any]]:
            return [
                {"proxy": proxy.name, "port": _port(proxy), **vars(toxic)}
                for proxy in server.proxies().values()
                for toxic in proxy.toxics().values()
            ]

        return list(self._call(look))

    def remove(self, placed: dict[str, Any]) -> None:
        """Take one toxic away, by what `place` returned; one that is gone already is fine."""

        def drop(server: Toxiproxy) -> None:
            proxy = _proxy(server, placed["port"])
            if placed["name"] in proxy.toxics():
                proxy.destroy_toxic(placed["name"])

        if placed["cleared_t"] is not None:
            return
        placed["cleared_t"] = self._ledger.now()  # from here on it is no longer sure to act
        self._call(drop)
        self._ledger.note("toxic-cleared", **{name: placed[name] for name in ("name", "proxy", "set_t", "cleared_t")})

    def _call(self, ask: Any) -> Any:
        with _ONE_SERVER:
            server = Toxiproxy()
            server.update_api_consumer(self._host, self._port)
            try:
                return ask(server)
            except (NotFound, InvalidToxic, ProxyExists) as error:
                raise UsageError(f"toxiproxy refused: {error}") from error
            except (requests.RequestException, ValueError) as error:
                raise LabFailure(f"toxiproxy at {self._host}:{self._port} gave no answer: {error}") from error


def _proxy(server: Toxiproxy, port: int) -> Any:
    proxies = server.proxies()
    for proxy in proxies.values():
        if _port(proxy) == port:
            return proxy
    ports: Sequence[str] = sorted(str(_port(proxy)) for proxy in proxies.values())
    raise UsageError(f"no proxy listens on port {port} of toxiproxy; its ports are {', '.join(ports)}")


def _port(proxy: Any) -> int:
    return int(proxy.listen.rpartition(":")[2])
