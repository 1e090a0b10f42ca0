"""Complex events: what the text says, matched exactly as a look at the whole history would."""

import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.analysis.columns import Column
from alphapulse.domain.analysis.complex_event_text import MAX_DEPTH, MAX_TEXT, BadText, parse_event
from alphapulse.domain.analysis.complex_event_watch import Watch, find_events, operand_values
from alphapulse.domain.analysis.complex_events import (
    MAX_COMPARISONS,
    MAX_STEPS,
    MAX_WITHIN,
    OPERATORS,
    And,
    BadEvent,
    Comparison,
    ComplexEvent,
    Condition,
    Not,
    Or,
    Step,
    explain,
)
from alphapulse.domain.analysis.fields import CLOSE, Field, Floats
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec
from tests.domain.analysis.series import walk

FIELDS = (Field.OPEN, Field.CLOSE, Field.VOLUME)


def truth(condition: Condition, row: int, values: dict[Any, Floats]) -> bool | None:
    """True, false, or None where a value is missing: row by row, over the whole history."""
    match condition:
        case Comparison():
            return compared(condition, row, values)
        case Not(of=of):
            found = truth(of, row, values)
            return None if found is None else not found
        case And(parts=parts) | Or(parts=parts):
            each = [truth(part, row, values) for part in parts]
            decides = isinstance(condition, Or)
            return decides if decides in each else None if None in each else not decides


def compared(c: Comparison, row: int, values: dict[Any, Floats]) -> bool | None:
    left, right = (o if isinstance(o, float) else values[o][row] for o in (c.left, c.right))
    if np.isnan(left) or np.isnan(right):
        return None
    if c.operator.startswith("crosses"):
        plain = Comparison(c.left, ">" if c.operator.endswith("above") else "<", c.right)
        before = compared(plain, row - 1, values) if row else None
        return None if before is None else bool(compared(plain, row, values)) and not before
    return bool(eval(f"left {c.operator} right"))


def oracle(event: ComplexEvent, values: dict[Any, Floats], count: int) -> list[tuple[int, ...]]:
    """Matches by looking, at each bar, through all that was since the last match."""
    true = [[truth(s.condition, t, values) is True for t in range(count)] for s in event.steps]
    held = [event.throughout is None or truth(event.throughout, t, values) is True for t in range(count)]

    def latest(step: int, t: int, since: int) -> tuple[int, ...] | None:
        if not (true[step][t] and held[t]):
            return None
        if step == 0:
            return (t,)
        for before in range(t - 1, max(since, t - event.steps[step].within) - 1, -1):
            if all(held[before:t]) and (chain := latest(step - 1, before, since)):
                return (*chain, t)
        return None

    found: list[tuple[int, ...]] = []
    for t in range(count):
        since = found[-1][-1] + 1 if found else 0
        if chain := latest(len(event.steps) - 1, t, since):
            found.append(chain)
    return found


def matches(event: ComplexEvent, values: Floats, cuts: Sequence[int] = ()) -> list[tuple[int, ...]]:
    """Of one slot, fed in the chunks that ``cuts`` make."""
    watch, found = Watch(event), []
    edges = [0, *sorted(cuts), values.shape[1]]
    for a, b in pairwise(edges):
        got = watch.advance(values[:, a:b])
        found += [tuple(got.bars[:, t, 0].tolist()) for t in np.flatnonzero(got.matched[:, 0])]
    return found


number = st.integers(0, 3).map(float)
comparison = st.builds(
    Comparison, st.sampled_from(FIELDS), st.sampled_from(OPERATORS), st.sampled_from(FIELDS) | number
)
condition = st.recursive(
    comparison,
    lambda inner: (
        st.builds(Not, inner)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts)))
    ),
    max_leaves=4,
)


@st.composite
def events(draw: st.DrawFn) -> ComplexEvent:
    first = Step(draw(condition))
    later = draw(st.lists(st.builds(Step, condition, st.integers(1, 6)), max_size=3))
    return ComplexEvent((first, *later), draw(st.none() | condition))


@st.composite
def histories(draw: st.DrawFn, bars: int = 40) -> Floats:
    """Few values, so that conditions meet often; some missing. Shape (FIELDS, bars)."""
    seed, hole = draw(st.integers(0, 2**32)), draw(st.sampled_from([0.0, 0.05]))
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, (len(FIELDS), bars)).astype(float)
    values[rng.random(values.shape) < hole] = np.nan
    return values


