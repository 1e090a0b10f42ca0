"""``alphapulse models``: train voters on the log, bring models along, list and show what was recorded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Set = Annotated[str, typer.Option("--set", help="NAME or NAME@VERSION of a feature set in use.")]
Timeframe = Annotated[str, typer.Option(help="Of the rows: 1m, 5m, 15m, 1h, 4h, 1d or 1w.")]
Instruments = Annotated[
    list[str] | None, typer.Option("--instruments", help="venue:symbol, several times; else all markets.")
]
Features = Annotated[
    list[str] | None,
    typer.Option("--feature", help="Of the set, several times; else all that mean the same in any market."),
]
Until = Annotated[
    str | None, typer.Option(help="Learn from what was known by this moment of the venue's clock (ISO 8601).")
]
AsOf = Annotated[
    str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
]
Window = Annotated[int, typer.Option(help="The last so many rows of each market.")]
Distance = Annotated[float, typer.Option(help="Of both barriers, in average true ranges.")]
Horizon = Annotated[int, typer.Option(help="Bars for which the barriers count.")]
Folds = Annotated[int, typer.Option(help="Walk-forward folds that the model is judged on.")]
Embargo = Annotated[int | None, typer.Option(help="Bars between a fit and its fold; else the horizon.")]
Seed = Annotated[int, typer.Option(help="Of whatever is drawn.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def train_baseline(
    set_: Set = "core",
    timeframe: Timeframe = "15m",
    instruments: Instruments = None,
    feature: Features = None,
    until: Until = None,
    as_of: AsOf = None,
    window: Window = 50_000,
    distance: Distance = 2.0,
    horizon: Horizon = 16,
    folds: Folds = 5,
    embargo: Embargo = None,
    trees: Annotated[int, typer.Option(help="How many, one after the other.")] = 200,
    leaves: Annotated[int, typer.Option(help="Of a tree, at most.")] = 8,
    rate: Annotated[float, typer.Option(help="Share of each tree's step that is taken.")] = 0.01,
    least: Annotated[int, typer.Option(help="Rows in a leaf: labels overlap, so take many.")] = 200,
    abstain: Annotated[float, typer.Option(help="Nearer to one half than this there is no vote.")] = 0.02,
    seed: Seed = 1,
    name: Annotated[str | None, typer.Option(help="Of the model; else boosted-SET-TIMEFRAME.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train gradient-boosted trees on the log and record them as ONNX, for the voter `learned.onnx`.

    What they are worth is measured on rows after those they were fitted on, against the base rate, and
    printed and recorded as it is. Training needs the extra `train`; voting does not.

    \b
    Examples:
    alphapulse models train-baseline --set core --timeframe 15m
    alphapulse models train-baseline --timeframe 1h --instruments bitflyer:BTC_JPY --until 2018-06-01
    """
    from alphapulse.processes.learning import BoostRecipe

    def recipe() -> Any:
        return BoostRecipe(
            trees=trees, leaves=leaves, rate=rate, least=least, abstain=abstain, folds=folds, seed=seed,
            embargo=horizon if embargo is None else embargo,
        )  # fmt: skip

    wish = _wish(set_, timeframe, instruments, feature, until, window)
    _train("boosted", wish, distance, horizon, recipe, name, timeframe, as_of, as_json)


