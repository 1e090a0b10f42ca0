"""``alphapulse import funding|news``: rates and headlines into the log, as import_.py does with trades."""

from pathlib import Path
from typing import Annotated, Any

import typer

from alphapulse.cli.import_ import (
    AsJson,
    FloatDigits,
    Format,
    MaxRefused,
    NoHeader,
    Symbol,
    SymbolMap,
    TimeUnit,
    Venue,
    columns_of,
    naming_of,
    run_imports,
)

Zone = Annotated[
    str | None,
    typer.Option(help="Zone of stamps that say none: UTC or such as +03:00. Wins over what is preset."),
]
Headlines = Annotated[list[Path], typer.Argument(help="CSV files; gzip or zstd inside.")]


def funding(
    files: Annotated[
        list[Path], typer.Argument(help="Files: CSV, Parquet, Feather, JSON; gzip or zstd inside.")
    ],
    file_format: Format = "auto",
    venue: Venue = None,
    symbol: Symbol = None,
    zone: Zone = None,
    interval_hours: Annotated[
        int | None, typer.Option(min=1, max=168, help="How long a rate holds, where the file does not say.")
    ] = None,
    symbol_map: SymbolMap = None,
    mapping: Annotated[
        str | None,
        typer.Option("--map", help="Columns by meaning: time, rate, interval, venue, symbol."),
    ] = None,
    time_unit: TimeUnit = "auto",
    no_header: NoHeader = False,
    float_digits: FloatDigits = None,
    max_refused: MaxRefused = 10_000,
    as_json: AsJson = False,
) -> None:
    """Import funding rates. A rate is known from its settlement on. Importing a file again adds nothing.

    \b
    alphapulse import funding BTC-USDT_binance_*.csv --venue binance
    alphapulse import funding rates.csv --venue okx --zone UTC --interval-hours 8
    alphapulse import funding XRP-8h-funding_rate.feather --venue binance --symbol XRP_USDT
    alphapulse import funding dump.csv --venue okx --symbol BTC_USDT --interval-hours 8 \\
        --map time=ts,rate=funding --time-unit ms

    Zone and interval are preset for files with the columns Symbol, Date, Funding Rate from binance, bybit,
    htx, kucoin, mexc (+03:00, 8 h), gate (UTC, 8 h) and dydx (UTC, 1 h).
    """
    from alphapulse.adapters.files.funding import FundingMapping

    made: str | FundingMapping = file_format
    if mapping is not None:
        columns = columns_of(mapping, required=("time", "rate"), known=FundingMapping)
        made = FundingMapping(
            name="map", time_unit=time_unit, header=not no_header, float_digits=float_digits,
            kinds=("text", "parquet", "feather", "json"), **columns,
        )  # fmt: skip
    naming, east_s = naming_of(venue, symbol, symbol_map), _east_s(zone)

    async def one(path: Path, store: Any, tell: Any) -> Any:
        from alphapulse.processes.import_fundamentals import import_funding

        return await import_funding(
            path, store, file_format=made, naming=naming, east_s=east_s, interval_hours=interval_hours,
            max_refused=max_refused, progress=tell,
        )  # fmt: skip

    run_imports(files, one, "funding", as_json)


def news(
    files: Headlines,
    file_format: Format = "auto",
    source: Annotated[str | None, typer.Option(help="Names the stream; a-z, 0-9, _.")] = None,
    zone: Zone = None,
    mapping: Annotated[
        str | None,
        typer.Option("--map", help="Columns by meaning: time, title, url, publisher, subject, sentiment."),
    ] = None,
    time_format: Annotated[
        str, typer.Option(help="With --map: iso, s, ms, us, ns or such as '%d-%m-%Y %H:%M'.")
    ] = "iso",
    max_refused: MaxRefused = 10_000,
    as_json: AsJson = False,
) -> None:
    """Import headlines. One is known from its publication on. Importing a file again adds nothing.

    \b
    alphapulse import news cryptonews.csv.gz
    alphapulse import news wire.csv --source wire --zone UTC \\
        --map time=published,title=headline,url=link,subject=coins,sentiment=score

    Sentiment is a number from -1 to 1 or a printed dict with a polarity; blank means none. Subjects are codes
    (BTC, ETH) or names such as bitcoin; other words stand for no asset.
    """
    from alphapulse.adapters.files.headlines import HeadlineMapping

    made: str | HeadlineMapping = file_format
    if mapping is not None:
        columns = columns_of(mapping, required=("time", "title"), known=HeadlineMapping)
        made = HeadlineMapping(name="map", time_format=time_format, **columns)
    east_s = _east_s(zone)

    async def one(path: Path, store: Any, tell: Any) -> Any:
        from alphapulse.processes.import_fundamentals import import_news

        return await import_news(
            path, store, file_format=made, source=source, east_s=east_s, max_refused=max_refused,
            progress=tell,
        )  # fmt: skip

    run_imports(files, one, "news", as_json)


def _east_s(zone: str | None) -> int | None:
    from alphapulse.adapters.files.zones import zone_seconds

    try:
        return None if zone is None else zone_seconds(zone)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--zone") from None
