"""Reading a capture: us against tshark and dpkt, the same fields of the same packets, in one run.

`python -m bench.reading [--packets 1000000]`. Exit status 1 where a promise did not hold. Each reader is a process of
its own and works on one processor; rates are per second of processor time, because the machine may have other work.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import dpkt
from faultlab.captures.files import CaptureFile

from bench.capture_maker import write_both

SEED = 6
REPEATS = 3
TIMES_TSHARK, TIMES_DPKT = 5, 10
MEMORY_MIB = 150
IPV4 = ["ip.src", "ip.dst", "ip.proto", "ip.ttl", "ip.id", "ip.len", "ip.frag_offset", "ip.flags.mf"]
IPV6 = ["ipv6.src", "ipv6.dst", "ipv6.nxt", "ipv6.hlim", "ipv6.plen"]
PORTS = ["tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport"]
TCP = ["tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.hdr_len", "tcp.len"]
FRAME = ["frame.time_epoch", "frame.len", "frame.cap_len"]
FIELDS = [*FRAME, *IPV4, *IPV6, *PORTS, *TCP, "udp.length", "dns.id", "dns.flags"]
TSHARK = ["tshark", "-n", "-o", "tcp.analyze_sequence_numbers:FALSE", "-T", "fields"]
"""Without analysis, which nobody asks for here: tshark is faster so."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.reading", description="Reading a capture, us against tshark and dpkt.")
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--read", nargs=2, metavar=("READER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        return _read(*options.read)
    with TemporaryDirectory() as folder:
        files = write_both(Path(folder), options.packets, SEED)
        kept = [_compare(file, options.packets) for file in files]
        return 0 if all(kept) else 1


def _read(reader: str, file: str) -> int:
    """In a process of its own: read the file, and print what it took."""
    start = time.process_time()
    read = {"ours": _ours, "dpkt": _dpkt}[reader](Path(file))
    seconds = time.process_time() - start
    print(json.dumps({"packets": read, "seconds": seconds, "mib": _peak_mib()}))
    return 0


def _peak_mib() -> float:
    """Not getrusage(2), whose peak begins with that of the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _ours(file: Path) -> int:
    return sum(len(columns) for columns in CaptureFile(file).batches())


def _dpkt(file: Path) -> int:
    with file.open("rb") as data:
        reader = dpkt.pcapng.Reader(data) if file.suffix == ".pcapng" else dpkt.pcap.Reader(data)
        numbered = enumerate(_dpkt_fields(reader), start=1)
        return deque(numbered, maxlen=1)[0][0]


def _dpkt_fields(reader: Iterator[tuple[float, bytes]]) -> Iterator[tuple[object, ...]]:
    for when, frame in reader:
        network: tuple[object, ...]
        rest: tuple[object, ...]
        ip = dpkt.ethernet.Ethernet(frame).data
        if isinstance(ip, dpkt.ip.IP):
            network = (ip.src, ip.dst, ip.p, ip.ttl, ip.id, ip.len, ip.offset, ip.mf)
        else:
            network = (ip.src, ip.dst, ip.nxt, ip.hlim, ip.plen)
        inner = ip.data
        if isinstance(inner, dpkt.tcp.TCP):
            rest = (inner.sport, inner.dport, inner.seq, inner.ack, inner.flags, inner.win, inner.off, len(inner.data))
        else:
            rest = (inner.sport, inner.dport, inner.ulen)
            if 53 in rest[:2]:
                dns = dpkt.dns.DNS(inner.data)
                rest += (dns.id, dns.op)
        yield (when, len(frame), *network, *rest)


def _compare(file: Path, packets: int) -> bool:
    print(f"{file.name}: {packets:,} packets, {file.stat().st_size / 1e6:,.0f} MB", flush=True)
    ours = [_child("ours", file, packets) for _ in range(REPEATS)]
    rate = packets / median(run["seconds"] for run in ours)
    dpkt_rate = packets / _child("dpkt", file, packets)["seconds"]
    tshark_rate = packets / _tshark_seconds(file)
    peak = max(run["mib"] for run in ours)
    kept = [rate >= TIMES_TSHARK * tshark_rate, rate >= TIMES_DPKT * dpkt_rate, peak <= MEMORY_MIB]
    said = [_word(one) for one in kept]
    print(f"  ours    {rate:>11,.0f} packets/s, peak {peak:.0f} MiB; {said[2]}: at most {MEMORY_MIB} MiB")
    print(
        f"  tshark  {tshark_rate:>11,.0f} packets/s, ratio {rate / tshark_rate:.1f}; {said[0]}: at least {TIMES_TSHARK}"
    )
    print(f"  dpkt    {dpkt_rate:>11,.0f} packets/s, ratio {rate / dpkt_rate:.1f}; {said[1]}: at least {TIMES_DPKT}")
    return all(kept)


def _word(kept: bool) -> str:
    return "held" if kept else "NOT HELD"


def _child(reader: str, file: Path, packets: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.reading", "--read", reader, str(file)]
    run: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if run["packets"] != packets:
        raise SystemExit(f"{reader} read {run['packets']:,} packets of {packets:,}")
    return run


def _tshark_seconds(file: Path) -> float:
    """Of its whole process."""
    command = [*TSHARK, "-r", str(file), *(part for field in FIELDS for part in ("-e", field))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
