"""pressel-fleet plan, apply, status and run: many devices over SSH, with pyinfra."""
