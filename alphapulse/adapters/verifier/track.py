"""The track record that a bundle holds: are its numbers whole, was it in time, is anything kept back.

Strategies, signals and what became of them are collected as the lines go by. At the end: numbers are 1, 2, 3
and so on; a strategy is a leaf before its first signal; each signal was committed before its outcome could be
known, by an anchor's clock, or late, or never; and what was kept back for longer than the strategy's longest
horizon counts as a loss.

Standard library only, Python 3.8 and later: this becomes a part of verify.py.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.leaf import Event, Real
from alphapulse.adapters.verifier.market import BARS_NAME, MINUTE_NS, TRADES_NAME, WATERMARK_NAME
from alphapulse.adapters.verifier.payload import has_zstd

_LONGEST_NS = 400 * 86_400 * 10**9  # of strategies whose definition is not there
_MAX_TOLD = 10_000  # signals that the facts list
_MINUTES = {"m": 1, "h": 60, "d": 1_440, "w": 10_080}
ISSUED_NAME, OUTCOME_NAME, DEFINED_NAME = "signal.issued.", "outcome.recorded.", "strategy.defined."
SIGNALS_STREAM, STRATEGY_STREAM = "signals-", "strategy-"


# A committed payload that is not what its name says, or of a version that is not known here.
NOT_ITS_NAME = (
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError),
    *(MemoryError, RecursionError),
)


class Vouched(NamedTuple):
    """A settled receipt that was verified: the checkpoint of ``size`` leaves existed at ``time`` (µs)."""

    size: int
    time: int
    name: str


class Shown(NamedTuple):
    """An event of the bundle; ``body`` is None where it was withheld, erased, or could not be decoded."""

    line: Event
    body: Any


class Tracked(NamedTuple):
    """One signal and what is known of it. ``state``: revealed, withheld, erased."""

    number: int
    leaf: int
    state: str
    timeliness: str
    margin_ns: int | None
    knowable: int | None
    anchor: str | None
    reason: str | None
    net_bps: float | None
    is_win: bool | None
    counts_as_loss: bool


class TrackRecord:
    """What was seen so far."""

    def __init__(self) -> None:
        self.strategies: dict[str, list[Shown]] = {}
        self.signals: dict[str, list[Shown]] = {}
        self.versions: dict[str, list[int]] = {}  # of each stream of signals, as they came
        self.outcomes: dict[str, Shown] = {}  # by the id of the decision
        self.hidden: list[Event] = []  # outcomes whose bodies are not there
        self.newest = 0  # µs, recorded
        self.newest_of: dict[str, int] = {}  # ns, of the events of each market
        self._positions = array("q")  # of events of markets
        self._lengths = array("q")  # of their bars, ns; 0: none

    def see(self, line: Event) -> None:
        """The next event, in order of leaves. Raises one of NOT_ITS_NAME."""
        self.newest = max(self.newest, line.recorded_at)
        name = line.name
        if name.startswith((TRADES_NAME, BARS_NAME, "feed.")):
            self._see_market(line)
        elif name.startswith(DEFINED_NAME):
            self.strategies.setdefault(line.stream[len(STRATEGY_STREAM) :], []).append(shown_of(line))
        elif name.startswith(OUTCOME_NAME):
            self._see_outcome(shown_of(line))
        elif line.stream.startswith(SIGNALS_STREAM):
            strategy = line.stream[len(SIGNALS_STREAM) :]
            self.versions.setdefault(strategy, []).append(line.version)
            if name.startswith(ISSUED_NAME):
                self.signals.setdefault(strategy, []).append(shown_of(line))

    def _see_outcome(self, shown: Shown) -> None:
        if shown.body is None:
            self.hidden.append(shown.line)
        elif shown.body["number"] > 0:
            self.outcomes[shown.body["decision"]] = shown

    def _see_market(self, line: Event) -> None:
        self._positions.append(line.position)
        self._lengths.append(length_of_bars(line.stream) if line.name.startswith(BARS_NAME) else 0)
        if line.event_time is not None and line.name.startswith((TRADES_NAME, BARS_NAME, WATERMARK_NAME)):
            market = "-".join(line.stream.split("-")[1:3])
            self.newest_of[market] = max(self.newest_of.get(market, 0), line.event_time)

    def bar_length(self, position: int) -> int | None:
        """Of the market event at ``position``, ns; 0: it holds no bars; None: it is not in the bundle."""
        at = bisect_left(self._positions, position)
        is_there = at < len(self._positions) and self._positions[at] == position
        return int(self._lengths[at]) if is_there else None

    def longest(self, strategy: str) -> int:
        """How long a signal of any version may stay open, ns: definitions are never withheld."""
        bodies = [shown.body for shown in self.strategies.get(strategy, ()) if shown.body is not None]
        return max(map(longest_of, bodies), default=_LONGEST_NS)

    def end(
        self, findings: Findings, counts: Mapping[str, int], anchored: Sequence[Vouched], asked: str | None
    ) -> None:
        """Judge all of it. ``counts`` are the checkpoint's; ``asked``: the strategy that was asked for.

        Raises one of NOT_ITS_NAME.
        """
        told = {}
        now = max([self.newest, *(each.time for each in anchored)])
        for strategy in sorted({*self.signals, *([asked] if asked is not None else ())}):
            self._check_numbers(findings, strategy)
            self._check_definition(findings, strategy)
            told[strategy] = self._told(findings, strategy, counts.get(strategy, 0), anchored, now * 1_000)
        if told:
            findings.facts["track_record"] = told

    def _check_numbers(self, findings: Findings, strategy: str) -> None:
        """Of a stream that is here from its beginning the n-th signal has number n."""
        versions = self.versions.get(strategy, [])
        if versions != list(range(1, len(versions) + 1)):
            return
        for nth, (line, body) in enumerate(self.signals.get(strategy, []), start=1):
            if body is not None and body["number"] != nth:
                text = f"signal {body['number']} of {strategy} stands where {nth} belongs"
                findings.fault(text, line.leaf, "number")

    def _check_definition(self, findings: Findings, strategy: str) -> None:
        """A version is a leaf before its first signal."""
        defined = {
            shown.body["version"]: shown.line.leaf
            for shown in reversed(self.strategies.get(strategy, []))
            if shown.body is not None
        }
        for shown in self.signals.get(strategy, []):
            version = None if shown.body is None else shown.body["strategy_version"]
            at = min(defined.values(), default=None) if version is None else defined.get(version)
            if at is not None and at > shown.line.leaf:
                findings.fault(
                    f"{strategy} version {version} is leaf {at}, after this signal",
                    shown.line.leaf,
                    "strategy",
                )

    def _told(
        self, findings: Findings, strategy: str, count: int, anchored: Sequence[Vouched], now: int
    ) -> dict[str, Any]:
        first = earliest_anchors(anchored)
        silent = self._overdue(strategy, now)
        issued = self.signals.get(strategy, [])
        tracked = [
            self._tracked(strategy, nth, shown, first, silent, now)
            for nth, shown in enumerate(issued, start=1)
        ]
        overdue = [each for each in tracked if each.counts_as_loss]
        if overdue:
            findings.miss(
                f"{len(overdue)} signals of {strategy} are kept back beyond its longest horizon and count as"
                f" losses: {', '.join(str(each.number) for each in overdue[:20])}"
            )
        states = ("committed before", "late", "not anchored", "undecided")
        timely = {state: sum(each.timeliness == state for each in tracked) for state in states}
        wins = sum(bool(each.is_win) for each in tracked)
        decided = sum(each.is_win is not None for each in tracked) + len(overdue)
        withheld = sum(each.state != "revealed" for each in tracked)
        findings.say(
            f"{strategy}: {len(tracked)} of {count} signals here; {wins} of {decided} decided won"
            f" ({len(overdue)} kept back too long count as lost, {withheld - len(overdue)} not due yet);"
            f" {timely['committed before']} committed before the outcome could be known,"
            f" {timely['late']} late, {timely['not anchored']} not anchored, {timely['undecided']} undecided"
        )
        return {
            "signals": len(tracked),
            "counted": count,
            "decided": decided,
            "wins": wins,
            "withheld": withheld,
            "counted_as_lost": len(overdue),
            **{state.replace(" ", "_"): number for state, number in timely.items()},
            "of": [each._asdict() for each in tracked[:_MAX_TOLD]],
        }

    def _tracked(
        self,
        strategy: str,
        nth: int,
        shown: Shown,
        first: Sequence[Vouched],
        silent: Sequence[int],
        now: int,
    ) -> Tracked:
        """``silent``: when the outcomes were that are kept back for too long, in order."""
        line, body = shown
        receipt = earliest_with(first, line.leaf)
        anchor = None if receipt is None else receipt.name
        if body is None:
            decided = line.event_time if line.event_time is not None else line.recorded_at * 1_000
            is_due = decided + self.longest(strategy) < now
            state = line.absent or "not decoded"
            timeliness = "not anchored" if receipt is None else "undecided"
            return Tracked(
                nth, line.leaf, state, timeliness, None, None, anchor, None, None, None,
                is_due and state != "not decoded",
            )  # fmt: skip
        outcome = self._outcome_of(body)
        knowable = self._knowable(body, outcome)
        margin = None if receipt is None else knowable - receipt.time * 1_000
        return Tracked(
            number=body["number"],
            leaf=line.leaf,
            state="revealed",
            timeliness=timeliness_of(
                margin, outcome is not None, outcome is not None and outcome["position"] < line.position
            ),
            margin_ns=margin,
            knowable=knowable,
            anchor=anchor,
            reason=None if outcome is None else outcome["reason"],
            net_bps=None if outcome is None else outcome["net_bps"],
            is_win=None if outcome is None else outcome["label"] == 1,
            counts_as_loss=outcome is None and _is_silenced(body, silent, now),
        )

    def _outcome_of(self, signal: dict[str, Any]) -> dict[str, Any] | None:
        found = self.outcomes.get(signal["decision"])
        return None if found is None else found.body["outcome"]

    def _knowable(self, signal: dict[str, Any], outcome: dict[str, Any] | None) -> int:
        """The earliest time at which the outcome may have been known; while open, not before this."""
        if outcome is None:
            until = self.newest_of.get(signal["instrument"].replace(":", "-", 1), 0)
        else:
            length = self.bar_length(outcome["position"])
            # Of a market event that is not in the bundle nobody can say that it was no bar.
            until = outcome["closed_at"] - (
                int(signal["timeframe"]) * MINUTE_NS if length is None else length
            )
        return int(max(min(until, signal["horizon_end"]), signal["time"]))

    def _overdue(self, strategy: str, now: int) -> list[int]:
        """When the outcomes were that are kept back beyond the longest horizon, ns, in order."""
        longest = self.longest(strategy)
        return sorted(
            line.event_time
            for line in self.hidden
            if line.event_time is not None
            and line.event_time + longest < now
            and line.stream.split("-", 3)[-1].rpartition(".")[0] == strategy
        )


def _is_silenced(signal: dict[str, Any], silent: Sequence[int], now: int) -> bool:
    """Whether its outcome may be among those that are kept back for too long."""
    return signal["horizon_end"] < now and bool(silent) and silent[-1] >= signal["time"]


def timeliness_of(margin_ns: int | None, is_decided: bool, was_known: bool) -> str:
    """By how long before the outcome could be known the first anchor vouched for the signal.

    Where the log held the event that decided before it held the signal, no anchor makes up for it.
    """
    if was_known:
        return "late"
    if margin_ns is None:
        return "not anchored"
    if margin_ns > 0:
        return "committed before"
    return "late" if is_decided else "undecided"


def earliest_anchors(anchored: Sequence[Vouched]) -> list[Vouched]:
    """By size; each with the earliest time of those of its size and above."""
    found: list[Vouched] = []
    for each in sorted(anchored, key=lambda each: (-each.size, each.time)):
        best = each if not found or each.time < found[-1].time else found[-1]
        found.append(Vouched(each.size, best.time, best.name))
    return found[::-1]


def earliest_with(first: Sequence[Vouched], leaf: int) -> Vouched | None:
    """Of ``earliest_anchors`` the one of the first tree that holds ``leaf``."""
    lo, hi = 0, len(first)
    while lo < hi:
        middle = (lo + hi) // 2
        lo, hi = (middle + 1, hi) if first[middle].size <= leaf else (lo, middle)
    return first[lo] if lo < len(first) else None


def longest_of(strategy: Mapping[str, Any]) -> int:
    """How long a signal of this StrategyDefined may stay open, ns."""
    bars = max(geometry["horizon_bars"] for geometry in strategy["geometries"])
    factors = [each["change"].get("horizon", 1.0) for each in strategy["adaptations"]]
    lasts = int(bars * max([1.0, *factors]) + 1) * max(map(int, strategy["timeframes"])) * MINUTE_NS
    return int(min(lasts, _LONGEST_NS))


def length_of_bars(stream: str) -> int:
    """Of a stream of bars, by its name (bars-kraken-BTC_USD-15m), ns; 0: it does not say."""
    label = stream.rpartition("-")[2]
    minutes = _MINUTES.get(label[-1:], 0)
    return int(label[:-1]) * minutes * MINUTE_NS if minutes and label[:-1].isdigit() else 0


def shown_of(line: Event) -> Shown:
    """``line`` with what it says, as far as that was compared with its stored bytes."""
    is_hashed_only = line.state is None or (line.state[:1] == b"\xa9" and not has_zstd())
    return Shown(line, None if is_hashed_only else plain_numbers(line.event))


def plain_numbers(value: Any) -> Any:
    """JSON with its fractions as floats."""
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, dict):
        return {name: plain_numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain_numbers(each) for each in value]
    return value
