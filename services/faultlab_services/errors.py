"""What a service says when it cannot go on.

    ServiceError    it went wrong while running                        exit code 1
    └── UsageError  what was asked for can't be meant; nothing started exit code 2

Each message is one line for a person; `faultlab_services.__main__` prints it on standard error and exits.
"""


class ServiceError(Exception):
    """The service had to stop."""

    exit_code = 1


class ServiceUsageError(ServiceError):
    """The command line or a file it names makes no sense."""

    exit_code = 2
