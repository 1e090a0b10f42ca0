"""Who and what earned it: the contribution of each trade, divided among votes or put into drawers.

By voter, pattern or feature group a trade's contribution is divided by the Shapley values of its votes
(shapley.py); by regime, timeframe, venue, instrument, hour or version it goes to one of them whole. Either
way the parts sum to the whole.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import msgspec
import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.decision.decisions import CastVote, DecisionMade
from alphapulse.domain.decision.intervals import DRAWS, block_length, effective_size, mean_interval
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.domain.performance.equity import Equity
from alphapulse.domain.performance.figures import Attribution, Part
from alphapulse.domain.performance.shapley import shares_of_votes
from alphapulse.domain.performance.trades import Bools, Names, Trades

NO_PATTERN = "no pattern"  # what votes that look at no pattern made
UNATTRIBUTED = "unattributed"  # of trades whose votes are not known
UNKNOWN_GROUP = "unknown"

# How a voter names the pattern that it saw, first of all its reasons: see voters/patterns.py.
_NAMED = re.compile(r"(.+?): right \d")
_HOUR_NS = 3_600_000_000_000
_SEED = 5
FEW = 20  # trades, under which the bootstrap sees too little of what can happen


class BadDimension(ValueError):
    """Nothing is attributed by that; the message names what there is."""


class VoteShare(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one vote made of a decision; see shapley.Shares. ``pattern``: that it saw, if it looks at any."""

    voter: str
    share: float
    without: float
    pattern: str = ""
    is_exact: bool = True


def shares_of(decision: DecisionMade) -> tuple[VoteShare, ...]:
    """Of the votes that weigh anything, in their order; the shares sum to 1.

    Raises:
        ValueError: nobody weighs anything, or a number is not finite.
    """
    votes = [vote for vote in decision.votes if vote.weight != 0.0]
    weight = np.array([vote.weight for vote in votes])
    said = np.array([vote.direction * vote.score * decision.side for vote in votes], dtype=np.float64)
    found = shares_of_votes(weight, said)
    return tuple(
        VoteShare(
            voter=vote.voter, share=share, without=without, pattern=pattern_of(vote), is_exact=found.is_exact
        )
        for vote, share, without in zip(votes, found.share.tolist(), found.without.tolist(), strict=True)
    )


