"""The daemon: everything that runs on the Pi."""
