"""What became of a signal, once more, from the committed events of its market alone; then compared.

The rules: a trade counts if its own time is after the decision, a bar if it begins no earlier; both until the
horizon. A tick that opens at or beyond a level closes there: a trade at the stop at its own price, at the
target at the target; a bar that opens beyond has jumped the level and closes at its open. A bar that reaches
both levels later is ambiguous, and booked at the stop. After time in which nobody saw the market nothing is
concluded until a price. Prices are in quote currency, times the venue's clock in ns, costs in basis points.

Standard library only, Python 3.8 and later: this becomes a part of verify.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose
from typing import Any, NamedTuple

from alphapulse.adapters.verifier.market import (
    BAR_TICK,
    CLOCK_TICK,
    HOLE_TICK,
    LATE_TICK,
    SEEN_NS,
    MarketFact,
    Tick,
    market_ticks_of,
)

# Of an outcome: these must be equal to the last bit, the others up to rounding.
EXACT_OF_OUTCOME = (
    "reason",
    "label",
    "worst_label",
    "best_label",
    "exit_price",
    "worst_price",
    "best_price",
    "holding_ns",
    "closed_at",
    "unseen_from",
    "unseen_until",
    "position",
)
ROUNDED_OF_OUTCOME = (
    "fill_price",
    "gross_bps",
    "net_bps",
    "r_multiple",
    "net_r_multiple",
    "mfe_bps",
    "mae_bps",
)


class Claimed(NamedTuple):
    """What was committed to before: levels, times and costs."""

    side: int  # 1 long, -1 short
    entry: float
    stop: float
    target: float
    decided: int
    horizon_end: int
    fee_bps: float
    slippage_bps: float


def claimed_of(signal: dict[str, Any], strategy: dict[str, Any]) -> Claimed:
    """From the payloads of SignalIssued (or DecisionMade) and of the StrategyDefined of its version."""
    target = signal["targets"][0] if "targets" in signal else signal["target"]
    risk = strategy["risk"]
    return Claimed(
        side=int(signal["side"]),
        entry=float(signal["entry"]),
        stop=float(signal["stop"]),
        target=float(target),
        decided=int(signal["time"]),
        horizon_end=int(signal["horizon_end"]),
        fee_bps=float(risk["fee_bps"]),
        slippage_bps=float(risk["slippage_bps"]),
    )


def outcome_again(claimed: Claimed, facts: Sequence[MarketFact]) -> dict[str, Any] | None:
    """The fields of an outcome by ``facts`` of the instrument, in order; None: still open after them."""
    life = IdeaLife(claimed)
    for tick in market_ticks_of(facts):
        found = life.meets(tick)
        if found is not None:
            return life.left(tick, found[0], found[1])
    return None


def differences_of_outcome(recorded: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """What differs, in words; nothing where they are the same."""
    told = []
    for name in EXACT_OF_OUTCOME + ROUNDED_OF_OUTCOME:
        was, now = recorded.get(name), again[name]
        if name in EXACT_OF_OUTCOME or was is None:
            same = was == now
        else:
            same = isclose(float(was), float(now), rel_tol=1e-9, abs_tol=1e-9)
        if not same:
            told.append(f"{name}: recorded {was!r}, the market's events give {now!r}")
    return told


class IdeaLife:
    """What one idea has met so far."""

    def __init__(self, claimed: Claimed) -> None:
        self.claimed = claimed
        self.last = claimed.entry  # the last price that counted
        self.highest = self.lowest = claimed.entry
        self.missed: list[tuple[int, int]] = []  # when nobody saw the market

    def meets(self, tick: Tick) -> tuple[str, float] | None:
        """Why and at what price ``tick`` closes the idea; None where it does not."""
        idea = self.claimed
        if tick.kind == HOLE_TICK:
            self._miss(tick.unseen, tick.moment)
            return None
        is_bar = tick.kind == BAR_TICK
        counts = tick.kind != CLOCK_TICK and (
            tick.start > idea.decided or (is_bar and tick.start == idea.decided)
        )
        inside = counts and (tick.moment < idea.horizon_end or (is_bar and tick.moment == idea.horizon_end))
        again = counts and tick.unseen != SEEN_NS and tick.kind != LATE_TICK
        if again:
            self._miss(tick.unseen, tick.start)
        if inside and tick.prices is not None:
            hit = self._reaches(tick.prices, is_bar, again)
            if hit is not None:
                self._visit(hit[1], tick.prices[0] if is_bar else hit[1])
                return hit
            self._visit(tick.prices[1], tick.prices[2])
            self.last = tick.prices[3]
        if tick.moment < idea.horizon_end:
            return None
        if inside or tick.unseen >= idea.horizon_end:
            return "expiry", self.last
        if again and tick.prices is not None:
            self._visit(tick.prices[0])
            return "unseen_expiry", tick.prices[0]
        return None  # nobody knows what happened until the horizon: wait for a price

    def _reaches(
        self, prices: tuple[float, float, float, float], is_bar: bool, again: bool
    ) -> tuple[str, float] | None:
        side, stop, target = self.claimed.side, self.claimed.stop, self.claimed.target
        first, high, low = prices[0], prices[1], prices[2]
        beyond_stop, beyond_target = side * (stop - first), side * (first - target)
        if beyond_stop >= 0:
            return ("gap_stop" if again or (is_bar and beyond_stop > 0) else "stop"), first
        if beyond_target >= 0:
            if again or (is_bar and beyond_target > 0):
                return "gap_target", first
            return "target", target
        to_stop = low <= stop if side > 0 else high >= stop
        to_target = high >= target if side > 0 else low <= target
        if to_stop:
            return ("ambiguous" if to_target else "stop"), stop
        return ("target", target) if to_target else None

    def _visit(self, *prices: float) -> None:
        self.highest, self.lowest = max(self.highest, *prices), min(self.lowest, *prices)

    def _miss(self, since: int, until: int) -> None:
        since = max(since, self.claimed.decided)
        if since < until:
            self.missed.append((since, until))

    def left(self, tick: Tick, reason: str, price: float) -> dict[str, Any]:
        """The outcome, in money."""
        idea, won = self.claimed, reason in ("target", "gap_target")
        doubtful = reason == "ambiguous" or bool(self.missed)
        ends = sorted([price, idea.stop, idea.target] if doubtful else [price])
        slip = idea.side * idea.slippage_bps / 1e4
        fill = price if won else price * (1 - slip)
        gross = self._return_bps(price)
        net = self._return_bps(fill) - idea.slippage_bps - 2 * idea.fee_bps
        risk = abs(idea.entry - idea.stop) / idea.entry * 1e4
        ways = self._return_bps(self.highest), self._return_bps(self.lowest)
        return {
            "reason": reason,
            "label": int(won),
            "worst_label": 0 if doubtful else int(won),
            "best_label": 1 if doubtful else int(won),
            "exit_price": price,
            "worst_price": ends[0] if idea.side > 0 else ends[-1],
            "best_price": ends[-1] if idea.side > 0 else ends[0],
            "fill_price": fill,
            "gross_bps": gross,
            "net_bps": net,
            "r_multiple": gross / risk,
            "net_r_multiple": net / risk,
            "mfe_bps": max(0.0, *ways),
            "mae_bps": max(0.0, -min(ways)),
            "holding_ns": tick.moment - idea.decided,
            "closed_at": tick.moment,
            "unseen_from": min((since for since, _ in self.missed), default=0),
            "unseen_until": max((until for _, until in self.missed), default=0),
            "position": tick.position,
        }

    def _return_bps(self, price: float) -> float:
        return self.claimed.side * (price - self.claimed.entry) / self.claimed.entry * 1e4
