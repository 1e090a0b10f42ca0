"""``alphapulse import trades|bars``: files into the log. Exit code 3 when some rows were refused."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

REFUSED = 3
_SHOWN_REFUSALS = 3

Files = Annotated[list[Path], typer.Argument(help="Files: CSV, Parquet, Feather, JSON; gzip or zstd inside.")]
Format = Annotated[str, typer.Option("--format", help="A format by name, or auto; see docs/importing.md.")]
Venue = Annotated[str | None, typer.Option(help="The venue, where the file does not say.")]
Symbol = Annotated[str | None, typer.Option(help="The symbol; rows of another one are refused.")]
SymbolMap = Annotated[
    list[str] | None, typer.Option("--symbol-map", help="THEIRS=OURS, such as XBTUSD=BTC_USD; repeatable.")
]
Map = Annotated[
    str | None, typer.Option("--map", help="Columns by meaning: time=ts,price=px,size=#4 (#4: the fourth).")
]
TimeUnit = Annotated[str, typer.Option(help="With --map: s, ms, us, ns, iso, epoch or auto.")]
NoHeader = Annotated[bool, typer.Option("--no-header", help="With --map: the first line is data.")]
FloatDigits = Annotated[
    int | None, typer.Option(min=1, max=17, help="With --map: round floats to so many significant digits.")
]
MaxRefused = Annotated[int, typer.Option(min=0, help="Stop when more rows of a file are refused.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a file.")]


def trades(
    files: Files,
    file_format: Format = "auto",
    venue: Venue = None,
    symbol: Symbol = None,
    symbol_map: SymbolMap = None,
    mapping: Map = None,
    time_unit: TimeUnit = "auto",
    side_buy: Annotated[str, typer.Option(help="With --map: words for a taker who bought.")] = "buy,b,bid",
    side_sell: Annotated[str, typer.Option(help="With --map: words for a taker who sold.")] = "sell,s,ask",
    no_header: NoHeader = False,
    float_digits: FloatDigits = None,
    max_refused: MaxRefused = 10_000,
    as_json: AsJson = False,
) -> None:
    """Import trades. Importing a file again adds nothing; stopping and starting again loses nothing."""
    from alphapulse.adapters.files.formats import TradeMapping

    made: str | TradeMapping = file_format
    if mapping is not None:
        columns = columns_of(mapping, required=("time", "price", "size"), known=TradeMapping)
        made = TradeMapping(
            name="map", time_unit=time_unit, received_unit=time_unit, header=not no_header,
            buy=tuple(side_buy.split(",")), sell=tuple(side_sell.split(",")), float_digits=float_digits,
            kinds=_KINDS, **columns,
        )  # fmt: skip
    naming = naming_of(venue, symbol, symbol_map)

    async def one(path: Path, store: Any, tell: Any) -> Any:
        from alphapulse.processes.importing import import_trades

        return await import_trades(
            path, store, file_format=made, naming=naming, max_refused=max_refused, progress=tell
        )

    run_imports(files, one, "trades", as_json)


def bars(
    files: Files,
    timeframe: Annotated[str, typer.Option(help="1m, 5m, 15m, 1h, 4h, 1d or 1w.")],
    file_format: Format = "auto",
    venue: Venue = None,
    symbol: Symbol = None,
    symbol_map: SymbolMap = None,
    mapping: Map = None,
    time_unit: TimeUnit = "auto",
    volume_unit: Annotated[str | None, typer.Option(help="base, quote or contracts.")] = None,
    no_header: NoHeader = False,
    float_digits: FloatDigits = None,
    max_refused: MaxRefused = 10_000,
    as_json: AsJson = False,
) -> None:
    """Import bars that a venue supplied (klines). Ours are built from trades and win over these."""
    import dataclasses

    from alphapulse.adapters.files.formats import BAR_FORMATS, BarMapping
    from alphapulse.domain.market.timeframes import TIMEFRAMES

    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(
            f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="--timeframe"
        )
    if volume_unit not in (None, "base", "quote", "contracts"):
        raise typer.BadParameter(
            f"{volume_unit!r} is none of base, quote, contracts", param_hint="--volume-unit"
        )
    made: str | BarMapping = file_format
    if mapping is not None:
        columns = columns_of(
            mapping, required=("time", "open", "high", "low", "close", "volume"), known=BarMapping
        )
        made = BarMapping(
            name="map", time_unit=time_unit, header=not no_header, float_digits=float_digits, kinds=_KINDS,
            volume_unit=volume_unit or "base", **columns,
        )  # fmt: skip
    elif volume_unit is not None:
        if file_format not in BAR_FORMATS:
            raise typer.BadParameter(
                "--volume-unit needs --format by name, or --map", param_hint="--volume-unit"
            )
        made = dataclasses.replace(BAR_FORMATS[file_format], volume_unit=volume_unit)
    naming = naming_of(venue, symbol, symbol_map)

    async def one(path: Path, store: Any, tell: Any) -> Any:
        from alphapulse.processes.importing import import_bars

        return await import_bars(
            path, store, timeframe_minutes=TIMEFRAMES[timeframe], file_format=made, naming=naming,
            max_refused=max_refused, progress=tell,
        )  # fmt: skip

    run_imports(files, one, "bars", as_json)


_KINDS = ("text", "parquet", "feather", "json")
_MEANINGS = {"venue": "venue_column", "symbol": "symbol_column"}


def columns_of(text: str, *, required: tuple[str, ...], known: type) -> dict[str, Any]:
    """The mapping written ``time=ts,price=px`` as fields of ``known``."""
    import dataclasses

    allowed = {f.name for f in dataclasses.fields(known)} & {
        "time", "price", "size", "side", "id", "received", "venue", "symbol",
        "open", "high", "low", "close", "volume", "trade_count", "rate", "interval",
        "title", "url", "publisher", "subject", "sentiment",
    }  # fmt: skip
    columns: dict[str, Any] = {}
    for part in text.split(","):
        meaning, equals, column = part.partition("=")
        if not equals or not column or meaning.strip() not in allowed:
            raise typer.BadParameter(
                f"{part!r} is not MEANING=COLUMN with a meaning of {', '.join(sorted(allowed))}",
                param_hint="--map",
            )
        columns[meaning.strip()] = column.strip()
    if missing := [meaning for meaning in required if meaning not in columns]:
        raise typer.BadParameter(f"says no column for {', '.join(missing)}", param_hint="--map")
    return {_MEANINGS.get(meaning, meaning): column for meaning, column in columns.items()}


def naming_of(venue: str | None, symbol: str | None, symbol_map: list[str] | None) -> Any:
    from alphapulse.adapters.files.open import Naming

    symbols: dict[str, str] = {}
    for pair in symbol_map or []:
        theirs, equals, ours = pair.partition("=")
        if not equals or not ours:
            raise typer.BadParameter(f"{pair!r} is not THEIRS=OURS", param_hint="--symbol-map")
        symbols[theirs] = ours
    return Naming(venue=venue, symbol=symbol, symbols=symbols)


def run_imports(
    files: list[Path], one: Callable[[Path, Any, Any], Awaitable[Any]], what: str, as_json: bool
) -> None:
    """Import each file, tell about each, and end with 1 if one broke, else 3 if rows were refused."""
    import asyncio

    outcomes = asyncio.run(_import_all(files, one, what, as_json))
    if "failed" in outcomes:
        raise typer.Exit(1)
    if "refused" in outcomes:
        raise typer.Exit(REFUSED)


async def _import_all(
    files: list[Path], one: Callable[[Path, Any, Any], Awaitable[Any]], what: str, as_json: bool
) -> set[str]:
    import sys

    from alphapulse.adapters.files.open import Unnamed
    from alphapulse.adapters.files.reader import UnreadableFile
    from alphapulse.cli.console import complain, say_json
    from alphapulse.cli.progress import file_progress
    from alphapulse.processes.importing import ImportBroken, TooManyRefused
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    outcomes: set[str] = set()
    async with event_store(load()) as store:
        for path in files:
            show = not as_json and sys.stderr.isatty()
            try:
                with file_progress(path.name, show=show) as tell:
                    done = await one(path, store, lambda d, ratio, tell=tell: tell(f"{d.rows:,} rows", ratio))
            except (UnreadableFile, Unnamed, ImportBroken, TooManyRefused, ValueError) as error:
                complain(str(error))
                if as_json:
                    facts = (
                        _facts(error.so_far, what) if isinstance(error, ImportBroken) else {"file": str(path)}
                    )
                    say_json({**facts, "error": str(error)})
                outcomes.add("failed")
                continue
            _tell(done, what, as_json)
            if done.refused:
                outcomes.add("refused")
    return outcomes


def _tell(done: Any, what: str, as_json: bool) -> None:
    import sys

    from alphapulse.cli.console import complain, say

    facts = _facts(done, what)
    span = f", {facts['time_lo']} to {facts['time_hi']}" if done.time_lo is not None else ""
    say(
        f"{done.path.name}: {done.rows:,} rows of {' '.join(done.instruments) or 'nothing'} ({done.format}): "
        f"{done.accepted:,} accepted, {done.duplicates:,} known already, {done.refused:,} refused{span}; "
        f"{facts['rows_per_s']:,} rows/s",
        facts,
        as_json,
    )
    sys.stdout.flush()
    for refused in done.first_refusals[:_SHOWN_REFUSALS]:
        complain(f"{done.path}: row {refused.row} refused: {refused.reason}")


def _facts(done: Any, what: str) -> dict[str, Any]:
    return {
        "file": str(done.path), "kind": what, "sha256": done.sha256, "format": done.format,
        "instruments": done.instruments, "rows": done.rows, "accepted": done.accepted,
        "duplicates": done.duplicates, "refused": done.refused, "events": done.events,
        "time_lo": _iso(done.time_lo), "time_hi": _iso(done.time_hi), "seconds": round(done.seconds, 3),
        "rows_per_s": int(done.rows / done.seconds) if done.seconds else 0,
        "refusals": [
            {"row": r.row, "reason": r.reason, "raw": r.raw} for r in done.first_refusals
        ],
    }  # fmt: skip


def _iso(ns: int | None) -> str | None:
    import numpy as np

    return None if ns is None else f"{np.datetime64(ns, 'ns').astype('datetime64[us]')}Z"
