"""DER (X.690), as far as certificates and timestamps need it: short tags, lengths that are said."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, Sequence

_MAX_DER_BYTES = 1_000_000
_DER_TIME = re.compile(rb"([0-9]{14})(?:\.([0-9]{0,8}[1-9]))?Z")
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class BadDer(Exception):
    """Not DER, or not of the shape that is wanted; says where."""


class Der(NamedTuple):
    """One value: its tag, and where it stands in ``data`` with its tag (at) and without (start)."""

    data: bytes
    tag: int
    at: int
    start: int
    end: int

    @property
    def content(self) -> bytes:
        return self.data[self.start : self.end]

    @property
    def whole(self) -> bytes:
        """With tag and length."""
        return self.data[self.at : self.end]

    def children(self) -> Sequence[Der]:
        """The values inside, in order.

        Raises:
            BadDer: there are none, or they do not fill it.
        """
        found, at = [], self.start
        while at < self.end:
            child = _der_at(self.data, at, self.end)
            found.append(child)
            at = child.end
        return found

    def only(self, tag: int) -> Der:
        """This value, if it has ``tag``.

        Raises:
            BadDer: it has another.
        """
        if self.tag != tag:
            raise BadDer(f"tag {self.tag:#04x} at byte {self.at}, where {tag:#04x} belongs")
        return self

    def number(self) -> int:
        """What an INTEGER says."""
        return int.from_bytes(self.only(0x02).content, "big", signed=True)

    def oid(self) -> str:
        """What an OBJECT IDENTIFIER says, with dots."""
        numbers, held = [], 0
        for byte in self.only(0x06).content:
            held = held << 7 | byte & 0x7F
            if byte < 0x80:
                numbers.append(held)
                held = 0
        if not numbers:
            raise BadDer(f"an empty object identifier at byte {self.at}")
        first = min(numbers[0] // 40, 2)
        return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))

    def bits(self) -> bytes:
        """What a BIT STRING of whole bytes holds."""
        content = self.only(0x03).content
        if not content or content[0] != 0:
            raise BadDer(f"bits that are no whole bytes at byte {self.at}")
        return content[1:]

    def time_us(self) -> int:
        """What a GeneralizedTime says as RFC 3161 wants it, in UTC, in µs since 1970.

        Raises:
            BadDer: it is written in another way, or is no time.
        """
        content = self.only(0x18).content
        found = _DER_TIME.fullmatch(content)
        if found is None:
            raise BadDer(f"{content!r} is no time: YYYYMMDDhhmmss, perhaps a fraction, and Z")
        try:
            moment = datetime.strptime(found[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
        except ValueError:
            raise BadDer(f"{content!r} is no time") from None
        microseconds = (found[2] or b"0").ljust(6, b"0")[:6]
        return (moment - _UNIX_EPOCH) // timedelta(microseconds=1) + int(microseconds)


def der_of(data: bytes) -> Der:
    """The one value that ``data`` is.

    Raises:
        BadDer: it is none, or more than one.
    """
    if len(data) > _MAX_DER_BYTES:
        raise BadDer(f"{len(data)} bytes, where {_MAX_DER_BYTES} are the most")
    found = _der_at(data, 0, len(data))
    if found.end != len(data):
        raise BadDer(f"{len(data) - found.end} bytes behind its end")
    return found


def _der_at(data: bytes, at: int, end: int) -> Der:
    if end - at < 2 or data[at] & 0x1F == 0x1F:
        raise BadDer(f"no value at byte {at}")
    tag, length, start = data[at], data[at + 1], at + 2
    if length > 0x80:
        start += length - 0x80
        length = int.from_bytes(data[at + 2 : start], "big")
        if start > end or length < 0x80 or start - at - 2 > 4 or data[at + 2] == 0:
            raise BadDer(f"a length at byte {at + 1} that is not as short as can be, or cut")
    elif length == 0x80:
        raise BadDer(f"a length that is not said at byte {at + 1}")
    if start + length > end:
        raise BadDer(f"a value at byte {at} that ends at {start + length}, behind {end}")
    return Der(data, tag, at, start, start + length)
