"""``alphapulse performance`` and ``attribution``: what a strategy was worth, and whom it owes that to."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

Strategy = Annotated[str, typer.Argument(help="The strategy.")]
Version = Annotated[int | None, typer.Option(min=1, help="Only of this version.")]
Market = Annotated[str | None, typer.Option("--instrument", help="Only of this venue:symbol.")]
Bars = Annotated[str | None, typer.Option(help="Only on bars of this timeframe, such as 15m.")]
Since = Annotated[str | None, typer.Option("--from", help="Decided from here on: ISO 8601, UTC.")]
Until = Annotated[str | None, typer.Option("--to", help="Decided before this.")]
AsOf = Annotated[
    str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Draw it too: a .png, .svg or .html file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class TradeSet(StrEnum):
    signals = "signals"
    candidates = "candidates"
    refused = "refused"


class By(StrEnum):
    voter = "voter"
    pattern = "pattern"
    feature_group = "feature_group"
    regime = "regime"
    timeframe = "timeframe"
    venue = "venue"
    instrument = "instrument"
    hour = "hour"
    version = "version"


Of = Annotated[
    TradeSet,
    typer.Option(help="Signals by the sizes they had; candidates or refused ones at a fixed risk each."),
]


def performance(
    strategy: Strategy,
    of: Of = TradeSet.signals,
    version: Version = None,
    instrument: Market = None,
    timeframe: Bars = None,
    from_: Since = None,
    to: Until = None,
    as_of: AsOf = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Show what the trades of a strategy were worth: every figure with its interval and its sample.

    alphapulse performance first

    alphapulse performance first --of candidates --from 2026-01-01 -o candidates.html

    Intervals are 95 %. The deflated Sharpe ratio counts every configuration that was ever tried in a
    backtest of this strategy.
    """
    import asyncio

    from alphapulse.cli.console import say_json

    wanted = _wanted(strategy, version, instrument, timeframe, from_, to)
    position, found = asyncio.run(_performance(wanted, of.value, as_of))
    if output is not None:
        _draw("draw_performance", found, output)
    if as_json:
        say_json({"strategy": strategy, "position": position, **_builtins(found)})
        return
    show_performance(found)
    sys.stdout.write(f"  {strategy}, as of position {position}\n")


def show_performance(found: Any) -> None:
    """Figures as a table, and the equity as a line."""
    from alphapulse.cli.candles import sparkline
    from alphapulse.cli.console import say_table
    from alphapulse.cli.signals import when

    if not found.trades:
        sys.stdout.write(f"no {found.of} of it were resolved: there is nothing to measure\n")
        return
    rows = [
        (each.title, shown(each), interval(each), f"{each.sample:,}", f"{each.effective:,.0f}", each.note)
        for each in found.figures
    ]
    say_table(("figure", "value", "95 %", "sample", "effective", ""), rows)
    values = [point.equity for point in found.curve]
    sys.stdout.write(f"  equity {min(values):.4g} {sparkline(values)} {max(values):.4g}\n")
    sys.stdout.write(
        f"  {found.trades:,} {found.of} of {found.days:,} days, {when(found.first)} to {when(found.last)}\n"
    )


def shown(figure: Any) -> str:
    """Its value; empty: there is none."""
    return "" if figure.value is None else _number(figure, figure.value)


def interval(figure: Any) -> str:
    if figure.low is None and figure.high is None:
        return ""
    low, high = ("?" if end is None else _number(figure, end) for end in (figure.low, figure.high))
    return f"{low} to {high}"


