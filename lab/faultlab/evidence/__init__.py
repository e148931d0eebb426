"""What a run leaves, written and read: captures, ledger and journals of the lab's own.

Checks read it from here. Captures of anybody are read by `faultlab.captures`.
"""
