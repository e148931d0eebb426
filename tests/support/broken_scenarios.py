"""Scenario files that can't be meant, and what the one line about each must say."""

from __future__ import annotations

GOOD = """\
about: All that a file can say.
seed: 7
engine: wire
timeout: 20s
workload:
  - tcp: {to: "toxiproxy:8081", framing: line, messages: 20, size: 10B..2KiB, connections: 2, window: 3, pace: 5ms}
  - udp: {from: dns-server, to: "udp-server:41234", messages: 9, mode: echo, retries: 2, family: 6}
  - dns: {how: resolve, names: [client, nowhere.lab], count: 4, family: both}
faults:
  - {on: client<->tcp-server, latency: {delay: 20ms, jitter: 5ms}, loss: 5%}
  - {on: client->tcp-server, at: 1s, for: 500ms, partition: true}
  - {on: "toxiproxy:8081", at: 2s, toxic: {type: slicer, average_size: 3B}}
checks: [reliability, {handshake: {at_most: 1.5s}}]
"""

HEAD = """\
about: Something.
workload: [{tcp: {to: "tcp-server:8082", framing: length2, messages: 20}}]
checks: [reliability]
"""


def with_faults(text: str) -> str:
    return HEAD + (text if text.startswith("\n") else f"faults: [{text}]\n")


FAULTS = {
    "{on: client->tcp-server, los: 10%}": r"some-name:4: faults\[0\].los: no such fault or field.* did you mean loss\?",
    "{on: client->tcp-server}": r":4: faults\[0\]: names no fault; expected one of .*loss",
    "{loss: 10%}": r":4: faults\[0\].on: missing",
    "{on: client->tcp-server, loss: 10}": r":4: faults\[0\].loss: 10 is a bare number; write its unit, such as 5%",
    "{on: client->tcp-server, loss: 10ms}": r":4: faults\[0\].loss: '10ms' has the unknown unit",
    "{on: client->tcp-server, loss: 101%}": r":4: faults\[0\].loss: found .*expected .*100",
    "{on: client->tcp-server, loss: nan%}": r":4: faults\[0\].loss: 'nan%' is no quantity",
    "{on: client->tcp-server, loss: [1, 2]}": r":4: faults\[0\].loss: expected a number with a unit",
    "{on: client->tcp-server, loss: {percent: 5%, x: 1}}": r":4: faults\[0\].loss.x: no such field.* percent",
    "{on: client->tcp-server, loss: {percent: 5%, every: 5}}": r":4: faults\[0\].loss: .*exactly one of",
    "{on: client->tcp-server, loss: {percent: 5%, match: {prot: tcp}}}": r"loss.match.prot: no such field.* protocol",
    "{on: client->tcp-server, drop: {tcp: foo}}": r":4: faults\[0\].drop: TCP flags 'foo'",
    "{on: client->tcp-server, drop: {which: 0}}": r":4: faults\[0\].drop.which",
    "{on: client->tcp-server, drop: {wich: first}}": r":4: faults\[0\].drop.wich: no such field.*did you mean which\?",
    "{on: client->tcp-server, burst-loss: 5%}": r":4: faults\[0\].burst-loss: .* says too little",
    "{on: client->tcp-server, reorder: 25%}": r":4: faults\[0\]: .*needs latency on the same path",
    "{on: client->tcp-serve, loss: 10%}": r":4: faults\[0\].on: path 'client->tcp-serve': no node 'tcp-serve'",
    "{on: client, loss: 10%}": r":4: faults\[0\].on: path 'client': expected NODE->NODE",
    "{on: client->client, loss: 10%}": r":4: faults\[0\].on: .*two different nodes",
    "{on: client->tcp-server, at: -1s, loss: 10%}": r":4: faults\[0\].at: '-1s' is no quantity",
    "{on: client->tcp-server, for: 0s, loss: 10%}": r":4: faults\[0\].for: found .*greater than 0",
    "{on: client->tcp-server, at: 61s, loss: 10%}": r":4: faults\[0\].at: 61000ms, when the scenario is over",
    "{on: client->tcp-server, loss: 5%}, {on: client<->tcp-server, loss: 6%}": r":4: faults\[\d\]: faults clash",
    "{on: client->tcp-server, for: 2s, loss: 5%}, {on: client->tcp-server, at: 1s, loss: 6%}": r"\[1\]: faults clash",
    '{on: "tcp-server:8082", toxic: {type: slicer, average_size: 3B}}': r"faults\[0\].on: found .*which is no proxy",
    '{on: "toxiproxy:8082", toxic: {type: slice}}': r"faults\[0\].toxic: found 'type': slice; expected one of",
    '{on: "toxiproxy:8082", toxic: {average_size: 3B}}': r"faults\[0\].toxic: found no 'type'",
    '{on: "toxiproxy:8082", toxic: {type: slicer, size: 3B}}': r"faults\[0\].toxic.size: no such field",
    '{on: "toxiproxy:8082", toxic: {type: slicer, average_size: 3B}, loss: 5%}': r"faults\[0\].loss: no such field",
    '{on: "toxiproxy:8082", toxic: 5}': r"faults\[0\].toxic: found 5; expected",
    '{on: "toxiproxy:8082", toxic: {type: limit_data, bytes: 9B}}': "no workload goes to toxiproxy:8082",
    "5": r":4: faults\[0\]: found 5; expected",
}

