"""One realtime wire protocol a file, pure: bytes and text to core events, core orders to bytes and text."""
