"""Scenario files: what they mean, and one clear line for whatever they can't mean."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import jsonschema
import pytest
from faultlab.checks import CHECKS
from faultlab.errors import UsageError
from faultlab.faults import KINDS, Latency, Loss, Partition
from faultlab.faults.toxics import SlicerToxic
from faultlab.network.topology import NetworkPath
from faultlab.scenario.model import (
    DnsWorkload,
    FaultEntry,
    PlacedFault,
    PlacedToxic,
    Scenario,
    TcpWorkload,
    UdpWorkload,
    find_scenario,
    load_scenario,
    parse_scenario,
    shipped,
)
from faultlab.scenario.schema import results_schema, scenario_schema
from faultlab.yaml_file import parse_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.broken_scenarios import FAULTS, FILES, GOOD, HEAD, WORKLOADS, with_faults, with_workload

ROOT = Path(__file__).resolve().parents[3]
THERE, BACK = NetworkPath("client", "tcp-server"), NetworkPath("tcp-server", "client")


def scenario(text: str) -> Scenario:
    return parse_scenario(text, "some-name")


def complaint(text: str) -> str:
    """The one line that a file is refused with."""
    with pytest.raises(UsageError) as caught:
        scenario(text)
    line = str(caught.value)
    assert "\n" not in line
    return line


# -- what a file means -------------------------------------------------------------------------------------------------


def test_names_and_times() -> None:
    found = scenario(GOOD)
    assert (found.name, found.seed, found.engine, found.timeout_ms) == ("some-name", 7, "wire", 20_000.0)
    assert found.source == GOOD
    assert scenario("name: another\n" + GOOD).name == "another"


def test_workloads() -> None:
    tcp, udp, dns = scenario(GOOD).workloads
    assert tcp == TcpWorkload(
        to="toxiproxy:8081",
        framing="line",
        messages=20,
        size_bytes=(10, 2048),
        connections=2,
        window=3,
        pace_ms=5,
    )
    assert udp == UdpWorkload(source="dns-server", to="udp-server:41234", messages=9, mode="echo", retries=2, family=6)
    assert dns == DnsWorkload(how="resolve", names=("client", "nowhere.lab"), count=4)
    assert (tcp.kind, tcp.target, tcp.port, dns.target, dns.port) == ("tcp", "toxiproxy", 8081, "dns-server", 53)
    assert (dns.messages, DnsWorkload(how="lookup", names=("a", "b", "c")).messages) == (4, 3)


def test_faults_stand_on_each_path_with_their_times() -> None:
    latency, loss = Latency(delay_ms=20, jitter_ms=5), Loss(percent=5)
    assert scenario(GOOD).placed() == (
        PlacedFault(THERE, latency, 0, None),
        PlacedFault(THERE, loss, 0, None),
        PlacedFault(BACK, latency, 0, None),
        PlacedFault(BACK, loss, 0, None),
        PlacedFault(THERE, Partition(), 1000, 500),
    )
    assert scenario(GOOD).toxics() == (PlacedToxic(8081, SlicerToxic(average_size_bytes=3), 2000, None),)


def test_checks_come_with_their_options() -> None:
    assert scenario(GOOD).checks == (("reliability", {}), ("handshake", {"at_most": "1.5s"}))


def test_a_field_named_on_is_no_boolean() -> None:
    assert scenario(GOOD.replace("{on: client->", '{"on": client->')).placed() == scenario(GOOD).placed()


def test_python_says_the_same() -> None:
    found = Scenario(
        name="mine",
        about="From Python.",
        workloads=(TcpWorkload(to="tcp-server:8080", framing="raw", messages=1, size_bytes=(5, 5)),),
        entries=(FaultEntry(on="client->tcp-server", faults=(Loss(percent=1),), for_ms=10),),
        checks=(("reliability", {}),),
    )
    assert found.placed() == (PlacedFault(THERE, Loss(percent=1), 0, 10),)


def test_faults_of_one_kind_may_follow_one_another() -> None:
    follow = """
faults:
  - {on: client->tcp-server, for: 1s, loss: 5%}
  - {on: client->tcp-server, at: 1s, loss: 10%}
  - {on: tcp-server->client, loss: 10%}
