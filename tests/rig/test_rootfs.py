from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from rig import rootfs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an mmdebstrap on PATH that does what the test writes into it, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("PRESSEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return folder / "mmdebstrap"


def _does(tool: Path, script: str) -> None:
    tool.write_text(f"#!/bin/sh\nfor last; do :; done\n{script}\n")
    tool.chmod(0o755)


def test_a_root_is_made_once_and_holds_nobodys_keys(tool: Path, tmp_path: Path) -> None:
    _does(
        tool, f'echo made >>{tmp_path}/log; mkdir -p "$last/etc/ssh"; touch "$last/etc/ssh/ssh_host_rsa_key"'
    )
    first = rootfs.debian_root(("jq",))
    assert first == rootfs.debian_root(("jq",))
    assert first != rootfs.debian_root(("jq",), suite="trixie")
    assert (tmp_path / "log").read_text() == "made\nmade\n"
    assert not list((first / "etc/ssh").iterdir())


def test_the_order_of_packages_makes_no_other_root(tool: Path) -> None:
    _does(tool, 'mkdir -p "$last"')
    assert rootfs.debian_root(("jq", "git")) == rootfs.debian_root(("git", "jq"))


def test_one_that_fails_says_why_in_a_line_and_leaves_nothing(tool: Path, tmp_path: Path) -> None:
    _does(tool, 'mkdir -p "$last/etc"; echo "I: hello" >&2; echo "E: no such package" >&2; exit 25')
    with pytest.raises(rootfs.Unavailable, match=r"bookworm of amd64: E: no such package$"):
        rootfs.debian_root()
    assert not [path for path in (tmp_path / "cache/roots").iterdir() if path.is_dir()]


def test_who_is_not_root_is_told(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(rootfs.Unavailable, match="by root only"):
        rootfs.debian_root()
    assert not tool.exists()


def test_a_missing_tool_is_told(tmp_path: Path, tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(rootfs.Unavailable, match="mmdebstrap is not installed"):
        rootfs.debian_root()
    assert not tool.exists()


def test_two_at_once_make_it_once(tool: Path, tmp_path: Path) -> None:
    _does(tool, f'echo made >>{tmp_path}/log; mkdir -p "$last"; sleep 0.2')
    found: list[Path] = []
    both = [threading.Thread(target=lambda: found.append(rootfs.debian_root())) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert found[0] == found[1]
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_copy_is_another_folder(tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/hostname").write_text("one\n")
    copied = rootfs.copy(tmp_path / "root", tmp_path / "deep/copy")
    (copied / "etc/hostname").write_text("two\n")
    assert (tmp_path / "root/etc/hostname").read_text() == "one\n"
