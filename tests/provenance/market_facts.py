"""Events of a market as a bundle writes them, decoded: what the verifier's functions take."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from alphapulse.adapters.store.codec import encode
from alphapulse.adapters.verifier.market import MarketFact
from alphapulse.domain.market.events import BarsObserved, TradesObserved


def facts_of(log: Sequence[tuple[int, Any]]) -> list[MarketFact]:
    return [MarketFact(position, "", *_told(event)) for position, event in log]


def _told(event: Any) -> tuple[str, dict[str, Any]]:
    encoded = encode(event)
    if not isinstance(event, TradesObserved | BarsObserved):
        return encoded.name, msgspec.json.decode(encoded.state)
    c = event.columns
    prices = ("price",) if isinstance(event, TradesObserved) else ("open", "high", "low", "close")
    told: dict[str, Any] = {
        name: [str(Decimal(value).scaleb(-c.price_exponent)) for value in getattr(c, name).tolist()]
        for name in prices
    }
    if isinstance(event, TradesObserved):
        told |= {"time": [str(time) for time in c.time.tolist()], "flags": c.flags.tolist()}
        return encoded.name, {"columns": told}
    told["start"] = [str(start) for start in c.start.tolist()]
    return encoded.name, {"timeframe_minutes": event.timeframe_minutes, "columns": told}
