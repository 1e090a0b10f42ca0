"""Whether a decision that passed the gate becomes a signal: the vetoes of the strategy's risk, and the size.

A decision is answered once: those of one version, market and timeframe come in the order of their bars, so
that the last one issued tells a repeat, also after its signal was closed; what lies before it is too late.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.decision.strategy import Risk
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.signals import sizing
from alphapulse.domain.signals.book import Book, Open
from alphapulse.domain.signals.idea import BadIdea, Idea, check
from alphapulse.domain.signals.signal import SignalIssued


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """``correlations``: of returns with the market of each open signal, by its number; unknown counts as 1.

    ``depth``: quote notional of the book within 10 bps of the price, on the side that is hit; None: no book
    is known. ``size_factor``: of the adaptation in force.
    """

    decision: DecisionMade
    risk: Risk
    correlations: Mapping[int, float] = field(default_factory=dict)
    depth: float | None = None
    size_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Issued:
    """``notes`` say what bounded the size."""

    signal: SignalIssued
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Vetoed:
    """No signal. Every rule that was against it as ``veto: rule``, with its values."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repeated:
    """The decision became a signal before: nothing happens."""


def answer(command: Issue, book: Book) -> Issued | Vetoed | Repeated:
    decision = command.decision
    assert not decision.refusals, f"{decision.decision} did not pass the gate: {decision.refusals}"
    slot = (decision.strategy_version, decision.instrument, decision.timeframe)
    last = book.last_bar.get(slot, -1)
    if decision.bar_start == last:
        return Repeated()
    if decision.bar_start < last:
        here = f"the bar at {decision.bar_start} minutes is before that of the last signal here, at {last}"
        return _vetoed([f"late {here}"])
    if reasons := list(_unsound(decision)) or list(_vetoes(command, book)):
        return _vetoed(reasons)
    bounds = list(_bounds(command, book))
    least = command.risk.min_size_ratio
    if reasons := [
        f"{b.rule} {b.why}: {b.size:.6g} is under {least:g}" for b in bounds if not b.size >= least
    ]:
        return _vetoed(reasons)
    size = min(bound.size for bound in bounds)
    if reasons := list(_slippage(command, size * book.equity * command.risk.capital_quote)):
        return _vetoed(reasons)
    among = ", ".join(f"{bound.rule} {bound.size:.6g} ({bound.why})" for bound in bounds)
    note = f"size_ratio {size:.6g} is the least of {among}"
    return Issued(_signal(decision, size, book.next_number), (note,))


def _vetoed(reasons: list[str]) -> Vetoed:
    return Vetoed(tuple(f"veto: {reason}" for reason in reasons))


def _unsound(decision: DecisionMade) -> Iterator[str]:
    """Levels, times or a claim that make no sense: nothing else is looked at then."""
    idea = Idea(
        side=decision.side,
        entry=decision.entry,
        stop=decision.stop,
        target=decision.target,
        decided=decision.time,
        horizon_end=decision.horizon_end,
    )
    try:
        check(idea)
    except BadIdea as error:
        yield f"levels {error}"
    if not 0 < decision.claim.confidence < 1:
        yield f"confidence {decision.claim.confidence!r} is not between 0 and 1"


def _vetoes(command: Issue, book: Book) -> Iterator[str]:
    decision, risk = command.decision, command.risk
    if not book.equity > 0:
        yield f"equity {book.equity:.6g} is not over 0: nothing is left to risk"
        return
    alive = _alive(book, decision.time)
    if len(alive) >= risk.max_open:
        yield f"max_open {len(alive)} of {risk.max_open} signals are open"
    here = sum(held.signal.instrument == decision.instrument for held in alive)
    if here >= risk.max_per_instrument:
        yield f"max_per_instrument {here} of {risk.max_per_instrument} are open in {decision.instrument}"
    yield from _correlated(command, book)
    loss, drawdown = book.day_loss(decision.time), book.drawdown(decision.strategy_version)
    if loss >= risk.daily_loss_ratio:
        yield f"daily_loss {loss:.6g} of the day's equity, the limit is {risk.daily_loss_ratio:g}"
    if drawdown >= risk.max_drawdown_ratio:
        yield (
            f"drawdown {drawdown:.6g} from the highest equity of version {decision.strategy_version}, "
            f"the limit is {risk.max_drawdown_ratio:g}"
        )
    yield from _cooling(command, book)