"""Entries of `faults`."""

WORKLOADS = {
    "tcp: {to: tcp-server:8081, framing: length2, messages: 1}": "port 8081 speaks line.*expected framing: line",
    "tcp: {to: tcp-server:9, framing: line, messages: 1}": "to: found 'tcp-server:9', which serves no tcp",
    "tcp: {to: udp-server:41234, framing: line, messages: 1}": "to: found .* which serves no tcp",
    "tcp: {to: tcp-server:8081, framing: lines, messages: 1}": r"tcp.framing: found 'lines'; expected 'raw', 'line'",
    "tcp: {to: tcp-server:8081, framing: line}": "tcp.messages: missing",
    "tcp: {to: tcp-server:8081, framing: line, messages: 0}": "messages: found 0; expected .*1",
    "tcp: {to: tcp-server:8081, framing: line, messages: true}": "messages: found true; expected a valid integer",
    "tcp: {to: tcp-server:8081, framing: line, messages: '5'}": "messages: found '5'; expected a valid integer",
    "tcp: {to: tcp-server:8081, framing: line, messages: 1, size: 5}": "size: found 5; expected a size with its unit",
    "tcp: {to: tcp-server:8081, framing: line, messages: 1, size: 2B..1B}": "expected the smaller one first",
    "tcp: {to: tcp-server:8081, framing: line, messages: 1, size: 1MB}": "expected 0B to 65536B",
    "tcp: {to: tcp-server:8081, framing: line, messages: 1, pace: 5}": "pace: 5 is a bare number",
    "tcp: {to: tcp-server:8081, framing: line, messages: 1, family: 5}": "family: found 5; expected 4 or 6",
    "tcp: {to: tcp-server:8081, framing: line, messages: 1, max_segment: 9B}": "max_segment: found '9B'; expected .*88",
    "tcp: {to: tcp-server:8081, framing: line, messages: 1, nagle: 1}": "nagle: found 1; expected a valid boolean",
    "tcp: {from: tcp-server, to: tcp-server:8081, framing: line, messages: 1}": "from 'tcp-server' to itself",
    "tcp: {from: me, to: tcp-server:8081, framing: line, messages: 1}": "tcp.from: no node 'me'",
    "tcp: {to: tcp-server:8081, frame: line, messages: 1}": "tcp.frame: no such field; expected one of from,",
    "udp: {to: udp-server:41234, messages: 1, size: 65508B}": "expected 0B to 65507B",
    "dns: {how: lookup, retries: 1}": "retries goes with how: resolve",
    "dns: {how: resolve, names: ['a,b']}": r"dns.names\[0\]: found 'a,b'",
    "dns: {how: resolve, names: []}": "dns.names: found 0 entries; expected at least 1",
    "tcp: {to: 'server:9000', framing: line, messages: 1}": "tcp.to: found 'server:9000'; the scenario has no server",
    "dns: {to: 'server:9000', how: resolve}": "dns.to: found 'server:9000', which serves no dns",
    "dns: {how: resolve, threads: 4}": "threads goes with how: lookup",
    "command: {run: [nc, '{server}']}": "command.run: the scenario has no server; add one",
    "command: {run: [nc, '{sever}']}": r"command.run: '{sever}': no node 'sever'; expected one of client",
    "command: {run: []}": "command.run: found 0 entries; expected at least 1",
    "command: {from: me, run: [nc]}": "command.from: no node 'me'",
    "tpc: {}": r"workload\[0\]: found fields; expected tcp, udp, dns or command",
    "tcp: 5": r"workload\[0\].tcp: found 5; expected",
}

"""Entries of `workload`."""


def with_workload(text: str) -> str:
    return f"about: x\nchecks: [dns]\nworkload:\n  - {text}\n"


