"""Which processor the virtual Pi has."""

from __future__ import annotations

import pytest

from rig.rootfs import Unavailable
from rig.vpi.processor import chosen


def test_it_is_the_hosts_kind_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRESSEL_APPLIANCE_ARCH", raising=False)
    assert chosen().wheels == "x86_64"
    monkeypatch.setenv("PRESSEL_APPLIANCE_ARCH", "arm64")
    assert (chosen().machine[0], chosen().wheels) == ("qemu-system-aarch64", "aarch64")


def test_an_unknown_one_is_named_with_the_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESSEL_APPLIANCE_ARCH", "armhf")
    with pytest.raises(Unavailable, match="PRESSEL_APPLIANCE_ARCH is armhf: it may be amd64 or arm64"):
        chosen()
