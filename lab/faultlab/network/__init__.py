"""Packets, nodes, addresses and paths: data and the rules of the protocols, without I/O."""
