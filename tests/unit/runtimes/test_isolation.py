"""What isolation makes of the host's files, and what it says where the kernel is too old."""

from __future__ import annotations

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
