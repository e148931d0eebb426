"""Whether this kernel has netem is found by trying, and said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultlab.engines.netem import support
from faultlab.errors import MissingCapability


def test_the_attempt_gives_one_line_or_nothing_and_leaves_this_process_where_it_was() -> None:
    before = Path("/proc/self/ns/net").readlink()
    reason = support.supported()
    assert "\n" not in reason
    assert reason == "" or reason.startswith(("this kernel ", "the kernel "))
    assert Path("/proc/self/ns/net").readlink() == before


def test_what_is_missing_comes_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "supported", lambda: "this kernel has no netem (sch_netem)")
    with pytest.raises(MissingCapability, match=r"no netem .* Fix: .*modprobe sch_netem.*--engine wire") as caught:
        support.check()
    assert (caught.value.name, caught.value.exit_code) == ("netem", 4)


def test_where_it_works_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "supported", lambda: "")
    support.check()
