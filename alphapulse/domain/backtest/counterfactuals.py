"""What would have become of a strategy, had it been another: two runs over the same data, held side by side.

Both are the same code over the same events, so what differs is due to the change. A decision is the same
one in both where market, timeframe and bar are. Contributions are shares of the equity at the beginning, R is
what the stop risked; both are after costs and add up. Only what the market has decided has either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np

from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.backtest.results import Counts
from alphapulse.domain.backtest.variants import Axis, BadVariant, Variant, variants
from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.intervals import BadSample, block_length, effective_size, mean_interval
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.performance.equity import equity_of
from alphapulse.domain.performance.figures import Figure
from alphapulse.domain.performance.trades import Trade, Trades

SEED = 20_200_917


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be looked at. Times in ns by the venue's clock, positions of the log.

    ``changes`` as in ``risk.fee_bps=2``. ``whole``: from the beginning of the log, also what the strategy
    would have decided before it was defined; else what it decided since. ``upto`` None: the log's end.
    """

    strategy: str
    version: int | None = None
    gate: float | None = None
    without: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    whole: bool = False
    upto: int | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """How far the work is: ``ratio`` from 0 to 1, over both replays; ``bars`` so far, of both."""

    ratio: float
    position: int
    bars: int


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """Of some signals: ``resolved`` of ``signals``, ``won`` of these reached the target first."""

    signals: int = 0
    resolved: int = 0
    won: int = 0
    contribution: float = 0.0
    r: float = 0.0


