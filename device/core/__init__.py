"""The conversation, pure: no threads, clocks, files, sockets or logs. Time is an argument."""
