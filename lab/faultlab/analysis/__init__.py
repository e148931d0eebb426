"""What a run, or a capture from anywhere, shows when looked at: paths, stories of packets, and where to look."""
