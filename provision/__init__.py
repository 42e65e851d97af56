"""The desk: first-boot media, and a fleet installed, updated and watched over SSH."""
