"""Every error of the companion, named by who is to blame.

CompanionError
├── ConfigError     the owner's: a file or a setting; ends the process with 78
├── RequestError    the device's or the provider's: becomes one HTTP error answer
├── LegError        the provider's side of the gateway: closes the device's socket
└── BrainError      the chat server's: becomes a failed response
"""


class CompanionError(Exception):
    """Root; its text is one line that names the thing and the mend."""


class ConfigError(CompanionError):
    """A setting that cannot be used."""


class RequestError(CompanionError):
    """Refused. `status`: of HTTP; `code`: one word for machines; `retry_after_s`: when a time is known.

    `time`: the companion's own, epoch seconds, where a clock is the reason.
    """

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        *,
        retry_after_s: float | None = None,
        time: float | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.time = time


class LegError(CompanionError):
    """The provider's leg does not come up, or is gone. `fatal`: it will be refused again."""

    def __init__(self, text: str, *, fatal: bool = False) -> None:
        super().__init__(text)
        self.fatal = fatal


class BrainError(CompanionError):
    """The brain has no answer because what it asks is away or makes no sense."""
