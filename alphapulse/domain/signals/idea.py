"""A trade idea: where to get in and out, decided when, and until when it stands.

Prices are in quote currency, times on the venue's clock in nanoseconds, costs in basis points of a price.
"""

import msgspec

LONG, SHORT = 1, -1

DAY_NS = 86_400 * 1_000_000_000
MAX_HORIZON_DAYS = 400
MIN_PRICE, MAX_PRICE = 1e-15, 1e15  # returns stay finite
MAX_COST_BPS = 5_000.0  # half the price


class BadIdea(ValueError):
    """The levels, times or costs of an idea make no sense: nothing can become of it. Propose another."""


class Idea(msgspec.Struct, frozen=True, kw_only=True):
    """``decided`` is the known time of the decision: only what the market did later says anything of it."""

    side: int  # LONG, SHORT
    entry: float
    stop: float
    target: float
    decided: int  # ns
    horizon_end: int  # ns
    fee_bps: float = 0.0  # of each of the two fills
    slippage_bps: float = 0.0  # against us, of each fill that is not at a limit

    @property
    def risk_bps(self) -> float:
        """From the entry to the stop, in basis points of the entry."""
        return abs(self.entry - self.stop) / self.entry * 1e4


def check(idea: Idea) -> None:
    """Nothing, where ``idea`` can be watched.

    Raises:
        BadIdea: with the values that are wrong.
    """
    if idea.side not in (LONG, SHORT):
        raise BadIdea(f"side {idea.side} is neither {LONG} (long) nor {SHORT} (short)")
    _check_prices(idea)
    _check_times(idea)
    for name in ("fee_bps", "slippage_bps"):
        cost = getattr(idea, name)
        if not 0 <= cost <= MAX_COST_BPS:
            raise BadIdea(f"{name} {cost:g} is not from 0 to {MAX_COST_BPS:g}")


def _check_prices(idea: Idea) -> None:
    for name in ("entry", "stop", "target"):
        price = getattr(idea, name)
        if not MIN_PRICE <= price <= MAX_PRICE:
            raise BadIdea(f"{name} {price!r} is not from {MIN_PRICE:g} to {MAX_PRICE:g}")
    below, above = (idea.stop, idea.target) if idea.side == LONG else (idea.target, idea.stop)
    if not below < idea.entry < above:
        side = "long" if idea.side == LONG else "short"
        raise BadIdea(f"{side} needs {_text(below)} < entry {_text(idea.entry)} < {_text(above)}")


def _check_times(idea: Idea) -> None:
    if idea.decided <= 0:
        raise BadIdea(f"decided at {idea.decided} ns, which is not after 1970")
    if idea.horizon_end <= idea.decided:
        raise BadIdea(f"horizon ends at {idea.horizon_end} ns, not after the decision at {idea.decided} ns")
    days = (idea.horizon_end - idea.decided) / DAY_NS
    if days > MAX_HORIZON_DAYS:
        raise BadIdea(f"horizon of {days:.1f} days is over the limit of {MAX_HORIZON_DAYS} days")


def _text(price: float) -> str:
    """As short as it can be without another value."""
    return str(int(price)) if price == int(price) else repr(price)