def fit_logistic(
    set_: Set = "core",
    timeframe: Timeframe = "15m",
    instruments: Instruments = None,
    feature: Features = None,
    until: Until = None,
    as_of: AsOf = None,
    window: Window = 50_000,
    distance: Distance = 2.0,
    horizon: Horizon = 16,
    folds: Folds = 5,
    embargo: Embargo = None,
    penalty: Annotated[float, typer.Option(help="L2, on coefficients of standardised features.")] = 100.0,
    seed: Seed = 1,
    name: Annotated[str | None, typer.Option(help="Of the model; else logistic-SET-TIMEFRAME.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a logistic regression on the log, for the voter `statistical.logistic`.

    Judged and recorded as `alphapulse models train-baseline` does. Fitting needs the extra `train`.

    \b
    Examples:
    alphapulse models fit-logistic --timeframe 1h
    alphapulse models fit-logistic --timeframe 15m --feature rsi_14 --feature adx --feature return_5
    """
    from alphapulse.processes.learning import LogisticRecipe

    def recipe() -> Any:
        return LogisticRecipe(
            penalty=penalty, folds=folds, seed=seed, embargo=horizon if embargo is None else embargo
        )

    wish = _wish(set_, timeframe, instruments, feature, until, window)
    _train("logistic", wish, distance, horizon, recipe, name, timeframe, as_of, as_json)


def register(
    file: Annotated[Path, typer.Argument(help="A model in ONNX: float32 [n, features] to [n, 1].")],
    name: Annotated[str, typer.Option(help="Of the model; again: its next version.")],
    features_from: Annotated[
        str, typer.Option(help="NAME or NAME@VERSION of the feature set; its columns are the inputs.")
    ] = "core",
    timeframe: Timeframe = "15m",
    instruments: Instruments = None,
    feature: Annotated[
        list[str] | None,
        typer.Option("--feature", help="An input, several times, in order; else all features of the set."),
    ] = None,
    output: Annotated[
        str, typer.Option(help="What it gives: probability (of a rise) or log_odds.")
    ] = "probability",
    trained_until: Annotated[
        str | None,
        typer.Option(
            help="It was trained on what was known by then (ISO 8601), and votes on later rows; else now."
        ),
    ] = None,
    base_rate: Annotated[float, typer.Option(help="Share of its training that rose.")] = 0.5,
    abstain: Annotated[float, typer.Option(help="Nearer to one half than this there is no vote.")] = 0.02,
    as_json: AsJson = False,
) -> None:
    """Record a model of one's own, for the voter `learned.onnx`.

    It is opened, tried on rows of the log, and refused with the values where it does not fit.

    \b
    Examples:
    alphapulse models register mine.onnx --name mine --features-from core@1 --timeframe 15m
    alphapulse models register small.onnx --name small --feature rsi_14 --feature adx --output log_odds
    """
    import asyncio

    from alphapulse.cli.console import say
    from alphapulse.processes.models import Brought

    wish = _wish(features_from, timeframe, instruments, feature, trained_until, 1)
    brought = Brought(path=file, name=name, wish=wish, output=output, base_rate=base_rate, abstain=abstain)
    version, model = asyncio.run(_register(brought))
    facts = _facts(name, version, model)
    say(
        f"{name} version {version}: {len(model.artifact):,} bytes, {len(model.features)} features of "
        f"{_set(model)}, tried on {model.metrics['rows_tried']:,.0f} rows; it votes on rows known after "
        f"{_iso(model.trained.known_time)}",
        facts,
        as_json,
    )


def list_(as_json: AsJson = False) -> None:
    """List the newest version of every model, whatever it is for.

    \b
    Example:
    alphapulse models list
    """
    import asyncio
    import sys

    from alphapulse.cli.console import say_json, say_table

    found = asyncio.run(_listed())
    if as_json:
        for each in found:
            say_json(_facts(each.name, each.versions, each.model))
        return
    rows = [
        (
            each.name, str(each.versions), each.model.kind, each.model.instrument,
            f"{each.model.timeframe}m", _skill(each.model), _iso(each.model.trained.known_time),
        )
        for each in found
    ]  # fmt: skip
    if rows:
        say_table(("model", "version", "kind", "market", "bars", "skill out of fold", "trained until"), rows)
    sys.stdout.write(f"  {len(rows)} models\n")


def show(
    name: Annotated[str, typer.Argument(help="A model, as `alphapulse models list` shows it.")],
    version: Annotated[int | None, typer.Option(min=1, help="Else the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a model looks at, what it was trained on and what it was worth.

    \b
    Examples:
    alphapulse models show boosted-core-15m
    alphapulse models show boosted-core-15m --version 1 --json
    """
    import asyncio
    import sys

    from alphapulse.cli.console import say_json, say_table

    number, model = asyncio.run(_shown(name, version))
    facts = _facts(name, number, model)
    if as_json:
        say_json(facts)
        return
    plain = {k: v for k, v in facts.items() if k not in ("recipe", "features", "metrics", "libraries")}
    rows = [(key, str(value)) for key, value in plain.items()]
    rows += [(key, f"{value:.6g}") for key, value in facts["metrics"].items()]
    say_table(("of the model", "value"), rows)
    sys.stdout.write(f"  features: {', '.join(model.features)}\n")


def _train(
    kind: str,
    wish: Any,
    distance: float,
    horizon: int,
    recipe: Any,
    name: str | None,
    timeframe: str,
    as_of: str | None,
    as_json: bool,
) -> None:
    import asyncio

    from alphapulse.cli.console import say
    from alphapulse.domain.learning.labels import Barriers

    called = name or f"{kind}-{wish.set}-{timeframe}"
    barriers = Barriers(atr=distance, bars=horizon)
    version, model = asyncio.run(_trained(wish, barriers, recipe(), called, as_of, show=not as_json))
    say(_sentence(called, version, model), _facts(called, version, model), as_json)


def _sentence(name: str, version: int, model: Any) -> str:
    m = model.metrics
    verdict = (
        "it is worth more than the base rate"
        if m["has_skill"]
        else "that is not more than the base rate for sure: it claims no skill"
    )
    return (
        f"{name}, version {version}: {m['rows']:,.0f} rows of {len(model.features)} features, known by "
        f"{_iso(model.trained.known_time)}\n"
        f"  out of fold, {m['out_of_fold_rows']:,.0f} rows: log loss {m['out_of_fold_log_loss']:.4f}, base "
        f"rate {m['out_of_fold_base_log_loss']:.4f}; AUC {m['out_of_fold_auc']:.3f}; Brier "
        f"{m['out_of_fold_brier']:.4f}, base rate {m['out_of_fold_base_brier']:.4f}\n"
        f"  skill {_skill(model)}: {verdict}"
    )


def _skill(model: Any) -> str:
    if "out_of_fold_skill" not in model.metrics:
        return ""
    skill, low, high = (model.metrics[f"out_of_fold_skill{end}"] for end in ("", "_low", "_high"))
    return f"{skill:+.2%} ({low:+.2%} to {high:+.2%})"


def _facts(name: str, version: int, model: Any) -> dict[str, Any]:
    recipe = {key: value for key, value in model.recipe.items() if key != "inputs"}
    return {
        "name": name, "version": version, "kind": model.kind, "digest": model.digest,
        "instrument": model.instrument, "timeframe": model.timeframe, "set": _set(model),
        "trained_until": _iso(model.trained.known_time), "rows": model.trained.bars,
        "first_position": model.trained.first_position, "last_position": model.trained.last_position,
        "bytes": len(model.artifact), "seed": model.seed, "features": model.features, "recipe": recipe,
        "metrics": model.metrics, "libraries": model.libraries,
    }  # fmt: skip


def _set(model: Any) -> str:
    pinned = model.recipe
    return f"{pinned['set']}@{pinned['set_version']}" if "set_version" in pinned else ""


def _wish(
    set_: str,
    timeframe: str,
    instruments: list[str] | None,
    features: list[str] | None,
    until: str | None,
    window: int,
) -> Any:
    from alphapulse.cli.anomalies import _nanoseconds
    from alphapulse.domain.market.instrument import Instrument
    from alphapulse.domain.market.timeframes import TIMEFRAMES
    from alphapulse.processes.lessons import Wish

    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(
            f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="--timeframe"
        )
    name, at, version = set_.partition("@")
    if at and not (version.isascii() and version.isdigit() and int(version) > 0):
        raise typer.BadParameter(f"{set_!r} is not NAME or NAME@VERSION", param_hint="--set")
    return Wish(
        set=name,
        version=int(version) if at else None,
        timeframe=TIMEFRAMES[timeframe],
        instruments=tuple(str(Instrument.parse(each)) for each in instruments or ()),
        features=tuple(features or ()),
        window=window,
        until=None if until is None else _nanoseconds(until),
    )


async def _trained(
    wish: Any, barriers: Any, recipe: Any, name: str, as_of: str | None, *, show: bool
) -> tuple[int, Any]:
    from dataclasses import replace

    from alphapulse.cli.candles import position_of
    from alphapulse.processes.models import train
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store, await _connected(settings) as db:
        position = None if as_of is None else await position_of(store, as_of)
        with _bar(show) as tell:
            return await train(store, db, replace(wish, as_of=position), barriers, recipe, name, tell=tell)


@contextmanager
def _bar(show: bool) -> Iterator[Any]:
    import sys

    from alphapulse.cli.progress import position_progress

    with position_progress("training", show=show and sys.stderr.isatty()) as tell:
        yield tell


async def _register(brought: Any) -> tuple[int, Any]:
    from alphapulse.processes.models import register_file
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    settings = load()
    async with event_store(settings) as store, await _connected(settings) as db:
        return await register_file(store, db, brought)


async def _listed() -> Any:
    from alphapulse.processes.models import listed
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    async with event_store(load()) as store:
        return await listed(store)


async def _shown(name: str, version: int | None) -> tuple[int, Any]:
    from alphapulse.processes.models import shown
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    async with event_store(load()) as store:
        return await shown(store, name, version)


async def _connected(settings: Any) -> Any:
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info

    return await AsyncConnection.connect(connection_info(settings.database(), role=None), autocommit=True)


def _iso(ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
