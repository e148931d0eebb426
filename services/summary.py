"""The line a client ends with: what became of everything it set out to do."""

import json
import time
from collections import Counter
from collections.abc import Sequence

OUTCOMES = ("ok", "fail", "unknown", "unsent")


class Summary:
    """Counts `total` things called `what`; made when the work starts, concluded when it ends."""

    def __init__(self, actor: str, what: str, total: int, tally: Counter[str]) -> None:
        self._actor = actor
        self._what = what
        self._total = total
        self._tally = tally
        self._started = time.monotonic()

    def conclude(self, as_json: bool, also: Sequence[str] = ()) -> int:
        """Prints the summary, with the counts named in `also`; the exit code: 0 when all is ok and no surplus came."""
        seconds = round(time.monotonic() - self._started, 6)
        names = [*OUTCOMES, *also, *(["unasked"] if self._tally["unasked"] else [])]
        counts = {name: self._tally[name] for name in names}
        if as_json:
            print(json.dumps({"actor": self._actor, self._what: self._total, **counts, "seconds": seconds}), flush=True)
        else:
            told = ", ".join(f"{count} {name}" for name, count in counts.items())
            print(f"{self._actor}: {self._total} {self._what}: {told} in {seconds:.3f} s", flush=True)
        return 0 if self._tally["ok"] == self._total and not self._tally["unasked"] else 1
