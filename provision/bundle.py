"""`script/bundle`: wheels, units, overlays and the installer in one archive: a device needs no network."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.markers import Marker

from device import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.13")  # Debian 12 and 13, and the Raspberry Pi OS made of them
ARCHITECTURES = ("aarch64", "x86_64")
_GLIBCS = range(17, 37)  # manylinux_2_17 up to what Debian 12 has
_SOURCES = (
    "device",
    "companion",
    "provision",
    "rig",
    "demo",
    "hardware",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)?")  # the plain part of PEP 440
_MTIME = 315_532_800  # 1980-01-01, the oldest that a zip or FAT can hold


class BundleError(Exception):
    """The bundle cannot be built; the text is one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build one bundle, say each step, and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        archive = build(options.version, options.arch, options.out)
    except (BundleError, OSError) as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    print(f"{archive} ({archive.stat().st_size / 1e6:.0f} MB)")
    return 0


def build(version: str, arch: str, out: Path) -> Path:
    """Make `pressel-<version>-<arch>.tar.gz` in `out`: same source, same bytes. Raises BundleError."""
    if not _VERSION.fullmatch(version):
        raise BundleError(f'"{version}" is no version: write it like 1.2.3 or 1.2.3rc1')
    out.mkdir(parents=True, exist_ok=True)
    name = f"pressel-{version}-{arch}"
    with tempfile.TemporaryDirectory(prefix="pressel-bundle-") as scratch:
        folder = Path(scratch) / name
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        _say("the wheel of Pressel itself")
        own = _own_wheel(version, Path(scratch) / "source", wheels)
        lock = (ROOT / "provision/requirements.lock").read_text()
        for python in PYTHONS:
            _say(f"wheels for {arch}, Python {python}")
            for wheel in _downloaded(lock, arch, python).glob("*.whl"):
                shutil.copy(wheel, wheels)
        requirement = f"pressel=={version} \\\n    --hash=sha256:{_sha256(own)}\n"
        (folder / "requirements.txt").write_text(lock + requirement)
        _say("units, overlays, installer")
        _add_files(folder, version, arch)
        _say("archive")
        return _packed(folder, out)


def requirements(lock: str, arch: str, python: str) -> list[str]:
    """Return the lock's requirements for such a machine, each with its hashes and without its marker."""
    machine = {
        "implementation_name": "cpython",
        "platform_machine": arch,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "os_name": "posix",
    }
    kept = []
    joined = re.sub(r"\\\n\s*", " ", lock)
    for line in joined.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pinned, _, hashes = line.partition(" --hash=")
        name, _, marker = (part.strip() for part in pinned.partition(";"))
        # pip itself judges markers by the Python it runs on, not by --python-version.
        if not marker or Marker(marker).evaluate(machine):
            kept.append(f"{name} --hash={hashes}")
    return kept


def _own_wheel(version: str, source: Path, to: Path) -> Path:
    """Build from a copy, so that another version leaves the checkout as it is."""
    for name in _SOURCES:
        here, there = ROOT / name, source / name
        if here.is_dir():
            shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there)
    stamp = source / "device/__init__.py"
    stamp.write_text(stamp.read_text().replace(f'"{__version__}"', f'"{version}"'))
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(to)], cwd=source)
    (wheel,) = to.glob("pressel-*.whl")
    return wheel


def _downloaded(lock: str, arch: str, python: str) -> Path:
    """Return a folder of the wheels that the lock names, from the cache or downloaded; whole or not there."""
    wanted = "\n".join(requirements(lock, arch, python)) + "\n"
    cache = Path(os.environ.get("PRESSEL_CACHE") or Path.home() / ".cache/pressel") / "wheels"
    folder = cache / f"{arch}-{python}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        half = Path(scratch) / "wheels"
        listed = Path(scratch) / "requirements.txt"
        listed.write_text(wanted)
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--require-hashes", f"--python-version={python}"]
        command += [f"--platform=manylinux_2_{minor}_{arch}" for minor in _GLIBCS]
        command += ["--dest", str(half), "-r", str(listed)]
        _run([*command, *(["--quiet"] if not sys.stdout.isatty() else [])], shown=sys.stdout.isatty())
        half.rename(folder)
    return folder


def _add_files(folder: Path, version: str, arch: str) -> None:
    shutil.copytree(ROOT / "systemd", folder / "systemd", ignore=shutil.ignore_patterns("*companion*"))
    shutil.copy(ROOT / "provision/install.sh", folder)
    (folder / "overlays").mkdir()
    for board in sorted((ROOT / "hardware").glob("*/board.toml")):
        source = tomllib.loads(board.read_text()).get("hat", {}).get("overlay_source")
        if source:
            target = folder / "overlays" / f"{Path(source).stem.removesuffix('-overlay')}.dtbo"
            _run(["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", str(target), str(board.parent / source)])
    facts = {"version": version, "arch": arch, "pythons": list(PYTHONS)}
    (folder / "bundle.json").write_text(json.dumps(facts, indent=2) + "\n")
    sums = [f"{_sha256(file)}  {file.relative_to(folder)}\n" for file in _files(folder)]
    (folder / "SHA256SUMS").write_text("".join(sums))


def _packed(folder: Path, out: Path) -> Path:
    """Write the archive beside its final name and rename it: there is never half of one."""
    archive = out / f"{folder.name}.tar.gz"
    half = archive.with_suffix(".half")
    with (
        half.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,  # wheels are zips already
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for file in _files(folder):
            entry = tarfile.TarInfo(f"{folder.name}/{file.relative_to(folder)}")
            entry.size, entry.mtime = file.stat().st_size, _MTIME
            entry.mode = 0o755 if file.suffix == ".sh" else 0o644
            with file.open("rb") as content:
                tar.addfile(entry, content)
    half.rename(archive)
    return archive


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _run(command: list[str], cwd: Path | None = None, shown: bool = False) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, check=False, text=True, capture_output=not shown)
    except FileNotFoundError:
        raise BundleError(f"{command[0]} is not installed: run script/setup") from None
    if done.returncode:
        said = (done.stderr or done.stdout or "").strip().splitlines() if not shown else []
        raise BundleError(f"{' '.join(command[:4])} … failed: {said[-1] if said else 'see above'}")


def _say(step: str) -> None:
    print(f"==> {step}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="script/bundle",
        description="Builds dist/pressel-<version>-<arch>.tar.gz: what a device is installed from.",
        epilog="examples:\n  script/bundle\n  script/bundle --arch x86_64 --out /tmp/dist --version 0.2.0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--arch",
        choices=ARCHITECTURES,
        default=ARCHITECTURES[0],
        help="aarch64: a Pi (default); x86_64: a PC",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "dist", help="folder for the archive (default: dist)"
    )
    parser.add_argument("--version", default=__version__, help=f"other than {__version__}, for tests")
    return parser


if __name__ == "__main__":
    sys.exit(main())
