"""A UDP echo server that is wrong in the one way it is told.

python udp_server.py PORT HOW
"""

import socket
import sys

TURN = 5
"""Every fifth datagram is treated badly."""


def main(port: int, how: str) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    count, first, broken = 0, None, False
    seen: set[bytes] = set()
    while True:
        datagram, sender = sock.recvfrom(65_536)
        first = first or sender
        count += 1
        bad = count % TURN == 0
        if bad and how == "loses":
            continue
        if how == "fails-after-a-gap" and datagram.startswith(b"msg-0-8-") and b"msg-0-7-" not in seen:
            broken = True
        seen.add(datagram[:8])
        answer = datagram[:-1] + b"?" if broken or (bad and how == "corrupts") else datagram
        sock.sendto(answer, first if bad and how == "answers-another" else sender)
        if bad and how == "repeats":
            sock.sendto(answer, sender)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
