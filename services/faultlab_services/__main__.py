"""The command line: `python -m faultlab_services tcp-server|tcp-client|udp-server|udp-client|dns-server|dns-client`.

Each command imports only what it needs, when it runs: a lab starts many of these processes.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from faultlab_services import lifetime, quantities
from faultlab_services.errors import ServiceError, ServiceUsageError

FRAMING_CHOICE = click.Choice(["raw", "line", "length2", "length4", "varint"])
MODE = click.Choice(["ack", "echo"])
PORT = click.IntRange(0, 65535)
SOURCE_PORT = click.IntRange(1, 65535)
COUNT = click.IntRange(min=1)
FILE = click.Path(dir_okay=False, path_type=Path)


class Quantity(click.ParamType[Any]):
    """A click type around one function of `faultlab_services.quantities`."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ServiceUsageError as error:
            self.fail(str(error), param, ctx)


TIME = Quantity("time", quantities.duration_s)
SIZE = Quantity("size", quantities.size_bytes)
SIZE_RANGE = Quantity("size[..size]", quantities.size_range_bytes)

journal_option = click.option("--journal", type=FILE, help="Append the JSONL journal to this file.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
bind_option = click.option(
    "--bind", multiple=True, default=["::"], show_default=True, help="Address to listen on; `::` serves IPv4 too."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def cli() -> None:
    """The servers and clients that the lab puts under test."""


@cli.command()
@bind_option
@click.option("--raw-port", "--port", type=PORT, default=8080, help="Raw: answers each chunk that it reads.")
@click.option("--line-port", type=PORT, default=8081, help="Echo of newline-ended messages.")
@click.option("--length2-port", type=PORT, default=8082, help="Echo of messages with a 2-byte big-endian length.")
@click.option("--length4-port", type=PORT, help="Echo of messages with a 4-byte big-endian length; off unless given.")
@click.option("--varint-port", type=PORT, help="Echo of messages with an unsigned LEB128 length; off unless given.")
@click.option("--max-frame", type=SIZE, default="64KiB", help="A longer frame ends its connection.")
@click.option("--idle-timeout", type=TIME, default="60s", help="A connection silent for longer is closed.")
@click.option("--drain-timeout", type=TIME, default="5s", help="At most this long to finish after SIGTERM.")
@journal_option
def tcp_server(
    bind: tuple[str, ...],
    max_frame: int,
    idle_timeout: float,
    drain_timeout: float,
    journal: Path | None,
    **ports: int | None,
) -> int:
    """Raw and framed echo over TCP."""
    from faultlab_services import tcp_server as tcp

    given = ((name.removesuffix("_port"), port) for name, port in ports.items())
    listeners = [tcp.FramedPort(framing, port) for framing, port in given if port is not None]
    limits = tcp.Limits(max_frame, idle_timeout, drain_timeout)
    return lifetime.run_server(lambda stop: tcp.serve(stop, listeners, bind, limits, journal))


@cli.command()
@click.option("--to", required=True, metavar="HOST:PORT", help="Where to connect.")
@click.option("--framing", type=FRAMING_CHOICE, required=True)
@click.option("--messages", type=COUNT, default=1, help="Messages on each connection.")
@click.option("--size", type=SIZE_RANGE, default="100B", help="Bytes of a message, or a range to draw from.")
@click.option("--size-seed", type=int, default=0, help="Seed of the sizes drawn from a range.")
@click.option("--concurrency", type=COUNT, default=1, help="Connections at the same time.")
@click.option("--window", type=COUNT, default=1, help="Messages in flight on each connection.")
@click.option("--pace", type=TIME, default="0s", help="Time between sends on each connection.")
@click.option("--timeout", type=TIME, default="30s", help="A message unanswered for longer is unknown.")
@click.option("--connect-timeout", type=TIME, default="10s")
@click.option("--source-port", type=SOURCE_PORT, help="Connection i is bound to this port plus i.")
@click.option("--nagle", is_flag=True, help="Leave Nagle's algorithm on.")
@click.option("--max-segment", type=click.IntRange(88, 32767), help="Bytes of a segment at most (TCP_MAXSEG).")
@journal_option
@json_option
def tcp_client(
    to: str,
    framing: str,
    messages: int,
    size: tuple[int, int],
    size_seed: int,
    concurrency: int,
    window: int,
    pace: float,
    timeout: float,
    connect_timeout: float,
    source_port: int | None,
    nagle: bool,
    max_segment: int | None,
    journal: Path | None,
    as_json: bool,
) -> int:
    """Send numbered messages over TCP and account for each answer."""
    from faultlab_services import tcp_client as tcp
    from faultlab_services.sockets import parse_endpoint

    host, port = parse_endpoint(to)
    work = tcp.TcpClientOptions(
        host=host,
        port=port,
        framing=framing,
        messages=messages,
        sizes=size,
        size_seed=size_seed,
        connections=concurrency,
        window=window,
        pace_s=pace,
        timeout_s=timeout,
        connect_timeout_s=connect_timeout,
        source_port=source_port,
        nagle=nagle,
        max_segment=max_segment,
    )
    return lifetime.run_client(tcp.run(work, journal, as_json))


@cli.command()
@bind_option
@click.option("--port", type=PORT, default=41234)
@click.option("--mode", type=MODE, default="ack", help="Answer `Message Received`, or the datagram itself.")
@journal_option
def udp_server(bind: tuple[str, ...], port: int, mode: str, journal: Path | None) -> int:
    """Answer each UDP datagram."""
    from faultlab_services import udp_server as udp

    return lifetime.run_server(lambda stop: udp.serve(stop, port, bind, mode == "echo", journal))


@cli.command()
@click.option("--to", required=True, metavar="HOST:PORT", help="Where to send.")
@click.option("--mode", type=MODE, default="ack", help="What the server answers.")
@click.option("--messages", type=COUNT, default=1, help="Datagrams to send.")
@click.option("--size", type=SIZE_RANGE, default="100B", help="Bytes of a datagram, or a range to draw from.")
@click.option("--size-seed", type=int, default=0, help="Seed of the sizes drawn from a range.")
@click.option("--pace", type=TIME, default="1ms", help="Time between datagrams.")
@click.option("--timeout", type=TIME, default="2s", help="How long to wait for answers after the last send.")
@click.option(
    "--retries", type=click.IntRange(min=0), help="Wait for each answer, and send again up to this many times."
)
@click.option("--source-port", type=SOURCE_PORT)
@journal_option
@json_option
def udp_client(
    to: str,
    mode: str,
    messages: int,
    size: tuple[int, int],
    size_seed: int,
    pace: float,
    timeout: float,
    retries: int | None,
    source_port: int | None,
    journal: Path | None,
    as_json: bool,
) -> int:
    """Send numbered datagrams over UDP and account for each answer."""
    from faultlab_services import udp_client as udp
    from faultlab_services.sockets import parse_endpoint

    host, port = parse_endpoint(to)
    work = udp.UdpClientOptions(
        host=host,
        port=port,
        echo=mode == "echo",
        messages=messages,
        sizes=size,
        size_seed=size_seed,
        pace_s=pace,
        timeout_s=timeout,
        retries=retries,
        source_port=source_port,
    )
    return lifetime.run_client(udp.run(work, journal, as_json))


@cli.command()
@bind_option
@click.option("--port", type=PORT, default=53, help="For UDP and TCP.")
@click.option("--zone", default="lab.", help="Names are served as NAME.ZONE, and single labels by themselves too.")
@click.option("--record", "records", multiple=True, metavar="NAME=ADDRESS", help="An A or AAAA record; repeatable.")
@click.option("--records", "file", type=FILE, help="JSON file: {name: [addresses]}.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[=VALUE][@NAME]",
    help="delay=200ms, drop=20%, servfail, truncate or wrong-id; repeatable.",
)
@click.option("--seed", type=int, default=0, help="Seed of the faults' decisions.")
@journal_option
def dns_server(
    bind: tuple[str, ...],
    port: int,
    zone: str,
    records: tuple[str, ...],
    file: Path | None,
    faults: tuple[str, ...],
    seed: int,
    journal: Path | None,
) -> int:
    """Answer for the lab's names, over UDP and TCP."""
    from faultlab_services import dns_server as dns
    from faultlab_services.dns_faults import parse_fault

    planned = [parse_fault(fault) for fault in faults]
    config = dns.DnsConfig(zone, dns.parse_records(records, file), planned, seed)
    return lifetime.run_server(lambda stop: dns.serve(stop, config, port, bind, journal))


@cli.command()
@click.option("--how", type=click.Choice(["lookup", "resolve"]), required=True, help="getaddrinfo, or DNS itself.")
@click.option("--names", required=True, metavar="NAME[,NAME...]", help="Names to ask for, in turn.")
@click.option("--count", type=COUNT, help="How many to ask for in all; each name once unless given.")
@click.option("--family", type=click.Choice(["4", "6", "both"]), default="both")
@click.option("--server", metavar="ADDRESS[:PORT]", help="(resolve) Instead of those in resolv.conf.")
@click.option("--timeout", type=TIME, default="2s", help="Of one attempt (resolve), or in all (lookup).")
@click.option("--retries", type=click.IntRange(min=0), help="(resolve) Further attempts; 2 unless given.")
@click.option("--concurrency", type=COUNT, default=1, help="Names asked for at the same time.")
@click.option("--pace", type=TIME, default="0s", help="Time between the beginnings of two.")
@click.option("--pool-size", type=COUNT, help="Threads of the pool; asyncio's own choice unless given.")
@click.option("--job-every", type=TIME, help="Give the pool another job this often, and journal how long it waits.")
@click.option("--source-port", type=SOURCE_PORT, help="(resolve) First port to ask from: each attempt has its own.")
@journal_option
@json_option
def dns_client(
    how: str,
    names: str,
    count: int | None,
    family: str,
    server: str | None,
    timeout: float,
    retries: int | None,
    concurrency: int,
    pace: float,
    pool_size: int | None,
    job_every: float | None,
    source_port: int | None,
    journal: Path | None,
    as_json: bool,
) -> int:
    """Turn names into addresses and account for each."""
    from faultlab_services import dns_client as dns

    other = {"--server": server, "--retries": retries, "--source-port": source_port}
    if how == "lookup":
        _refuse_given(other, "--how lookup")
    if how == "resolve" and job_every is None:
        _refuse_given({"--pool-size": pool_size}, "--how resolve and no --job-every")
    listed = tuple(filter(None, names.split(",")))
    if not listed:
        raise ServiceUsageError("--names is empty: write it like tcp-server,udp-server")
    work = dns.DnsClientOptions(
        how=how,
        names=listed,
        count=count or len(listed),
        family=family,
        server=server,
        timeout_s=timeout,
        retries=2 if retries is None else retries,
        concurrency=concurrency,
        pace_s=pace,
        pool_size=pool_size,
        job_every_s=job_every,
        source_port=source_port,
    )
    return lifetime.run_client(dns.run(work, journal, as_json))


def _refuse_given(options: Mapping[str, object], where: str) -> None:
    """Raises `ServiceUsageError` for an option that would change nothing."""
    for name, value in options.items():
        if value is not None:
            raise ServiceUsageError(f"{name} means nothing with {where}: leave it out")


def main() -> int:
    """Runs one command; every error is one line on standard error. Returns the exit code."""
    lifetime.leave_on_sigterm()
    try:
        code = cli.main(prog_name="python -m faultlab_services", standalone_mode=False)
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except click.Abort:
        return 0
    except ServiceError as error:
        return _complain(str(error), error.exit_code)
    except OSError as error:
        # One that names a file is about a file that the command line named.
        return _complain(f"{error.filename}: {error.strerror}", 2) if error.filename else _complain(str(error), 1)
    return code if isinstance(code, int) else 0


def _complain(message: str, code: int) -> int:
    print(f"services: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