"""
    assert len(scenario(with_faults(follow)).placed()) == 3


# -- the clients' command lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", scenario(GOOD).workloads, ids=lambda one: one.kind)
def test_options_are_the_clients(workload: TcpWorkload | UdpWorkload | DnsWorkload) -> None:
    from faultlab_services.__main__ import cli

    options = workload.options("10.77.0.3:8081", 20_000)
    command = cli.commands[f"{workload.kind}-client"]
    context = command.make_context(workload.kind, options)
    assert context.params["source_port"] == 20_000
    for field, option in (("messages", "messages"), ("timeout_ms", "timeout"), ("pace_ms", "pace"), ("mode", "mode")):
        if option in context.params:
            value = context.params[option]
            assert getattr(workload, field) == (value * 1000 if field.endswith("_ms") else value)


def test_lookup_is_told_nothing_that_means_nothing_to_it() -> None:
    options = " ".join(DnsWorkload(how="lookup").options("10.77.0.5:53", 20_000))
    assert not re.search("--(server|retries|source-port)", options)


def test_times_are_never_written_with_an_exponent() -> None:
    options = UdpWorkload(to="udp-server:41234", messages=1, pace_ms=1e-5).options("[::1]:41234", 1)
    assert "--pace=0.00001ms" in options


# -- what ships --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_load_and_fit_the_schema(name: str) -> None:
    file = shipped()[name]
    found = load_scenario(file)
    assert found.name == name
    assert found.placed() or found.toxics()
    jsonschema.validate(parse_yaml(file.read_text(), name).data, scenario_schema())


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_state_their_odds(name: str) -> None:
    comment = next(line for line in shipped()[name].read_text().splitlines() if line.startswith("#"))
    assert re.match(r"# Not seen: .+\. False alarm: .+\.$", comment)


def test_the_ones_that_were_promised_ship() -> None:
    promised = """tcp-loss tcp-burst-loss tcp-reordered tcp-duplicated tcp-corrupted tcp-rate-limited first-syn-ack-lost
        tcp-partition-heals udp-loss udp-reordered udp-duplicated toxiproxy-slices-frames dns-loss dns-delay"""
    assert set(promised.split()) <= shipped().keys()


def test_the_committed_schema_is_current() -> None:
    committed = (ROOT / "docs" / "scenario.schema.json").read_text()
    assert json.loads(committed) == scenario_schema(), "run: lab schema > docs/scenario.schema.json"


def test_the_committed_schema_of_results_is_current() -> None:
    committed = (ROOT / "docs" / "results.schema.json").read_text()
    assert json.loads(committed) == results_schema(), "run: lab schema results > docs/results.schema.json"


def test_the_schema_takes_what_files_can_say() -> None:
    jsonschema.validate(parse_yaml(GOOD, "good").data, scenario_schema())
    for kind in KINDS:
        assert kind in json.dumps(scenario_schema()["$defs"]["FaultEntry"])


@pytest.mark.parametrize(
    "broken",
    ["seed: -1", "seeds: 1", "timeout: 20", "engine: tc", "checks: []", "faults: [{on: a->b}]", "workload: {}"],
)
def test_the_schema_refuses_what_the_loader_refuses(broken: str) -> None:
    field = broken.partition(":")[0]
    kept = parse_yaml(GOOD, "good").data
    wrong = {**kept, **parse_yaml(broken, "broken").data}
    assert field in wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, scenario_schema())


def test_the_docs_name_every_fault_and_check() -> None:
    page = (ROOT / "docs" / "scenarios.md").read_text()
    missing = [name for name in (*KINDS, *CHECKS) if f"`{name}`" not in page and f"`{name}:" not in page]
    assert missing == []


# -- finding one -------------------------------------------------------------------------------------------------------


def test_found_by_name_or_by_file(tmp_path: Path) -> None:
    assert find_scenario("tcp-loss") == shipped()["tcp-loss"]
    assert find_scenario(f"{tmp_path}/mine.yaml") == tmp_path / "mine.yaml"
    assert find_scenario("mine.yml") == Path("mine.yml")


def test_a_name_nearly_right_is_suggested() -> None:
    with pytest.raises(UsageError, match=r"no scenario 'tcp-los'; did you mean tcp-loss\?"):
        find_scenario("tcp-los")


# -- what a file can't mean --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", FAULTS)
def test_faults_that_cannot_be_meant(entry: str) -> None:
    assert re.search(FAULTS[entry], complaint(with_faults(entry)))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_workloads_that_cannot_be_meant(workload: str) -> None:
    line = complaint(with_workload(workload))
    assert line.startswith("some-name:4: workload[0]")
    assert re.search(WORKLOADS[workload], line)


@pytest.mark.parametrize("text", FILES, ids=lambda text: text[:30])
def test_files_that_cannot_be_meant(text: str) -> None:
    assert re.search(FILES[text], complaint(text))


def test_the_first_problem_is_told_and_the_others_counted() -> None:
    line = complaint("about: x\nworkload:\n  - tcp: {to: 'tcp-server:8081'}\nchecks: [reliable]\nseed: x\n")
    assert line.startswith("some-name:3: workload[0].tcp.framing: missing")
    assert line.endswith("(and 3 more)")


PLACES = (
    HEAD + "FIELD: 1",
    HEAD + "server: {FIELD: 1}",
    *(with_workload(f"{kind}: {{FIELD: 1}}") for kind in ("tcp", "udp", "dns", "command")),
    with_faults("{on: client->tcp-server, FIELD: 1}"),
    *(with_faults(f"{{on: client->tcp-server, {kind}: {{FIELD: 1}}}}") for kind in KINDS),
    with_faults("{on: client->tcp-server, loss: {percent: 1%, match: {FIELD: 1}}}"),
    with_faults('{on: "toxiproxy:8082", toxic: {type: slicer, FIELD: 1}}'),
    HEAD.replace("[reliability]", "[{delay: {FIELD: 1}}]"),
)


@pytest.mark.parametrize("text", PLACES)
def test_a_field_that_an_error_offers_is_one(text: str) -> None:
    offered = re.search("expected (?:one of )?([a-z0-9_, -]+)", complaint(text.replace("FIELD", "fieldd")))
    assert offered is not None
    for name in offered[1].split(", "):
        try:
            scenario(text.replace("FIELD", name))
        except UsageError as error:
            assert "no such" not in str(error), name


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"about: x\nname: \xff\xfe")
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (1 << 20) + b"#")
    cases = {
        tmp_path: "not a file",
        tmp_path / "none.yaml": "No such file",
        tmp_path / ("x" * 300): "File name too long",
        pipe: "not a file",
        Path("/proc/self/mem"): r"can't be read \(Input/output error\)",
        binary: "binary.yaml:2: not UTF-8",
        huge: "larger than 1 MiB",
    }
    for path, expected in cases.items():
        with pytest.raises(UsageError, match=expected) as caught:
            load_scenario(path)
        assert "\n" not in str(caught.value)


def test_a_file_name_that_is_no_scenario_name_needs_a_name(tmp_path: Path) -> None:
    file = tmp_path / "My Test.yaml"
    file.write_text(GOOD)
    with pytest.raises(UsageError, match=":1: name: missing, and the file's own, 'My Test', can't stand for it"):
        load_scenario(file)
    file.write_text("name: my-test\n" + GOOD)
    assert load_scenario(file).name == "my-test"


# -- anything at all ---------------------------------------------------------------------------------------------------


def loads_or_says_why(text: str) -> None:
    try:
        scenario(text)
    except UsageError as error:
        assert re.match(r"some-name:\d+: \S", str(error))
        assert "\n" not in str(error)


@given(st.text())
def test_any_text_loads_or_is_refused_in_one_line(text: str) -> None:
    loads_or_says_why(text)


@settings(max_examples=300)
@given(st.data())
def test_a_good_file_with_one_piece_replaced_loads_or_is_refused_in_one_line(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 20)))
    pieces = st.sampled_from(
        ["", "\n", "null", "[]", "{}", "-1", "1e999", "true", "'", ":", "  ", "%", "ms", "\t", "~"]
    )
    loads_or_says_why(GOOD[:start] + data.draw(pieces | st.text(max_size=5)) + GOOD[end:])


@settings(max_examples=200)
@given(st.data())
def test_any_value_in_any_field_loads_or_is_refused_in_one_line(data: st.DataObject) -> None:
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
    fields = dict(parse_yaml(GOOD, "good").data)
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(values)
    loads_or_says_why(json.dumps(fields))
