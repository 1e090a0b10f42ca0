"""What became of an idea, in money: returns before and after costs, excursions, and the bounds of doubt.

Returns are in basis points of the entry. Times are the venue's clock in nanoseconds.
"""

from dataclasses import dataclass

import msgspec

from alphapulse.domain.signals.idea import Idea

OPEN, TARGET, STOP, AMBIGUOUS, EXPIRY, GAP_STOP, GAP_TARGET, UNSEEN_EXPIRY = range(8)
REASONS = ("open", "target", "stop", "ambiguous", "expiry", "gap_stop", "gap_target", "unseen_expiry")
WINS = (TARGET, GAP_TARGET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How an idea left the market, before costs. The reason is one of the codes above."""

    reason: int
    price: float
    worst: float  # bounds of ``price``, for all that is known
    best: float
    highest: float  # prices between the decision and the exit, the entry among them
    lowest: float
    moment: int
    unseen_from: int  # the market was not seen for some of this time; 0, 0: never
    unseen_until: int
    position: int  # of the event that decided


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """``label`` is 1 where the target came before the stop, within the horizon; else 0.

    ``worst_label`` and ``best_label`` bound it: they differ where both levels lie in one bar, or where the
    market was not seen for some of the time.
    """

    reason: str  # one of REASONS but the first
    label: int
    worst_label: int
    best_label: int
    exit_price: float  # as the market had it, without slippage
    worst_price: float  # bounds of it
    best_price: float
    fill_price: float  # with slippage against us
    gross_bps: float
    net_bps: float  # less both fees and slippage
    r_multiple: float  # gross, in units of what the stop risked
    net_r_multiple: float
    mfe_bps: float  # the furthest that the market went our way, and against us; never negative
    mae_bps: float
    holding_ns: int
    closed_at: int
    unseen_from: int  # suspended for some of this time; 0, 0: never
    unseen_until: int
    position: int  # of the event that decided

    @property
    def is_win(self) -> bool:
        return self.label == 1

    @property
    def suspended(self) -> bool:
        return self.unseen_until > 0


def booked(idea: Idea, left: Exit) -> Outcome:
    """``left`` as the outcome of ``idea``. A target is a limit order: it does not slip."""
    won = left.reason in WINS
    doubtful = left.reason == AMBIGUOUS or left.unseen_until > 0
    slip = idea.side * idea.slippage_bps / 1e4
    fill = left.price if won else left.price * (1 - slip)
    gross = _bps(idea, left.price)
    net = _bps(idea, fill) - idea.slippage_bps - 2 * idea.fee_bps
    mfe, mae = excursions(idea, left.highest, left.lowest)
    return Outcome(
        reason=REASONS[left.reason],
        label=int(won),
        worst_label=0 if doubtful else int(won),
        best_label=1 if doubtful else int(won),
        exit_price=left.price,
        worst_price=left.worst,
        best_price=left.best,
        fill_price=fill,
        gross_bps=gross,
        net_bps=net,
        r_multiple=gross / idea.risk_bps,
        net_r_multiple=net / idea.risk_bps,
        mfe_bps=mfe,
        mae_bps=mae,
        holding_ns=left.moment - idea.decided,
        closed_at=left.moment,
        unseen_from=left.unseen_from,
        unseen_until=left.unseen_until,
        position=left.position,
    )


def excursions(idea: Idea, highest: float, lowest: float) -> tuple[float, float]:
    """How far the market went our way and against us, in basis points of the entry; never negative."""
    ends = _bps(idea, highest), _bps(idea, lowest)
    return max(0.0, *ends), max(0.0, -min(ends))


def _bps(idea: Idea, price: float) -> float:
    """The return at ``price`` in basis points of the entry."""
    return idea.side * (price - idea.entry) / idea.entry * 1e4
