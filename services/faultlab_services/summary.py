"""The line a client ends with: what became of everything it set out to do."""

import json
import time
from collections import Counter
from collections.abc import Sequence

OUTCOMES = ("ok", "fail", "unknown", "unsent")


class Summary:
    """Counts the outcomes of `total` things called `what`; made when the work starts, concluded when it ends."""

    def __init__(self, actor: str, what: str, total: int) -> None:
        self._actor = actor
        self._what = what
        self._total = total
        self._counts: Counter[str] = Counter()
        self._troubles: Counter[str] = Counter()
        self._started = time.monotonic()

    def count(self, outcome: str, times: int = 1, why: str | None = None) -> None:
        """`times` more of this `outcome`, and the reason where there is one."""
        self._counts[outcome] += times
        if why is not None and times:
            self._troubles[why] += times

    def conclude(self, as_json: bool, also: Sequence[str] = ()) -> int:
        """Prints the summary, with the counts named in `also`; the exit code: 0 when all is ok and no surplus came."""
        seconds = round(time.monotonic() - self._started, 6)
        surplus = self._counts["unasked"]
        names = [*OUTCOMES, *also, *(["unasked"] if surplus else [])]
        counts = {name: self._counts[name] for name in names}
        if as_json:
            told = {self._what: self._total, **counts, "seconds": seconds, "troubles": self._troubles}
            print(json.dumps({"actor": self._actor, **told}), flush=True)
        else:
            listed = ", ".join(f"{count} {name}" for name, count in counts.items())
            why = "".join(f"; {times}x {why}" for why, times in self._troubles.items())
            print(f"{self._actor}: {self._total} {self._what}: {listed} in {seconds:.3f} s{why}", flush=True)
        return 0 if self._counts["ok"] == self._total and not surplus else 1
