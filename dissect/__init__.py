# SPDX-License-Identifier: GPL-2.0-only
"""One packet, taken apart by scapy: a program of its own, for scapy's licence is not ours (docs/dependencies.md).

    python -m dissect LINKTYPE < frame

LINKTYPE is a number of the tcpdump group's registry (1: Ethernet). Prints each layer with its fields, then the bytes.
"""
