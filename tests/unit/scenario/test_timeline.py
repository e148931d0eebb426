"""What is set when: scenarios as users write them in, what each path is told out."""

from __future__ import annotations

from faultlab.faults import Fault
from faultlab.scenario.model import Scenario, parse_scenario
from faultlab.scenario.timeline import moments

HEAD = """
about: for a test
workload:
  - tcp: {to: "tcp-server:8082", framing: length2, messages: 1}
  - tcp: {to: "toxiproxy:8082", framing: length2, messages: 1}
checks: [reliability]
faults:
"""


def scenario(faults: str) -> Scenario:
    return parse_scenario(HEAD + faults, "written-here")


def told(faults: str) -> list[tuple[float, str, list[str]]]:
    """Every (time in ms, path, all that is on it from then on)."""
    on: dict[str, tuple[Fault, ...]] = {}
    said = []
    for moment in moments(scenario(faults)):
        for path, all_on_it in moment.settings(on):
            on[path] = all_on_it
            said.append((moment.at_ms, path, [fault.describe() for fault in all_on_it]))
    return said


def test_faults_of_one_moment_are_set_at_once_in_whatever_order_they_are_written() -> None:
    (_, path, faults), = told("""
  - {on: client->tcp-server, reorder: 25%}
  - {on: client->tcp-server, latency: 20ms}
""")  # fmt: skip
    assert (path, [fault.split()[0] for fault in faults]) == ("client->tcp-server", ["reorder", "latency"])


def test_a_fault_follows_another_without_an_instant_between() -> None:
    first, second, last = told("""
  - {on: client->tcp-server, at: 1s, latency: 50ms}
  - {on: client->tcp-server, for: 1s, latency: 20ms}
  - {on: client->tcp-server, at: 2s, loss: 3%}
""")
    assert first == (0, "client->tcp-server", ["latency 20ms"])
    assert second == (1000, "client->tcp-server", ["latency 50ms"])
    assert last == (2000, "client->tcp-server", ["latency 50ms", "loss 3%"])


def test_an_equal_fault_that_begins_anew_is_another_one() -> None:
    assert told("""
  - {on: client->tcp-server, for: 1s, loss: 3%}
  - {on: client->tcp-server, at: 1s, for: 1s, loss: 3%}
""") == [
        (0, "client->tcp-server", ["loss 3%"]),
        (1000, "client->tcp-server", []),
        (1000, "client->tcp-server", ["loss 3%"]),
        (2000, "client->tcp-server", []),
    ]


def test_each_direction_is_a_path_of_its_own() -> None:
    assert told("  - {on: client<->tcp-server, at: 5ms, loss: 3%}\n") == [
        (5, "client->tcp-server", ["loss 3%"]),
        (5, "tcp-server->client", ["loss 3%"]),
    ]


def test_a_toxic_begins_and_ends_when_the_file_says() -> None:
    toxic = "{type: latency, latency: 30ms}"
    first, last = moments(scenario(f'  - {{on: "toxiproxy:8082", at: 1s, for: 500ms, toxic: {toxic}}}\n'))
    assert (first.at_ms, len(first.toxics_begin), first.toxics_end) == (1000, 1, [])
    assert (last.at_ms, last.toxics_begin, last.toxics_end) == (1500, [], first.toxics_begin)
