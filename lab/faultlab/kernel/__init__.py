"""What the lab asks of the Linux kernel: system calls, netlink, and the devices of nodes."""
