"""Numpy on frames: objects with state, no I/O and no threads."""
