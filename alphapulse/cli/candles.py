"""``alphapulse candles``: the latest bars of a market, in a table with a small plot."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

_STEPS = "▁▂▃▄▅▆▇█"
_COLUMNS = (
    "start", "open", "high", "low", "close", "base_volume", "quote_volume", "taker_buy_volume", "vwap",
    "trade_count", "minutes", "revision", "position", "source", "closed", "state", "coverage", "filled",
)  # fmt: skip


def candles(
    instrument: Annotated[str, typer.Argument(help="venue:symbol, such as bitflyer:BTC_JPY.")],
    timeframe: Annotated[str, typer.Option(help="1m, 5m, 15m, 1h, 4h, 1d or 1w.")] = "1h",
    last: Annotated[int, typer.Option(min=1, max=10_000, help="How many bars.")] = 24,
    as_of: Annotated[
        str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
    ] = None,
    fill: Annotated[str | None, typer.Option(help="Fill quiet bars: empty, previous or linear.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with columns.")] = False,
) -> None:
    """Show the latest candles. Without --fill, minutes in which nothing was traded have no row."""
    import asyncio

    from alphapulse.cli.console import say_json
    from alphapulse.domain.market.bars import Fill
    from alphapulse.domain.market.instrument import Instrument
    from alphapulse.domain.market.timeframes import TIMEFRAMES

    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(
            f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="--timeframe"
        )
    if fill is not None and fill not in {f.value for f in Fill}:
        raise typer.BadParameter(f"{fill!r} is none of empty, previous, linear", param_hint="--fill")
    market = str(Instrument.parse(instrument))
    facts = asyncio.run(_ask(market, TIMEFRAMES[timeframe], last, as_of, Fill(fill) if fill else None))
    if as_json:
        say_json({"timeframe": timeframe, **facts})
    else:
        _show(market, timeframe, facts)


async def _ask(instrument: str, timeframe: int, last: int, as_of: str | None, fill: Any) -> dict[str, Any]:
    import orjson
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.adapters.store.codec import decode
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections.candle_history import History
    from alphapulse.projections.candle_queries import series
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store:
        position = None if as_of is None else await position_of(store, as_of)
        db = await AsyncConnection.connect(connection_info(settings.database(), role=None), autocommit=True)
        async with db:
            found = await series(
                db, instrument, timeframe, last=last, as_of=position, fill=fill, columns=_COLUMNS,
                history=History(store, decode),
            )  # fmt: skip
    columns = {name: orjson.loads(text) for name, text in found.columns.items()}
    return {"instrument": instrument, "position": found.position, "count": found.count, "columns": columns}


async def position_of(store: Any, as_of: str) -> int:
    """The position that ``as_of`` means.

    Raises:
        typer.BadParameter: it is neither a position nor a time.
    """
    from datetime import UTC, datetime

    if as_of.isdigit():
        return int(as_of)
    try:
        moment = datetime.fromisoformat(as_of)
    except ValueError:
        raise typer.BadParameter(
            f"{as_of!r} is neither a position nor a time such as 2026-01-31T12:00:00", param_hint="--as-of"
        ) from None
    position: int = await store.position_at(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return position


def _show(instrument: str, timeframe: str, facts: Mapping[str, Any]) -> None:
    import sys
    from datetime import UTC, datetime

    from alphapulse.cli.console import say_table

    if facts["count"] == 0:
        sys.stdout.write(f"no {timeframe} candles of {instrument} at position {facts['position']}\n")
        return
    columns, rows = facts["columns"], []
    for i in range(facts["count"]):
        start = datetime.fromtimestamp(columns["start"][i] / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        values = [columns[name][i] for name in ("open", "high", "low", "close", "base_volume", "trade_count")]
        marks = ("" if columns["closed"][i] else " (open)") + (" (filled)" if columns["filled"][i] else "")
        state = str(columns["state"][i]).lower().replace("_", " ")
        texts = ("" if value is None else str(value) for value in values)
        rows.append([start, *texts, f"{state}{marks}", f"{columns['coverage'][i]:.0%}"])
    say_table(("start, UTC", "open", "high", "low", "close", "volume", "trades", "state", "watched"), rows)
    closes = [float(c) for c in columns["close"] if c is not None]
    if closes:
        line = sparkline(closes)
        sys.stdout.write(f"  close {min(closes):g} {line} {max(closes):g}\n")
    sys.stdout.write(f"  {instrument} {timeframe}, as of position {facts['position']}\n")


def sparkline(values: Sequence[float], width: int = 80) -> str:
    """``values`` as blocks from lowest to highest, at most ``width`` of them: the last of each part."""
    parts = min(len(values), width)
    shown = [values[(i + 1) * len(values) // parts - 1] for i in range(parts)]
    low, span = min(shown), max(shown) - min(shown)
    return "".join(_STEPS[round((v - low) / span * (len(_STEPS) - 1)) if span else 0] for v in shown)