def _alive(book: Book, time: int) -> list[Open]:
    """Signals whose horizon is not over. What is left of a market that fell silent binds nobody for ever."""
    return [held for held in book.open.values() if held.signal.horizon_end > time]


def _correlated(command: Issue, book: Book) -> Iterator[str]:
    """Open signals elsewhere that are the same bet: a long counts against a short with the sign turned."""
    decision, most = command.decision, command.risk.max_correlation
    for held in _alive(book, decision.time):
        signal = held.signal
        if signal.instrument == decision.instrument:
            continue
        known = command.correlations.get(signal.number, 1.0)
        rho = known if -1 <= known <= 1 else 1.0  # NaN is not known either
        if rho * decision.side * signal.side > most:
            where = f"signal {signal.number} in {signal.instrument}"
            yield f"correlation {rho:.4g} with {where}, the limit is {most:g}"


def _cooling(command: Issue, book: Book) -> Iterator[str]:
    decision, bars = command.decision, command.risk.cooldown_bars
    stopped = book.stopped_at.get(decision.instrument)
    if stopped is None:
        return
    until = stopped + bars * decision.timeframe * MINUTE_NS
    if decision.time < until:
        yield (
            f"cooldown {bars} bars of {decision.timeframe} minutes after the stop at {_at(stopped)} in "
            f"{decision.instrument}: until {_at(until)}"
        )


class _Bound(NamedTuple):
    rule: str
    size: float  # share of equity
    why: str


def _bounds(command: Issue, book: Book) -> Iterator[_Bound]:
    risk = command.risk
    want = sizing.wanted(command.decision, risk, command.size_factor)
    factor = "" if command.size_factor == 1 else f" times {command.size_factor:g}"
    yield _Bound("size", want, f"{risk.sizing}{factor}, at most {risk.max_size_ratio:g}")
    exposure = sum(held.notional for held in _alive(book, command.decision.time)) / book.equity
    left = risk.max_exposure_ratio - exposure
    yield _Bound("exposure", left, f"{exposure:.6g} of {risk.max_exposure_ratio:g} is open")
    if command.depth is not None:
        within = sizing.depth_limit(risk, book.equity, command.depth)
        yield _Bound(
            "depth", within, f"{risk.depth_ratio:g} of {command.depth:.6g} within {sizing.DEPTH_BPS:g} bps"
        )


def _slippage(command: Issue, notional: float) -> Iterator[str]:
    """Whether an order of ``notional`` (quote currency) slips so far that the margin is gone."""
    decision, assumed = command.decision, command.risk.slippage_bps
    if command.depth is None:
        return
    slips = sizing.slippage_bps(notional, command.depth)
    levels = (sizing.stop_ratio(decision) + sizing.target_ratio(decision)) * 1e4
    margin = decision.gate.margin - max(slips - assumed, 0.0) / levels
    if not margin >= decision.gate.required_margin:
        yield (
            f"slippage {slips:.4g} bps for {notional:.6g} of {command.depth:.6g}, assumed were {assumed:g}: "
            f"the margin of {decision.gate.margin:.4g} becomes {margin:.4g}, needed is "
            f"{decision.gate.required_margin:g}"
        )


def _signal(decision: DecisionMade, size: float, number: int) -> SignalIssued:
    return SignalIssued(
        strategy=decision.strategy,
        strategy_version=decision.strategy_version,
        number=number,
        decision=decision.decision,
        instrument=decision.instrument,
        timeframe=decision.timeframe,
        side=decision.side,
        time=decision.time,
        entry=decision.entry,
        stop=decision.stop,
        targets=(decision.target,),
        confidence=decision.claim.confidence,
        horizon_end=decision.horizon_end,
        size_ratio=size,
        calibration=decision.claim.calibration,
        models=tuple(sorted({vote.model for vote in decision.votes if vote.model})),
        position=decision.position,
        label=decision.label,
    )


def _at(time: int) -> str:
    return datetime.fromtimestamp(time // 10**9, UTC).isoformat()
