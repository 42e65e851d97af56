"""Boot partitions: recognised from what they hold, and changed so that a pulled card keeps the old file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from provision.errors import MediaError
from provision.media import bootpart
from provision.media.bootpart import Change
from tests.provision import cards

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_current_image_takes_cloud_init(tmp_path: Path) -> None:
    assert bootpart.recognise(cards.trixie(tmp_path / "boot")) == "cloud-init"


def test_a_bookworm_image_is_known_by_its_first_start(tmp_path: Path) -> None:
    assert bootpart.recognise(cards.bookworm(tmp_path / "boot")) == "bookworm"


@pytest.mark.parametrize("gone", ["config.txt", "cmdline.txt", "kernel*.img", "bcm27*.dtb"])
def test_what_is_no_boot_partition_is_refused_by_what_it_lacks(tmp_path: Path, gone: str) -> None:
    boot = cards.trixie(tmp_path / "boot")
    for file in boot.glob(gone):
        file.unlink()
    with pytest.raises(MediaError, match=r"is no boot partition .*missing") as refused:
        bootpart.recognise(boot)
    assert gone in str(refused.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is no boot partition"):
        bootpart.recognise(tmp_path / "nothing")


def test_a_32_bit_system_is_refused(tmp_path: Path) -> None:
    boot = cards.trixie(tmp_path / "boot")
    (boot / "kernel7l.img").write_bytes(b"")
    with pytest.raises(MediaError, match=r"32-bit .*kernel7l\.img"):
        bootpart.recognise(boot)


def test_a_bookworm_card_that_has_been_started_is_refused(tmp_path: Path) -> None:
    boot = cards.bookworm(tmp_path / "boot")
    (boot / "cmdline.txt").write_text(cards.BOOKWORM_LINE.replace(f" {bootpart.FIRSTBOOT}", ""))
    with pytest.raises(MediaError, match="has been started before: flash it anew"):
        bootpart.recognise(boot)


def test_changes_are_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "same").write_bytes(b"1")
    (tmp_path / "other").write_bytes(b"1")
    (tmp_path / "stale").write_bytes(b"1")
    (tmp_path / "from").write_bytes(b"large")
    (tmp_path / "copied").write_bytes(b"large")
    wanted: dict[str, bootpart.Content] = {
        "same": b"1",
        "other": b"2",
        "new": b"3",
        "stale": None,
        "gone": None,
    }
    wanted |= {"copied": tmp_path / "from", "copy": tmp_path / "from"}
    found = bootpart.changes(tmp_path, wanted)
    assert [(change.path, change.old, change.new) for change in found] == [
        ("other", b"1", b"2"),
        ("new", None, b"3"),
        ("stale", None, None),
        ("copy", None, tmp_path / "from"),
    ]


def test_a_copy_of_the_same_length_and_other_content_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(b"large")
    (tmp_path / "copy").write_bytes(b"lurge")
    assert bootpart.changes(tmp_path, {"copy": tmp_path / "from"})


def test_apply_writes_copies_and_removes(tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(b"x" * 3_000_000)
    (tmp_path / "old").write_bytes(b"")
    wrote: list[int] = []
    for change in (
        Change("in/a", None, b"1"),
        Change("in/b", None, tmp_path / "from"),
        Change("old", b"", None),
    ):
        bootpart.apply(tmp_path, change, wrote.append)
    assert (tmp_path / "in/a").read_bytes() == b"1"
    assert (tmp_path / "in/b").read_bytes() == b"x" * 3_000_000
    assert not (tmp_path / "old").exists()
    assert sum(wrote) == 3_000_001
    assert len(wrote) > 3  # a bar moves while a bundle is written
    assert names(tmp_path / "in") == ["a", "b"]


def test_a_write_that_fails_half_way_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"old")
    (tmp_path / "from").write_bytes(b"x" * 3_000_000)

    def pulled(_: int) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(MediaError, match=r"copy cannot be written: Input/output error; .*run this again"):
        bootpart.apply(tmp_path, Change("copy", b"old", tmp_path / "from"), pulled)
    assert (tmp_path / "copy").read_bytes() == b"old"
    assert names(tmp_path) == ["copy", "from"]


def test_a_card_that_cannot_be_written_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match=r"file/x cannot be written: .*; .*then run this again"):
        bootpart.apply(tmp_path, Change("file/x", None, b"1"))


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(status.f_bavail * status.f_frsize + (1 << 30))  # sparse: takes no room itself
    with pytest.raises(MediaError, match=r"MB are free and .* MB are needed"):
        bootpart.check_space(tmp_path, [Change("copy", None, huge)])
    bootpart.check_space(tmp_path, [Change("small", None, b"1")])


def test_foreign_bytes_survive(tmp_path: Path) -> None:
    (tmp_path / "config.txt").write_bytes(b"# caf\xe9\r\n")
    assert bootpart.to_bytes(bootpart.read_text(tmp_path / "config.txt")) == b"# caf\xe9\r\n"
    assert bootpart.read_text(tmp_path / "none") == ""
