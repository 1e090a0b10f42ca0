"""Attribution: parts sum to the whole, whatever they are, and are what a ledger by hand gives."""

import random
from math import fsum

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.decision.strategy import VoterChoice
from alphapulse.domain.decision.votes import View, Vote, kind_of, kinds
from alphapulse.domain.performance.attribution import (
    DIMENSIONS,
    DIVISIONS,
    NO_PATTERN,
    PARTITIONS,
    UNATTRIBUTED,
    UNKNOWN_GROUP,
    BadDimension,
    Shares,
    VoteShare,
    attribute,
    pattern_of,
    shares_of,
)
from alphapulse.domain.performance.equity import Equity, equity_of
from alphapulse.domain.performance.feature_groups import OF_KINDS, group_of, groups_of
from alphapulse.domain.performance.trades import Trade, Trades
from tests.decision_events import decision, like_sample
from tests.domain.performance.ledgers import generated, trade
from tests.performance_story import votes

GROUPS = {(1, "trend"): "trend", (1, "cross"): "trend", (1, "candles"): "patterns"}


def equity(*rows: Trade, of: str = "signals") -> Equity:
    return equity_of(Trades.of(rows), of=of, risk_ratio=0.01)


def vote(voter: str, share: float, without: float = 0.0, pattern: str = "", **more: bool) -> VoteShare:
    return VoteShare(voter=voter, share=share, without=without, pattern=pattern, **more)


# Two signals of half the equity: 200 bps won, then 100 bps lost, of 1.01.
WON, LOST = trade("won", 0, 1, 200.0), trade("lost", 2, 3, -100.0, regime="turbulence", strategy_version=1)
BOTH = equity(WON, LOST)
VOTES = Shares.of(
    {
        "won": [vote("trend", 0.75, 0.5), vote("cross", 0.5, 0.25), vote("candles", -0.25, -0.1, "hammer")],
        "lost": [vote("candles", 1.0, 1.0, "engulfing")],
        "another": [vote("nobody", 1.0)],
    }.items()
)


def test_a_voter_has_its_share_of_each_trade() -> None:
    found = attribute(BOTH, "voter", shares=VOTES, draws=0)
    parts = {part.key: part for part in found.parts}
    assert {key: part.contribution for key, part in parts.items()} == pytest.approx(
        {"trend": 0.0075, "cross": 0.005, "candles": -0.0025 - 0.5 * 1.01 * 0.01}
    )
    assert {key: part.without for key, part in parts.items()} == pytest.approx(
        {"trend": 0.005, "cross": 0.0025, "candles": -0.001 - 0.00505}
    )
    assert {key: part.trades for key, part in parts.items()} == {"trend": 1, "cross": 1, "candles": 2}
    assert {key: part.r for key, part in parts.items()} == pytest.approx(
        {"trend": 0.75, "cross": 0.5, "candles": -0.25 - 0.5}
    )
    assert found.total == pytest.approx(0.01 - 0.00505)
    assert parts["trend"].share == pytest.approx(0.0075 / found.total)
    assert [part.key for part in found.parts] == ["trend", "cross", "candles"]


def test_a_pattern_has_what_its_voter_has_and_the_rest_goes_to_none() -> None:
    parts = {part.key: part for part in attribute(BOTH, "pattern", shares=VOTES, draws=0).parts}
    assert {key: part.contribution for key, part in parts.items()} == pytest.approx(
        {"hammer": -0.0025, "engulfing": -0.00505, NO_PATTERN: 0.0125}
    )
    assert parts["hammer"].without == pytest.approx(-0.001)


def test_a_group_has_what_its_voters_have_and_says_nothing_of_leaving_it_out() -> None:
    parts = {part.key: part for part in attribute(BOTH, "feature_group", shares=VOTES, groups=GROUPS).parts}
    assert {key: part.contribution for key, part in parts.items()} == pytest.approx(
        {"trend": 0.0125, "patterns": -0.00755}
    )
    assert parts["trend"].without is None
    assert parts["trend"].trades == 1


def test_a_voter_of_another_version_is_in_the_group_that_it_had_there() -> None:
    other = equity(WON, trade("lost", 2, 3, -100.0, strategy_version=2))
    groups = {(1, "candles"): "patterns", (2, "candles"): "mine"}
    parts = attribute(other, "feature_group", shares=VOTES, groups=groups, draws=0).parts
    assert {part.key for part in parts} == {"patterns", "mine", UNKNOWN_GROUP}


def test_what_nobody_is_known_to_have_voted_for_is_said_to_be_so() -> None:
    alone = attribute(BOTH, "voter", shares=Shares.of([("won", [vote("trend", 1.0, 1.0)])]), draws=0)
    assert {part.key: part.without for part in alone.parts} == {"trend": 0.01, UNATTRIBUTED: None}


def test_shares_that_are_means_over_some_orders_are_said_to_be_so() -> None:
    some = Shares.of([("won", [vote("trend", 1.0, is_exact=False)]), ("lost", [vote("trend", 1.0)])])
    assert "shares of 1 trades are means over some orders" in attribute(BOTH, "voter", shares=some).note


@pytest.mark.parametrize(
    ("by", "key", "of_other"),
    [
        ("regime", "range", {"regime": "trend_up"}),
        ("timeframe", "5m", {"timeframe": 60}),
        ("venue", "kraken", {"instrument": "other:BTC/USD"}),
        ("instrument", "kraken:BTC/USD", {"instrument": "kraken:ETH/USD"}),
        ("hour", "00", {"opened": trade("", 25, 26).opened}),
        ("version", "1", {"strategy_version": 2}),
    ],
)
def test_a_drawer_has_all_of_its_trades(by: str, key: str, of_other: dict[str, object]) -> None:
    found = attribute(equity(WON, trade("other", 24, 26, 50.0, **of_other)), by, draws=0)
    parts = {part.key: part for part in found.parts}
    assert len(parts) == 2
    assert (parts[key].contribution, parts[key].trades, parts[key].r) == pytest.approx((0.01, 1, 1.0))