def of_event(event: ComplexEvent, history: Floats) -> Floats:
    """The rows of ``history`` that ``event`` looks at, (operands, T, 1)."""
    return np.array([history[FIELDS.index(o)] for o in event.operands])[:, :, None]  # type: ignore[arg-type]


@given(event=events(), history=histories(), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_matches_are_those_of_a_look_at_the_whole_history(
    event: ComplexEvent, history: Floats, cuts: list[int]
) -> None:
    values = dict(zip(FIELDS, history, strict=True))
    expected = oracle(event, values, history.shape[1])
    assert matches(event, of_event(event, history)) == expected
    assert matches(event, of_event(event, history), cuts) == expected


@given(event=events(), history=histories(bars=11))
def test_the_first_match_is_the_first_bar_at_which_any_choice_of_bars_fits(
    event: ComplexEvent, history: Floats
) -> None:
    values = dict(zip(FIELDS, history, strict=True))

    def fits(chosen: tuple[int, ...]) -> bool:
        near = all(b - a <= s.within for a, b, s in zip(chosen, chosen[1:], event.steps[1:], strict=False))
        steps = all(truth(s.condition, t, values) for s, t in zip(event.steps, chosen, strict=True))
        span = range(chosen[0], chosen[-1] + 1)
        return (
            near
            and steps
            and (event.throughout is None or all(truth(event.throughout, t, values) for t in span))
        )

    ends = [chosen[-1] for chosen in combinations(range(11), len(event.steps)) if fits(chosen)]
    found = matches(event, of_event(event, history))
    assert (found[0][-1] if found else None) == min(ends, default=None)


@given(event=events(), history=histories(), t=st.integers(0, 39))
def test_what_comes_after_a_bar_changes_no_match_up_to_it(
    event: ComplexEvent, history: Floats, t: int
) -> None:
    poisoned = history.copy()
    poisoned[:, t + 1 :] = np.random.default_rng(t).choice([-1.0, 9.0, np.nan], (len(FIELDS), 39 - t))
    before = [found for found in matches(event, of_event(event, history)) if found[-1] <= t]
    assert [found for found in matches(event, of_event(event, poisoned)) if found[-1] <= t] == before


@given(event=events(), made=st.lists(histories(), min_size=3, max_size=3), cut=st.integers(0, 40))
def test_slots_side_by_side_and_a_restored_one_find_the_same(
    event: ComplexEvent, made: list[Floats], cut: int
) -> None:
    values = np.concatenate([of_event(event, history) for history in made], axis=2)
    whole = Watch(event, 3).advance(values)
    for n, history in enumerate(made):
        alone = Watch(event).advance(of_event(event, history))
        assert alone.bars[:, :, 0].tobytes() == whole.bars[:, :, n].tobytes()
    first, second = Watch(event, 3), Watch(event, 3)
    first.advance(values[:, :cut])
    second.restore(first.snapshot())
    assert second.advance(values[:, cut:]).bars.tobytes() == whole.bars[:, cut:].tobytes()
    assert second.snapshot() == first_after(first, values[:, cut:])


def first_after(watch: Watch, values: Floats) -> bytes:
    watch.advance(values)
    return watch.snapshot()


@given(event=events())
def test_the_text_of_an_event_reads_as_the_same_event(event: ComplexEvent) -> None:
    again = parse_event(str(event))
    assert str(again) == str(event)
    assert parse_event(str(again)) == again


def of_text(text: str, **rows: Sequence[float]) -> list[tuple[int, ...]]:
    event = parse_event(text)
    values = np.array([rows[o.name.lower()] for o in event.operands if isinstance(o, Field)], dtype=float)
    return matches(event, values[:, :, None])


def test_a_step_comes_strictly_later_and_within_its_bars() -> None:
    text = "open > 0 then close > 0 within 2 bars"
    assert of_text(text, open=[1, 0, 0, 0], close=[1, 0, 1, 0]) == [(0, 2)]
    assert of_text(text, open=[1, 0, 0, 0], close=[1, 0, 0, 1]) == []


def test_a_match_uses_its_bars_up() -> None:
    text = "open > 0 then close > 0 within 5 bars"
    assert of_text(text, open=[1, 0, 0, 1, 0], close=[0, 1, 1, 1, 1]) == [(0, 1), (3, 4)]


def test_each_step_takes_the_latest_bar_that_it_can() -> None:
    text = "open > 0 then close > 0 within 3 bars then volume > 0 within 1 bar"
    rows = {"open": [1, 1, 0, 0, 0], "close": [0, 0, 1, 1, 0], "volume": [0, 0, 0, 0, 1]}
    assert of_text(text, **rows) == [(1, 3, 4)]


def test_what_holds_throughout_holds_from_the_first_bar_to_the_last() -> None:
    text = "open > 0 then close > 0 within 5 bars while volume > 0"
    for volume, found in (([1, 1, 1], [(0, 2)]), ([1, 0, 1], []), ([0, 1, 1], []), ([1, 1, 0], [])):
        assert of_text(text, open=[1, 0, 0], close=[0, 0, 1], volume=volume) == found


def test_a_cross_needs_the_bar_before_it() -> None:
    assert of_text("close crosses above 1", close=[2, 1, 2, 3, 0, 2]) == [(2,), (5,)]
    assert of_text("close crosses below 1", close=[0, 1, 0, 2, -1]) == [(2,), (4,)]
    assert of_text("close crosses above 1", close=[0, np.nan, 2, 3]) == []


def test_a_missing_value_is_neither_below_nor_not_below() -> None:
    rows = [np.nan, 0, 2]
    assert of_text("close < 1", close=rows) == [(1,)]
    assert of_text("not close < 1", close=rows) == [(2,)]
    assert of_text("close != 1", close=rows) == [(1,), (2,)]
    assert of_text("not close < 1 or close < 1", close=rows) == [(1,), (2,)]


def test_and_binds_before_or_and_not_before_both() -> None:
    bar = {"open": [1], "close": [0], "volume": [1]}
    assert of_text("open > 0 or close > 0 and volume < 0", **bar) == [(0,)]
    assert of_text("(open > 0 or close > 0) and volume < 0", **bar) == []
    assert of_text("not close > 0 and open > 0 and volume > 0", **bar) == [(0,)]


def test_names_stand_for_the_codes_of_indicators() -> None:
    event = parse_event("regime is trend_up then regime is not trend_up within 3 bars")
    column = Column.parse("regime")
    assert event.steps[0].condition == Comparison(column, "==", 1.0)
    assert event.steps[1].condition == Comparison(column, "!=", 1.0)


def test_events_over_indicators_match_where_their_columns_say() -> None:
    bars = walk(900)
    found = find_events(parse_event("close crosses above sma(20) while sma(50) > sma(100)"), bars)
    fast, middle, slow = compute([Spec.parse(f"sma({n})") for n in (20, 50, 100)], bars)
    above = bars[CLOSE] > fast
    expected = np.flatnonzero(above[1:] & ~above[:-1] & (middle > slow)[1:]) + 1
    assert [bar for (bar,) in found] == expected.tolist()
    assert len(found) > 5


def test_no_look_ahead_through_the_indicators() -> None:
    event = parse_event("close < sma(20) then close crosses above bbands(20,1).upper within 30 bars")
    bars = walk(600)
    for t in (200, 333, 450):
        poisoned = bars.copy()
        poisoned[1:6, t + 1 :] = walk(600, 77)[1:6, t + 1 :] * 3
        before = [m for m in find_events(event, bars) if m[-1] <= t]
        assert [m for m in find_events(event, poisoned) if m[-1] <= t] == before
        assert before


def test_an_explanation_leaves_out_parameters_that_nobody_chose() -> None:
    event = parse_event("regime(confirm=5).adx > 0 while regime.adx > 0 and sma(20) > 0")
    bars = walk(300)
    lines = explain(event, (280,), operand_values(event, bars))
    assert lines[0].startswith("bar 280: regime(confirm=5).adx > 0 (regime(confirm=5).adx = ")
    assert lines[1] == "bars 280 to 280: regime.adx > 0 and sma > 0"


def test_an_explanation_names_bars_conditions_and_values() -> None:
    event = parse_event("open > 1 then close > sma(2) within 2 bars while volume > 0")
    bars = walk(60)
    match = find_events(event, bars)[0]
    values = operand_values(event, bars)
    first, last = match
    sma = compute([Spec.parse("sma(2)")], bars)[0]
    assert explain(event, match, values) == [
        f"bar {first}: open > 1 (open = {bars[1, first]:.6g})",
        f"bar {last}: close > sma(period=2) (close = {bars[4, last]:.6g}, sma(period=2) = {sma[last]:.6g})",
        f"bars {first} to {last}: volume > 0",
    ]


def test_the_examples_of_the_docs_are_events() -> None:
    text = (Path(__file__).parents[3] / "docs" / "complex-events.md").read_text()
    examples = [text.split("```\n")[1], *re.findall(r'parse_event\("(.+?)"\)', text)]
    assert len(examples) == 2
    for example in examples:
        assert len(parse_event(example.strip()).steps) == 2


@pytest.mark.parametrize(("text", "problem", "column"), [
    ("close > ", "expected a number, a price or an indicator; found the end", 8),
    ("close > 1 close", "expected then, while, and, or, or the end; found 'close'", 10),
    ("close then", "expected a comparison: < <= > >= == != crosses is; found 'then'", 6),
    ("close crosses 3", "expected above or below; found '3'", 14),
    ("close > 1 then close < 1", "expected within … bars: how much later it may come; found the end", 24),
    ("close > 1 then close < 1 within 0 bars", "expected a whole number of bars; found '0'", 32),
    ("close > 1 then close < 1 within 1.5 bars", "expected a whole number of bars; found '1.5'", 32),
    ("close > 1 then close < 1 within 3 days", "expected bars; found 'days'", 34),
    ("sma(5000) > 1", "sma: period 5000 needs", 0),
    ("close > 1 and adwin > 1", "'adwin': adwin gives change", 14),
    ("1 > 2", "1 > 2: two numbers, nothing that moves", 0),
    ("close ? 1", "'?' means nothing here", 6),
    ("(close > 1", "expected a closing bracket; found the end", 10),
    ("regime is sideways", "expected one of trend_down, range", 10),
    ("while close > 1", "expected a number, a price or an indicator; found 'while'", 0),
    ("", "expected a number, a price or an indicator; found the end", 0),
])  # fmt: skip
def test_what_is_no_event_is_refused_with_a_mark_under_the_place(
    text: str, problem: str, column: int
) -> None:
    with pytest.raises(BadText) as caught:
        parse_event(text)
    said, line, mark = str(caught.value).split("\n")
    assert said.startswith(problem)
    assert (line, mark) == (f"  {text}", "  " + " " * column + "^")


def test_the_mark_stands_in_the_line_of_the_place() -> None:
    with pytest.raises(BadText, match=r"found 'then'\n  and then\n      \^$"):
        parse_event("close > 1\nand then\nclose > 2")


def step(within: int = 1) -> Step:
    return Step(Comparison(Field.CLOSE, ">", 1.0), within)


def test_steps_bars_and_comparisons_have_limits() -> None:
    ComplexEvent((step(0), *[step(MAX_WITHIN)] * (MAX_STEPS - 1)))
    with pytest.raises(BadEvent, match="9 steps: 1 to 8"):
        ComplexEvent((step(0), *[step()] * MAX_STEPS))
    with pytest.raises(BadEvent, match="0 steps"):
        ComplexEvent(())
    with pytest.raises(BadEvent, match="step 2 within 2001 bars: 1 to 2000"):
        ComplexEvent((step(0), step(MAX_WITHIN + 1)))
    with pytest.raises(BadEvent, match="step 1 within 1 bars: 0 to 0"):
        ComplexEvent((step(1),))
    one = Comparison(Field.CLOSE, ">", 1.0)
    ComplexEvent((Step(And((one,) * MAX_COMPARISONS)),))
    with pytest.raises(BadEvent, match="51 comparisons, over 50"):
        ComplexEvent((Step(And((one,) * (MAX_COMPARISONS + 1))),))
    with pytest.raises(BadEvent, match="'=<' is none of"):
        Comparison(Field.CLOSE, "=<", 1.0)


def test_a_text_has_limits_too() -> None:
    parse_event("(" * MAX_DEPTH + "close > 1" + ")" * MAX_DEPTH)
    with pytest.raises(BadText, match="more than 20 inside each other"):
        parse_event("(" * (MAX_DEPTH + 1) + "close > 1" + ")" * (MAX_DEPTH + 1))
    with pytest.raises(BadText, match="2001 characters, over 2000"):
        parse_event("close > 1".ljust(MAX_TEXT + 1))


def test_values_of_another_shape_and_foreign_snapshots_are_refused() -> None:
    watch = Watch(parse_event("close > open"), 2)
    with pytest.raises(BadEvent, match=r"shape \(2, 5, 1\) for 2 operands, 2 slots"):
        watch.advance(np.zeros((2, 5, 1)))
    with pytest.raises(BadEvent, match="a snapshot of 28 bytes, this event takes 60"):
        watch.restore(Watch(parse_event("close > 1")).snapshot())


def test_the_state_is_as_large_after_a_thousand_bars_as_at_first() -> None:
    watch = Watch(parse_event("close > 1 then close < 1 within 2000 bars then close == 9 within 2000 bars"))
    before = len(watch.snapshot())
    watch.advance(np.random.default_rng(1).uniform(0, 2, (1, 1_000, 1)))
    assert len(watch.snapshot()) == before
