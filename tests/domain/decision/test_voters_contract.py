"""What every voter keeps to, found by discovery: a new one is a class in a module of ``voters``."""

import gc
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest

from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, VOLUME, Floats
from alphapulse.domain.decision.rules import Rule
from alphapulse.domain.decision.votes import CONTEXT, BadVoter, Kind, View, Vote, Voter
from tests.domain.decision.voter_worlds import all_of_ours, made, market, ours, view_of

KINDS = ours()
ROWS = 6_000


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@cache
def everybody() -> dict[str, Voter]:
    return {kind.name: made(kind) for kind in KINDS}


@cache
def whole() -> View:
    return view_of(everybody().values(), market(ROWS))


@cache
def vote_of(name: str) -> Vote:
    return everybody()[name].vote(whole())


def same(a: Vote, b: Vote, rows: "slice | np.ndarray" = slice(None)) -> bool:
    """Whether ``a`` is ``b``'s ``rows``, byte for byte."""
    return (
        a.direction.tobytes() == b.direction[rows].tobytes() and a.score.tobytes() == b.score[rows].tobytes()
    )


def assert_sound(vote: Vote, count: int) -> None:
    assert vote.direction.shape == vote.score.shape == (count,)
    assert vote.direction.dtype == np.int8
    assert vote.score.dtype == np.float64
    assert np.isin(vote.direction, (-1, 0, 1)).all()
    assert ((vote.score >= 0) & (vote.score <= 1)).all()
    assert ((vote.direction == 0) == (vote.score == 0)).all()


def test_every_kind_is_held_to_this_contract():
    assert all_of_ours() == KINDS, "a kind of model is not among MODELS of voter_worlds.py"


def test_some_voters_of_each_group_are_found():
    groups = {kind.name.partition(".")[0] for kind in KINDS}
    assert {"technical", "statistical", "fundamental"} <= groups
    assert len(KINDS) >= 20


def test_a_vote_has_a_side_and_a_score_or_neither(kind):
    assert_sound(vote_of(kind.name), ROWS)


def test_it_votes_for_rises_and_for_falls_and_abstains(kind):
    directions = vote_of(kind.name).direction
    assert {-1, 0, 1} <= set(directions.tolist()) or kind.name in RARE, kind.name


RARE = {"technical.patterns_star", "technical.patterns_continuation"}  # three candles that also have a record


def test_reasons_hold_values_where_there_is_a_vote_and_there_only(kind):
    vote = vote_of(kind.name)
    for row in np.flatnonzero(vote.direction)[::37]:
        said = vote.reasons(int(row))
        assert said, f"row {row}"
        assert all(isinstance(each, str) and "nan" not in each for each in said), said
        assert any(c.isdigit() for each in said for c in each), said
    for row in np.flatnonzero(vote.direction == 0)[::997]:
        assert not vote.reasons(int(row))


def test_rows_alone_in_pieces_and_in_another_order_get_the_bytes_they_get_together(kind):
    voter, together, view = everybody()[kind.name], vote_of(kind.name), whole()
    for row in (0, 700, ROWS - 1, *np.flatnonzero(together.direction)[:20].tolist()):
        one = voter.vote(view.take(slice(row, row + 1)))
        assert same(one, together, slice(row, row + 1))
        assert tuple(one.reasons(0)) == tuple(together.reasons(row))
    for a, b in ((0, 7), (7, 1_000), (1_000, 1_003), (1_003, ROWS)):
        assert same(voter.vote(view.take(slice(a, b))), together, slice(a, b))
    order = np.random.default_rng(3).permutation(ROWS)
    assert same(voter.vote(view.take(order)), together, order)


def test_no_rows_get_no_votes(kind):
    assert_sound(everybody()[kind.name].vote(whole().take(slice(0, 0))), 0)


def test_a_vote_is_freed_with_the_last_who_holds_it(kind):
    """Not when the collector comes by: a vote holds the rows of a page, and years are read page by page."""
    voter, view = everybody()[kind.name], whole()
    gc.collect()
    gc.disable()
    try:
        before = _votes()
        for row in range(0, len(view), 1_000):
            voter.vote(view).reasons(row)
        assert _votes() == before
    finally:
        gc.enable()


def _votes() -> int:
    return sum(isinstance(each, Vote) for each in gc.get_objects())


def with_values(view: View, values: Floats) -> View:
    return View(
        timeframe=view.timeframe,
        columns=view.columns,
        values=values,
        bars=view.bars,
        context=view.context,
        known_time=view.known_time,
    )


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 0.0, 1e300, -1e300])
def test_whatever_an_input_holds_the_vote_is_sound(kind, poison):
    voter, view = everybody()[kind.name], whole().take(slice(1_000, 1_400))
    for feature in voter.inputs:
        values = view.values.copy()
        values[:, view.columns[feature.name]] = poison
        assert_sound(voter.vote(with_values(view, values)), 400)
    for name in CONTEXT:
        context = {**view.context, name: np.full(400, poison)}
        one = View(
            timeframe=view.timeframe,
            columns=view.columns,
            values=view.values,
            bars=np.full((400, 5), poison),
            context=context,
            known_time=view.known_time,
        )
        assert_sound(voter.vote(one), 400)


def test_who_sees_nothing_abstains(kind):
    view = whole().take(slice(0, 50))
    blind = View(
        timeframe=view.timeframe,
        columns=view.columns,
        values=np.full_like(view.values, np.nan),
        bars=view.bars,
        context={name: np.full(50, np.nan) for name in CONTEXT},
        known_time=view.known_time,
    )
    vote = everybody()[kind.name].vote(blind)
    assert not vote.direction.any()
    assert not vote.reasons(0)


