"""Logging of a role's process: lines on stderr, in UTC, without secrets."""

import logging
import sys
from datetime import UTC, datetime

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
    """Send every logger's records to stderr, from the level that the settings name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(settings))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
