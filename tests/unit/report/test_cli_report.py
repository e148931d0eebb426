"""`lab report` on folders made by hand: one run, several, and what is no run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faultlab.checks.base import Verdict
from faultlab.checks.result_file import keep
from faultlab.checks.run_result import RunResult
from faultlab.cli.report import report
from faultlab.errors import UsageError

from tests.unit.checks.histories import datagrams, record


def run(folder: Path, scenario: str = "mine", verdict: Verdict = Verdict.PASS) -> Path:
    folder.mkdir(parents=True)
    record(folder, datagrams([b"one", b"two"]))
    result = RunResult(scenario, "", "netns", "wire", 1, verdict, 1.0, (), str(folder))
    keep(result)
    return folder


def made(*words: object) -> None:
    report.main([str(word) for word in words], standalone_mode=False)


def test_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path / "run")
    made(folder)
    assert capsys.readouterr().out == f"{folder}/report.html\n"
    assert "<title>PASS: mine</title>" in (folder / "report.html").read_text()


def test_another_file(tmp_path: Path) -> None:
    folder = run(tmp_path / "run")
    made(folder, "--out", tmp_path / "mine.html")
    assert (tmp_path / "mine.html").is_file() and not (folder / "report.html").exists()


def test_a_folder_of_runs_is_a_matrix_and_what_failed_has_a_page(tmp_path: Path) -> None:
    run(tmp_path / "a", "tcp-raw-loss")
    run(tmp_path / "b", "udp-bare-loss", Verdict.FAIL)
    run(tmp_path / "c", "mine", Verdict.INCONCLUSIVE)
    (tmp_path / "c" / "ledger.bin").unlink()  # the lab did not come up, so there is nothing to look at
    made(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert 'href="b/report.html"' in page
    assert [(tmp_path / name / "report.html").is_file() for name in "abc"] == [False, True, False]
    for axis in ("tcp-raw", "udp-bare", "loss", "netns/wire", "mine"):
        assert f"{axis}</th>" in page


def test_several_runs_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(run(tmp_path / "a"), run(tmp_path / "b"))
    assert (tmp_path / "report.html").read_text().count('data-testid="cell"') == 2


@pytest.mark.parametrize("what", ["nothing", "empty", "capture", "unfinished"])
def test_what_is_no_run_is_one_line(what: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folder = run(tmp_path / "whole")
    words: list[object] = {
        "nothing": [tmp_path / "nothing"],
        "empty": [tmp_path / "empty"],
        "capture": [folder / "sent.pcapng"],
        "unfinished": [folder, tmp_path / "empty"],
    }[what]  # type: ignore[assignment]
    with pytest.raises(UsageError) as raised:
        made(*words)
    assert "\n" not in str(raised.value)
    assert str(words[-1]) in str(raised.value)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not written: No such file or directory; name another file with --out"):
        made(run(tmp_path / "run"), "--out", os.fspath(tmp_path / "gone" / "page.html"))
