"""The engine `toxiproxy`: toxics on the proxies of the real toxiproxy server, through its API.

What to know of it: it works on TCP streams, not packets; its latency counts from each chunk's arrival and can't delay a
handshake; its random toxics follow a global generator that `-seed` does not reach, so a toxicity below 100% is not
reproducible. `place` says so in its answer and in the ledger.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from faultlab.errors import LabFailure, UsageError, reason
from faultlab.faults.toxics import toxic_words

API_PORT = 8474
CALL_SECONDS = 8.0
ApiAnswer = dict[str, Any]
ApiCall = Callable[[str, str, Any], ApiAnswer]
"""Carries (method, path, body) to where `call_here` answers it: into toxiproxy's own node."""
NOT_REPRODUCIBLE = "toxiproxy's random choices follow no seed: this toxic hits other connections in another run"


class ToxicValue(Protocol):
    """What the engine asks of a toxic; see `faultlab.faults.toxics`."""

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
    """The toxiproxy of one lab, by its API: asked in its own node, so nothing is published or passes the wire.

    Each toxic that it sets and clears is in the ledger: a toxic counts whoever asked for it, the runner or a test.
    """

    name = "toxiproxy"

    def __init__(self, ask: ApiCall, ledger: Notebook) -> None:
        self._ask = ask
        self._ledger = ledger

    def version(self) -> str:
        return str(self._call("GET", "/version"))

    def place(self, port: int, toxic: ToxicValue) -> dict[str, Any]:
        """Add one toxic to the proxy that listens on `port`; returns what the server now has of it, and `set_t`.

        UsageError where there is no such proxy or the server refuses the toxic; LabFailure where it does not answer.
        """
        proxy = self._proxy(port)
        wanted = {
            "name": f"{toxic.type}_{toxic.stream}_{len(proxy['toxics'])}",
            "type": toxic.type,
            "stream": toxic.stream,
            "toxicity": toxic.toxicity,
            "attributes": toxic.attributes(),
        }
        made = self._call("POST", f"/proxies/{quote(proxy['name'])}/toxics", wanted)
        note = NOT_REPRODUCIBLE if toxic.toxicity < 1 or toxic.attributes().get("jitter") else None
        known = {"proxy": proxy["name"], "port": port, "note": note, **made}
        placed = {**known, "set_t": self._ledger.now(), "cleared_t": None}
        self._ledger.note("toxic-set", **{name: value for name, value in placed.items() if name != "note"})
        if placed["note"]:
            self._ledger.note("warning", text=placed["note"])
        return placed

    def shown(self) -> list[dict[str, Any]]:
        """All toxics of all proxies, as the server says, each with its `proxy` and the `port` that this listens on."""
        return [
            {"proxy": proxy["name"], "port": _port(proxy), **toxic}
            for proxy in self._call("GET", "/proxies").values()
            for toxic in proxy["toxics"]
        ]

    def standing(self) -> dict[str, list[dict[str, Any]]]:
        """What acts at each proxy now, by `toxiproxy:PORT`, whoever set it; `describe` says it in words."""
        found = {}
        for proxy in self._call("GET", "/proxies").values():
            acts = [{**toxic, "describe": f"toxic {toxic_words(toxic)}"} for toxic in proxy["toxics"]]
            if acts := acts if proxy["enabled"] else [*acts, {"describe": "proxy disabled"}]:
                found[f"toxiproxy:{_port(proxy)}"] = acts
        return found

    def remove(self, placed: dict[str, Any]) -> None:
        """Take one toxic away, by what `place` returned; one that is gone already is fine."""
        if placed["cleared_t"] is not None:
            return
        placed["cleared_t"] = self._ledger.now()  # from here on it is no longer sure to act
        proxy = self._proxy(placed["port"])
        if placed["name"] in [toxic["name"] for toxic in proxy["toxics"]]:
            self._call("DELETE", f"/proxies/{quote(proxy['name'])}/toxics/{quote(placed['name'])}")
        self._ledger.note("toxic-cleared", **{name: placed[name] for name in ("name", "proxy", "set_t", "cleared_t")})

    def _proxy(self, port: int) -> dict[str, Any]:
        proxies = self._call("GET", "/proxies")
        for proxy in proxies.values():
            if _port(proxy) == port:
                return dict(proxy)
        ports: Sequence[str] = sorted(str(_port(proxy)) for proxy in proxies.values())
        raise UsageError(f"no proxy listens on port {port} of toxiproxy; its ports are {', '.join(ports)}")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._ask(method, path, body)
        if answer["status"] >= 400:
            raise UsageError(f"toxiproxy refused: {answer['text'].strip()}")
        return json.loads(answer["text"]) if answer["text"] else None


def _port(proxy: dict[str, Any]) -> int:
    return int(proxy["listen"].rpartition(":")[2])


def call_here(method: str, path: str, body: Any = None) -> ApiAnswer:
    """Ask the toxiproxy of this network namespace: its answer's `status` and `text`. LabFailure where it gives none."""
    channel = http.client.HTTPConnection("127.0.0.1", API_PORT, timeout=CALL_SECONDS)
    try:
        channel.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = channel.getresponse()
        return {"status": answer.status, "text": answer.read().decode()}
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise LabFailure(f"toxiproxy gave no answer: {reason(error)}") from error
    finally:
        channel.close()
