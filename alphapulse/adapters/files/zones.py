"""Stamps that say no zone: read as UTC by the parsers, moved to UTC here by the zone somebody gave."""

import re

import numpy as np

from alphapulse.adapters.files.reader import TextColumn
from alphapulse.domain.market.raw import OK, Integers

_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_CARRIED = re.compile(r"(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$")
_DATE = 10  # characters of YYYY-MM-DD, whose dashes are no offset
_MAX_HOURS = 14


def zone_seconds(text: str) -> int:
    """Seconds east of Greenwich of a zone written UTC, +03:00 or -0530.

    Raises:
        ValueError: it is written otherwise, such as Europe/Berlin: names of places have hours that
            exist twice a year.
    """
    if text.upper() in ("UTC", "Z"):
        return 0
    found = _OFFSET.fullmatch(text)
    if found is None or int(found[2]) > _MAX_HOURS or int(found[3]) > 59:
        raise ValueError(f"zone {text!r} is not UTC or an offset such as +03:00 or -05:30")
    return (1 if found[1] == "+" else -1) * (int(found[2]) * 3600 + int(found[3]) * 60)


def zone_text(seconds: int) -> str:
    """``seconds`` east of Greenwich as zone_seconds reads it."""
    if seconds == 0:
        return "UTC"
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02}:{minutes:02}"


def carries_zone(stamp: str) -> bool:
    """Whether an ISO stamp says its own offset."""
    return _CARRIED.search(stamp.strip()[_DATE:]) is not None


def in_utc(times: Integers, column: TextColumn, east_s: int) -> Integers:
    """ISO ``times`` of ``column``, those without an offset of their own taken as ``east_s`` of Greenwich."""
    if east_s == 0:
        return times
    bare = np.array([not carries_zone(column.text(i)) for i in range(len(column.starts))], dtype=np.bool_)
    moved = bare & (times.status == OK)
    return Integers(np.where(moved, times.value - east_s * 1_000_000_000, times.value), times.status)
