"""`make fuzz`: damaged captures through the reader, the decoder and the analysis of flows.

`python -m bench.fuzz_captures [--captures 1000000] [--seed 1] [--first 0]`. Exit status 1 where one of them made an
exception, took longer than `SECONDS` of processor time, or where memory grew. A capture is made again from its seed and
number: `--seed S --first N --captures 1`.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.damaged_captures import damaged, take

IN_MEMORY = "/dev/shm"
SECONDS = 2
"""More than any small capture may take; the usual one takes a two-thousandth of it."""
GROWTH_MIB = 16
WARM_UP = 0.1
"""The share of the captures after which memory is looked at first."""
PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Share:
    """What one process saw of its part. `slowest` is processor time in seconds."""

    refused: int
    packets: int
    slowest: float
    warm_mib: float
    end_mib: float
    failures: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.fuzz_captures", description="Damaged captures through the reader.")
    parser.add_argument("--captures", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    start, processes = time.perf_counter(), os.cpu_count() or 1
    with ProcessPoolExecutor(processes) as pool:
        last = options.first + options.captures
        numbers = [range(options.first + number, last, processes) for number in range(processes)]
        shares = list(pool.map(_read, [options.seed] * processes, numbers))
    failures = [failure for share in shares for failure in share.failures]
    packets, refused = sum(share.packets for share in shares), sum(share.refused for share in shares)
    seconds, slowest = time.perf_counter() - start, max(share.slowest for share in shares)
    resident, growth = max(share.end_mib for share in shares), max(share.end_mib - share.warm_mib for share in shares)
    print(f"{options.captures:,} damaged captures, seed {options.seed}; {seconds:.0f} s on {processes} processors")
    print(
        f"  {packets:,} packets read, {refused:,} captures refused, {len(failures)} failures; slowest {slowest:.3f} s"
    )
    word = "held" if growth <= GROWTH_MIB else "NOT HELD"
    print(
        f"  {resident:.0f} MiB a process, {growth:+.1f} MiB since the first tenth; {word}: at most {GROWTH_MIB:+} MiB"
    )
    for failure in failures[:5]:
        print(failure)
    return 1 if failures or growth > GROWTH_MIB else 0


def _read(seed: int, numbers: range) -> Share:
    """Every one of the captures with these numbers."""
    signal.signal(signal.SIGVTALRM, _too_long)
    refused, packets, slowest, warm = 0, 0, 0.0, 0.0
    failures = []
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        path = Path(folder) / "damaged"
        for done, number in enumerate(numbers):
            if done == int(len(numbers) * WARM_UP):
                warm = _mib()
            start = time.process_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                count = take(path, damaged(seed, number))
            except Exception:  # noqa: BLE001 - whatever it is, it is what we look for
                failures.append(f"seed {seed}, capture {number}: {traceback.format_exc()}")
                continue
            refused += count < 0
            packets += max(count, 0)
            slowest = max(slowest, time.process_time() - start)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return Share(refused, packets, slowest, warm, _mib(), failures)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s of processor time")


def _mib() -> float:
    """What is resident now (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / (1 << 20)


if __name__ == "__main__":
    sys.exit(main())
