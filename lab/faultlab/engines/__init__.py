"""The engines join the nodes and put faults on the paths: `wire`, `netem` and `toxiproxy`.

`interface` says what a runtime and an engine owe each other; `registry` has the list.
"""