def pattern_of(vote: CastVote) -> str:
    """The pattern that the voter says it saw; empty: it looks at none."""
    named = _NAMED.match(vote.reasons[0]) if vote.reasons else None
    return named[1] if named else ""


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Columns (m,) of VoteShare, each with its decision."""

    decision: Names
    voter: Names
    pattern: Names
    share: Floats
    without: Floats
    is_exact: Bools

    @classmethod
    def of(cls, credited: Iterable[tuple[str, Sequence[VoteShare]]]) -> "Shares":
        """Of decisions by id."""
        rows = [(decision, vote) for decision, votes in credited for vote in votes]
        return cls(
            decision=np.array([decision for decision, _ in rows], dtype=np.object_),
            voter=np.array([vote.voter for _, vote in rows], dtype=np.object_),
            pattern=np.array([vote.pattern for _, vote in rows], dtype=np.object_),
            share=np.array([vote.share for _, vote in rows], dtype=np.float64),
            without=np.array([vote.without for _, vote in rows], dtype=np.float64),
            is_exact=np.array([vote.is_exact for _, vote in rows], dtype=np.bool_),
        )


Groups = Mapping[tuple[int, str], str]  # version and voter to a group: see feature_groups.py
NO_SHARES = Shares.of(())
NO_GROUPS: Groups = {}

# How trades are put into drawers.
PARTITIONS: Mapping[str, Callable[[Trades], Sequence[str]]] = {
    "regime": lambda t: [name or "unknown" for name in t.regime],
    "timeframe": lambda t: [LABELS.get(minutes, f"{minutes}m") for minutes in t.timeframe.tolist()],
    "venue": lambda t: [name.partition(":")[0] for name in t.instrument],
    "instrument": lambda t: list(t.instrument),
    "hour": lambda t: [f"{hour:02d}" for hour in (t.opened // _HOUR_NS % 24).tolist()],
    "version": lambda t: [str(version) for version in t.strategy_version.tolist()],
}
# By what a trade is divided among its votes: what is one part, of the versions and shares.
DIVISIONS: Mapping[str, Callable[[Int64s, Shares, Groups], Sequence[str]]] = {
    "voter": lambda _versions, shares, _groups: list(shares.voter),
    "pattern": lambda _versions, shares, _groups: [name or NO_PATTERN for name in shares.pattern],
    "feature_group": lambda versions, shares, groups: [
        groups.get(seat, UNKNOWN_GROUP) for seat in zip(versions.tolist(), shares.voter, strict=True)
    ],
}
DIMENSIONS = (*DIVISIONS, *PARTITIONS)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Credit:
    """Columns (m,): ``share`` of the trade at ``place`` goes to ``key``. ``without`` NaN: not defined."""

    place: Int64s
    key: Sequence[str]
    share: Floats
    without: Floats


def attribute(
    equity: Equity,
    by: str,
    *,
    shares: Shares = NO_SHARES,
    groups: Groups = NO_GROUPS,
    seed: int = _SEED,
    draws: int = DRAWS,
) -> Attribution:
    """The contributions of the trades in ``equity`` by one of DIMENSIONS; parts sum to the whole within 1e-9.

    ``shares`` are needed to divide trades among their votes; others than those of these trades do not
    matter. ``draws`` of the block bootstrap for the interval of each part; 0: no intervals.

    Raises:
        BadDimension: ``by`` is none of them.
    """
    trades, notes = equity.trades, list[str]()
    if by in PARTITIONS:
        credit = _whole(PARTITIONS[by](trades), np.arange(len(trades)))
    elif by in DIVISIONS:
        credit = _divided(trades, by, shares, groups, notes)
    else:
        raise BadDimension(f"nothing is attributed by {by!r}: there are {', '.join(DIMENSIONS)}")
    if 0 < len(trades) < FEW:
        notes.append(f"intervals rest on {len(trades)} trades: too few to see what can happen")
    total = fsum(equity.contribution.tolist())
    parts = _parts(equity, credit, total, seed=seed, draws=draws)
    return Attribution(
        by=by,
        trades=len(trades),
        total=total,
        total_r=fsum(trades.net_r.tolist()),
        parts=tuple(sorted(parts, key=lambda part: (-part.contribution, part.key))),
        note="; ".join(notes),
    )


def _whole(keys: Sequence[str], place: Int64s) -> _Credit:
    return _Credit(place=place, key=keys, share=np.ones(len(place)), without=np.full(len(place), np.nan))


def _divided(trades: Trades, by: str, shares: Shares, groups: Groups, notes: list[str]) -> _Credit:
    """The votes of ``trades``, and each trade whose votes are not known as a part of its own."""
    places = {decision: n for n, decision in enumerate(trades.decision)}
    place = np.array([places.get(decision, -1) for decision in shares.decision], dtype=np.int64)
    ours = place >= 0
    place = place[ours]
    mine = Shares(**{name: getattr(shares, name)[ours] for name in Shares.__slots__})
    unknown = np.setdiff1d(np.arange(len(trades)), place)
    rest = _whole([UNATTRIBUTED] * len(unknown), unknown)
    sampled = len(np.unique(place[~mine.is_exact]))
    if sampled:
        notes.append(f"shares of {sampled} trades are means over some orders: too many voters for all")
    keys = DIVISIONS[by](trades.strategy_version[place], mine, groups)
    # Without a group is not without its votes one by one.
    without = np.full(len(place), np.nan) if by == "feature_group" else mine.without
    return _Credit(
        place=np.concatenate([place, rest.place]),
        key=[*keys, *rest.key],
        share=np.concatenate([mine.share, rest.share]),
        without=np.concatenate([without, rest.without]),
    )


def _parts(equity: Equity, credit: _Credit, total: float, *, seed: int, draws: int) -> list[Part]:
    trades, code = equity.trades, {key: n for n, key in enumerate(dict.fromkeys(credit.key))}
    if not code:
        return []
    codes = np.array([code[key] for key in credit.key], dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(code)))
    count = len(trades)
    overlapping = count / effective_size(trades.opened, trades.closed) if count else 1.0
    found = []
    for key, which in zip(code, np.split(order, ends[:-1]), strict=True):
        place, share, without = credit.place[which], credit.share[which], credit.without[which]
        earned = share * equity.contribution[place]
        contribution = fsum(earned.tolist())
        lost = None if np.isnan(without).any() else fsum((without * equity.contribution[place]).tolist())
        low, high = _interval(_spread(earned, place, count), overlapping, seed, draws)
        part = Part(
            key=key,
            trades=len(np.unique(place[share != 0])),
            contribution=contribution,
            share=contribution / total if total else 0.0,
            r=fsum((share * trades.net_r[place]).tolist()),
            low=low,
            high=high,
            without=lost,
        )
        found.append(part)
    return found


def _spread(earned: Floats, place: Int64s, count: int) -> Floats:
    """What each of ``count`` trades earned for one part, (count,)."""
    return np.asarray(np.bincount(place, earned, minlength=count), dtype=np.float64)


def _interval(earned: Floats, overlapping: float, seed: int, draws: int) -> tuple[float | None, float | None]:
    """Of the sum of ``earned`` (n,), in the order in which the trades closed."""
    if draws == 0 or len(earned) < 2:
        return None, None
    count = len(earned)
    block = block_length(count, overlapping)
    low, high = mean_interval(earned, block=block, seed=seed, draws=draws)
    return low * count, high * count
