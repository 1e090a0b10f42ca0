"""From bytes to exact numbers, times and fields: compared with the standard library on any input."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.adapters.files import kernels, parse
from alphapulse.adapters.files.reader import TextColumn
from alphapulse.domain.market.raw import BAD_SIDE, BLANK, MALFORMED, NOT_A_NUMBER, OK, TOO_FINE, TOO_LARGE


def column(*texts: str) -> TextColumn:
    encoded = [t.encode() for t in texts]
    ends = np.cumsum([len(e) for e in encoded], dtype=np.int64)
    data = np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8)
    return TextColumn(data, np.concatenate(([0], ends[:-1])).astype(np.int64), ends)


def decimal(text: str) -> tuple[Decimal | None, int]:
    parsed = parse.decimals(column(text))
    status = int(parsed.status[0])
    value = Decimal(int(parsed.mantissa[0])).scaleb(-int(parsed.exponent[0]))
    return (value if status == OK else None), status


plain = st.from_regex(r"[-+]?[0-9]{0,22}(\.[0-9]{0,24})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)


@given(plain)
def test_a_decimal_is_exact_or_said_to_be_out_of_range(text: str) -> None:
    value, status = decimal(text)
    try:
        wanted = Decimal(text)
    except InvalidOperation:
        assert status == (MALFORMED if text else BLANK)
        return
    if status == OK:
        assert value == wanted
    elif status == TOO_LARGE:
        assert abs(wanted) > 2**63 - 1025  # as a float tells it
    else:
        assert status == TOO_FINE
        canonical = wanted.normalize()
        digits = int("".join(map(str, canonical.as_tuple().digits)))
        assert -int(canonical.as_tuple().exponent) > 18 or digits > 2**63 - 1


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 18))
def test_every_int64_at_every_exponent_comes_back(mantissa: int, exponent: int) -> None:
    wanted = Decimal(mantissa).scaleb(-exponent)
    assert decimal(f"{wanted:f}") == (wanted, OK)


def test_equal_values_have_equal_mantissa_and_exponent() -> None:
    parsed = parse.decimals(column("1406502.0", "1406502", "1.406502e6", "01406502.000"))
    assert set(parsed.mantissa.tolist()) == {1406502}
    assert set(parsed.exponent.tolist()) == {0}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", BLANK), ("  ", BLANK), ("NaN", NOT_A_NUMBER), ("-inf", NOT_A_NUMBER), ("Infinity", NOT_A_NUMBER),
        ("abc", MALFORMED), ("1.2.3", MALFORMED), ("1e", MALFORMED), ("-", MALFORMED), ("1,5", MALFORMED),
        ("0x10", MALFORMED), ("1 2", MALFORMED), ('"12"3', MALFORMED), ("1e30", TOO_LARGE),
        ("1e-30", TOO_FINE), ("9223372036854775808", TOO_LARGE), ("0e999", OK), (" 7 ", OK),
    ],
)  # fmt: skip
def test_what_is_no_number_says_why(text: str, status: int) -> None:
    assert decimal(text)[1] == status


moments = st.datetimes(datetime(1970, 1, 2), datetime(2261, 12, 30))  # noqa: DTZ001 - the offset comes below
offsets = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(moments, offsets)
def test_iso_times_agree_with_the_standard_library(moment: datetime, offset: timezone) -> None:
    aware = moment.replace(tzinfo=offset)
    wanted = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    times = parse.Clock("iso", None).times(column(aware.isoformat(), aware.isoformat(" ")))
    assert times.status.tolist() == [OK, OK]
    assert times.value.tolist() == [wanted, wanted]


@pytest.mark.parametrize(
    "text",
    [
        "2018-02-30", "2018-13-01", "2018-1-1", "2018-01-01T24:00:00", "2018-01-01T10:60", "yesterday",
        "2018-01-01T10:00:00.", "2018-01-01T10:00:00+9", "2018-01-01T10:00:00Zx", "2018-01-01 13-PM",
        "20180101", "2018-01-01T1", "2018-01-01T10:00:0", "2018-01-01T10:00:61",
    ],
)  # fmt: skip
def test_a_time_that_is_none_is_malformed(text: str) -> None:
    assert parse.Clock("iso", None).times(column(text)).status.tolist() == [MALFORMED]


def test_years_outside_int64_nanoseconds_are_out_of_range_not_wrapped() -> None:
    times = parse.Clock("iso", None).times(column("9999-01-01T00:00:00Z", "1815-06-18", ""))
    assert times.status.tolist() == [TOO_LARGE, TOO_LARGE, BLANK]


def test_hours_with_am_and_pm_read_as_cryptodatadownload_means_them() -> None:
    times = parse.Clock("iso", None).times(
        column("2019-10-17 12-AM", "2019-10-17 09-AM", "2019-10-17 12-PM", "2019-10-17 11-PM")
    )
    hours = (times.value - times.value[0]) // 3_600_000_000_000
    assert hours.tolist() == [0, 9, 12, 23]


@given(st.integers(0, 9_000_000_000_000_000_000), st.sampled_from(["s", "ms", "us", "ns"]))
def test_a_count_of_seconds_with_a_fraction_is_exact_to_the_nanosecond(ns: int, unit: str) -> None:
    digits = {"s": 9, "ms": 6, "us": 3, "ns": 0}[unit]
    text = f"{Decimal(ns).scaleb(-digits):f}"
    times = parse.Clock(unit, None).times(column(text))
    assert (times.value.tolist(), times.status.tolist()) == ([ns], [OK])


def test_the_unit_of_an_epoch_is_settled_by_the_first_time_and_stays() -> None:
    clock = parse.Clock("auto", None)
    assert clock.times(column("", "1750507467356")).value[1] == 1_750_507_467_356_000_000
    far = clock.times(column("253370764800000"))  # the year 9999 in ms, not 1978 in us
    assert far.status.tolist() == [TOO_LARGE]


def test_sides_know_their_words_in_any_case_and_nothing_else() -> None:
    sides = parse.sides(column("BUY", "sell", "", "hold", "buyer-initiated"), 5, ("buy",), ("sell",))
    assert sides.tolist() == [1, -1, 0, BAD_SIDE, BAD_SIDE]


def test_a_side_word_too_long_for_the_kernel_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="1 to 8 bytes"):
        kernels.word_key("aggressor_buy")


def rows_of(text: str, fields: int) -> list[list[str]]:
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    most = text.count("\n")
    starts, ends = np.zeros((fields, most), np.int64), np.zeros((fields, most), np.int64)
    row_start, row_end, whole = np.zeros(most, np.int64), np.zeros(most, np.int64), np.zeros(most, np.bool_)
    n = kernels.split_rows(data, ord(","), fields, np.arange(fields), row_start, row_end, whole, starts, ends)
    return [
        [TextColumn(data, starts[c], ends[c]).text(i).replace('""', '"') for c in range(fields)]
        if whole[i]
        else []
        for i in range(n)
    ]


fields = st.text(st.sampled_from('ab1 ,"é.-'), max_size=6)
tables = st.integers(2, 4).flatmap(
    lambda n: st.lists(st.lists(fields, min_size=n, max_size=n), min_size=1, max_size=6)
)


@given(tables, st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_fields_are_split_as_the_csv_module_wrote_them(
    table: list[list[str]], end: str, quoting: int
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=end, quoting=quoting).writerows(table)  # type: ignore[arg-type]
    assert rows_of(out.getvalue(), len(table[0])) == table


def test_rows_with_other_widths_are_marked_and_spoil_no_neighbour() -> None:
    text = 'a,b,c\n1,2\n1,2,3,4\n\n\r\nx,y,z\n"open,y,z\nd,e,f\n'
    assert rows_of(text, 3) == [["a", "b", "c"], [], [], ["x", "y", "z"], [], ["d", "e", "f"]]


@given(st.binary(max_size=200))
def test_no_bytes_whatever_lead_out_of_the_buffer(noise: bytes) -> None:
    data = np.frombuffer(noise + b"\n", dtype=np.uint8)
    most = int((data == 10).sum())
    starts, ends = np.zeros((3, most), np.int64), np.zeros((3, most), np.int64)
    row_start, row_end, whole = np.zeros(most, np.int64), np.zeros(most, np.int64), np.zeros(most, np.bool_)
    n = kernels.split_rows(data, ord(","), 3, np.arange(3), row_start, row_end, whole, starts, ends)
    assert n <= most
    assert (starts[:, :n] <= ends[:, :n]).all()
    assert ends[:, :n].max(initial=0) <= len(data)
    assert (row_start[1:n] >= row_end[: max(n - 1, 0)]).all()
    for c in range(3):
        assert len(parse.decimals(TextColumn(data, starts[c, :n], ends[c, :n])).status) == n
        assert len(parse.Clock("iso", None).times(TextColumn(data, starts[c, :n], ends[c, :n])).status) == n
