"""Scenarios carried out: one run, many, the matrix, and `replay`, `shrink` and `compare` of runs."""
