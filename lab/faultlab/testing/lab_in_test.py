"""A lab in a test: with the server under test, an address for clients in the test itself, and proof at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from faultlab.checks import Verdict, run_check
from faultlab.errors import UsageError
from faultlab.evidence.ledger_reader import read_ledger
from faultlab.evidence.run_evidence import Evidence
from faultlab.faults import Fault, fault_to_json
from faultlab.lab.lab import Lab
from faultlab.network import standard_lab
from faultlab.network.plan import Guest
from faultlab.scenario.model import OwnServer
from faultlab.validation import problems
from faultlab.yaml_file import dotted


def own_server(folder: Path, command: Sequence[str] = (), **fields: Any) -> Guest:
    """A server of the user's own; the fields are those of `server` in a scenario. UsageError where they clash.

    A Compose file is found from `folder`, the test's own.
    """
    if fields.get("compose"):
        fields["compose"] = str(folder / str(fields["compose"]))
    try:
        return OwnServer.model_validate({"command": tuple(command) or None, **fields}).guest()
    except ValidationError as error:
        where, text = next(problems(error))
        raise UsageError(f"lab_server: {dotted(where)}{': ' if where else ''}{text}") from error


class TestedLab(Lab):
    """A `Lab` for one test, whose evidence says at the end what the test proved."""

    __test__ = False  # it is no test, whatever its name makes pytest think
    _asked: frozenset[tuple[str, str]] = frozenset()
    """Path and fault of all that the test set, whatever the engine made of it."""

    @classmethod
    def for_test(cls, name: str, *, guest: Guest | None, evidence: Path, **wishes: Any) -> Self:
        """Nodes: the client, the name server and the user's own; without one of those, the standard ones."""
        nodes = standard_lab.NODES if guest is None else ("client", "dns-server")
        publish = [
            (protocol, 0, via, to, port) for protocol, _, via, to, port in standard_lab.PUBLISHED if via in nodes
        ]
        for port in guest.ports if guest is not None else ():
            protocol, _, number = port.partition("/")
            publish.append((protocol, 0, "client", standard_lab.OWN, int(number)))
        return cls.up(name, nodes=nodes, publish=publish, guest=guest, evidence=evidence, **wishes)

    def address(self, port: int, protocol: str = "tcp") -> tuple[str, int]:
        """Where a program outside the lab reaches that port: it goes on from the node `client`, through the faults."""
        for one in self.status()["published"]:
            if one["protocol"] == protocol and one["to"].endswith(f":{port}"):
                host, _, number = one["address"].rpartition(":")
                return host, int(number)
        raise UsageError(f"no {protocol} port {port} of this lab can be reached from outside")

    def set_faults(self, path: str, *faults: Fault, **wishes: Any) -> None:
        """As `Lab.set_faults`; what was set must be in the ledger at the end."""
        super().set_faults(path, *faults, **wishes)
        self._asked |= {(str(way), str(fault_to_json(fault))) for way in self._paths(path) for fault in faults}

    def unproven(self, evidence: Path) -> str | None:
        """After the end: what keeps the test from having proven anything under its faults; None where nothing does.

        Which faults and toxics there were, the ledger knows, whoever set them, and no fewer than the test asked for.
        LabFailure where it can't be read.
        """
        ledger = read_ledger(evidence / "ledger.bin")
        everything = Evidence(evidence, toxics=ledger.toxics)
        faulty = bool(ledger.faults or ledger.toxics or self._asked)
        seen = run_check("fault_seen", {"expected": len(self._asked)}, everything)
        told = []
        for check in (seen, run_check("ledger", {}, everything)):
            if check.verdict != Verdict.PASS and (faulty or check.verdict == Verdict.FAIL):
                told.append(f"{check.name}: {check.verdict}: {check.summary}")
        if self.end is not None and "failed" in self.end:
            told.append(f"the evidence may be incomplete: {self.end['failed']}")
        return "\n".join(told) or None
