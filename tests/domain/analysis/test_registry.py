"""Indicators as data: how a spec is read and written, and what is wrong with those that are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.registry import (
    MAX_PERIOD,
    BadParameter,
    Indicator,
    Output,
    Parameter,
    Spec,
    everything,
    find,
    indicator,
    smoothing_forgets,
)


@pytest.mark.parametrize(
    "text", ["rsi(period=7)", "rsi(7)", " rsi ( period = 7 ) ", "rsi(7.0)", "rsi(period=7e0)"]
)
def test_one_spec_may_be_written_in_several_ways(text: str) -> None:
    assert Spec.parse(text) == Spec("rsi", (7.0,))
    assert str(Spec.parse(text)) == "rsi(period=7)"


def test_what_is_left_out_takes_its_default() -> None:
    assert Spec.parse("macd") == Spec.parse("macd(12, 26, 9)") == Spec.of("macd")
    assert Spec.parse("macd(signal=5)") == Spec("macd", (12.0, 26.0, 5.0))


def test_columns_are_named_for_the_spec_and_the_output_where_there_are_several() -> None:
    assert Spec.parse("rsi").columns == ("rsi(period=14)",)
    assert Spec.parse("stochf").columns == ("stochf(period=14,d=3).k", "stochf(period=14,d=3).d")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rsy", r"no indicator is called 'rsy'"),
        ("stochastic", r"did you mean stoch"),
        ("rsi(1)", r"rsi: period 1 needs a whole number from 2 to 2000"),
        ("rsi(2001)", r"rsi: period 2001 needs a whole number from 2 to 2000"),
        ("rsi(14.5)", r"rsi: period 14.5 needs a whole number"),
        ("rsi(nan)", r"rsi: period nan needs"),
        ("rsi(14,3)", r"'rsi\(14,3\)': rsi takes 1 parameter"),
        ("rsi(length=14)", r"rsi has no length: it takes period"),
        ("rsi(many)", r"'many' is no number"),
        ("rsi(14", r"'rsi\(14': a closing bracket is missing"),
        ("rsi 14)", r"no indicator is called"),
        ("rsi(14,period=15)", r"period is given twice"),
        ("obv(3)", r"takes no parameters"),
        ("macd(fast=26,slow=26)", r"macd: fast 26 needs to be below slow 26"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused_with_its_values(text: str, says: str) -> None:
    with pytest.raises(BadParameter, match=says):
        Spec.parse(text)


@given(st.data())
def test_every_spec_reads_as_it_was_written(data: st.DataObject) -> None:
    known = data.draw(st.sampled_from(list(everything().values())))
    values = {p.name: data.draw(_values(p)) for p in known.parameters}
    if known.relation(tuple(values.values())) is None:
        spec = Spec.of(known.name, values)
        assert Spec.parse(str(spec)) == spec


def _values(parameter: Parameter) -> st.SearchStrategy[float]:
    if parameter.whole:
        return st.integers(int(parameter.low), int(parameter.high)).map(float)
    return st.floats(parameter.low, parameter.high)


def test_a_name_belongs_to_one_indicator_alone() -> None:
    def kernel(view: object, params: object, lines: object, carry: object, out: object) -> None: ...

    with pytest.raises(AssertionError, match="two indicators are called rsi"):
        indicator(
            name="rsi",
            title="Another",
            kind="momentum",
            outputs=(Output("rsi", "percent"),),
            lookback=lambda _: 0,
            source="nowhere",
        )(kernel)  # type: ignore[arg-type]
    assert find("rsi").title == "Relative strength index"


def test_no_period_is_longer_than_the_ring_that_a_slot_may_hold() -> None:
    for known in everything().values():
        longest = _at(known, lambda p: p.high)
        if longest is not None:
            assert known.window(longest) <= 3 * MAX_PERIOD, known.name


def _at(known: Indicator, value: object) -> tuple[float, ...] | None:
    params = tuple(value(p) for p in known.parameters)  # type: ignore[operator]
    return params if known.relation(params) is None else None


@pytest.mark.parametrize("alpha", [2 / 3, 2 / 21, 1 / 14, 0.01])
def test_a_smoothing_has_forgotten_once_a_ten_thousand_millionth_is_left(alpha: float) -> None:
    bars = smoothing_forgets(alpha)
    assert (1 - alpha) ** bars <= 1e-10 < (1 - alpha) ** (bars - 1)
