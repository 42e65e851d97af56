"""The companion's database: its tables, and how it is opened. SQLite, for the owner alone."""

import os
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from companion.errors import ConfigError
from companion.files import private_folder

VERSION = 1  # of the tables, kept as SQLite's user_version
_BUSY_MS = 5000  # how long one writer waits for another: the server and a command
_BROKEN = "put a backup in its place, or move it away: then each device needs a new claim"
_MENDS = {  # by SQLite's name of the error, or the beginning of it
    "SQLITE_NOTADB": _BROKEN,
    "SQLITE_CORRUPT": _BROKEN,
    "SQLITE_FULL": "make room on the disk",
    "SQLITE_IOERR": "see whether the disk is full or failing",
    "SQLITE_BUSY": "another program holds it; try again",
    "SQLITE_READONLY": "make it and its folder writable for this user",
}


class Base(DeclarativeBase):
    """Root of the tables. Times are epoch seconds."""


class ClaimRow(Base):
    """A one-time claim, of which only the hash is kept. `used_by`: the public key that came with it."""

    __tablename__ = "claims"
    hash: Mapped[str] = mapped_column(primary_key=True)  # SHA-256, hex
    name: Mapped[str] = mapped_column(index=True)
    serial: Mapped[str | None]  # of the only device that may use it
    replace: Mapped[bool]
    made_at: Mapped[float]
    expires_at: Mapped[float]
    used_at: Mapped[float | None] = mapped_column(default=None)
    used_by: Mapped[str | None] = mapped_column(default=None)


class DeviceRow(Base):
    """An enrolled device; `public_key`: Ed25519, 32 bytes, base64url."""

    __tablename__ = "devices"
    device_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    serial: Mapped[str] = mapped_column(index=True)
    model: Mapped[str]
    public_key: Mapped[str]
    enrolled_at: Mapped[float]
    seen_at: Mapped[float | None] = mapped_column(default=None)
    revoked_at: Mapped[float | None] = mapped_column(default=None)
    must_rotate: Mapped[bool] = mapped_column(default=False)


class AssertionRow(Base):
    """The id (`jti`) of an assertion that was used, for as long as it could be used again."""

    __tablename__ = "assertions"
    device_id: Mapped[str] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[float] = mapped_column(index=True)


class FactRow(Base):
    """What the companion knows of itself: `audience`, the name that assertions are made out to."""

    __tablename__ = "facts"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


def open_database(path: Path) -> Engine:
    """Open the file (0600), make it when it is not there. Raises ConfigError, which names it."""
    try:
        private_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.fchmod(handle, 0o600)  # a backup that was put back may be anybody's to read
        finally:
            os.close(handle)
    except OSError as error:
        raise ConfigError(f"the database {path} cannot be used: {error.strerror}") from None
    engine = create_engine(URL.create("sqlite", database=str(path)), hide_parameters=True)
    event.listen(engine, "connect", _settings)
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            _make_tables(connection)
    except (DatabaseError, ConfigError) as error:
        engine.dispose()
        said = why(error) if isinstance(error, DatabaseError) else error
        raise ConfigError(f"the database {path} cannot be used: {said}") from None
    return engine


def why(error: SQLAlchemyError) -> str:
    """Return what SQLite says, and the mend."""
    said = getattr(error, "orig", None)
    name = getattr(said, "sqlite_errorname", "")
    mends = [mend for code, mend in _MENDS.items() if name.startswith(code)]
    return "; ".join([str(said or type(error).__name__), *mends])


def _make_tables(connection: Connection) -> None:
    """Make the tables in a new file. Raises ConfigError for one of another program or version."""
    found = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if found not in (0, VERSION):
        raise ConfigError(f"it is of version {found}; this pressel knows {VERSION}")
    if found == 0:
        if inspect(connection).get_table_names():
            raise ConfigError("it is another program's; set another state_dir")
        Base.metadata.create_all(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _settings(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin` does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # a claim that was used stays used after a power cut
    cursor.close()


def _begin(connection: Connection) -> None:
    """Begin as a writer at once: what is read stays true until it is written."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
