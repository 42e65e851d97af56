"""Secrets of the inventory: named by file or command, read late, never shown."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from provision.errors import SecretError

if TYPE_CHECKING:
    from pathlib import Path

_COMMAND_S = 60.0  # a password manager may ask its owner to unlock it
_LONGEST = 64 * 1024


class Secret:
    """What a file holds or a command prints. `name` says whose and what, as in "kitchen-1: claim"."""

    def __init__(
        self, name: str, folder: Path, file: str | None = None, command: list[str] | None = None
    ) -> None:
        self.name = name
        self._folder = folder
        self._file = folder / os.path.expanduser(file) if file else None  # noqa: PTH111 - Path's raises
        self._command = command

    def __repr__(self) -> str:
        return f"<secret {self.name}: {self.source}>"

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        return self.file or f"the command {(self._command or ['?'])[0]}"

    @property
    def file(self) -> str:
        """The file that it stands in, "" when a command prints it."""
        return str(self._file or "")

    def exists(self) -> bool:
        """Whether there is such a file; a command is taken at its word."""
        return self._file is None or self._file.is_file()

    def read(self) -> str:
        """Return the secret without the line end. Raises SecretError, which never quotes it."""
        text = self._from_file(self._file) if self._file else self._from_command()
        secret = text.strip("\r\n")  # a passphrase may begin or end with blanks
        if not secret.strip():
            raise SecretError(f"{self.name}: {self.source} gives nothing")
        return secret

    def _from_file(self, path: Path) -> str:
        try:
            with path.open(encoding="utf-8") as file:
                text = file.read(_LONGEST + 1)
        except FileNotFoundError:
            raise SecretError(f"{self.name}: the file {path} is missing") from None
        except UnicodeDecodeError:
            raise SecretError(f"{self.name}: the file {path} is not text") from None
        except OSError as error:
            raise SecretError(f"{self.name}: {path} cannot be read: {error.strerror}") from None
        if len(text) > _LONGEST:
            raise SecretError(f"{self.name}: {path} is longer than {_LONGEST // 1024} KB: no secret")
        return text

    def _from_command(self) -> str:
        """Run it without a shell, from the inventory's folder; what it says on stderr goes to the owner."""
        try:
            ran = subprocess.run(
                self._command or [], cwd=self._folder, stdout=subprocess.PIPE, timeout=_COMMAND_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise SecretError(f"{self.name}: {self.source} gave no answer in {_COMMAND_S:g} s") from None
        except OSError as error:
            raise SecretError(f"{self.name}: {self.source} cannot be run: {error.strerror}") from None
        if ran.returncode:
            raise SecretError(f"{self.name}: {self.source} ended with status {ran.returncode}")
        try:
            return ran.stdout.decode()
        except UnicodeDecodeError:
            raise SecretError(f"{self.name}: {self.source} prints what is not text") from None
