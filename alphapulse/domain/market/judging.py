"""Judging raw rows of any kind: the first reason against each, ranges, exact decimals at one exponent."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.market.columns import MAX_EXPONENT, MAX_ROWS, ROW_ID_BIT, Int64s, UInt8s
from alphapulse.domain.market.events import RefusedRow
from alphapulse.domain.market.raw import BLANK, MALFORMED, NOT_A_NUMBER, TOO_FINE, TOO_LARGE, Decimals

TIME_LO = 1_230_768_000_000_000_000  # 2009-01-01: Bitcoin's first block is two days younger
TIME_HI = 4_102_444_800_000_000_000  # 2100-01-01
LIMIT = 10**15  # no price or size of a real market is above
MAX_RAW_TEXT = 2_000  # characters of a refused row that are kept

_INT64_MAX = 2**63 - 1
_HUGE_HOLE = 1 << 40  # ids that are microseconds leave such a hole in 13 days
_MOST_HOLES = 8
_LIMITS = np.array([min(LIMIT * 10**e, _INT64_MAX) for e in range(MAX_EXPONENT + 1)], dtype=np.int64)
_POW10 = np.array([10**e for e in range(MAX_EXPONENT + 1)], dtype=np.int64)
_MOST = _INT64_MAX // _POW10  # that can be multiplied so

Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

_STATUS = {
    BLANK: "{field} is blank",
    MALFORMED: "{field} {text!r} cannot be read",
    NOT_A_NUMBER: "{field} {text!r} is not a number",
    TOO_LARGE: "{field} {text!r} is out of range",
    TOO_FINE: f"{{field}} {{text!r}} has more digits than int64 and {MAX_EXPONENT} decimals hold",
}


class Reasons:
    """The first reason against each row. ``say`` texts may hold {text} and {field}."""

    def __init__(self, n: int, raw: Callable[[int], str], text: Callable[[int, str], str]) -> None:
        self._code = np.zeros(n, dtype=np.uint8)
        self._said: list[tuple[str, str]] = [("", "")]
        self._raw, self._text = raw, text

    def refuse(self, bad: Bools, field: str, say: str) -> None:
        if bad.any():
            self._said.append((field, say))
            self._code[bad & (self._code == 0)] = len(self._said) - 1

    def refuse_all(self, say: str | None) -> None:
        if say is not None:
            self.refuse(
                np.ones(len(self._code), dtype=np.bool_), "", say.replace("{", "{{").replace("}", "}}")
            )

    def check_status(self, field: str, status: UInt8s) -> None:
        if status.any():
            for code, say in _STATUS.items():
                self.refuse(status == code, field, say)

    def kept(self) -> Rows:
        return np.flatnonzero(self._code == 0)

    def refusals(self, row: Int64s) -> Iterator[RefusedRow]:
        for i in np.flatnonzero(self._code).tolist():
            field, say = self._said[self._code[i]]
            text = self._text(i, field)[:200] if field else ""
            yield RefusedRow(
                row=int(row[i]), reason=say.format(field=field, text=text), raw=self._raw(i)[:MAX_RAW_TEXT]
            )


def check_time(reasons: Reasons, field: str, time: Int64s) -> None:
    outside = (time < TIME_LO) | (time >= TIME_HI)
    reasons.refuse(outside, field, "{field} {text!r} is not between 2009 and 2100")


def check_positive(reasons: Reasons, field: str, numbers: Decimals, *, zero: bool = False) -> None:
    """Refuse what could not be parsed, is not above 0 (``zero``: is below 0), or is above LIMIT."""
    reasons.check_status(field, numbers.status)
    if zero:
        reasons.refuse(numbers.mantissa < 0, field, "{field} {text!r} is below 0")
    else:
        reasons.refuse(numbers.mantissa <= 0, field, "{field} {text!r} is not above 0")
    above = numbers.mantissa > _LIMITS[numbers.exponent]
    reasons.refuse(above, field, f"{{field}} {{text!r}} is above {LIMIT:.0e}")


def row_ids(sha256: str, rows: Int64s) -> Int64s:
    """Ids for rows without one, from the file's hash (30 bits) and the row: see columns.ROW_ID_BIT.

    Raises:
        ValueError: a row number needs more than 32 bits.
    """
    if len(rows) and int(rows[-1]) >= 1 << 32:
        raise ValueError(f"row {int(rows[-1])}: files of {1 << 32} rows and more need venue ids")
    own = ROW_ID_BIT | (int(sha256[:8], 16) & ((1 << 30) - 1)) << 32
    return rows | np.int64(own)


def rescale(numbers: Decimals, floor: int) -> tuple[Int64s, int, Bools]:
    """Mantissas at one exponent, that exponent, and which rows fit int64 there.

    The exponent is the finest any row needs, or ``floor`` where that is finer and all rows fit.
    """
    finest = int(numbers.exponent.max())
    for exponent in (max(finest, floor), finest):
        mantissa, fits = scaled(numbers, exponent)
        if fits.all():
            break
    return mantissa, exponent, fits


def scaled(numbers: Decimals, exponent: int | Int64s) -> tuple[Int64s, Bools]:
    """Mantissas at ``exponent``, and which are exact there: fine enough and inside int64."""
    shift = exponent - numbers.exponent.astype(np.int64)
    step = np.clip(shift, 0, MAX_EXPONENT)
    fits = (step == shift) & (np.abs(numbers.mantissa) <= _MOST[step])
    return np.where(fits, numbers.mantissa, 0) * _POW10[step], fits


def decimal_text(mantissa: int, exponent: int) -> str:
    """``mantissa * 10**-exponent`` written out, without trailing zeros."""
    sign, digits = "-" if mantissa < 0 else "", str(abs(mantissa)).rjust(exponent + 1, "0")
    whole, fraction = digits[: len(digits) - exponent], digits[len(digits) - exponent :].rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def take(numbers: Decimals, rows: Rows | Bools) -> Decimals:
    return Decimals(numbers.mantissa[rows], numbers.exponent[rows], numbers.status[rows])


def segments(ids: Int64s) -> Iterator[slice]:
    """Parts of sorted ``ids`` without a huge hole inside, at most nine.

    A batch and a look-up span all ids between their bounds: one far id, or one of ROW_ID_BIT beside
    venue ids, would make them span the stream.
    """
    holes = np.flatnonzero(np.diff(ids) > _HUGE_HOLE) + 1
    if len(holes) > _MOST_HOLES:
        widest = np.argsort(ids[holes - 1] - ids[holes])[:_MOST_HOLES]
        holes = np.sort(holes[widest])
    bounds = [0, *holes.tolist(), len(ids)]
    for start, end in pairwise(bounds):
        if end > start:
            yield slice(start, end)


def even_parts(start: int, end: int) -> Iterator[Rows]:
    """Rows start..end in as few parts of at most MAX_ROWS as can be, of about the same size."""
    parts = -((start - end) // MAX_ROWS)
    bounds = np.linspace(start, end, parts + 1).astype(np.intp)
    for lo, hi in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield np.arange(lo, hi)
