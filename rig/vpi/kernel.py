"""Debian's own kernel for the virtual Pi, with the simulated GPIO chip that Debian leaves out.

gpio-sim and the interrupt simulator that it stands on are compiled from Debian's linux-source package, as one
module beside Debian's kernel. Source of both: drivers/gpio/gpio-sim.c and kernel/irq/irq_sim.c of Linux 6.1.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rig import rootfs

if TYPE_CHECKING:
    from rig.vpi.processor import Processor

_SOURCE = "linux-source-6.1"
_SUITE = "bookworm"
_FILES = ("drivers/gpio/gpio-sim.c", "drivers/gpio/gpiolib.h", "kernel/irq/irq_sim.c")
_BUILD = """\
set -eu
version=$(ls /lib/modules)
mkdir -p /build
tar -xf /usr/src/{source}.tar.xz -C /build --strip-components=1 {files}
cd /build
mkdir module
mv drivers/gpio/gpio-sim.c module/gpio-sim-core.c
mv drivers/gpio/gpiolib.h kernel/irq/irq_sim.c module/
printf 'obj-m := gpio-sim.o\\ngpio-sim-y := gpio-sim-core.o irq_sim.o\\n' > module/Kbuild
# The kernel exports no irq_to_desc: the descriptor is found by way of the interrupt's data.
sed -i -e 's/irq_to_desc(irqnum)/irq_data_to_desc(irq_get_irq_data(irqnum))/' \
  -e 's/^#include <linux.slab.h>/&\\n#include <linux\\/irqdesc.h>/' module/irq_sim.c
make -s -C "/lib/modules/$version/build" M=/build/module modules
strip -g module/gpio-sim.ko
install -D -m 644 module/gpio-sim.ko "/lib/modules/$version/extra/gpio-sim.ko"
depmod "$version"
"""
# What the guest loads; everything else of Debian's 300 MB of modules stays behind.
_EARLY = ("virtio_pci", "virtio_mmio", "virtio_blk", "crc32c_generic", "ext4")
_LATER = (
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "snd-aloop",
    "gpio-sim",
    "configfs",
    "autofs4",
    "i6300esb",
)
_INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
while read -r module; do /bin/busybox insmod "$module"; done < /modules
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 100 ]; do /bin/busybox sleep 0.1; tries=$((tries + 1)); done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root || exec /bin/busybox sh
for folder in dev proc sys; do /bin/busybox mount --move /$folder /root/$folder; done
exec /bin/busybox switch_root /root /sbin/init
"""
_PACK = "cd /initrd && find . | busybox cpio -o -H newc | gzip -1 > /initrd.img"


@dataclass(frozen=True)
class Kernel:
    """`image` and `initrd` are what QEMU boots; `modules` is the guest's /lib/modules."""

    processor: Processor
    version: str
    image: Path
    initrd: Path
    modules: Path


def kernel(processor: Processor) -> Kernel:
    """Return the kernel, from the cache or made in about a minute. Raises Unavailable."""
    folder = rootfs.cache() / "kernels" / f"{_SUITE}-{processor.debian}"
    with rootfs.locked(folder):
        if not folder.exists():
            _make(folder, processor.debian)
    version = (folder / "version").read_text().strip()
    return Kernel(processor, version, folder / "vmlinuz", folder / "initrd.img", folder / "modules")


def _make(folder: Path, architecture: str) -> None:
    workshop = folder.with_name(f"{folder.name}.workshop")
    half = folder.with_name(f"{folder.name}.half")
    for left_over in (workshop, half):
        shutil.rmtree(left_over, ignore_errors=True)
    # tiny-initramfs stands in for initramfs-tools, which would spend half a minute on an initrd nobody boots.
    packages = [f"linux-image-{architecture}", f"linux-headers-{architecture}", _SOURCE]
    packages += ["tiny-initramfs", "make", "xz-utils", "busybox-static"]
    rootfs.make(workshop, packages, _SUITE, architecture)
    try:
        _inside(workshop, _BUILD.format(source=_SOURCE, files=" ".join(f"{_SOURCE}/{f}" for f in _FILES)))
        _collect(workshop, half)
        half.rename(folder)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
        shutil.rmtree(half, ignore_errors=True)


def _collect(workshop: Path, half: Path) -> None:
    version = next((workshop / "lib/modules").iterdir()).name
    half.mkdir(parents=True)
    (half / "version").write_text(f"{version}\n")
    shutil.copy2(workshop / "boot" / f"vmlinuz-{version}", half / "vmlinuz")
    early = _needed(workshop, version, _EARLY)
    _make_initrd(workshop, early)
    shutil.copy2(workshop / "initrd.img", half / "initrd.img")
    source = workshop / "lib/modules" / version
    target = half / "modules" / version
    for name in (*early, *_needed(workshop, version, _LATER)):
        place = target / Path(name).relative_to(f"/lib/modules/{version}")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(workshop / name.lstrip("/"), place)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy2(source / name, target / name)


def _needed(workshop: Path, version: str, modules: tuple[str, ...]) -> list[str]:
    """Return the files of these modules and of what they need, in the order of loading."""
    files: dict[str, None] = {}
    for module in modules:
        said = _inside(workshop, f"modprobe -S {version} --show-depends --ignore-install {module}")
        files |= {line.split()[1]: None for line in said.splitlines() if line.startswith("insmod")}
    return list(files)


def _make_initrd(workshop: Path, modules: list[str]) -> None:
    tree = workshop / "initrd"
    for name in ("bin", "dev", "proc", "sys", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy2(workshop / "bin/busybox", tree / "bin/busybox")
    for module in modules:
        shutil.copy2(workshop / module.lstrip("/"), tree / Path(module).name)
    (tree / "modules").write_text("".join(f"/{Path(module).name}\n" for module in modules))
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    _inside(workshop, _PACK)


def _inside(workshop: Path, script: str) -> str:
    done = rootfs.run_in(workshop, "sh", "-c", script)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise rootfs.Unavailable(f"the virtual Pi's kernel cannot be made: {said}")
    return done.stdout
