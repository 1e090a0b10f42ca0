"""``alphapulse chart``: a market with what was computed of it, as a picture or a page."""

from typing import Annotated

import typer


def chart(
    instrument: Annotated[str, typer.Argument(help="venue:symbol, such as bitflyer:BTC_JPY.")],
    timeframe: Annotated[str, typer.Argument(help="1m, 5m, 15m, 1h, 4h, 1d or 1w.")] = "1h",
    with_: Annotated[
        str,
        typer.Option(
            "--with",
            help="What to show, comma separated: indicators with or without parameters, patterns, signals, "
            "anomalies, levels, regime.",
        ),
    ] = "bbands,rsi",
    output: Annotated[
        str, typer.Option("--output", "-o", help="A file that ends in .png, .svg or .html.")
    ] = "chart.png",
    last: Annotated[int, typer.Option(min=1, max=2_000, help="How many bars.")] = 200,
    as_of: Annotated[
        str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say what was drawn as one JSON object.")] = False,
) -> None:
    """Draw closed bars with indicators, patterns, levels and regimes.

    Examples:

      alphapulse chart bitflyer:BTC_JPY 15m --with 'rsi,bbands,patterns' -o chart.png

      alphapulse chart bitmex:XBTUSD 1h --with 'ema(50),supertrend,macd,levels,regime' -o chart.html
    """
    import asyncio

    from alphapulse.cli.console import say
    from alphapulse.domain.market.instrument import Instrument
    from alphapulse.domain.market.timeframes import TIMEFRAMES

    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="TIMEFRAME")
    market = str(Instrument.parse(instrument))
    facts = asyncio.run(_draw(market, TIMEFRAMES[timeframe], with_, output, last, as_of))
    say(f"{facts['file']}: {facts['title']}, {facts['marks']} marks", facts, as_json)


async def _draw(
    instrument: str, timeframe: int, with_: str, output: str, last: int, as_of: str | None
) -> dict[str, object]:
    from pathlib import Path

    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.cli.candles import position_of
    from alphapulse.domain.analysis.registry import BadParameter
    from alphapulse.processes.charting import chart as picture_of
    from alphapulse.processes.charting import save, wanted
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store:
        position = None if as_of is None else await position_of(store, as_of)
    db = await AsyncConnection.connect(connection_info(settings.database(), role=None), autocommit=True)
    async with db:
        try:
            picture = await picture_of(db, instrument, timeframe, wanted(with_), last=last, as_of=position)
        except BadParameter as error:
            raise typer.BadParameter(str(error), param_hint="--with") from None
    save(picture, Path(output))
    return {
        "file": output,
        "title": picture.title,
        "bars": len(picture.bars),
        "marks": len(picture.marks),
        "overlays": [line.name for line in picture.overlays],
        "panes": [pane.title for pane in picture.panes],
    }
