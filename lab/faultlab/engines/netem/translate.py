"""Faults as netem's options. What netem can't do is refused here, by name, before anything is started.

Where netem means something a little different than the wire by the same fault, this is how (net/sched/sch_netem.c):
burst-loss has one state for the path, not one for each flow, and so have reorder's gap and a delay's correlation;
corrupt flips a bit anywhere in the frame, headers included; of a packet that is duplicated and lost at once one copy
stays; rate counts each frame's own time on the link also when the link is idle, so it has no burst; one queue holds
what is delayed and what waits for the link.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from faultlab.engines.netem.options import QUEUE_PACKETS, Burst, Netem
from faultlab.errors import UsageError
from faultlab.faults import BurstLoss, Corrupt, Duplicate, Fault, Latency, Loss, Match, Partition, Rate, Reorder
from faultlab.faults.chance import ChanceFault
from faultlab.faults.rate import DEFAULT_LIMIT_PACKETS

NS_PER_MS = 1_000_000
BYTES_PER_KBIT = 125
SMALLEST_FRAME = 54
"""Ethernet, IPv4 and TCP or UDP headers, near enough: the most packets that a delay can hold at a rate."""

NetemFields = dict[str, Any]
"""Fields of `Netem`."""


def translate(path: str, faults: Sequence[Fault]) -> Netem:
    """The one netem that stands for all faults of a path. UsageError names the fault that it can't be, and the path."""
    for fault in faults:
        why = _why_not(fault, {other.kind for other in faults})
        if why is not None:
            raise UsageError(f"engine netem can't do {fault.describe()!r} on {path}: {why}; use --engine wire")
    if any(isinstance(fault, Partition) for fault in faults):
        return Netem(loss=1.0)  # alone: a duplicate would survive the loss, a burst model replace it
    options: NetemFields = {}
    for fault in faults:
        options |= _OPTIONS[type(fault)](fault)
    return _with_room(Netem(**options))


def _why_not(fault: Fault, kinds: set[str]) -> str | None:
    """What stands against it, in words; None where netem can do it."""
    if type(fault) not in _OPTIONS:
        return "netem has no such fault"
    if fault.match != Match():
        return f"netem takes all packets of a path alike, and can't select by {fault.match.describe()}"
    if isinstance(fault, ChanceFault) and fault.percent is None:
        return "netem decides by chance alone; give a percent"
    match fault:
        case Latency(trace=trace) if trace is not None:
            return "netem can't follow a trace"
        case Duplicate(copies=copies) if copies != 1:
            return "netem makes one copy"
        case Corrupt(bits=bits) if bits != 1:
            return "netem flips one bit"
        case Corrupt(checksum="fixed"):
            return "netem doesn't mend checksums"
        case Reorder(hold=hold) if hold is not None:
            return "netem can't hold a packet until others have passed"
        case Reorder() if Latency.kind not in kinds:
            return "a packet overtakes by skipping the delay, and the path has none; add latency"
        case BurstLoss() if Loss.kind in kinds:
            return "netem has one loss model at a time, and the path has loss too"
    return _why_not_rate(fault, kinds) if isinstance(fault, Rate) else None


def _why_not_rate(fault: Rate, kinds: set[str]) -> str | None:
    if fault.burst_bytes != Rate.model_fields["burst_bytes"].default:
        return "netem's rate has no burst"
    if fault.limit_bytes is not None:
        return "netem's queue counts packets; give limit_packets"
    if fault.limit_packets is not None and Latency.kind in kinds:
        return "netem has one queue for rate and latency, so limit_packets would count what is only delayed"
    return None


def _with_room(netem: Netem) -> Netem:
    """Room for what the delay holds at this rate, besides the rate's own queue: else the queue itself loses packets."""
    if not netem.rate:
        return netem
    longest = netem.delay + 4 * netem.jitter
    held = math.ceil(netem.rate * longest / 1e9 / SMALLEST_FRAME)
    return Netem(**{**vars(netem), "limit": netem.limit + min(held, QUEUE_PACKETS)})


def _latency(fault: Latency) -> NetemFields:
    return {
        "delay": round(fault.delay_ms * NS_PER_MS),
        "jitter": round(fault.jitter_ms * NS_PER_MS),
        "distribution": fault.distribution,
        "delay_correlation": fault.correlation_percent / 100,
    }


def _loss(fault: Loss) -> NetemFields:
    return {"loss": _share(fault)}


def _burst_loss(fault: BurstLoss) -> NetemFields:
    percents = (fault.enter_percent, fault.leave_percent, fault.bad_loss_percent, fault.good_loss_percent)
    return {"burst": Burst(*(percent / 100 for percent in percents))}


def _duplicate(fault: Duplicate) -> NetemFields:
    return {"duplicate": _share(fault)}


def _reorder(fault: Reorder) -> NetemFields:
    return {"reorder": (fault.percent or 0) / 100, "gap": fault.gap}


def _corrupt(fault: Corrupt) -> NetemFields:
    return {"corrupt": _share(fault)}


def _rate(fault: Rate) -> NetemFields:
    limit = fault.limit_packets or DEFAULT_LIMIT_PACKETS
    return {"rate": max(1, round(fault.rate_kbit * BYTES_PER_KBIT)), "limit": limit}


def _share(fault: ChanceFault) -> float:
    return (fault.percent or 0) / 100


_OPTIONS: dict[type[Fault], Callable[[Any], NetemFields]] = {
    Latency: _latency,
    Loss: _loss,
    BurstLoss: _burst_loss,
    Duplicate: _duplicate,
    Reorder: _reorder,
    Corrupt: _corrupt,
    Rate: _rate,
    Partition: lambda _: {},
}
