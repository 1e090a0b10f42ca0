"""From bytes to columns: where fields begin and end, exact decimals, times, sides.

Every kernel works on one read-only byte buffer and arrays of field starts and ends, reports what it
cannot parse as a status (see domain/market/raw.py), and never goes through a float.
"""

import numpy as np
from numba import njit

from alphapulse.domain.market.raw import BAD_SIDE, BLANK, MALFORMED, NOT_A_NUMBER, OK, TOO_FINE, TOO_LARGE

_MAX = np.uint64(2**63 - 1)
_TEN = np.uint64(10)
_POW10 = np.array([10**k for k in range(19)], dtype=np.uint64)
_u = np.uint64
_QUOTE, _CR, _LF, _SPACE, _ZERO = 34, 13, 10, 32, 48

# The first and last year of a time in int64 nanoseconds with room to spare for offsets.
_YEAR_LO, _YEAR_HI = 1970, 2261


@njit(cache=True, nogil=True)
def split_rows(data, delimiter, fields, slot, row_start, row_end, whole, starts, ends):  # type: ignore[no-untyped-def]
    """Find rows and the wanted fields in ``data``, which ends at a line feed; return how many rows.

    ``slot[c]`` is where field c goes in starts/ends (shape (slots, rows)), or -1. Blank lines are no
    rows. A line feed always ends a row, even inside quotes: market data has no multi-line fields, and
    a stray quote then spoils one row instead of the rest of the file.
    """
    # Unsigned positions: signed ones cost numba a test for "counted from the end" on every byte.
    n, at, size, one = 0, _u(0), _u(len(data)), _u(1)
    while at < size:
        begin = at
        column = 0
        blank = True
        while True:
            if data[at] == _QUOTE:
                at += one
                lo = at
                while data[at] != _QUOTE and data[at] != _LF:
                    at += one
                while data[at] == _QUOTE and data[at + one] == _QUOTE:  # a doubled quote is content
                    at += one + one
                    while data[at] != _QUOTE and data[at] != _LF:
                        at += one
                hi = at
                if data[at] == _QUOTE:
                    at += one
                rest = at
                while data[at] != delimiter and data[at] != _LF:
                    at += one
                # Text after the closing quote, or no closing quote: hand over all of it, quotes
                # included, so that no reader takes half a field for the field.
                junk = at > rest and not (at - rest == one and data[rest] == _CR and data[at] == _LF)
                if junk or rest == hi:
                    lo -= one
                    hi = at
                blank = False
            else:
                lo = at
                while data[at] != delimiter and data[at] != _LF:
                    at += one
                hi = at
                if data[at] == _LF and hi > lo and data[hi - one] == _CR:
                    hi -= one
                if hi > lo:
                    blank = False
            if column < fields and slot[column] >= 0:
                starts[slot[column], n] = lo
                ends[slot[column], n] = hi
            column += 1
            if data[at] == _LF:
                break
            at += one
        end = at
        if end > begin and data[end - one] == _CR:
            end -= one
        at += one
        if column == 1 and blank:
            continue
        row_start[n] = begin
        row_end[n] = end
        whole[n] = column == fields
        for c in range(column, fields):
            if slot[c] >= 0:
                starts[slot[c], n] = 0
                ends[slot[c], n] = 0
        n += 1
    return n


@njit(cache=True, nogil=True, inline="always")
def _word(data, lo, hi):  # type: ignore[no-untyped-def]
    """Up to 8 bytes of a word, in lower case, as one integer; 0 for a blank, 1 for a longer word."""
    if hi - lo > 8:
        return np.uint64(1)
    key = np.uint64(0)
    for i in range(lo, hi):
        c = data[i]
        if 65 <= c <= 90:
            c += 32
        key = (key << np.uint64(8)) | np.uint64(c)
    return key


def word_key(word: str) -> int:
    """The integer by which ``parse_sides`` knows ``word``.

    Raises:
        ValueError: the word is longer than 8 bytes.
    """
    encoded = word.lower().encode()
    if not 1 <= len(encoded) <= 8:
        raise ValueError(f"side word {word!r} needs 1 to 8 bytes")
    return int.from_bytes(encoded, "big")


_NAN_WORDS = np.array(
    [word_key(w) for w in ("nan", "inf", "+inf", "-inf", "infinity", "+nan", "-nan")], np.uint64
)


