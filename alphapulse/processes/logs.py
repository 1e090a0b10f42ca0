"""Logging: a role's lines on stderr, in UTC, without secrets; and the files a supervisor keeps of them."""

import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from alphapulse.settings import Settings, redact


class RedactingFormatter(logging.Formatter):
    """Formats a record, then takes out the secret values, also from tracebacks."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = settings.secrets()

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._secrets)


def log_to_stderr(settings: Settings) -> None:
    """Send records to stderr: ours from the level that the settings name, other packages' only warnings.

    At level debug everybody's.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(settings))
    level = settings.log_level.upper()
    logging.basicConfig(level=level if level == "DEBUG" else "WARNING", handlers=[handler], force=True)
    logging.getLogger("alphapulse").setLevel(level)


class RotatingLog:
    """A log file that is renamed to ``.1``, ``.2`` … when full, so that all of them stay within a limit.

    A full disk loses lines, and says so in the next one that fits; it never stops the program that logs.
    """

    def __init__(self, path: Path, *, limit_bytes: int = 10 * 1024 * 1024, keep: int = 4) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._keep = keep
        self._lost = 0
        self._file: FileIO | None = None

    def write(self, line: bytes) -> None:
        try:
            file = self._file or self._open()
            if file.tell() and file.tell() + len(line) > self._limit_bytes:
                file = self._rotate()
            note = f"({self._lost} lines could not be written)\n".encode() if self._lost else b""
            file.write(note + line)
            self._lost = 0
        except OSError:
            self._lost += 1
            self.close()

    def close(self) -> None:
        if self._file:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _open(self) -> FileIO:
        self._file = self.path.open("ab", buffering=0)
        return self._file

    def _rotate(self) -> FileIO:
        self.close()
        for number in range(self._keep, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.replace(older)
        return self._open()
