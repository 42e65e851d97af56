"""Capture and playback: drivers behind one port, the two threads that run them, and their rings."""
