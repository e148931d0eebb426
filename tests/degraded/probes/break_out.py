"""Tries to get from a node to its host, in every way that a test knows of: `break_out.py FACTS`, a file of JSON.

Prints, as JSON, which ways succeeded; null is a way that this kernel has not. None of them does harm where it does.
"""

import ctypes
import json
import mmap
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_MOUNTS, NEW_USERS, DETACH, TMPFS = 0x00020000, 0x10000000, 2, b"tmpfs"
MOST_THREADS = 4200


def outside_file(facts: dict[str, Any]) -> bool:
    """Of the host's file system, out of the folders that a node may write in."""
    Path(facts["outside"], "written").write_text("by a node")
    return True


def hashes(facts: dict[str, Any]) -> bool:
    return any(len(line.split(":")[1]) > 2 for line in Path(facts["shadow"]).read_text().splitlines())


def closed_file_of_etc(facts: dict[str, Any]) -> bool:
    return Path(facts["closed"]).read_text() == "secret"


def private_key(facts: dict[str, Any]) -> bool:
    return Path(facts["home"], ".ssh", "id_ed25519").read_text() == "secret"


def password_file(facts: dict[str, Any]) -> bool:
    return Path(facts["home"], ".netrc").read_text() == "secret"


def control_socket(facts: dict[str, Any]) -> bool:
    """In /run, such as Docker's."""
    return _talks(facts["run_socket"])


def other_socket(facts: dict[str, Any]) -> bool:
    """Where nodes may write, such as tmux's or an SSH agent's."""
    return _talks(facts["tmp_socket"])


def _talks(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)
    return True


def raw_disk(_: dict[str, Any]) -> bool:
    disk = next(one for one in Path("/dev").iterdir() if one.exists() and stat.S_ISBLK(one.stat().st_mode))
    os.close(os.open(disk, os.O_RDONLY))
    return True


def new_device(facts: dict[str, Any]) -> bool:
    """Made where a node may write: here /dev/zero, but the number could be a disk's."""
    device = Path(facts["writable"], f"zero-{os.getpid()}")
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    try:
        return device.open("rb").read(1) == b"\0"
    finally:
        device.unlink()


def core_pattern(_: dict[str, Any]) -> bool:
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
    return True


def magic_key(_: dict[str, Any]) -> bool | None:
    if not Path("/proc/sysrq-trigger").exists():
        return None
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return True


def firmware_and_kernel(_: dict[str, Any]) -> bool:
    return not os.statvfs("/sys").f_flag & os.ST_RDONLY


def supervisors_files(_: dict[str, Any]) -> bool:
    """Process 1 sees the host as it is."""
    return any(Path("/proc/1/root/").iterdir())


def supervisors_namespace(_: dict[str, Any]) -> bool:
    with Path("/proc/1/ns/mnt").open() as there:
        _checked(LIBC.setns(there.fileno(), NEW_MOUNTS))
    return True


def other_mounts(_: dict[str, Any]) -> bool:
    """A mount of one's own: with that, what is hidden could be uncovered."""
    child = os.fork()
    if child == 0:
        os._exit(LIBC.unshare(NEW_MOUNTS) != 0 or LIBC.mount(TMPFS, b"/mnt", TMPFS, 0, None) != 0)
    return os.waitpid(child, 0)[1] == 0


def uncovered(facts: dict[str, Any]) -> bool:
    """In a user namespace of one's own, where one may mount and unmount."""
    folder = Path(facts["home"], ".ssh")
    child = os.fork()
    if child == 0:
        LIBC.unshare(NEW_USERS | NEW_MOUNTS)
        LIBC.umount2(str(folder).encode(), DETACH)
        try:
            os._exit((folder / "id_ed25519").read_text() != "secret")
        except OSError:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def capabilities(_: dict[str, Any]) -> bool:
    """More than a node's: among them SYS_ADMIN (21), SYS_PTRACE (19), SYS_MODULE (16), DAC_READ_SEARCH (2)."""
    bounding = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    return any(int(bounding.split()[1], 16) >> number & 1 for number in (2, 16, 19, 21))


def gained_by_a_file(_: dict[str, Any]) -> bool:
    """By set-user-ID programs."""
    return "NoNewPrivs:\t0" in Path("/proc/self/status").read_text()


def memory(facts: dict[str, Any]) -> bool:
    mmap.mmap(-1, facts["memory"] + (1 << 20), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    return True


def processes(_: dict[str, Any]) -> bool:
    """Threads are processes to the kernel's count."""
    threading.stack_size(1 << 15)
    over = threading.Event()
    started = []
    try:
        for _number in range(MOST_THREADS):
            thread = threading.Thread(target=over.wait)
            thread.start()
            started.append(thread)
    finally:
        over.set()
        for thread in started:
            thread.join()
    return True


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), "refused")


WAYS: tuple[Callable[[dict[str, Any]], bool | None], ...] = (
    outside_file, hashes, closed_file_of_etc, private_key, password_file, control_socket, other_socket, raw_disk,
    new_device, core_pattern, magic_key, firmware_and_kernel, supervisors_files, supervisors_namespace, other_mounts,
    uncovered, capabilities, gained_by_a_file, memory,
    processes,
)  # fmt: skip


def main() -> None:
    facts = json.loads(Path(sys.argv[1]).read_text())
    found = {}
    for way in WAYS:
        try:
            found[way.__name__] = way(facts)
        except (OSError, RuntimeError, StopIteration, ValueError, MemoryError, OverflowError):
            found[way.__name__] = False
    print(json.dumps(found))


if __name__ == "__main__":
    main()
