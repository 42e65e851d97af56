"""What the first-boot tests share: boot partitions as fresh images have them, an inventory, and a bundle."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONFIG_TXT = """\
# For more options and information see
# http://rptl.io/configtxt
# Some settings may impact device functionality. See link above for details

# Uncomment some or all of these to enable the optional hardware interfaces
#dtparam=i2c_arm=on
#dtparam=i2s=on
#dtparam=spi=on

# Enable audio (loads snd_bcm2835)
dtparam=audio=on

camera_auto_detect=1
display_auto_detect=1
auto_initramfs=1

# Enable DRM VC4 V3D driver
dtoverlay=vc4-kms-v3d
max_framebuffers=2
disable_fw_kms_setup=1
arm_64bit=1
disable_overscan=1
arm_boost=1

[cm4]
otg_mode=1

[cm5]
dtoverlay=dwc2,dr_mode=host

[all]
"""
_LINE = (
    "console=serial0,115200 console=tty1 root=PARTUUID=a1b2c3d4-02 rootfstype=ext4 fsck.repair=yes rootwait"
)
TRIXIE_LINE = f"{_LINE} resize\n"
BOOKWORM_LINE = f"{_LINE} quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n"
_FIRMWARE = ["bootcode.bin", "start.elf", "start4.elf", "fixup4.dat", "kernel8.img", "kernel_2712.img"]
_FIRMWARE += ["initramfs8", "initramfs_2712", "bcm2710-rpi-zero-2-w.dtb", "bcm2711-rpi-4-b.dtb"]
_FIRMWARE += [
    "bcm2712-rpi-5-b.dtb",
    "overlays/googlevoicehat-soundcard.dtbo",
    "issue.txt",
    "LICENCE.broadcom",
]
PASSPHRASE = "correct horse battery"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1r0kz7Yw3v9sQm0bV4nqGdQ2b1m2jP7gYz0n3fA1bC owner@desk"
URL = "https://companion.example:8790"
CLAIM = "m3r5TqXh0yK2bVdW8sNfLg"


def trixie(folder: Path) -> Path:
    """Make the boot partition of a current image: cloud-init's files as it brings them."""
    _firmware(folder, TRIXIE_LINE)
    (folder / "user-data").write_text(
        "#cloud-config\n\n# The name\n#hostname: raspberrypi\n\n#ssh_pwauth: false\n"
    )
    (folder / "network-config").write_text("# netplan\n#network:\n#  version: 2\n")
    (folder / "meta-data").write_text("# NoCloud\ndsmode: local\ninstance_id: rpios-image\n")
    return folder


def bookworm(folder: Path) -> Path:
    """Make the boot partition of a Bookworm image before its first start."""
    _firmware(folder, BOOKWORM_LINE)
    return folder


def inventory(folder: Path, *, wifi: str = "default", more: str = "") -> Path:
    """Write fleet.toml of one device, kitchen-1, with its bundle, key, Wi-Fi password and claim."""
    (folder / "secrets").mkdir(exist_ok=True)
    (folder / "secrets/wifi").write_text(f"{PASSPHRASE}\n")
    (folder / "secrets/claim").write_text(json.dumps({"url": URL, "claim": CLAIM}))
    (folder / "id.pub").write_text(f"# mine\n{KEY}\n")
    bundle(folder / "bundle.tar.gz")
    password = 'password = { file = "secrets/wifi" }'
    network = {
        "default": f'[wifi]\nssid = "Café"\ncountry = "DE"\n{password}\n',
        "hidden": f'[wifi]\nssid = "den"\ncountry = "GB"\nhidden = true\n{password}\n',
        "open": '[wifi]\nssid = "guests"\ncountry = "FR"\n',
        "none": "",
    }[wifi]
    file = folder / "fleet.toml"
    file.write_text(f"""
[fleet]
companion = "{URL}"
bundle = "bundle.tar.gz"
{network}
[media]
authorized_keys_files = ["id.pub"]
timezone = "Europe/Berlin"
[defaults]
board = "i2s-mems-pair"
[devices.kitchen-1]
host = "192.168.1.20"
claim = {{ file = "secrets/claim" }}
{more}
""")
    return file


def bundle(file: Path, version: str = "0.2.0", arch: str = "aarch64", installer: str = "true\n") -> Path:
    """Write a release with this installer and nothing to install."""
    name = f"pressel-{version}-{arch}"
    inside = {
        "bundle.json": json.dumps({"version": version, "arch": arch, "pythons": ["3.11", "3.13"]}),
        "install.sh": installer,
    }
    with tarfile.open(file, "w:gz") as archive:
        for path, text in inside.items():
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return file


def _firmware(folder: Path, line: str) -> None:
    (folder / "overlays").mkdir(parents=True)
    for name in _FIRMWARE:
        (folder / name).write_bytes(name.encode() * 50)
    (folder / "config.txt").write_text(CONFIG_TXT)
    (folder / "cmdline.txt").write_text(line)