FILES = {
    "": ":1: the file is empty",
    "# only a comment": ":1: the file is empty",
    "- a list": ":1: found a list; expected a scenario's fields",
    "just text": ":1: found 'just text'; expected a scenario's fields",
    "a:\n\t- b": r":2: not YAML: .*spaces, not tabs",
    "a: [1, 2": ":1: not YAML",
    'a: "open': ":1: not YAML",
    "a: &anchor 1\nb: *anchor": ":1: anchors and aliases",
    "a: !!python/object/apply:os.system [ls]": ":1: tags",
    "[" * 5000: ":1: nested deeper than",
    "a: " + "9" * 5000: ":1: a number that is too long",
    HEAD + "seed: 0x" + "9" * 5000: ":4: a number that is too long",
    HEAD + "seed: 0b" + "1" * 5000: ":4: a number that is too long",
    HEAD + "seed: " + "1:" * 5000 + "1": ":4: a number that is too long",
    HEAD + "seed: " + "1:" * 400 + "1.5": ":4: found .*, which is no number",
    HEAD + "seed: 0x_": ":4: found '0x_', which is no number; put text into quotes",
    HEAD + "timeout: " + "9" * 5000 + "s": ":4: timeout: .* is too large; expected a smaller number, such as 50ms",
    HEAD + "faults:\n" + "- 1\n" * 250_000: ":19986: more than 20,000 values in one file",
    HEAD + "faults: [" + "0," * 500_000 + "0]": ":4: more than 20,000 values in one file",
    HEAD.replace("checks: [reliability]", "checks:\n" + "- reliabilit\n" * 9_000): r"no check .* \(and 8999 more\)",
    "x: 1\n" + HEAD: ":1: x: no such field; expected one of name, about, .*, checks$",
    HEAD + "seed: " + "9" * 100: ":4: seed: found 9",
    "a: 1\nb: 2\na: 3": r":3: a: stands here a second time \(first on line 1\)",
    "a: 1\n---\nb: 2": ":2: not YAML: .*single document",
    "? [a]\n: 1": ":1: a field's name is a list",
    "a: \x01": ":1: a character that YAML forbids",
    "about: x\nsource: y": ":2: source: no such field",
    HEAD + "seed: x": ":4: seed: found 'x'; expected a valid integer",
    HEAD + "seeed: 1": r":4: seeed: no such field; .*did you mean seed\?",
    HEAD + "engine: tc": ":4: engine: found 'tc'; expected 'any', 'wire' or 'netem'",
    HEAD + "timeout: 10": ":4: timeout: 10 is a bare number",
    HEAD + "name: No Name": ":4: name: found 'No Name'; expected lower-case",
    HEAD + "faults: loss": ":4: faults: found 'loss'; expected a list",
    HEAD + "server: {port: 9000}": ":4: server: names no server; expected command, image, or compose with service",
    HEAD + "server: {command: [x]}": ":4: server.port: missing",
    HEAD + "server: {port: 1, image: a, compose: b, service: c}": ":4: server: image and compose are two servers",
    HEAD + "server: {port: 1, compose: b}": ":4: server: compose names a file and service the one in it",
    HEAD + "faults: [{on: client->server, loss: 5%}]": r":4: faults\[0\].on: the scenario has no server; add one",
    HEAD.replace("[reliability]", "[reliable]"): r":3: checks\[0\]: no check 'reliable'; .*did you mean reliability\?",
    HEAD.replace("[reliability]", "[fault_seen]"): r":3: checks\[0\]: fault_seen runs for every scenario",
    HEAD.replace("[reliability]", "[{handshake: {at_lest: 1s}}]"): r"checks\[0\].handshake.at_lest: no such field",
    HEAD.replace("[reliability]", "[{handshake: {at_least: 1}}]"): r"checks\[0\].handshake.at_least: 1 is a bare",
    HEAD.replace("[reliability]", "[{handshake: 1}]"): r"checks\[0\].handshake: found 1; expected the check's options",
    HEAD.replace("[reliability]", "[[a]]"): r"checks\[0\]: found a list; expected a check's name",
    HEAD.replace("[reliability]", "[]"): r":3: checks: found 0 entries; expected at least 1",
    HEAD.replace("about: Something.\n", ""): ":1: about: missing",
    HEAD.replace("checks: [reliability]", ""): ":1: checks: missing",
    GOOD + "about: again": r":14: about: stands here a second time \(first on line 1\)",
    HEAD.replace(
        "workload: [", 'workload: [{udp: {to: "udp-server:41234", messages: 1}}, '
        '{udp: {to: "udp-server:41234", messages: 1, mode: echo}}, '
    ): ":2: workload: UDP workloads ask for mode ack and echo",
}  # fmt: skip

"""Whole files."""


def broken_files() -> list[str]:
    """All of them, whole."""
    return [*map(with_faults, FAULTS), *map(with_workload, WORKLOADS), *FILES]
