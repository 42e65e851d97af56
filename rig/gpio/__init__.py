"""A fake GPIO chip, so that the real GPIO packages run on any Linux machine."""
