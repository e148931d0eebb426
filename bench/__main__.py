"""`make bench`: each row pairs us with a peer in one run, in turn, and prints the medians, the spread and the ratio.

`python -m bench [--repeats 5] [--row TEXT]`. Exit status 1 where a promise did not hold.
"""

from __future__ import annotations

import argparse
import sys

from bench.rows import Row, median_and_spread, rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Us against peers, in one run.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--row", default="", help="only rows whose name holds this text")
    options = parser.parse_args()
    kept = [_run(row, options.repeats) for row in rows() if options.row in row.name]
    return 0 if all(kept) else 1


def _run(row: Row, repeats: int) -> bool:
    ours, peers = [], []
    for number in range(repeats):
        print(f"  {row.name}: {number + 1} of {repeats}", file=sys.stderr, flush=True)
        ours.append(row.ours())
        if row.peer is not None:
            peers.append(row.peer())
    a, low, high = median_and_spread(ours)
    b = median_and_spread(peers)[0] if peers else float("nan")
    kept = row.holds(a, b)
    print(f"{row.name}")
    print(f"  ours {a:,.4g} {row.unit} (min {low:,.4g}, max {high:,.4g})", end="")
    if peers:
        _, peer_low, peer_high = median_and_spread(peers)
        print(f"; {row.peer_name} {b:,.4g} (min {peer_low:,.4g}, max {peer_high:,.4g}); ratio {a / b:.3g}", end="")
    print(f"\n  {'held' if kept else 'NOT HELD'}: {row.promise}", flush=True)
    return kept


if __name__ == "__main__":
    sys.exit(main())
