"""Captures from anywhere (pcap, pcapng), read in columns: what each packet says, and what each flow did.

Nothing here knows of labs, ledgers or faults: `faultlab.analysis` puts those beside it.
"""
