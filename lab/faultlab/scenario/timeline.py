"""What changes when in a scenario: moments, each with the faults and toxics that begin or end at that one time.

What changes on a path in one moment is set at once, so that no instant lies between two faults that follow each other,
and an engine sees every fault beside those that it needs (netem reorders only what it delays, tc-netem(8)).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from faultlab.faults import Fault
from faultlab.scenario.model import PlacedFault, PlacedToxic, Scenario


@dataclass
class Moment:
    """`at_ms` is from the start of the workloads."""

    at_ms: float
    begins: list[PlacedFault] = field(default_factory=list)
    ends: list[PlacedFault] = field(default_factory=list)
    toxics_begin: list[PlacedToxic] = field(default_factory=list)
    toxics_end: list[PlacedToxic] = field(default_factory=list)

    def settings(self, on: Mapping[str, Sequence[Fault]]) -> Iterator[tuple[str, tuple[Fault, ...]]]:
        """What to set on which path, one after the other, where `on` is what is there now."""
        for path in dict.fromkeys(str(placed.path) for placed in [*self.ends, *self.begins]):
            ending = [placed.fault for placed in self.ends if str(placed.path) == path]
            beginning = [placed.fault for placed in self.begins if str(placed.path) == path]
            staying = list(on.get(path, ()))
            for fault in ending:
                staying.remove(fault)
            if any(fault in ending for fault in beginning):
                yield path, tuple(staying)  # or an equal fault that begins anew would pass for the old one
            yield path, (*staying, *beginning)


Steps = Sequence[tuple[float, tuple[Fault, ...]]]
"""From when on, in ms, and what is all that stands on the path then."""


def timelines(all_moments: Sequence[Moment]) -> Mapping[str, Steps]:
    """Of each path that ever has a fault: what stands there from when on."""
    found: dict[str, list[tuple[float, tuple[Fault, ...]]]] = {}
    for moment in all_moments:
        on = {path: steps[-1][1] for path, steps in found.items()}
        for path, faults in moment.settings(on):
            found.setdefault(path, []).append((moment.at_ms, faults))
    return found


def moments(scenario: Scenario) -> list[Moment]:
    """Every moment of the scenario, in their order."""
    found: dict[float, Moment] = {}

    def moment(at_ms: float) -> Moment:
        return found.setdefault(at_ms, Moment(at_ms))

    for fault in scenario.placed():
        moment(fault.at_ms).begins.append(fault)
        if fault.for_ms is not None:
            moment(fault.at_ms + fault.for_ms).ends.append(fault)
    for toxic in scenario.toxics():
        moment(toxic.at_ms).toxics_begin.append(toxic)
        if toxic.for_ms is not None:
            moment(toxic.at_ms + toxic.for_ms).toxics_end.append(toxic)
    return [found[at_ms] for at_ms in sorted(found)]