def test_candidates_are_attributed_at_a_fixed_risk() -> None:
    refused = trade("refused", 4, 5, 300.0, number=0, size_ratio=0.0, regime="trend_up")
    found = attribute(equity(WON, LOST, refused, of="candidates"), "regime", draws=0)
    assert {part.key: part.contribution for part in found.parts} == pytest.approx(
        {"range": 0.01, "turbulence": -0.005, "trend_up": 0.015}
    )


def test_nothing_is_attributed_by_what_there_is_not() -> None:
    with pytest.raises(BadDimension, match="'weather': there are voter, pattern"):
        attribute(BOTH, "weather")


@pytest.mark.parametrize("by", DIMENSIONS)
def test_no_trades_have_no_parts(by: str) -> None:
    found = attribute(equity(), by, shares=VOTES)
    assert (found.trades, found.total, found.total_r, found.parts) == (0, 0.0, 0.0, ())


@given(st.integers(1, 60), st.integers(0, 10_000), st.sampled_from(DIMENSIONS))
def test_parts_sum_to_the_whole(count: int, seed: int, by: str) -> None:
    """Whatever the shares are, as long as those of a trade sum to 1; some trades have none."""
    r = np.random.default_rng(seed)
    whole = equity_of(generated(count, seed=seed), of="signals", risk_ratio=0.01)
    credited = []
    for name in whole.trades.decision[r.random(count) < 0.9]:
        share = r.normal(size=r.integers(1, 9)) * 10
        share[0] += 1 - share.sum()
        credited.append(
            (name, [vote(f"v{n}", s, s, "hammer" * (n % 2)) for n, s in enumerate(share.tolist())])
        )
    found = attribute(whole, by, shares=Shares.of(credited), groups={(1, "v1"): "one"}, draws=0)
    assert found.total == pytest.approx(whole.final - 1, abs=1e-9)
    assert fsum(part.contribution for part in found.parts) == pytest.approx(found.total, abs=1e-9)
    assert fsum(part.r for part in found.parts) == pytest.approx(found.total_r, abs=1e-9)
    assert list(found.parts) == sorted(found.parts, key=lambda part: -part.contribution)


def test_an_interval_holds_the_part_and_is_the_same_for_the_same_seed() -> None:
    whole = equity_of(generated(400), of="signals", risk_ratio=0.01)
    sides = {name: ["even", "odd"][n % 2] for n, name in enumerate(whole.trades.decision)}
    shares = Shares.of((name, [vote(side, 1.0)]) for name, side in sides.items())
    one, again, other = (attribute(whole, "voter", shares=shares, seed=seed) for seed in (1, 1, 2))
    for part in one.parts:
        assert part.low is not None
        assert part.high is not None
        assert part.low < part.contribution < part.high
    assert one == again != other


def test_few_trades_are_said_to_be_few_and_one_has_no_interval() -> None:
    assert "2 trades" in attribute(BOTH, "regime").note
    (alone,) = attribute(equity(WON), "regime").parts
    assert alone.low is alone.high is None


def test_every_kind_of_voter_has_a_group_and_others_have_that_of_their_name() -> None:
    ours = {name for name in kinds() if kinds()[name].make.__module__.startswith("alphapulse.")}
    assert ours == set(OF_KINDS)
    assert group_of("technical.trend") == "trend"
    assert group_of("mine.calm") == "mine"


def test_seats_are_in_the_group_of_their_kind() -> None:
    seats = (VoterChoice(name="a", kind="technical.volume"), VoterChoice(name="b", kind="mine.calm"))
    defined = like_sample("strategy.defined.v1", version=3, voters=seats)
    assert groups_of([defined]) == {(3, "a"): "volume", (3, "b"): "mine"}


def test_a_decision_is_shared_among_those_that_weigh_anything() -> None:
    made = decision(1, side=-1, votes=votes(random.Random(1), -1, 5))
    shares = shares_of(made)
    assert [each.voter for each in shares] == [v.voter for v in made.votes if v.weight]
    assert fsum(each.share for each in shares) == pytest.approx(1, abs=1e-9)
    assert all(each.is_exact for each in shares)
    assert shares[0].share == max(each.share for each in shares)


def test_the_pattern_is_the_one_that_its_voter_names() -> None:
    """By what the voter itself says, so that new words of it are noticed."""
    voter = kind_of("technical.patterns_star").made({})
    columns = {feature.name: n for n, feature in enumerate(voter.inputs)}
    seen = {"score": 0.5, "pattern": 4.0, "hit_rate": 0.61, "base_rate": 0.48, "outcomes": 44.0}
    values = np.array([[seen[name.rpartition(".")[2]] for name in columns]])
    view = View(
        timeframe=5,
        columns=columns,
        values=values,
        bars=np.ones((1, 5)),
        context={},
        known_time=np.zeros(1, np.int64),
    )
    said: Vote = voter.vote(view)
    cast = like_sample("decision.made.v1").votes[0]
    named = msgspec.structs.replace(cast, reasons=tuple(said.reasons(0)))
    assert pattern_of(named) == "evening doji star"
    assert pattern_of(cast) == ""


def test_dimensions_are_either_divided_or_put_away_whole() -> None:
    assert DIMENSIONS == (
        "voter",
        "pattern",
        "feature_group",
        "regime",
        "timeframe",
        "venue",
        "instrument",
        "hour",
        "version",
    )
    assert not set(PARTITIONS) & set(DIVISIONS)
