"""How a supervisor is started and waited for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab import control
from lab.errors import UsageError
from lab.runtimes.standing import supervise


def test_a_lab_that_did_not_come_up_leaves_its_name_free(tmp_path: Path) -> None:
    """Two Compose labs wanted one address block; the one that was late takes the next at once."""
    name = f"unlucky-{os.getpid()}"
    plan = lambda control_fd, lifeline: json.dumps({"control": control_fd, "lifeline": lifeline})  # noqa: E731
    with pytest.raises(UsageError, match="overlaps"):
        supervise("tests.unit.runtimes.unlucky_supervisor", name, plan, [], tmp_path, print)
    server = control.listen(name)
    assert server is not None
    server.close()
