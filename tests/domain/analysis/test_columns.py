"""Names of outputs: short to write, complete when stored."""

import numpy as np
import pytest

from alphapulse.domain.analysis.columns import Column, column_values, plan_of
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import BadParameter, Spec, everything
from tests.domain.analysis.series import walk


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sma", "sma(period=20)"),
        ("sma(5)", "sma(period=5)"),
        (" page_hinkley.age ", f"{Spec.parse('page_hinkley')}.age"),
        ("page_hinkley(delta=0.5).age", f"{Spec.parse('page_hinkley(delta=0.5)')}.age"),
        ("regime", f"{Spec.parse('regime')}.regime"),
    ],
)
def test_a_name_is_completed(text: str, name: str) -> None:
    assert str(Column.parse(text)) == name


def test_every_output_is_found_by_its_complete_name() -> None:
    for known in everything().values():
        for i, name in enumerate(Spec.of(known.name).columns):
            assert (Column.parse(name).output, str(Column.parse(name))) == (i, name)


@pytest.mark.parametrize("text", ["sma", "sma(period=5)", "adwin.age", "page_hinkley(delta=0.5).age"])
def test_the_short_name_is_what_a_person_would_write(text: str) -> None:
    assert Column.parse(text).short == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adwin", "'adwin': adwin gives change, direction, statistic, age: say which"),
        ("adwin.upper", "'adwin.upper': adwin gives change"),
        ("sma(5).", r"'sma\(5\).': sma gives sma"),
        ("nonsense", "no indicator is called 'nonsense'"),
        ("sma(5", "closing bracket"),
    ],
)
def test_what_is_no_output_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        Column.parse(text)


def test_values_stand_in_the_order_of_the_question_however_often_an_indicator_is_in_it() -> None:
    bars = walk(300)
    columns = [Column.parse(text) for text in ("adwin.age", "sma(5)", "adwin.statistic", "sma(5)")]
    adwin, sma = compute([Spec.parse("adwin")], bars), compute([Spec.parse("sma(5)")], bars)
    expected = np.stack([adwin[3], sma[0], adwin[2], sma[0]])
    assert column_values(columns, bars).tobytes() == expected.tobytes()
    assert len(plan_of(columns).specs) == 2
    assert column_values([], bars).shape == (0, 300)
