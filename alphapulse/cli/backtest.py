"""``alphapulse backtest``: a strategy over the log or files, with nothing recorded but that it was tried."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

DAY_NS = 86_400 * 10**9

Files = "What is tried"
Trying = "Configurations"
Doubting = "How far to believe it"


class Walk(StrEnum):
    rolling = "rolling"
    anchored = "anchored"


Strategy = Annotated[
    str | None, typer.Argument(help="A strategy of the log; its newest version that is in use.")
]
Version = Annotated[int | None, typer.Option(min=1, help="This version of it.")]
Default = Annotated[bool, typer.Option("--default", help="The default strategy, defined or not.")]
Definition = Annotated[
    Path | None, typer.Option(help="A strategy in JSON or TOML, defined or not.", dir_okay=False)
]
Timeframe = Annotated[str, typer.Option(help="Bars that the default strategy decides on.")]
Since = Annotated[
    str | None, typer.Option("--from", help="Decide from here on (ISO 8601, UTC); learn before.")
]
Until = Annotated[str | None, typer.Option("--to", help="Decide before this; watch what is open to its end.")]
Upto = Annotated[int | None, typer.Option(min=1, help="Read the log up to this position.")]
Fees = Annotated[str | None, typer.Option(help="Of each fill; several with commas are configurations.")]
Slippages = Annotated[str | None, typer.Option(help="Against us, of each fill; several as above.")]
Latency = Annotated[
    float, typer.Option(min=0, max=3_600_000, help="From the decision to the order's price, milliseconds.")
]
File = Annotated[
    list[Path] | None,
    typer.Option(
        help="Read this file of trades or bars instead of the log; repeatable.", rich_help_panel=Files
    ),
]
Bars = Annotated[
    str | None, typer.Option(help="The files hold bars of this timeframe, such as 1m.", rich_help_panel=Files)
]
Format = Annotated[
    str, typer.Option("--format", help="Of the files; see docs/importing.md.", rich_help_panel=Files)
]
Venue = Annotated[
    list[str] | None, typer.Option(help="Of the files: once, or once for each.", rich_help_panel=Files)
]
Symbol = Annotated[
    list[str] | None, typer.Option(help="Of the files: once, or once for each.", rich_help_panel=Files)
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="gate.threshold=0.80,0.85 tries both; repeatable.", rich_help_panel=Trying),
]
Without = Annotated[
    list[str] | None, typer.Option(help="Leave this voter out; repeatable.", rich_help_panel=Trying)
]
Jobs = Annotated[int, typer.Option(min=1, max=64, help="Processes at work.", rich_help_panel=Trying)]
Again = Annotated[
    bool, typer.Option("--again", help="Run also what was tried before.", rich_help_panel=Trying)
]
WalkForward = Annotated[
    list[Walk] | None,
    typer.Option(help="Choose on the past, measure on what follows; repeatable.", rich_help_panel=Doubting),
]
Folds = Annotated[int, typer.Option(min=1, max=1_000, help="Of a walk-forward.", rich_help_panel=Doubting)]
TrainDays = Annotated[
    float | None, typer.Option(min=1, help="Without it two of folds + 2 parts.", rich_help_panel=Doubting)
]
Embargo = Annotated[
    float,
    typer.Option(min=0, help="Between what is chosen by and measured on, hours.", rich_help_panel=Doubting),
]
Cpcv = Annotated[
    str | None,
    typer.Option(help="N,K: combinatorial purged cross-validation.", rich_help_panel=Doubting),
]
MonteCarlo = Annotated[
    int, typer.Option(min=0, max=10_000, help="Runs of each kind of chance.", rich_help_panel=Doubting)
]
Out = Annotated[Path | None, typer.Option(help="A folder for the report: HTML, PNG, JSON.", file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


def backtest(
    strategy: Strategy = None,
    version: Version = None,
    default: Default = False,
    definition: Definition = None,
    timeframe: Timeframe = "5m",
    from_: Since = None,
    to: Until = None,
    upto: Upto = None,
    fee_bps: Fees = None,
    slippage_bps: Slippages = None,
    latency_ms: Latency = 0.0,
    file: File = None,
    bars: Bars = None,
    file_format: Format = "auto",
    venue: Venue = None,
    symbol: Symbol = None,
    set_: Set = None,
    without_voter: Without = None,
    jobs: Jobs = 1,
    again: Again = False,
    walk_forward: WalkForward = None,
    folds: Folds = 5,
    train_days: TrainDays = None,
    embargo_hours: Embargo = 24.0,
    cpcv: Cpcv = None,
    monte_carlo: MonteCarlo = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Decide over history as the live role does, and say what it was worth.

    alphapulse backtest first --from 2017-07-01 --to 2018-01-01

    alphapulse backtest --default --timeframe 15m --fee-bps 7.5 --latency-ms 500 --out report

    alphapulse backtest first --set gate.threshold=0.75,0.80,0.85 --fee-bps 2,5 --jobs 8 --cpcv 8,2

    alphapulse backtest --default --file XBTUSD.parquet --bars 1m --format bitmex --symbol XBT_USD --out r

    Nothing is recorded but that it was tried (`alphapulse trials`): how many configurations there were
    decides what the best one is worth. Stop a search at any moment; the same command goes on with it.
    """
    import asyncio

    from alphapulse.cli.backtest_run import Wish, run, tell
    from alphapulse.processes.extensions import load_voters

    load_voters()
    texts = [*(set_ or []), *_costs(fee_bps, slippage_bps)]
    since, until = _time(from_), _time(to)
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter(f"--from {from_} is not before --to {to}")
    doubts = _doubts(walk_forward, folds, train_days, embargo_hours, cpcv, monte_carlo)
    files = _files(file or [], bars, file_format, venue or [], symbol or [])
    if files and upto is not None:
        raise typer.BadParameter("only the log has positions", param_hint="--upto")
    if not files and any((bars, venue, symbol, file_format != "auto")):
        raise typer.BadParameter("say which with --file", param_hint="--bars, --format, --venue, --symbol")
    wish = Wish(
        definition=_definition(strategy, default, definition, timeframe, version),
        name=strategy or "",
        version=version,
        texts=texts,
        without=without_voter or [],
        files=files,
        upto=upto,
        how={
            "since": since,
            "until": until,
            "latency_ns": round(latency_ms * 1e6),
            "jobs": jobs,
            "again": again,
            "folder": out,
        },
        doubts=doubts,
    )
    report = asyncio.run(run(wish, show=sys.stderr.isatty() and not as_json))
    tell(report, out, as_json)


