"""The virtual Pi: a whole Debian in QEMU, with a GPIO chip, a sound card, systemd and a plug to pull."""
