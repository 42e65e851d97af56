"""What the machine gives: state on disk, the control socket, counters, systemd."""
