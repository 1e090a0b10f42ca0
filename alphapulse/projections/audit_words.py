"""What an event says, in a sentence: who reads the audit trail looks for it first."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

MAX_WORDS = 300  # characters of a sentence

_SIDES = {1: "long", -1: "short"}


def said(name: str, event: Any) -> str:
    """A sentence on ``event``, stored under ``name``: for people; every number stands in the event itself."""
    kind = name.rpartition(".")[0]
    sentence = _SENTENCES[kind](event) if kind in _SENTENCES else kind.replace(".", " ").replace("_", " ")
    return sentence if len(sentence) <= MAX_WORDS else f"{sentence[: MAX_WORDS - 1]}…"


def _decision(e: Any) -> str:
    why = f": {'; '.join(e.refusals)}" if e.refusals else ""
    return (
        f"{_SIDES[e.side]} {e.instrument} {_bars(e.timeframe)} at {e.entry:.8g}, "
        f"consensus {e.consensus:+.2f}: {e.verdict}{why}"
    )


def _signal(e: Any) -> str:
    targets = ", ".join(f"{target:.8g}" for target in e.targets)
    return (
        f"signal {e.number}: {_SIDES[e.side]} {e.instrument} {_bars(e.timeframe)} at {e.entry:.8g}, stop "
        f"{e.stop:.8g}, target {targets}, confidence {e.confidence:.1%}, until {_time(e.horizon_end)}"
    )


def _closed(e: Any) -> str:
    return f"signal {e.number} closed by {e.reason} at {e.price:.8g}: {e.net_bps:+.1f} bps net"


def _outcome(e: Any) -> str:
    what = f"signal {e.number}" if e.number else "the candidate"
    found = e.outcome
    return f"{what} on {e.instrument} ended by {found.reason}: {found.net_bps:+.1f} bps net"


def _defined(e: Any) -> str:
    return f"version {e.version} of {e.name} by {e.owner}, {e.digest[:12]}: {e.description}"


def _retired(e: Any) -> str:
    return f"version {e.version} of {e.name} retired: {e.reason}"


def _model(e: Any) -> str:
    return f"version {e.version} of a model, part {e.part} of {e.parts}, {e.digest[:12]}"


def _calibration(e: Any) -> str:
    return (
        f"calibration {e.number} of {e.strategy} by {e.method} from {e.candidates:,} candidates up to "
        f"{_time(e.known_until)}: {e.why}"
    )


def _adapted(e: Any) -> str:
    change = ", ".join(f"{name} {value:g}" for name, value in e.change.items())
    return f"parameters on {e.instrument} from {e.before or 'none'} to {e.after or 'none'}: {change}"


def _trial(e: Any) -> str:
    sharpe = "no Sharpe ratio" if e.sharpe is None else f"Sharpe {e.sharpe:.3f} a day"
    return f"trial {e.trial[:12]} on {e.source}: {e.trades:,} trades, {sharpe}"


def _exported(e: Any) -> str:
    asked = ", ".join(f"{name} {value}" for name, value in e.asked.items()) or "everything"
    return f"{e.kind} of {e.events:,} events ({asked}) out of a tree of {e.size:,} leaves"


def _quality(e: Any) -> str:
    return (
        f"{e.check} of {e.feature or 'rows'} on {e.instrument} {_bars(e.timeframe)}: "
        f"{e.value:.4g}, threshold {e.threshold:.4g}"
    )


def _imported(e: Any) -> str:
    return (
        f"{e.source}: {e.rows:,} rows, {e.accepted:,} accepted, {e.duplicates:,} known before, "
        f"{e.refused:,} refused"
    )


def _rows(what: str) -> Callable[[Any], str]:
    return lambda e: f"{len(e.columns):,} {what} of {e.instrument}"


_SENTENCES: Mapping[str, Callable[[Any], str]] = {
    "market.trades_observed": _rows("trades"),
    "market.bars_observed": _rows("bars"),
    "market.funding_observed": _rows("funding rates"),
    "market.rows_refused": lambda e: f"{len(e.rows):,} rows of {e.source} refused",
    "market.import_finished": _imported,
    "news.headlines_observed": lambda e: f"{len(e.headlines):,} headlines of {e.source}",
    "feed.connected": lambda e: f"feed of {e.venue}:{e.symbol} connected",
    "feed.lost": lambda e: f"feed of {e.venue}:{e.symbol} lost: {e.reason}",
    "feed.gap_closed": lambda e: f"gap of {e.venue}:{e.symbol} closed: {_time(e.start)} to {_time(e.end)}",
    "feed.watermark_passed": lambda e: f"{e.venue}:{e.symbol} is complete up to {_time(e.time)}",
    "features.quality_breached": _quality,
    "features.quality_recovered": _quality,
    "features.set_defined": _defined,
    "features.set_retired": _retired,
    "models.fitted": _model,
    "strategy.defined": _defined,
    "strategy.retired": _retired,
    "decision.made": _decision,
    "decision.parameters_adapted": _adapted,
    "calibration.fitted": _calibration,
    "signal.issued": _signal,
    "signal.exit_recommended": lambda e: f"leave signal {e.number} at {e.price:.8g}: {'; '.join(e.reasons)}",
    "signal.closed": _closed,
    "outcome.recorded": _outcome,
    "trial.recorded": _trial,
    "audit.exported": _exported,
}


def _bars(minutes: int) -> str:
    return f"{minutes} min"


def _time(ns: int) -> str:
    """To the second; what no calendar holds, as it is: an entry is never kept back for its words."""
    try:
        return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return f"{ns} ns"
