import json

import pytest
from faultlab_services.summary import Summary


def test_all_ok(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary("tcp-client", "messages", 2)
    summary.count("ok")
    summary.count("ok")
    assert summary.conclude(as_json=False) == 0
    said = capsys.readouterr().out
    assert said.startswith("tcp-client: 2 messages: 2 ok, 0 fail, 0 unknown, 0 unsent in ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("outcome", ["fail", "unknown", "unsent"])
def test_anything_else_is_exit_1_with_its_reason(outcome: str, capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary("tcp-client", "messages", 2)
    summary.count("ok")
    summary.count(outcome, why="the cable")
    assert summary.conclude(as_json=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["messages"], said["ok"], said[outcome], said["troubles"]) == (2, 1, 1, {"the cable": 1})


def test_surplus_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary("udp-client", "messages", 1)
    summary.count("ok")
    summary.count("unasked")
    assert summary.conclude(as_json=False) == 1
    assert "1 unasked" in capsys.readouterr().out


def test_nothing_happening_is_no_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary("tcp-client", "messages", 0)
    summary.count("unknown", 0, "stopped")
    summary.conclude(as_json=True)
    assert json.loads(capsys.readouterr().out)["troubles"] == {}