@njit(cache=True, nogil=True)
def _decimal(data, lo, hi):  # type: ignore[no-untyped-def]
    """(mantissa, exponent, status) of the number in data[lo:hi]; the mantissa has no trailing zeros."""
    while lo < hi and data[lo] == _SPACE:
        lo += 1
    while lo < hi and data[hi - 1] == _SPACE:
        hi -= 1
    if lo == hi:
        return np.int64(0), 0, BLANK
    at = lo
    negative = data[at] == 45
    if negative or data[at] == 43:
        at += 1
    m = np.uint64(0)
    exponent = 0  # value = m * 10**-exponent
    zeros = 0  # since the last other digit: they count only once another one follows
    places = 0  # digits after the point
    digits = 0
    significant = 0  # digits of m: below 19 of them fit without asking
    point = False
    approximate = 0.0  # above 0 once m is more than int64 holds
    while at < hi:
        c = data[at]
        if 48 <= c <= 57:
            digits += 1
            places += point
            d = np.uint64(c - 48)
            if d == 0:
                zeros += 1
                exponent -= not point
            else:
                exponent = places
                if approximate > 0:
                    approximate = approximate * 10.0 ** (zeros + 1) + d
                elif m == 0:
                    m = d
                    significant = 1
                elif significant + zeros >= 18 and (zeros > 17 or m > (_MAX - d) // _POW10[zeros + 1]):
                    approximate = m * 10.0 ** (zeros + 1) + d
                else:
                    m = m * (_TEN if zeros == 0 else _POW10[zeros + 1]) + d
                    significant += zeros + 1
                zeros = 0
        elif c == 46 and not point:
            point = True
        else:
            break
        at += 1
    if digits == 0:
        key = _word(data, lo, hi)
        for k in range(len(_NAN_WORDS)):
            if key == _NAN_WORDS[k]:
                return np.int64(0), 0, NOT_A_NUMBER
        return np.int64(0), 0, MALFORMED
    if at < hi and (data[at] == 101 or data[at] == 69):  # e or E
        at += 1
        down = at < hi and data[at] == 45
        if at < hi and (data[at] == 45 or data[at] == 43):
            at += 1
        if at == hi:
            return np.int64(0), 0, MALFORMED
        power = 0
        while at < hi and 48 <= data[at] <= 57:
            power = min(power * 10 + (data[at] - 48), 10_000)
            at += 1
        exponent += power if down else -power
    if at < hi:
        return np.int64(0), 0, MALFORMED
    if m == 0:
        return np.int64(0), 0, OK
    if approximate > 0:
        return np.int64(0), 0, TOO_LARGE if approximate * 10.0**-exponent >= _MAX else TOO_FINE
    if exponent < 0:
        if exponent < -18 or m > _MAX // _POW10[-exponent]:
            return np.int64(0), 0, TOO_LARGE
        m *= _POW10[-exponent]
        exponent = 0
    if exponent > 18:
        return np.int64(0), 0, TOO_FINE
    value = np.int64(m)
    return -value if negative else value, exponent, OK


@njit(cache=True, nogil=True)
def parse_decimals(data, starts, ends, mantissa, exponent, status):  # type: ignore[no-untyped-def]
    for i in range(len(starts)):
        mantissa[i], exponent[i], status[i] = _decimal(data, starts[i], ends[i])


@njit(cache=True, nogil=True)
def parse_integers(data, starts, ends, value, status):  # type: ignore[no-untyped-def]
    """Whole numbers below 2**62: above that begin the ids that we make ourselves."""
    for i in range(len(starts)):
        lo, hi = starts[i], ends[i]
        if 0 < hi - lo <= 18:  # as nearly all ids are: digits, and too few to overflow
            v = np.int64(0)
            at = lo
            while at < hi:
                digit = np.int64(data[at]) - _ZERO
                if digit < 0 or digit > 9:
                    break
                v = v * 10 + digit
                at += 1
            if at == hi:
                value[i] = v
                status[i] = OK
                continue
        m, e, s = _decimal(data, lo, hi)
        if s == OK and e > 0:
            s = MALFORMED
        elif s == OK and m >= (1 << 62):
            s = TOO_LARGE
        value[i] = m
        status[i] = s


@njit(cache=True, nogil=True)
def parse_epochs(data, starts, ends, unit_ns, value, status):  # type: ignore[no-untyped-def]
    """Counts of ``unit_ns`` since 1970, fractions allowed, as nanoseconds (finer digits are cut)."""
    for i in range(len(starts)):
        m, e, s = _decimal(data, starts[i], ends[i])
        if s == TOO_FINE:
            s = MALFORMED
        if s == OK:
            scale = np.uint64(unit_ns)
            while e > 0 and scale > 1:
                scale //= np.uint64(10)
                e -= 1
            while e > 0:
                m //= 10
                e -= 1
            if m < 0:
                m = np.int64(-1)  # before 1970 is before every market: the normaliser refuses it
            elif np.uint64(m) > _MAX // scale:
                s = TOO_LARGE
            else:
                m *= np.int64(scale)
        value[i] = m
        status[i] = s


@njit(cache=True, nogil=True, inline="always")
def _digits(data, lo, count):  # type: ignore[no-untyped-def]
    """The number in ``count`` digits at ``lo``; negative when one is no digit."""
    v = 0
    for i in range(lo, lo + count):
        c = data[i] - _ZERO
        if c < 0 or c > 9:
            return -1_000_000
        v = v * 10 + c
    return v


@njit(cache=True, nogil=True, inline="always")
def _days(year, month, day):  # type: ignore[no-untyped-def]
    """Days since 1970-01-01 (Howard Hinnant, chrono-compatible low-level date algorithms)."""
    y = year - (1 if month <= 2 else 0)
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719_468


@njit(cache=True, nogil=True)
def _iso(data, lo, hi):  # type: ignore[no-untyped-def]
    """(ns, status) of an ISO 8601 time: date, optional time, fraction and offset; no offset is UTC."""
    if lo == hi:
        return np.int64(0), BLANK
    bad = (np.int64(0), MALFORMED)
    if hi - lo < 10 or data[lo + 4] != 45 or data[lo + 7] != 45:
        return bad
    year, month, day = _digits(data, lo, 4), _digits(data, lo + 5, 2), _digits(data, lo + 8, 2)
    if year < 0 or month < 1 or month > 12 or day < 1:
        return bad
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    last = 31
    if month == 2:
        last = 29 if leap else 28
    elif month == 4 or month == 6 or month == 9 or month == 11:
        last = 30
    if day > last:
        return bad
    seconds = np.int64(_days(year, month, day)) * 86_400
    fraction = np.int64(0)
    at = lo + 10
    if at < hi:
        if (data[at] != 84 and data[at] != _SPACE) or hi - at < 6:
            return bad
        hour = _digits(data, at + 1, 2)
        if data[at + 3] == 45:  # CryptoDataDownload's hours: 09-AM
            half = data[at + 4]
            if hi - at != 6 or data[at + 5] != 77 or hour < 1 or hour > 12 or (half != 65 and half != 80):
                return bad
            seconds += (hour % 12 + (12 if half == 80 else 0)) * 3600
            at = hi
        else:
            minute = _digits(data, at + 4, 2)
            if data[at + 3] != 58 or hour < 0 or hour > 23 or minute < 0 or minute > 59:
                return bad
            seconds += hour * 3600 + minute * 60
            at += 6
        if at + 3 <= hi and data[at] == 58:
            second = _digits(data, at + 1, 2)
            if second < 0 or second > 59:
                return bad
            seconds += second
            at += 3
            if at < hi and data[at] == 46:
                at += 1
                scale = 100_000_000
                first = at
                while at < hi and 48 <= data[at] <= 57:
                    fraction += np.int64(data[at] - _ZERO) * scale
                    scale //= 10
                    at += 1
                if at == first:
                    return bad
        if at < hi and (data[at] == 90 or data[at] == 122):
            at += 1
        elif at < hi and (data[at] == 43 or data[at] == 45):
            sign = 1 if data[at] == 43 else -1
            left = hi - at - 1
            if left != 2 and left != 4 and not (left == 5 and data[at + 3] == 58):
                return bad
            hours = _digits(data, at + 1, 2)
            minutes = _digits(data, hi - 2, 2) if left > 2 else 0
            if hours < 0 or hours > 14 or minutes < 0 or minutes > 59:
                return bad
            seconds -= sign * (hours * 3600 + minutes * 60)
            at = hi
    if at != hi:
        return bad
    if year < _YEAR_LO or year > _YEAR_HI:
        return np.int64(0), TOO_LARGE
    return seconds * 1_000_000_000 + fraction, OK


@njit(cache=True, nogil=True)
def parse_iso_times(data, starts, ends, value, status):  # type: ignore[no-untyped-def]
    for i in range(len(starts)):
        value[i], status[i] = _iso(data, starts[i], ends[i])


@njit(cache=True, nogil=True)
def parse_sides(data, starts, ends, buy, sell, side):  # type: ignore[no-untyped-def]
    """1 for a word in ``buy``, -1 in ``sell`` (keys of word_key), 0 for a blank, else BAD_SIDE."""
    for i in range(len(starts)):
        key = _word(data, starts[i], ends[i])
        side[i] = 0 if key == 0 else BAD_SIDE
        for k in range(len(buy)):
            if key == buy[k]:
                side[i] = 1
        for k in range(len(sell)):
            if key == sell[k]:
                side[i] = -1


@njit(cache=True, nogil=True)
def find_changes(data, starts, ends, changed):  # type: ignore[no-untyped-def]
    """Mark each row whose field differs from that of the row before; return how many there are."""
    count = 0
    for i in range(1, len(starts)):
        a, b = starts[i - 1], starts[i]
        n = ends[i] - b
        same = n == ends[i - 1] - a
        if same:
            for k in range(n):
                if data[a + k] != data[b + k]:
                    same = False
                    break
        changed[i] = not same
        count += not same
    return count
