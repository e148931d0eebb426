"""What a program in a node sees of its host and may do there; docs/isolation.md says what that keeps out.

The supervisor makes one mount view for all nodes of its lab (`make_view`). Each program of a node enters it, and then
gives up what a node does not need (`confine`): both before its first instruction.
"""

from __future__ import annotations

import os
import re
import resource
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from faultlab.kernel import syscalls

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
CAPABILITIES = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
    "NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_CHROOT": 18, "AUDIT_WRITE": 29,
}  # fmt: skip
"""What a node keeps, with the numbers of linux/capability.h: its own network, and servers that change their user."""
MOST_PROCESSES = 4096
PID_MAX, PID_MAX_SINCE = Path("/proc/sys/kernel/pid_max"), (6, 14)
"""Since this kernel each PID namespace has one of its own; before, it is the whole host's."""
SOCKET_LISTS = "/proc/net/unix"
CONTROL_FOLDERS = ("/run", "/var/run")
"""Where a host's daemons listen: Docker, containerd, D-Bus, systemd."""
ROOTS_FOLDERS = ("/etc", "/var/lib", "/var/backups", "/var/spool", "/var/log")
"""Where root's files that nobody else may read are secrets of the host."""
SECRETS_OF_A_HOME = (
    ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config/gcloud", ".config/gh", ".config/containers",
    ".local/share/keyrings", ".password-store", ".netrc", ".pgpass", ".my.cnf", ".git-credentials", ".npmrc", ".pypirc",
    ".cargo/credentials", ".cargo/credentials.toml", ".terraform.d", ".vault-token", ".bash_history", ".zsh_history",
    ".python_history", ".psql_history", ".mysql_history", ".mozilla", ".config/google-chrome", ".config/chromium",
)  # fmt: skip
_HASHES = ("/etc/shadow", "/etc/gshadow")
_EMPTY_FILE, _EMPTY_FOLDER = "file", "folder"


def listening_sockets() -> list[str]:
    """Paths of the Unix sockets that programs of this host have bound. To be asked in the host's network namespace."""
    lines = Path(SOCKET_LISTS).read_text(errors="replace").splitlines()[1:]
    fields = (line.split(maxsplit=7) for line in lines)
    return sorted({words[7] for words in fields if len(words) == 8 and words[7].startswith("/")})


def make_view(evidence: Path, sockets: list[str], files: Mapping[str, str]) -> int:
    """A descriptor of a new mount namespace: the lab's own, and of it only what a node should see.

    Args:
        evidence: the lab's folder; nodes write there, in the working folder and in the folder for temporary files.
        sockets: what `listening_sockets` said; they are out of reach.
        files: name service files and their texts.

    MissingCapability where the kernel is older than 5.12. OSError where it refuses a mount.
    """
    home, work = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), Path.cwd()
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        _hide_host(_open_folders(work, evidence), work, sockets, files)
        return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNS)
        os.chdir(work)
        os.close(home)


def confine() -> None:
    """Give up what a node does not need. It holds from the next execve(2) on, and for all children."""
    _limit(resource.RLIMIT_DATA, most_memory())
    if not _pid_max_is_ours():
        _limit(resource.RLIMIT_NPROC, MOST_PROCESSES)
    # Where the host runs out of memory, the kernel ends a node's program, not the host's (proc(5): oom_score_adj).
    Path("/proc/self/oom_score_adj").write_text("1000")
    syscalls.keep_capabilities(set(CAPABILITIES.values()))
    syscalls.no_new_privileges()


def limits() -> str:
    """What holds here, in words."""
    processes = f"{MOST_PROCESSES:,} processes"
    if not _pid_max_is_ours():
        processes += f" of an ordinary user, no limit for root (before Linux {'.'.join(map(str, PID_MAX_SINCE))})"
    return f"{most_memory() >> 20:,} MiB of data for each process; {processes}"


