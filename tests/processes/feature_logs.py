"""Logs of a few instruments and a feature set over them, for tests of what is computed from a log."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from alphapulse.adapters.store.codec import codec
from alphapulse.domain.analysis.features import (
    DefineSet,
    SetDefined,
    SetRetired,
    decide,
    feature_of,
    stream_of,
)
from alphapulse.domain.market.events import FeedConnected, FeedLost, WatermarkPassed
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.domain.ports import EventStore, NewEvent
from alphapulse.domain.versions import Versions
from tests.projections.market_log import T0, bars, trades

MINUTE = 60_000_000_000
NAMES = ("a:X_USD", "a:Y_USD", "b:X_USD")


def set_of(*rules: str, name: str = "s", timeframes: Sequence[int] = (1, 5, 60), **more: Any) -> SetDefined:
    """A set of ``rules`` such as ``sma(5)``; one written ``60:sma(5)`` looks at bars of an hour."""
    features = []
    for rule in rules:
        frame, colon, text = rule.rpartition(":")
        feature = feature_of(text)
        if colon:
            feature = type(feature)(
                name=f"{feature.name}.{frame}", rule=feature.rule, parameters=feature.parameters,
                output=feature.output, timeframe=int(frame),
            )  # fmt: skip
        features.append(feature)
    command = DefineSet(name=name, owner="t", description="", timeframes=timeframes, features=features)
    (defined,) = decide(command, more.get("state", Versions()))
    return defined


RULES = ("sma(5)", "ema(8)", "atr(6)", "bbands(7).upper", "60:sma(3)", "obv", "taker_imbalance(5)")
DEFINED = set_of(*RULES)


def walk(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.002, n))), 2)


def venue_bars(instrument: str, first: int, n: int, rng: np.random.Generator) -> Any:
    """1m bars from minute ``first`` after T0 on, one in ten missing."""
    minutes = [m for m in range(first, first + n) if rng.random() > 0.1] or [first]
    close = walk(rng, len(minutes))
    spread = np.round(rng.random(len(minutes)), 2)
    rows = [
        (m, c, c + s, c - s, c, round(1 + 9 * v, 2))
        for m, c, s, v in zip(minutes, close, spread, rng.random(len(minutes)), strict=True)
    ]
    return bars(rows, instrument=Instrument.parse(instrument))


def trade_batch(instrument: str, first: float, n: int, ids: int, rng: np.random.Generator) -> Any:
    """About a trade a quarter of a minute from minute ``first`` after T0 on."""
    at = first + np.cumsum(rng.random(n) * 0.5)
    rows = [
        (float(t), float(p), round(float(z) + 0.1, 3), int(side))
        for t, p, z, side in zip(at, walk(rng, n), rng.random(n), rng.choice([1, -1, 0], n), strict=True)
    ]
    return trades(rows, first_id=ids, instrument=Instrument.parse(instrument))


def random_events(seed: int, batches: int = 40, names: Sequence[str] = NAMES) -> list[Any]:
    """What happens on three markets: trades and a feed on the first two, supplied bars on the third."""
    rng = np.random.default_rng(seed)
    clock = dict.fromkeys(names, 0.0)
    ids = dict.fromkeys(names, 1)
    events: list[Any] = []
    for _ in range(batches):
        name = names[int(rng.integers(len(names)))]
        venue, symbol = name.split(":")
        if name == names[-1]:
            n = int(rng.integers(1, 120))
            events.append(venue_bars(name, int(clock[name]), n, rng))
            clock[name] += n
            continue
        kind = rng.integers(6)
        time = T0 + int(clock[name] * MINUTE)
        if kind == 0:
            events.append(WatermarkPassed(venue=venue, symbol=symbol, time=time + MINUTE))
            clock[name] += 1
        elif kind == 1:
            events.append(FeedConnected(venue=venue, symbol=symbol, time=time))
        elif kind == 2:
            events.append(FeedLost(venue=venue, symbol=symbol, time=time, reason="silence"))
        else:
            n = int(rng.integers(1, 150))
            batch = trade_batch(name, clock[name], n, ids[name], rng)
            events.append(batch)
            ids[name] += n
            clock[name] = (int(batch.columns.time[-1]) - T0) / MINUTE
    return events


def stream_of_event(event: Any) -> str:
    if isinstance(event, SetDefined | SetRetired):
        return stream_of(event.name)
    if hasattr(event, "columns"):
        if hasattr(event, "timeframe_minutes"):
            return f"{event.instrument.stream('bars')}-{LABELS[event.timeframe_minutes]}"
        return event.instrument.stream("trades")
    return Instrument(event.venue, event.symbol).stream("feed")


class Writer:
    """Appends events of any stream, one commit an event."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.versions: dict[str, int] = {}

    async def append(self, events: Sequence[Any]) -> int:
        position = 0
        for event in events:
            position = (await self.store.append([self.new(event)]))[-1].position
        return position

    def new(self, event: Any) -> NewEvent:
        stream = stream_of_event(event)
        self.versions[stream] = self.versions.get(stream, 0) + 1
        return codec.new_event(stream, self.versions[stream], event)
