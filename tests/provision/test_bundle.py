"""What goes into a bundle, as far as no network is needed; tests/appliance builds whole ones."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from provision import bundle

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "provision/requirements.lock").read_text()


def _names(arch: str, python: str) -> dict[str, str]:
    pins = (line.split(" --hash=")[0].split("==") for line in bundle.requirements(LOCK, arch, python))
    return dict(pins)


@pytest.mark.parametrize("python", bundle.PYTHONS)
def test_a_device_gets_what_the_project_names_but_pyaudio(python: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=; ]", one)[0].lower() for one in project["dependencies"]}
    assert wanted - {"pyaudio"} <= _names("aarch64", python).keys()
    assert "pyaudio" not in _names("aarch64", python)


def test_the_gpio_library_has_wheels_for_the_older_python_only() -> None:
    assert {"lgpio", "rpi-lgpio"} <= _names("aarch64", "3.11").keys()
    assert not {"lgpio", "rpi-lgpio"} & _names("aarch64", "3.13").keys()


def test_each_python_gets_one_version_of_each_package_with_hashes() -> None:
    for python in bundle.PYTHONS:
        lines = bundle.requirements(LOCK, "aarch64", python)
        names = [line.split("==")[0] for line in lines]
        assert len(names) == len(set(names))
        assert all(re.search(r" --hash=sha256:[0-9a-f]{64}", line) and ";" not in line for line in lines)
    assert _names("aarch64", "3.11")["numpy"] != _names("aarch64", "3.13")["numpy"]


def test_the_device_runs_the_versions_that_were_tested() -> None:
    tested = set(re.findall(r"^[\w.-]+==[\w.]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert set(re.findall(r"^[\w.-]+==[\w.]+", LOCK, re.MULTILINE)) <= tested


@pytest.mark.parametrize("version", ["1.2/../..", "1 2", "", "v1.0", "1.0;reboot"])
def test_what_is_no_version_is_refused(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundle.main(["--version", version, "--out", str(tmp_path)]) == 1
    assert "is no version" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_one_line_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert bundle.main(["--out", str(tmp_path / "file")]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert f"{tmp_path}/file" in told.err
