"""What a bundle says of itself."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from provision.errors import InventoryError
from provision.release import open_release

if TYPE_CHECKING:
    from pathlib import Path


def archive(path: Path, **files: str) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"pressel-1-x/{name.replace('_', '.')}")
            entry.size = len(text)
            made.addfile(entry, io.BytesIO(text.encode()))
    return path


def test_version_and_machine_are_read(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "b.tar.gz", install_sh="", bundle_json='{"version": "0.2.0", "arch": "aarch64"}'
    )
    release = open_release(path)
    assert (release.version, release.arch) == ("0.2.0", "aarch64")
    assert release.size_mb == path.stat().st_size / 1e6
    assert release.build == ""


def test_a_build_is_named_as_the_installer_names_it(tmp_path: Path) -> None:
    files = {"SHA256SUMS": "sums\n", "bundle_json": '{"version": "0.2.0", "arch": "aarch64"}'}
    release = open_release(archive(tmp_path / "b.tar.gz", **files))
    assert release.build == hashlib.sha256(b"sums\n").hexdigest()


def test_what_is_no_bundle_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.tar.gz").write_text("hello")
    cut = archive(tmp_path / "cut.tar.gz", install_sh="x" * 100_000)
    cut.write_bytes(cut.read_bytes()[:40])
    for path, complaint in (
        (None, "fleet.bundle is missing"),
        (tmp_path / "none.tar.gz", "none.tar.gz is missing: make it with script/bundle"),
        (tmp_path / "text.tar.gz", "text.tar.gz is no bundle"),
        (cut, "cut.tar.gz is no bundle"),
        (archive(tmp_path / "other.tar.gz", readme="x"), "it holds no bundle.json"),
        (archive(tmp_path / "odd.tar.gz", bundle_json="[]"), "odd.tar.gz is no bundle"),
        (
            archive(tmp_path / "up.tar.gz", bundle_json='{"version": "../../0.2", "arch": "aarch64"}'),
            'up.tar.gz is no bundle of Pressel: "../../0.2" is no version',
        ),
    ):
        with pytest.raises(InventoryError, match=complaint):
            open_release(path)
