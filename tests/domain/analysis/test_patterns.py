"""What holds for every candlestick pattern: it is found, both ways, and its strength says how clearly."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from alphapulse.domain.analysis.candles import BLACK, DOJI, GAP_DOWN, GAP_UP, LONG, WHITE
from alphapulse.domain.analysis.candles import mirrored as mirrored_facts
from alphapulse.domain.analysis.fields import FIELDS, Floats
from alphapulse.domain.analysis.panel import Panel, Plan, compute
from alphapulse.domain.analysis.patterns.catalogue import patterns
from alphapulse.domain.analysis.patterns.language import candles
from alphapulse.domain.analysis.registry import Spec, everything
from tests.domain.analysis.pattern_markets import RARE, Drawn, drawn, gappy, mirrored, opening_where_it_closed
from tests.domain.analysis.series import ADVERSARIAL
from tests.domain.analysis.test_patterns_literature import last
from tests.domain.analysis.test_patterns_talib import TALIB


@cache
def plan() -> Plan:
    return Plan([Spec.of(name) for name in patterns()])


def outputs(bars: Floats) -> tuple[Floats, Floats]:
    """Signals and strengths, (patterns, T) each."""
    out = Panel(plan(), 1, chunk=4096).advance(np.ascontiguousarray(bars[:, :, None]))[:, :, 0]
    return out[::2], out[1::2]


@cache
def markets() -> tuple[tuple[Floats, Floats], ...]:
    rare = [turned for shape in RARE.values() for turned in (drawn(shape), mirrored(drawn(shape)))]
    odd = opening_where_it_closed(gappy(20_000, 6))
    nasty = [made(2_000) for made in ADVERSARIAL.values()]
    return tuple(outputs(bars) for bars in (gappy(40_000, 1), gappy(40_000, 2), odd, *rare, *nasty))


def test_a_pattern_is_registered_as_one_and_every_one_has_an_entry() -> None:
    assert {n for n, known in everything().items() if known.kind == "pattern"} == set(patterns())
    assert len(patterns()) >= 71


def test_each_pattern_gives_each_signal_it_can_give_somewhere() -> None:
    for i, (name, known) in enumerate(patterns().items()):
        given = {int(s) for signals, _ in markets() for s in np.unique(signals[i]) if s and not np.isnan(s)}
        assert given == set(known.signals), name


def test_strength_is_none_exactly_where_there_is_no_signal_and_at_most_one() -> None:
    for signals, strengths in markets():
        assert np.array_equal(np.isnan(signals), np.isnan(strengths))
        there = ~np.isnan(signals)
        assert np.array_equal((signals != 0)[there], (strengths > 0)[there])
        assert (strengths[there] <= 1).all()
        assert (strengths[there & (signals != 0)] >= 0.1).all()


def test_strength_differs_among_what_fits() -> None:
    signals, strengths = markets()[0]
    for name, signal, strength in zip(patterns(), signals, strengths, strict=True):
        found = strength[signal != 0]
        if (signal != 0).sum() > 20:
            assert np.nanstd(found) > 0.005, name


# Each makes one thing of the shape clearer, step by step.
CLEARER: dict[str, list[Drawn]] = {
    "engulfing": [((101, 102, 98, 99), (98.5, 106, 98, 102 + n)) for n in range(4)],
    "doji": [((100, 102, 98, 100.3 - 0.1 * n),) for n in range(4)],
    "marubozu": [((100, 104 + n, 100, 104 + n),) for n in range(5)],
    "hammer": [((98.5, 99.05, 97 - n, 99),) for n in range(5)],
    "morning_star": [
        ((110, 110.5, 99.5, 100), (98, 98.5, 96.5, 97), (98, 112, 97.5, 105 + n)) for n in range(6)
    ],
    "harami": [((110, 111, 99, 100), (104 + 0.1 * n, 107, 103, 105 - 0.1 * n)) for n in range(4)],
    "window": [((101, 102, 98, 99), (105, 107, 103 + 0.5 * n, 106)) for n in range(4)],
    "matching_low": [((104, 105, 99, 100), (103, 104, 99, 100.18 - 0.06 * n)) for n in range(4)],
    "hikkake": [((100, 104, 96, 101), (100, 103, 97, 101), (100, 102, 96 - n, 99)) for n in range(1, 5)],
    "nr7": [((100, 101.5 - 0.1 * n, 99, 101),) for n in range(4)],
}


@pytest.mark.parametrize("name", CLEARER)
def test_strength_rises_as_the_shape_gets_clearer(name: str) -> None:
    found = [last(name, drawn(shape)) for shape in CLEARER[name]]
    assert len({signal for signal, _ in found}) == 1
    assert found[0][0] != 0
    strengths = [strength for _, strength in found]
    assert strengths == sorted(set(strengths)), strengths


def test_strength_is_a_tenth_and_the_mean_of_how_clearly_each_rule_is_met() -> None:
    """A doji's only rule: a body of 0.1, where up to 0.1 of the mean range of 4 would do."""
    _, strength = last("doji", drawn([(100, 102, 98, 100.1)]))
    assert strength == pytest.approx(0.1 + 0.9 * (1 - 0.1 / 0.4))
    # A window of 0.5 over a bar of range 4.
    _, strength = last("window", drawn([(101, 102, 98, 99), (103, 105, 102.5, 104)]))
    assert strength == pytest.approx(0.1 + 0.9 * 0.5 / (0.5 + 4))


