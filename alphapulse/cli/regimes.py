"""``alphapulse regimes``: which regime a market was in, by rules or by a fitted model, and the fitting.

Bars are as they were first known (the read model ``features``); a bar is only scored by what was known
before it.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

MAX_BARS = 1_000_000  # of one instrument and timeframe

Instrument = Annotated[str, typer.Argument(help="venue:symbol, such as bitflyer:BTC_JPY.")]
Timeframe = Annotated[str, typer.Option(help="1m, 5m, 15m, 1h, 4h, 1d or 1w.")]
AsOf = Annotated[
    str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def fit(
    instrument: Instrument,
    timeframe: Timeframe = "1h",
    kind: Annotated[str, typer.Option(help="hmm (hidden Markov model) or gmm (Gaussian mixture).")] = "hmm",
    name: Annotated[
        str | None, typer.Option(help="Of the model; by default from instrument, timeframe and kind.")
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(help="An output of an indicator, several times; the first orders the states."),
    ] = None,
    states: Annotated[int, typer.Option(help="1 to 8.")] = 2,
    window: Annotated[int, typer.Option(help="Bars of one training.")] = 1_000,
    every: Annotated[int, typer.Option(help="Bars from one refit to the next.")] = 250,
    expanding: Annotated[bool, typer.Option(help="Train on all bars since the first.")] = False,
    starts: Annotated[int, typer.Option(help="Seeded starts; the most likely fit is kept.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the first start.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Fit a model of hidden regimes walk-forward and record each refit as an event.

    A run that was stopped goes on where it was, and one with new bars fits only what is new. Fitting
    needs scikit-learn and hmmlearn (the extra `train`); showing regimes does not.

    \b
    Examples:
    alphapulse regimes fit bitflyer:BTC_JPY --timeframe 1h
    alphapulse regimes fit bitflyer:BTC_JPY --kind gmm --states 3 --feature "natr(5)" --feature regime.adx
    """
    import asyncio

    from alphapulse.cli.console import say
    from alphapulse.domain.analysis.hidden_regimes import Recipe

    market, minutes = _market(instrument, timeframe)
    recipe = Recipe(
        kind=f"regime_{kind}",
        features=tuple(feature or ("natr(period=5)",)),
        states=states,
        window=window,
        every=every,
        expanding=expanding,
        starts=starts,
        seed=seed,
    )
    name = name or default_name(market, timeframe, kind)
    done, bars = asyncio.run(_fit(market, minutes, recipe, name, show=not as_json))
    facts = {
        "name": name,
        "bars": bars,
        "trainings": done.trainings,
        "recorded": [version for version, _ in done.recorded],
        "skipped": done.skipped,
    }
    if not done.trainings:
        short = recipe.window
        say(f"{name}: {bars} bars are too few for a training on {short} bars", facts, as_json)
        raise typer.Exit(1)
    known = done.trainings - len(done.recorded) - len(done.skipped)
    say(
        f"{name}: {done.trainings} trainings, {len(done.recorded)} fitted, {known} known before, "
        f"{len(done.skipped)} skipped",
        facts,
        as_json,
    )
    for reason in () if as_json else done.skipped[:10]:
        say(f"  skipped {reason}", {}, False)


