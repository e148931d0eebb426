# SPDX-License-Identifier: GPL-2.0-only
"""The peer: scapy's bridge between two interfaces. A program of its own, because scapy is GPL-2.0-only."""

from __future__ import annotations

import sys

from scapy.all import bridge_and_sniff

if __name__ == "__main__":
    print("ready", flush=True)
    bridge_and_sniff(sys.argv[1], sys.argv[2], store=False, quiet=True)
