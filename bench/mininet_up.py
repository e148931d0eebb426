"""The peer: how long Mininet takes to bring a switch with N hosts up. Run by the Python that Mininet came with.

Prints one JSON line: {"seconds": ...}. Nothing of this project is imported.
"""

import json
import sys
import time

from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo


def main(hosts: int) -> None:
    start = time.perf_counter()
    net = Mininet(
        topo=SingleSwitchTopo(hosts), switch=LinuxBridge, controller=None, autoSetMacs=True, autoStaticArp=True
    )
    net.start()
    built = time.perf_counter() - start
    try:
        if net.ping([net.hosts[0], net.hosts[-1]], timeout="1") > 0:
            raise SystemExit(
                "hosts do not reach each other; if Docker filters bridges: sysctl net.bridge.bridge-nf-call-iptables=0"
            )
        print(json.dumps({"seconds": built}), flush=True)
    finally:
        net.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]))
