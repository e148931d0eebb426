"""What isolation makes of the host's files, and what it says where the kernel is too old."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faultlab.errors import MissingCapability
from faultlab.kernel import syscalls
from faultlab.runtimes import isolation

NO_SUCH_CALL = 100_000


def test_passwords_are_left_out_and_accounts_stay() -> None:
    shadow = "root:$y$j9T$salt$hash:19000:0:99999:7:::\nold:!:19000:0:99999:7:::\n"
    assert isolation._without_hashes(shadow) == "root:*:19000:0:99999:7:::\nold:*:19000:0:99999:7:::\n"
    assert isolation._without_hashes("staff:$6$a$b:root:amy\n") == "staff:*:root:amy\n"


def test_an_old_kernel_is_what_is_missing_and_trust_is_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "_MOUNT_SETATTR", NO_SUCH_CALL)
    with pytest.raises(MissingCapability) as caught:
        syscalls.restrict_mount("/", syscalls.MOUNT_ATTR_RDONLY)
    assert "5.12" in caught.value.fix and "--trust" in caught.value.fix


def test_what_the_host_removes_meanwhile_needs_no_cover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """useradd(8) makes /etc/passwd.PID and renames it: it is listed, and gone when it is looked at."""
    (tmp_path / "stays").mkdir()
    (tmp_path / "goes").touch()
    (tmp_path / "folder").mkdir()
    listed = list(os.scandir(tmp_path))
    (tmp_path / "goes").unlink()
    (tmp_path / "folder").rmdir()
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed if folder == tmp_path else scan(folder))
    assert list(isolation._kept_to_root(tmp_path, deep=True)) == []
    assert list(isolation._kept_to_root(tmp_path / "stays", deep=True)) == []
    assert [entry.name for entry, _ in isolation._entries(tmp_path)] == ["stays"]
