"""Every error that Pressel raises, named by who is to blame.

PresselError
├── ConfigError    the owner's: a file or a setting; ends the process with 78
├── AudioError     the sound card's: missing, refused, gone
│   └── FormatError    it is there, and does not take what is asked of it
├── PanelError     the GPIO's: no chip, a line that is taken
├── BackendError   the companion's: no grant (kind says whether to try again)
├── LinkError      the network's: the session's socket is refused or gone
├── ProtocolError  the provider's: a message that makes no sense
├── CodecError     the sound's: no codec for it, or not such sound
└── StateError     the state folder's: locked, unreadable
"""


class PresselError(Exception):
    """Root; its text is one line that names the thing and the mend."""


class ConfigError(PresselError):
    """A setting that cannot be used."""


class AudioError(PresselError):
    """The sound card is missing, refuses a format, or has gone."""


class FormatError(AudioError):
    """The card is there, and does not take the rate, the channels or the format that is asked of it."""


class PanelError(PresselError):
    """The GPIO lines cannot be used."""


class BackendError(PresselError):
    """No grant. `fatal` when trying again cannot help; `retry_after_s` when the backend named a time.

    `status`: of its HTTP answer, None when there was none; `code`: the companion's word for the reason.
    `untimely`: a date that does not fit the clock.
    """

    def __init__(
        self,
        text: str,
        *,
        fatal: bool = False,
        retry_after_s: float | None = None,
        status: int | None = None,
        code: str = "",
        untimely: bool = False,
    ) -> None:
        super().__init__(text)
        self.fatal = fatal
        self.retry_after_s = retry_after_s
        self.status = status
        self.code = code
        self.untimely = untimely


class LinkError(PresselError):
    """The session's socket is refused or gone; `fatal`: trying again cannot help.

    `code`: of its close, or of the HTTP answer that refused it. `retry_after_s`: not to be dialled sooner.
    `untimely`: a date that does not fit the clock.
    """

    def __init__(
        self,
        text: str,
        *,
        fatal: bool = False,
        code: int | None = None,
        retry_after_s: float | None = None,
        untimely: bool = False,
    ) -> None:
        super().__init__(text)
        self.fatal = fatal
        self.code = code
        self.retry_after_s = retry_after_s
        self.untimely = untimely


class ProtocolError(PresselError):
    """A message from the provider that makes no sense; the session goes on without it."""


class CodecError(PresselError):
    """Sound that cannot be encoded or decoded here."""


class StateError(PresselError):
    """The state folder cannot be used."""