def _time(text: str | None) -> int | None:
    from alphapulse.cli.feature_bounds import nanoseconds_of

    return None if text is None else nanoseconds_of(text)


def _costs(fees: str | None, slippages: str | None) -> list[str]:
    given = (("fee_bps", fees), ("slippage_bps", slippages))
    return [f"risk.{name}={values}" for name, values in given if values is not None]


def _doubts(
    walks: list[Walk] | None,
    folds: int,
    train_days: float | None,
    embargo_hours: float,
    cpcv: str | None,
    monte_carlo: int,
) -> Any:
    from alphapulse.processes.backtest_report import Doubts

    return Doubts(
        walk_forward=tuple(dict.fromkeys(walk.value for walk in walks or [])),
        folds=folds,
        train_ns=None if train_days is None else round(train_days * DAY_NS),
        embargo_ns=round(embargo_hours / 24 * DAY_NS),
        groups=None if cpcv is None else _pair(cpcv),
        monte_carlo=monte_carlo,
    )


def _pair(text: str) -> tuple[int, int]:
    first, comma, second = text.partition(",")
    if not comma or not first.strip().isdecimal() or not second.strip().isdecimal():
        raise typer.BadParameter(f"{text!r} is not N,K such as 8,2", param_hint="--cpcv")
    return int(first), int(second)


def _files(
    paths: Sequence[Path], bars: str | None, file_format: str, venues: Sequence[str], symbols: Sequence[str]
) -> tuple[Any, ...]:
    from alphapulse.adapters.files.open import Naming
    from alphapulse.cli.feature_bounds import timeframe_of
    from alphapulse.processes.backtest_files import File as OneFile

    minutes = None if bars is None else timeframe_of(bars)
    named = zip(paths, _each("--venue", venues, paths), _each("--symbol", symbols, paths), strict=True)
    return tuple(
        OneFile(
            path=path.absolute(),
            timeframe=minutes,
            file_format=file_format,
            naming=Naming(venue=venue, symbol=symbol),
        )
        for path, venue, symbol in named
    )


def _each(option: str, values: Sequence[str], paths: Sequence[Path]) -> Sequence[str | None]:
    if len(values) in (0, 1):
        return [values[0] if values else None] * len(paths)
    if len(values) != len(paths):
        raise typer.BadParameter(
            f"{len(values)} for {len(paths)} files: once, or once for each", param_hint=option
        )
    return values


def _definition(
    name: str | None, default: bool, path: Path | None, timeframe: str, version: int | None
) -> Any:
    """What --default or --definition say; None: a strategy of the log is wanted."""
    from alphapulse.cli.feature_bounds import timeframe_of
    from alphapulse.domain.decision.strategy_decider import decide
    from alphapulse.domain.decision.strategy_defaults import default_strategy
    from alphapulse.domain.versions import Versions

    if (name is not None) + default + (path is not None) != 1:
        raise typer.BadParameter("say one of a STRATEGY, --default and --definition FILE")
    if name is not None:
        return None
    if version is not None:
        raise typer.BadParameter("only a STRATEGY of the log has versions", param_hint="--version")
    if path is not None:
        from alphapulse.processes.strategies import from_file

        command = from_file(path, owner="")
    else:
        command = default_strategy("default", timeframes=(timeframe_of(timeframe),))
    (defined,) = decide(command, Versions())
    return defined
