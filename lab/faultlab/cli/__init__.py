"""The commands of `lab`: they read options, call the packages below, and print.

Nothing is decided here; an error of ours becomes one line and an exit code.
"""