def most_memory() -> int:
    """Bytes of data of one process (RLIMIT_DATA): half of the host's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def limit_processes() -> None:
    """For the PID namespace of the lab, where the kernel can; where it can't, `confine` does what setrlimit(2) can."""
    release = [int(word) for word in re.findall(r"\d+", os.uname().release)[:2]]
    if tuple(release) < PID_MAX_SINCE:
        return
    try:
        PID_MAX.write_text(str(MOST_PROCESSES))
    except OSError as error:  # in a container whose /proc/sys is read-only
        print(f"no limit of the lab's processes but setrlimit: {error}", file=sys.stderr)


def _pid_max_is_ours() -> bool:
    return int(PID_MAX.read_text()) == MOST_PROCESSES


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


# -- the mounts --------------------------------------------------------------------------------------------------------


def _open_folders(*more: Path) -> dict[Path, int]:
    """Where a node writes, parents first. A working folder `/` is none of them: it would be the whole host."""
    asked = {folder.resolve() for folder in (*more, Path("/tmp"), Path(os.environ.get("TMPDIR") or "/tmp"))}
    return {one: os.open(one, os.O_PATH | os.O_CLOEXEC) for one in sorted(asked) if one.is_dir() and one != Path("/")}


def _hide_host(folders: Mapping[Path, int], work: Path, sockets: list[str], files: Mapping[str, str]) -> None:
    read_only = {one for one in (*folders, Path("/proc")) if os.statvfs(one).f_flag & os.ST_RDONLY}
    secrets = [one for one in (*_secrets(), *map(Path, sockets)) if os.access(one, os.F_OK)]  # others need no cover
    shadows = {name: _without_hashes(Path(name).read_text()) for name in _HASHES if os.access(name, os.R_OK)}
    devices = {
        name: os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC) for name in DEVICES if Path("/dev", name).exists()
    }
    syscalls.restrict_mount(
        "/", syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV, whole=True
    )
    for hidden in {Path(name).resolve() for name in CONTROL_FOLDERS}:
        if hidden.is_dir():
            _empty_copy(hidden)
    _own_devices(devices)
    for folder, fd in folders.items():
        folder.mkdir(parents=True, exist_ok=True)  # where it was below a folder that is hidden now
        syscalls.mount(f"/proc/self/fd/{fd}", str(folder), "", syscalls.MS_BIND | syscalls.MS_REC)
        if folder not in read_only:
            syscalls.restrict_mount(str(folder), 0, syscalls.MOUNT_ATTR_RDONLY)
        os.close(fd)
    texts = {name: text for name, text in files.items() if not Path(name).exists()}  # it was a link into one of them
    stage = Path("/dev/stage")
    stage.mkdir()
    syscalls.mount("tmpfs", str(stage), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV)
    (stage / _EMPTY_FILE).touch(0o000)
    (stage / _EMPTY_FOLDER).mkdir(0o000)
    for number, (name, text) in enumerate(shadows.items()):
        shadow = stage / str(number)
        shadow.touch(0o600)
        shadow.write_text(text)
        _cover(str(shadow), name)
    used = [work, *folders]
    for secret in secrets:
        if not any(one == secret or secret in one.parents for one in used):
            _cover(str(stage / (_EMPTY_FOLDER if secret.is_dir() else _EMPTY_FILE)), str(secret))
    _close_proc(stage)
    if Path("/proc") not in read_only:
        syscalls.restrict_mount("/proc", 0, syscalls.MOUNT_ATTR_RDONLY)
    for name, text in texts.items():
        real = Path(name).resolve()
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text)
    syscalls.unmount(str(stage))
    stage.rmdir()


def _cover(source: str, target: str) -> None:
    """A mount in the place of a file or folder, for reading. One that is gone meanwhile needs none."""
    try:
        syscalls.mount(source, target, "", syscalls.MS_BIND | syscalls.MS_REC)
    except FileNotFoundError:
        return
    syscalls.restrict_mount(target, syscalls.MOUNT_ATTR_RDONLY)