def test_a_market_upside_down_shows_the_same_patterns_the_other_way() -> None:
    """Where no close is an open: TA-Lib calls a bar without a body white, whichever way up."""
    bars = gappy(20_000, 5)
    bars[4] += np.where(bars[4] == bars[1], 0.25, 0)
    bars[2], bars[3] = np.maximum(bars[2], bars[4]), np.minimum(bars[3], bars[4])
    signals, strengths = outputs(bars)
    turned, as_strong = outputs(mirrored(bars))
    for i, (name, known) in enumerate(patterns().items()):
        if known.direction == "both" and name != "gap_side_by_side_white":
            np.testing.assert_array_equal(turned[i], -signals[i] + 0.0, err_msg=name)
            np.testing.assert_allclose(as_strong[i], strengths[i], rtol=1e-9, err_msg=name)


def test_facts_upside_down_are_those_of_the_mirror_image() -> None:
    assert mirrored_facts(WHITE | LONG | GAP_UP) == BLACK | LONG | GAP_DOWN
    for bit in range(29):
        assert mirrored_facts(mirrored_facts(1 << bit)) == 1 << bit
    assert mirrored_facts(DOJI) == DOJI


def test_what_patterns_share_is_kept_only_where_a_plan_has_one() -> None:
    assert Plan([Spec.of("sma")]).fields == FIELDS
    assert Plan([Spec.of("sma"), Spec.of("doji")]).fields > FIELDS


def test_a_pattern_among_others_gives_what_it_gives_alone() -> None:
    bars = gappy(500, 4)
    signals, strengths = outputs(bars)
    for i, name in enumerate(patterns()):
        np.testing.assert_array_equal(compute([Spec.of(name)], bars), [signals[i], strengths[i]], name)


def test_a_rule_has_its_slacks_on_one_side_and_at_most_two() -> None:
    a, b = candles(2)
    with pytest.raises(AssertionError, match="both sides"):
        _ = a.open + a.near > b.open + b.near
    with pytest.raises(AssertionError, match="more than two"):
        _ = a.open > b.open + b.near + b.far + b.hair


def test_the_table_in_the_docs_is_the_registry() -> None:
    text = (Path(__file__).parents[3] / "docs" / "patterns.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (\d+) \| (\w+) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    expected = [
        (
            name,
            everything()[name].title,
            str(known.bars),
            known.direction,
            f"`{TALIB[name]}`" if name in TALIB else "none",
            everything()[name].source,
        )
        for name, known in patterns().items()
    ]
    assert rows == expected