class Gated(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate (and a book) kept out, each candidate at the same risk: its cost, and what it saved."""

    refused: int = 0  # and resolved
    missed: int = 0  # that would have earned after costs
    missed_r: float = 0.0
    avoided: int = 0  # that would not
    avoided_r: float = 0.0  # at most 0


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two runs."""

    label: str  # production or research
    counts: Counts
    signals: Sum
    gate: Gated
    equity: float  # of its book at the end, 1 at the beginning
    decisions_digest: str
    outcomes_digest: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate was in one run."""

    side: int
    confidence: float | None  # None: nothing was claimed
    number: int  # of the signal; 0: refused
    size_ratio: float


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """The first decision at which the runs part. None: it was not made there."""

    decision: str
    time: int
    base: Standing | None
    changed: Standing | None


class Counterfactual(msgspec.Struct, frozen=True, kw_only=True):
    """``changed`` less ``base`` is what the change would have brought.

    Of signals in both, ``both_base`` is what they came to in the one run and ``both_changed`` in the other:
    sizes differ as equity does. ``recorded``: whether ``base`` is what the log holds, in words in ``note``.
    """

    strategy: str
    version: int
    change: str
    upto: int  # position of the log
    since: int  # ns: decisions from here on and before ``until`` count; 0 and 0: all
    until: int
    base: Side
    changed: Side
    both_base: Sum
    both_changed: Sum
    only_base: Sum
    only_changed: Sum
    difference: Figure  # of the sums of contributions
    difference_r: Figure
    first_divergence: Divergence | None
    recorded: bool | None = None  # None: nothing is
    note: str = ""
    trial: str = ""  # id; empty: none was counted


class Lived(Protocol):
    """One run as it is compared: resolved candidates, and the signals' decisions by number."""

    @property
    def strategy(self) -> StrategyDefined: ...

    @property
    def trades(self) -> Trades: ...

    @property
    def issued(self) -> Sequence[DecisionMade]: ...

    @property
    def counts(self) -> Counts: ...

    @property
    def equity(self) -> float: ...

    @property
    def decisions_digest(self) -> str: ...

    @property
    def outcomes_digest(self) -> str: ...


def changed_of(strategy: StrategyDefined, asked: Asked) -> Variant:
    """The strategy that is asked for, under the name and version of ``strategy``.

    Raises:
        BadVariant: see ``variants``, or nothing would change.
    """
    axes = [Axis.parse(change) for change in asked.changes]
    if asked.gate is not None:
        axes.insert(0, Axis("gate.threshold", (repr(asked.gate),)))
    (variant,) = variants(strategy, axes, asked.without, most=1)
    if variant.strategy.digest == strategy.digest:
        said = f"{variant.name} is how it is" if axes or asked.without else "nothing is asked for"
        raise BadVariant(f"{strategy.name}.{strategy.version}: {said}, so nothing would change")
    return variant


def counterfactual_of(
    base: Lived, changed: Lived, *, change: str, upto: int, since: int, until: int, seed: int = SEED
) -> Counterfactual:
    """``changed`` beside ``base``. The same runs and seed give the same bits."""
    one, other = _Signals.of(base), _Signals.of(changed)
    both = one.ids & other.ids
    return Counterfactual(
        strategy=base.strategy.name,
        version=base.strategy.version,
        change=change,
        upto=upto,
        since=since,
        until=until,
        base=_side(base, one),
        changed=_side(changed, other),
        both_base=one.sum(both),
        both_changed=other.sum(both),
        only_base=one.sum(one.ids - both),
        only_changed=other.sum(other.ids - both),
        difference=_difference("contribution", "ratio", one, other, seed),
        difference_r=_difference("r", "r", one, other, seed),
        first_divergence=first_divergence(base, changed),
    )


@dataclass(frozen=True, slots=True)
class _Signals:
    """The signals of a run by decision; ``trades`` only the resolved ones."""

    ids: frozenset[str]
    trades: Mapping[str, Trade]
    contribution: Mapping[str, float]

    @classmethod
    def of(cls, lived: Lived) -> "_Signals":
        equity = equity_of(lived.trades, of="signals", risk_ratio=lived.strategy.risk.risk_ratio)
        rows = equity.trades.rows()
        worth = {row.decision: float(c) for row, c in zip(rows, equity.contribution, strict=True)}
        return cls(frozenset(d.decision for d in lived.issued), {row.decision: row for row in rows}, worth)

    def sum(self, which: frozenset[str]) -> Sum:
        resolved = [self.trades[decision] for decision in sorted(which) if decision in self.trades]
        return Sum(
            signals=len(which),
            resolved=len(resolved),
            won=sum(trade.is_win for trade in resolved),
            contribution=sum(self.contribution[trade.decision] for trade in resolved),
            r=sum(trade.net_r for trade in resolved),
        )

    def worth(self, decision: str, what: str) -> float:
        """0 where there was no signal, or nothing is known of it yet."""
        if decision not in self.trades:
            return 0.0
        return self.contribution[decision] if what == "contribution" else self.trades[decision].net_r


def _side(lived: Lived, signals: _Signals) -> Side:
    return Side(
        label=lived.strategy.label,
        counts=lived.counts,
        signals=signals.sum(signals.ids),
        gate=gated(lived.trades),
        equity=lived.equity,
        decisions_digest=lived.decisions_digest,
        outcomes_digest=lived.outcomes_digest,
    )


def gated(trades: Trades) -> Gated:
    """What became of the candidates among ``trades`` that were refused."""
    r = trades.refused.net_r
    earned = r > 0
    return Gated(
        refused=len(r),
        missed=int(earned.sum()),
        missed_r=float(r[earned].sum()),
        avoided=int((~earned).sum()),
        avoided_r=float(r[~earned].sum()),
    )


def _difference(what: str, unit: str, base: _Signals, changed: _Signals, seed: int) -> Figure:
    """The sum over all signals of either run of what each brought more in ``changed``, with its interval."""
    known = {**base.trades, **changed.trades}
    order = sorted(known.values(), key=lambda trade: (trade.opened, trade.decision))
    values = np.array(
        [changed.worth(t.decision, what) - base.worth(t.decision, what) for t in order], dtype=np.float64
    )
    opened = np.array([trade.opened for trade in order], dtype=np.int64)
    closed = np.array([trade.closed for trade in order], dtype=np.int64)
    effective = effective_size(opened, closed) if len(order) else 0.0
    low, high, note = _bounds(values, effective, seed)
    return Figure(
        name=f"difference_{what}",
        title="what the change would have brought",
        unit=unit,
        value=float(values.sum()),
        low=low,
        high=high,
        sample=len(order),
        effective=effective,
        note=note,
    )


def _bounds(values: Floats, effective: float, seed: int) -> tuple[float | None, float | None, str]:
    """Of the sum of ``values``, in order of time: n times the bounds of their mean."""
    count = len(values)
    if count < 4:
        return None, None, f"{count} signals are too few for an interval"
    block = block_length(count, count / effective)
    try:
        low, high = mean_interval(values, block=block, seed=seed)
    except BadSample as error:
        return None, None, str(error)
    return low * count, high * count, f"block bootstrap over the signals of both runs, blocks of {block}"


def first_divergence(base: Lived, changed: Lived) -> Divergence | None:
    """The earliest candidate that was a signal, or is resolved, and is not the same in both runs."""
    one, other = _standings(base), _standings(changed)
    parted = [d for d in one.keys() | other.keys() if one.get(d) != other.get(d)]
    if not parted:
        return None
    time, decision = min(((one.get(d) or other[d])[0], d) for d in parted)
    was, now = one.get(decision), other.get(decision)
    return Divergence(
        decision=decision,
        time=time,
        base=None if was is None else was[1],
        changed=None if now is None else now[1],
    )


def _standings(lived: Lived) -> dict[str, tuple[int, Standing]]:
    """Candidates of a run by decision, each with its time."""
    trades = lived.trades
    columns = (
        trades.decision,
        trades.opened,
        trades.side,
        trades.confidence,
        trades.number,
        trades.size_ratio,
    )
    found = {
        decision: (opened, _standing(side, confidence, number, size))
        for decision, opened, side, confidence, number, size in zip(
            *(column.tolist() for column in columns), strict=True
        )
    }
    for number, made in enumerate(lived.issued, start=1):
        standing = _standing(made.side, made.claim.confidence, number, made.size_ratio)
        found.setdefault(made.decision, (made.time, standing))
    return found


def _standing(side: int, confidence: float, number: int, size_ratio: float) -> Standing:
    """Claims are over 0: without one the columns have NaN."""
    claimed = confidence if confidence > 0 else None
    return Standing(side=side, confidence=claimed, number=number, size_ratio=size_ratio)