def _empty_copy(folder: Path) -> None:
    """The folders right below it, empty, with their owners and modes: servers put their own sockets there."""
    below = [(one.name, facts) for one, facts in _entries(folder) if stat.S_ISDIR(facts.st_mode)]
    syscalls.mount("tmpfs", str(folder), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755,size=10%")
    all_users = syscalls.maps_all_users()
    for name, facts in below:
        (folder / name).mkdir()
        if all_users:
            os.chown(folder / name, facts.st_uid, facts.st_gid)
        (folder / name).chmod(stat.S_IMODE(facts.st_mode))


def _own_devices(devices: Mapping[str, int]) -> None:
    """/dev with the harmless few, terminals and shared memory of its own."""
    syscalls.mount("tmpfs", "/dev", "tmpfs", syscalls.MS_NOSUID, "mode=755,size=1m")
    for name, fd in devices.items():
        Path("/dev", name).touch()
        syscalls.mount(f"/proc/self/fd/{fd}", f"/dev/{name}", "", syscalls.MS_BIND)
        syscalls.restrict_mount(f"/dev/{name}", 0, syscalls.MOUNT_ATTR_NODEV)
        os.close(fd)
    for name, target in (("fd", "self/fd"), ("stdin", "self/fd/0"), ("stdout", "self/fd/1"), ("stderr", "self/fd/2")):
        Path("/dev", name).symlink_to(f"/proc/{target}")
    Path("/dev/pts").mkdir()
    syscalls.mount(
        "devpts", "/dev/pts", "devpts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"
    )
    Path("/dev/ptmx").symlink_to("pts/ptmx")
    Path("/dev/shm").mkdir()
    syscalls.mount("tmpfs", "/dev/shm", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=1777,size=25%")


def _close_proc(stage: Path) -> None:
    """Of /proc a node writes to its processes' own entries alone, and sees nothing that only root may see."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() or entry.is_symlink():
            continue
        mode = entry.stat().st_mode
        if not entry.is_dir() and not mode & stat.S_IROTH:
            _cover(str(stage / _EMPTY_FILE), entry.path)
        elif entry.is_dir() or mode & 0o222:
            _cover(entry.path, entry.path)


# -- secrets -----------------------------------------------------------------------------------------------------------


def _secrets() -> Iterator[Path]:
    """What the host keeps to root, and users to themselves."""
    if os.access("/etc/shadow", os.R_OK):
        for folder in ROOTS_FOLDERS:
            yield from _kept_to_root(Path(folder), deep=folder == "/etc")
    for home in _homes():
        yield from (home / name for name in SECRETS_OF_A_HOME)


def _kept_to_root(folder: Path, deep: bool) -> Iterator[Path]:
    """Files and folders of root's in it that the others may not read."""
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        return
    for entry, facts in _entries(folder):
        if stat.S_ISLNK(facts.st_mode) or entry.path in _HASHES:
            continue
        if facts.st_uid == 0 and not facts.st_mode & stat.S_IROTH:
            yield Path(entry.path)
        elif deep and stat.S_ISDIR(facts.st_mode):
            yield from _kept_to_root(Path(entry.path), deep)


def _entries(folder: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """What is in it, links as links. What the host removes meanwhile is left out: useradd(8) has /etc/passwd.PID."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):
                yield entry, entry.stat(follow_symlinks=False)


def _homes() -> set[Path]:
    lines = Path("/etc/passwd").read_text(errors="replace").splitlines()
    fields = [line.split(":") for line in lines if line.count(":") == 6]
    people = {Path(one[5]) for one in fields if one[2] == "0" or (one[2].isdigit() and int(one[2]) >= 1000)}
    return {home.resolve() for home in (*people, Path.home()) if os.access(home, os.X_OK) and home != Path("/")}


def _without_hashes(text: str) -> str:
    """shadow(5) and gshadow(5): with nobody's password. Programs such as su(1) ask whether an account has expired."""
    lines = (line.split(":") for line in text.splitlines())
    return "".join(":".join((one[0], "*", *one[2:])) + "\n" for one in lines if len(one) > 1)