def test_the_declared_inputs_suffice_and_nothing_else_is_looked_at(kind):
    voter, view = everybody()[kind.name], whole()
    names = [feature.name for feature in voter.inputs]
    alone = View(
        timeframe=view.timeframe,
        columns={name: i for i, name in enumerate(names)},
        values=np.ascontiguousarray(view.values[:, [view.columns[n] for n in names]]).reshape(ROWS, -1),
        bars=view.bars,
        context=view.context,
        known_time=view.known_time[::-1],
    )
    assert same(voter.vote(alone), vote_of(kind.name))


def test_bars_that_come_later_change_no_vote(kind):
    """Every bar after a moment is another one: larger timeframes and fitted values show nothing of it."""
    bars, voter = market(ROWS)[:, :2_500], everybody()[kind.name]
    honest = voter.vote(view_of([voter], bars))
    for t in (1_379, 2_011, 2_350):
        poisoned = bars.copy()
        later = np.random.default_rng(t).lognormal(0, 2, bars[OPEN:VOLUME, t + 1 :].shape) * bars[CLOSE, t]
        poisoned[OPEN:VOLUME, t + 1 :] = later
        poisoned[HIGH, t + 1 :], poisoned[LOW, t + 1 :] = later.max(axis=0), later.min(axis=0)
        poisoned[VOLUME:, t + 1 :] *= 1_000
        vote = voter.vote(view_of([voter], poisoned))
        assert vote.direction[: t + 1].tobytes() == honest.direction[: t + 1].tobytes()
        assert vote.score[: t + 1].tobytes() == honest.score[: t + 1].tobytes()


Mirror = Callable[[Floats], Floats]


def upside_down(bars: Floats) -> Floats:
    """Each price as far below a level as it was above it: for what measures moves in the price's unit."""
    turned = bars.copy()
    turned[OPEN:VOLUME] = 4_096 - bars[[OPEN, LOW, HIGH, CLOSE]]
    return turned


def inverted(bars: Floats) -> Floats:
    """The price of the other currency: for what measures moves by logarithms."""
    turned = bars.copy()
    turned[OPEN:VOLUME] = 1e6 / bars[[OPEN, LOW, HIGH, CLOSE]]
    return turned


# Who votes the other way when prices are turned over; context is turned over as well.
LOPSIDED = {
    "technical.money_flow": "money is price times volume: turned over, other bars weigh most",
    "technical.round_number": "round numbers are not where they were",
    "technical.patterns_single": "most patterns have no mirror image among the patterns",
    "technical.patterns_double": "most patterns have no mirror image among the patterns",
    "technical.patterns_star": "a mirror image is another pattern, with a record of its own",
    "technical.patterns_continuation": "most patterns have no mirror image among the patterns",
    "statistical.logistic": "coefficients have no mirror image",
    "learned.onnx": "nor have trees",
}
BY_LOGARITHM = ("statistical.forecast", "statistical.momentum", "statistical.reversion")
SIGNED = ("funding_rate", "funding_mean", "sentiment", "reference_residual")


SYMMETRIC = [kind for kind in KINDS if kind.name not in LOPSIDED]


@pytest.mark.parametrize("kind", SYMMETRIC, ids=lambda kind: kind.name)
def test_prices_upside_down_turn_the_vote_around(kind):
    voter = everybody()[kind.name]
    turn = inverted if kind.name in BY_LOGARITHM else upside_down
    turned = view_of([voter], turn(market(ROWS)))
    context = {n: -values if n in SIGNED else values for n, values in turned.context.items()}
    opposite = View(
        timeframe=turned.timeframe,
        columns=turned.columns,
        values=turned.values,
        bars=turned.bars,
        context=context,
        known_time=turned.known_time,
    )
    there, back = vote_of(kind.name).direction, voter.vote(opposite).direction
    assert not (there * back > 0).any()
    # Rounding may carry a value over a threshold.
    assert np.count_nonzero(there != -back) <= 0.002 * ROWS


def test_numbers_at_the_ends_of_their_range_make_sound_votes(kind):
    view = whole().take(slice(900, 1_200))
    for name, number in kind.make.takes.items():
        for value in (number.low, number.high):
            try:
                voter = made(kind, **{name: value})
            except BadVoter:
                continue  # does not go with the others
            if {feature.name for feature in voter.inputs} <= set(view.columns):
                assert_sound(voter.vote(view), 300)


def test_numbers_out_of_range_are_refused_with_their_values(kind):
    for name, number in kind.make.takes.items():
        for value in (number.low - 1, number.high + 1, float("nan")):
            with pytest.raises(BadVoter, match=f"{kind.name}: {name} .* needs a"):
                made(kind, **{name: value})
        if number.whole:
            with pytest.raises(BadVoter, match="needs a whole number"):
                made(kind, **{name: number.low + 0.5})
    with pytest.raises(BadVoter, match=f"{kind.name} has no nonsense: it takes"):
        made(kind, nonsense=1)


def test_what_is_declared_makes_sense(kind):
    voter = everybody()[kind.name]
    assert voter.version == kind.version >= 1
    assert kind.title
    assert kind.name.partition(".")[2]
    assert type(voter).__doc__
    assert len({feature.name for feature in voter.inputs}) == len(voter.inputs)


class Peeks(Rule):
    """Knows the next close."""

    def signed(self, view: View) -> Floats:
        return np.sign(np.roll(view.bars[:, 3], -1) - view.bars[:, 3])

    def words(self, view: View, row: int) -> Sequence[str]:
        return [f"{view.bars[row, 3]}"]


def test_a_voter_that_looks_at_the_next_row_would_be_caught():
    view = whole()
    together = Peeks({}).vote(view)
    caught = sum(
        not same(Peeks({}).vote(view.take(slice(r, r + 1))), together, slice(r, r + 1)) for r in range(50)
    )
    assert caught > 40
