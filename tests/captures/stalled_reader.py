"""In a network namespace of its own: a sender, a reader that stops for a while, and tcpdump, which writes a file."""

from __future__ import annotations

import socket
import subprocess
import sys
import time


def main(capture: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    dump = ["tcpdump", "-Z", "root", "-i", "lo", "-U", "-w", capture]
    with subprocess.Popen(dump, stderr=subprocess.PIPE, text=True) as tcpdump:
        assert tcpdump.stderr is not None
        first = tcpdump.stderr.readline()
        try:
            assert "listening" in first, first
            converse()
        finally:
            tcpdump.terminate()


def converse() -> None:
    """The sender's buffer holds all; the receiver's is full after some 64 KiB, for as long as some of TCP's probes."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as sender, listener.accept()[0] as reader:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
            sender.sendall(bytes(200_000))
            time.sleep(1.5)
            left = 200_000
            while left:
                left -= len(reader.recv(3000))
            time.sleep(1.5)  # until the first keep-alive


if __name__ == "__main__":
    main(sys.argv[1])
