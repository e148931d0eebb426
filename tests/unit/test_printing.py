"""What others wrote goes out in characters that are seen, at every door; JSON stays JSON."""

from __future__ import annotations

import ast
import io
import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from faultlab.checks.base import CheckResult, Finding, Verdict
from faultlab.checks.result_file import keep, read_result
from faultlab.checks.result_json import json_report, parse_report
from faultlab.checks.run_result import RunResult
from faultlab.cli.main import cli
from faultlab.printing import Terminal, Text, json_text, printable
from faultlab.report.grid import markdown_report
from faultlab.report.junit import junit_report
from faultlab.report.text import result_lines, show
from rich.table import Table

from tests.support.capture_bytes import enhanced, interface, names, section
from tests.unit.checks.histories import datagrams, record

NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f\u202egnp\u2066\x00"
"""An OSC title, a clear screen, a C1 control sequence, a line written over, a direction turned round."""
RESULT = RunResult(
    "mine", NASTY, "netns", "wire", 7, Verdict.FAIL, 1.5,
    (CheckResult("succeeds", Verdict.FAIL, f"said {NASTY}", (Finding(NASTY, NASTY),)),), NASTY,
)  # fmt: skip
DOORS = ("cli/*.py", "report/*.py")
"""What is for a user's terminal; all else that prints is a process of a lab's, into its log."""


def is_clean(text: str) -> bool:
    """No control (Cc), format (Cf) or surrogate (Cs) character but the end of a line."""
    return not any(unicodedata.category(one) in ("Cc", "Cf", "Cs") and one not in "\n\t" for one in text)


def test_each_character_is_seen_by_its_number() -> None:
    assert is_clean(printable(NASTY)) and "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\r" in printable(NASTY)
    assert printable("two\nlines\tof text: äß€😀") == "two\nlines\tof text: äß€😀"
    assert all(is_clean(printable(chr(code))) for code in (*range(0x3000), 0xD800, 0xDC80, 0xE0001))


@pytest.mark.parametrize("colours", [False, True])
def test_a_terminal_keeps_its_own_styles_and_nobody_else_s(colours: bool) -> None:
    def printed(text: str) -> str:
        out = io.StringIO()
        terminal = Terminal(file=out, force_terminal=colours, width=200, color_system="standard" if colours else None)
        table = Table(box=None)
        table.add_column("")
        table.add_row(Text(text, "red"))
        terminal.print(Text(text, "red"), soft_wrap=True, highlight=False)
        terminal.print(table)
        show(text, terminal)
        terminal.print(text, soft_wrap=True, markup=False)
        return out.getvalue()

    ours = "\x1b[" in printed("text")
    assert ours == colours
    assert is_clean(re.sub("\x1b\\[[0-9;]*m", "", printed(NASTY)))
    seen = printed(NASTY)
    assert [seen.count(one) for one in ("owned", "\\x07", "\\r", "\\x08", "\\x7f")] == [4] * 5


def test_a_capture_of_anybody_s(tmp_path: Path) -> None:
    """Names of its name resolution block, and a payload with an escape; DNS names and file names pass here too."""
    frame = datagrams([b"hello \x1b[2J"])[0]
    named = names("little", (1, frame[26:30] + NASTY.replace("\0", "").encode(errors="replace") + b"\0"))
    file = tmp_path / "a\x1b[2J.pcapng"
    file.write_bytes(section("little") + interface("little") + named + enhanced("little", frame, 0))
    for more in ([], ["--port", "41234"], ["--ladder"], ["--packet", "1"], ["--flow", "9"]):
        done = CliRunner().invoke(cli, ["inspect", str(file), *more])
        assert is_clean(done.output), (more, done.output)
        assert "owned" in done.output or "--flow" in more


def test_a_result_of_anybody_s(tmp_path: Path) -> None:
    record(tmp_path, datagrams([b"one"]))
    keep(replace(RESULT, evidence=str(tmp_path)))
    done = CliRunner().invoke(cli, ["inspect", str(tmp_path)])
    assert is_clean(done.output) and "said " in done.output, done.output


@pytest.mark.parametrize(
    "name", ["caf\udce9", "\ud83d alone", "\ude00\ud83d", "\\udce9 \\\udce9", "\\\\", "whole \U0001f600"]
)
def test_a_name_that_is_not_utf_8_leaves_json_readable(name: str, tmp_path: Path) -> None:
    """RFC 8259, 8.2: lone surrogates, which Python has for the bytes of such a name."""
    folder = tmp_path / name if name == "caf\udce9" else tmp_path
    folder.mkdir(exist_ok=True)
    record(folder, datagrams([b"one"]))
    keep(replace(RESULT, about=name, error=name, evidence=str(folder)))
    seen = re.sub("[\ud800-\udfff]", lambda one: f"\\u{ord(one[0]):x}", name)
    result = read_result(folder)
    assert result is not None and result.about == seen
    assert json.loads(json_text({name: name})) == {seen: seen}
    assert "not a result" not in CliRunner().invoke(cli, ["inspect", str(folder)]).output


def test_each_report_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """JUnit's schema forbids most of them, even escaped (XML 1.0, 2.2)."""
    assert is_clean(markdown_report([RESULT], [(NASTY, NASTY, RESULT)]))
    junit = junit_report([replace(RESULT, scenario=NASTY), replace(RESULT, error=NASTY)])
    assert is_clean(junit)
    ElementTree.fromstring(junit)
    assert "\x1b" in "".join(result_lines(RESULT))
    text = json_report([RESULT])
    assert text.isascii() and is_clean(text)
    assert json.loads(text)["results"][0]["about"] == json.loads(json_text(NASTY)) == NASTY
    assert parse_report(json_report([replace(RESULT, about="")]))


def test_no_door_prints_past_it() -> None:
    root = Path(__file__).parents[2] / "lab/faultlab"
    files = [file for door in DOORS for file in root.glob(door)]
    assert len(files) > 20
    for file in files:
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        called = {name.id for name in calls if isinstance(name, ast.Name)}
        assert not re.search("import.* rich.text|from rich.text", file.read_text()), (
            f"{file.name}: expected Text of ours"
        )
        assert not called & {"print", "Console"}, f"{file.name}: expected echo, say or Terminal of faultlab.printing"
