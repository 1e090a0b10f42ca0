"""``alphapulse anomalies fit|score``: isolation forests over the bars of a market."""

from typing import Annotated, Any

import typer

Instrument = Annotated[str, typer.Argument(help="venue:symbol, such as bitflyer:BTC_JPY.")]
Timeframe = Annotated[str, typer.Argument(help="1m, 5m, 15m, 1h, 4h, 1d or 1w.")]
Name = Annotated[str | None, typer.Option(help="The model's name; else forest-VENUE.SYMBOL-TIMEFRAME.")]
AsOf = Annotated[
    str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def fit(
    instrument: Instrument,
    timeframe: Timeframe,
    until: Annotated[
        str | None,
        typer.Option(help="Fit on bars known by this moment of the venue's clock (ISO 8601, UTC)."),
    ] = None,
    name: Name = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="A column of an indicator; repeatable. Else a fixed five.")
    ] = None,
    trees: Annotated[int, typer.Option(help="How many.")] = 100,
    sample: Annotated[int, typer.Option(help="Bars that a tree is grown on.")] = 256,
    window: Annotated[int, typer.Option(help="Fit on the last so many bars.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Of the random cuts.")] = 1,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Fit an isolation forest and record it as the next version of its model. Needs the extra `train`.

    It speaks only for bars that became known after the last one it was fitted on.

    Examples:

      alphapulse anomalies fit bitflyer:BTC_JPY 1m

      alphapulse anomalies fit bitflyer:BTC_JPY 5m --until 2018-01-25T00:00:00 --trees 200
    """
    import asyncio

    from alphapulse.cli.console import say
    from alphapulse.domain.analysis.isolation import FEATURES, ForestRecipe
    from alphapulse.domain.analysis.models import BadModel
    from alphapulse.domain.analysis.registry import BadParameter

    market, minutes, called = _market(instrument, timeframe, name)
    try:
        recipe = ForestRecipe(
            features=tuple(feature or FEATURES), trees=trees, sample=sample, window=window, seed=seed
        )
    except (BadModel, BadParameter) as error:
        raise typer.BadParameter(str(error)) from None
    cutoff = None if until is None else _nanoseconds(until)
    facts = asyncio.run(_fit(market, minutes, recipe, called, cutoff, as_of))
    say(
        f"{called}, version {facts['version']}: fitted on {facts['bars_used']:,} of {facts['bars']:,} bars "
        f"known by {facts['known_by']}; ONNX and scikit-learn agree within "
        f"{facts['worst_difference']:.1e} on {facts['rows_compared']:,} rows; 1 in 100 scores over "
        f"{facts['score_quantile_0.99']:.3f}",
        facts,
        as_json,
    )


def score(
    instrument: Instrument,
    timeframe: Timeframe,
    last: Annotated[int, typer.Option(min=1, max=100_000, help="How many bars.")] = 500,
    top: Annotated[int, typer.Option(min=1, max=1_000, help="Show so many, the most unusual.")] = 10,
    name: Name = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show the most unusual of the last bars, each judged by the forest that was fitted before it.

    A score near 1 is unusual, 0.5 and less ordinary.

    Examples:

      alphapulse anomalies score bitflyer:BTC_JPY 1m

      alphapulse anomalies score bitflyer:BTC_JPY 1m --last 1440 --top 5 --json
    """
    import asyncio
    import sys

    from alphapulse.cli.console import say_json, say_table

    market, minutes, called = _market(instrument, timeframe, name)
    facts = asyncio.run(_score(market, minutes, called, last, top, as_of))
    if as_json:
        say_json(facts)
        return
    rows = [
        [bar["start"], f"{bar['score']:.3f}", *(f"{bar[key]:g}" for key in ("version", "close", "volume"))]
        for bar in facts["bars"]
    ]
    if rows:
        say_table(("start, UTC", "score", "version", "close", "volume"), rows)
    sys.stdout.write(
        f"  {called}: {facts['scored']:,} of the last {facts['looked_at']:,} bars have a score\n"
    )


def _market(instrument: str, timeframe: str, name: str | None) -> tuple[str, int, str]:
    """The market as we spell it, its minutes, and the name of the model."""
    from alphapulse.domain.market.instrument import Instrument as Market
    from alphapulse.domain.market.timeframes import TIMEFRAMES
    from alphapulse.processes.training import model_name

    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="TIMEFRAME")
    market = str(Market.parse(instrument))
    return market, TIMEFRAMES[timeframe], name or model_name(market, timeframe)


def _nanoseconds(moment: str) -> int:
    from datetime import UTC, datetime

    try:
        time = datetime.fromisoformat(moment)
    except ValueError:
        raise typer.BadParameter(
            f"{moment!r} is no time such as 2026-01-31T12:00:00", param_hint="--until"
        ) from None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000) * 1_000


async def _fit(
    market: str, minutes: int, recipe: Any, name: str, until: int | None, as_of: str | None
) -> dict[str, Any]:
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.cli.candles import position_of
    from alphapulse.processes.training import fit_from_log
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store:
        position = None if as_of is None else await position_of(store, as_of)
        db = await AsyncConnection.connect(connection_info(settings.database(), role=None), autocommit=True)
        async with db:
            version, model = await fit_from_log(
                store, db, market, minutes, recipe, name, until=until, as_of=position
            )
    receipt = model.parameters["receipt"]
    return {
        "model": name, "version": version, "digest": model.digest, "instrument": market,
        "timeframe": minutes, "features": model.features, "recipe": model.recipe,
        "bars": model.trained.bars, "known_by": _iso(model.trained.known_time),
        "position": model.trained.last_position, "bytes": len(model.artifact),
        "rows_compared": receipt["rows_compared"], "worst_difference": receipt["worst_difference"],
        **model.metrics, "bars_used": int(model.metrics["bars_used"]), "libraries": model.libraries,
    }  # fmt: skip


async def _score(
    market: str, minutes: int, name: str, last: int, top: int, as_of: str | None
) -> dict[str, Any]:
    import numpy as np
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.cli.candles import position_of
    from alphapulse.domain.analysis.fields import CLOSE, VOLUME
    from alphapulse.processes.training import score_from_log
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store:
        position = None if as_of is None else await position_of(store, as_of)
        db = await AsyncConnection.connect(connection_info(settings.database(), role=None), autocommit=True)
        async with db:
            bars, scored = await score_from_log(store, db, market, minutes, name, last=last, as_of=position)
    known = np.flatnonzero(np.isfinite(scored.score))
    first = known[np.argsort(-scored.score[known], kind="stable")][:top]
    shown = [
        {
            "start": _iso(int(bars.start[i]) * 60_000_000_000), "score": float(scored.score[i]),
            "version": int(scored.version[i]), "close": float(bars.values[CLOSE, i]),
            "volume": float(bars.values[VOLUME, i]), "position": int(bars.position[i]),
        }
        for i in first
    ]  # fmt: skip
    return {"model": name, "looked_at": len(bars), "scored": len(known), "bars": shown}


def _iso(ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