def _number(figure: Any, value: float) -> str:
    if figure.in_percent:
        return f"{value:.2%}"
    if figure.unit in ("bps", "r"):
        return f"{value:+.2f} {'R' if figure.unit == 'r' else 'bps'}"
    if figure.unit in ("count", "days"):
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def attribution(
    strategy: Strategy,
    by: Annotated[By, typer.Option(help="What it is divided by.")] = By.voter,
    of: Of = TradeSet.signals,
    version: Version = None,
    instrument: Market = None,
    timeframe: Bars = None,
    from_: Since = None,
    to: Until = None,
    as_of: AsOf = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Show whom the result of a strategy is owed to; the parts sum to the whole.

    alphapulse attribution first --by voter

    alphapulse attribution first --by hour --of candidates -o hours.png

    Voters, patterns and feature groups share each trade by the Shapley values of its votes; what was against
    it has a share below 0. "Without" is what the whole would lose if this one alone were left out: these
    need not sum.
    """
    import asyncio

    from alphapulse.cli.console import say_json

    wanted = _wanted(strategy, version, instrument, timeframe, from_, to)
    position, found = asyncio.run(_attribution(wanted, by.value, of.value, as_of))
    if output is not None:
        _draw("draw_attribution", found, output)
    if as_json:
        say_json({"strategy": strategy, "position": position, **_builtins(found)})
        return
    show_attribution(found)
    sys.stdout.write(f"  {strategy}, {of.value}, as of position {position}\n")


def show_attribution(found: Any, most: int = 40) -> None:
    from alphapulse.cli.console import say_table

    if not found.trades:
        sys.stdout.write("no trade was resolved: there is nothing to attribute\n")
        return
    rows = [
        (
            each.key.replace("_", " "),
            f"{each.trades:,}" if each.trades else "",
            f"{each.contribution:+.5f}",
            f"{each.share:+.1%}",
            f"{each.r:+.2f}",
            "" if each.low is None or each.high is None else f"{each.low:+.5f} to {each.high:+.5f}",
            "" if each.without is None else f"{each.without:+.5f}",
        )
        for each in found.at_most(most)
    ]
    rows.append(("sum", f"{found.trades:,}", f"{found.total:+.5f}", "", f"{found.total_r:+.2f}", "", ""))
    header = (found.by.replace("_", " "), "trades", "of equity", "share", "R", "95 %", "without")
    say_table(header, rows)
    if found.note:
        sys.stdout.write(f"  {found.note}\n")


def _wanted(
    strategy: str,
    version: int | None,
    instrument: str | None,
    timeframe: str | None,
    from_: str | None,
    to: str | None,
) -> Any:
    from alphapulse.cli.feature_bounds import nanoseconds_of, timeframe_of
    from alphapulse.projections.performance_queries import Wanted

    since, until = (None if text is None else nanoseconds_of(text) for text in (from_, to))
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter(f"--from {from_} is not before --to {to}")
    return Wanted(
        strategy=strategy,
        version=version,
        instrument=instrument,
        timeframe=None if timeframe is None else timeframe_of(timeframe),
        since=since,
        until=until,
    )


async def _performance(wanted: Any, of: str, as_of: str | None) -> Any:
    from alphapulse.adapters.store.codec import codec
    from alphapulse.projections import track_records

    async with _reading(wanted.strategy, as_of) as (store, db, position):
        return await track_records.performance(store, codec.decode, db, wanted, of=of, as_of=position)


async def _attribution(wanted: Any, by: str, of: str, as_of: str | None) -> Any:
    from alphapulse.projections import track_records

    async with _reading(wanted.strategy, as_of) as (_, db, position):
        return await track_records.attribution(db, wanted, by, of=of, as_of=position)


@asynccontextmanager
async def _reading(strategy: str, as_of: str | None) -> AsyncIterator[tuple[Any, Any, int | None]]:
    """Store, read models, and the position asked about. Raises UnknownStrategy."""
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.cli.candles import position_of
    from alphapulse.cli.signals import check_strategy
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    settings = load()
    info = connection_info(settings.database(), role=None)
    async with event_store(settings) as store, await AsyncConnection.connect(info, autocommit=True) as db:
        await check_strategy(store, strategy)
        yield store, db, None if as_of is None else await position_of(store, as_of)


def _draw(how: str, found: Any, path: Path) -> None:
    from alphapulse.adapters.reports import writing

    try:
        getattr(writing, how)(found, path)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from None
    sys.stderr.write(f"drawn to {path}\n")


def _builtins(found: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(found)