def show(
    instrument: Instrument,
    timeframe: Timeframe = "1h",
    model: Annotated[
        str | None, typer.Option(help="By this fitted model; without it by the rules of docs/regimes.md.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, max=10_000, help="How many bars.")] = 24,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show the regime of the latest bars, as of how far the read model `features` has come.

    \b
    Examples:
    alphapulse regimes show bitflyer:BTC_JPY --timeframe 5m --last 50
    alphapulse regimes show bitflyer:BTC_JPY --model bitflyer.btc_jpy-1h-hmm --as-of 2026-01-31 --json
    """
    import asyncio

    from alphapulse.cli.console import say_json

    market, minutes = _market(instrument, timeframe)
    rows, position = asyncio.run(_show(market, minutes, model, last, as_of))
    if as_json:
        say_json({"instrument": market, "timeframe": timeframe, "position": position, "bars": rows})
    else:
        _print(market, timeframe, model, rows, position)


def default_name(instrument: str, timeframe: str, kind: str) -> str:
    import re

    return re.sub(r"[^a-z0-9_.]+", ".", f"{instrument.lower()}") + f"-{timeframe}-{kind}"


def _market(instrument: str, timeframe: str) -> tuple[str, int]:
    from alphapulse.domain.market.instrument import Instrument as Parsed
    from alphapulse.domain.market.timeframes import TIMEFRAMES

    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(
            f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="--timeframe"
        )
    return str(Parsed.parse(instrument)), TIMEFRAMES[timeframe]


async def _fit(instrument: str, minutes: int, recipe: Any, name: str, *, show: bool) -> tuple[Any, int]:
    import sys

    from alphapulse.cli.progress import counter
    from alphapulse.processes.fitting import fit_regimes
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store:
        bars, _ = await _bars(settings, instrument, minutes, None)
        total = len(list(recipe.trainings(len(bars))))
        with counter("fitting", total, show=show and sys.stderr.isatty()) as tell:
            done = await fit_regimes(store, bars, recipe, name, progress=lambda so_far: tell(so_far.done))
    return done, len(bars)


async def _bars(settings: Any, instrument: str, minutes: int, as_of: int | None) -> tuple[Any, int]:
    """All bars that are known, and the position they stand for."""
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.projections.candle_view import snapshot
    from alphapulse.projections.known_bars import known_bars, known_position

    db = await AsyncConnection.connect(connection_info(settings.database(), role=None), autocommit=True)
    async with db, snapshot(db):
        bars = await known_bars(db, instrument, minutes, as_of=as_of, limit=MAX_BARS)
        return bars, await known_position(db) if as_of is None else as_of


async def _show(
    instrument: str, minutes: int, model: str | None, last: int, as_of: str | None
) -> tuple[list[dict[str, Any]], int]:
    from alphapulse.adapters.store.codec import decode
    from alphapulse.cli.candles import position_of
    from alphapulse.domain.analysis.models import BadModel
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections.model_log import fitted_models
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store:
        wanted = None if as_of is None else await position_of(store, as_of)
        bars, position = await _bars(settings, instrument, minutes, wanted)
        if model is None:
            return _by_rules(bars, last), position
        models = await fitted_models(store, decode, model, as_of=position)
        if not models:
            raise BadModel(
                f"no model {model!r} was fitted by position {position}: see `alphapulse regimes fit --help`"
            )
        of = models[0][1]
        if (of.instrument, of.timeframe) != (instrument, minutes):
            raise BadModel(f"{model} is of {of.instrument} in {of.timeframe} minutes")
        return _by_model(models, bars, last), position


def _by_rules(bars: Any, last: int) -> list[dict[str, Any]]:
    from alphapulse.domain.analysis.indicators.regime import NAMES
    from alphapulse.domain.analysis.panel import compute
    from alphapulse.domain.analysis.registry import Spec

    spec = Spec.parse("regime")
    names = [output.name for output in spec.known.outputs]
    values = compute([spec], bars.values)[:, -last:]
    rows = []
    for start, column in zip(bars.start[-last:].tolist(), values.T.tolist(), strict=True):
        facts = {name: _number(value) for name, value in zip(names, column, strict=True)}
        rows.append({"start": start, **facts, "regime": NAMES.get(column[0])})
    return rows


def _by_model(models: Sequence[Any], bars: Any, last: int) -> list[dict[str, Any]]:
    from alphapulse.domain.analysis.hidden_regimes import score

    scored = score(models, bars)
    columns = (bars.start, scored.version, scored.state, scored.probabilities)
    starts, versions, states, shares = (column[-last:].tolist() for column in columns)
    return [
        {
            "start": start,
            "regime": None if state != state else int(state),
            "version": version or None,
            "probabilities": None if state != state else share,
        }
        for start, version, state, share in zip(starts, versions, states, shares, strict=True)
    ]


def _number(value: float) -> float | None:
    return None if value != value else value


def _print(
    instrument: str, timeframe: str, model: str | None, rows: list[dict[str, Any]], position: int
) -> None:
    import sys
    from datetime import UTC, datetime

    from alphapulse.cli.console import say_table

    if not rows:
        sys.stdout.write(f"no {timeframe} bars of {instrument} at position {position}\n")
        return
    names = [name for name in rows[0] if name != "start"]
    table = []
    for row in rows:
        start = datetime.fromtimestamp(row["start"] * 60, UTC).strftime("%Y-%m-%d %H:%M")
        table.append([start, *(_cell(row[name]) for name in names)])
    say_table(("start, UTC", *names), table)
    by = "rules" if model is None else f"model {model} (state 0 is the calmest)"
    sys.stdout.write(f"  {instrument} {timeframe} by {by}, as of position {position}\n")


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.4g}"
        case list():
            return " ".join(f"{share:.3f}" for share in value)
        case _:
            return str(value)
