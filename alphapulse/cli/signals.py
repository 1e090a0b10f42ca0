"""``alphapulse signals``, ``outcomes``, ``calibration``: what was signalled, why, what became of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Strategy = Annotated[str | None, typer.Option(help="Only of this strategy.")]
Market = Annotated[str | None, typer.Option("--instrument", help="Only of this venue:symbol.")]
Last = Annotated[int, typer.Option(min=1, max=1_000, help="How many, the newest.")]
AsOf = Annotated[
    str | None, typer.Option(help="As a log cut here: a position, or a recorded time (ISO 8601, UTC).")
]
SIDES = {1: "long", -1: "short"}


def list_(
    strategy: Strategy = None,
    instrument: Market = None,
    is_open: Annotated[
        bool, typer.Option("--open", help="Only those that the market has not closed.")
    ] = False,
    last: Last = 20,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """List signals, the newest first.

    alphapulse signals list --strategy first --open
    """
    from alphapulse.cli.console import say_json, say_table
    from alphapulse.projections.decision_queries import Page, Wanted

    wanted = Wanted(strategy=strategy, instrument=instrument, is_open=is_open or None)
    _, rows = _ask("signals", as_of, wanted, of=strategy, page=Page(limit=last))
    if as_json:
        for row in rows:
            say_json(_facts(row))
        return
    say_table(
        ("signal", "market", "side", "time", "entry", "stop", "target", "conf.", "size", "state", "net bps"),
        [_cells(row) for row in rows],
    )


def _cells(row: Any) -> tuple[str, ...]:
    e = row.issued
    label = "" if e.label == "production" else f" ({e.label})"
    return (
        f"{e.strategy} {e.number}{label}",
        f"{e.instrument} {_label(e.timeframe)}",
        SIDES[e.side],
        when(e.time),
        f"{e.entry:.8g}",
        f"{e.stop:.8g}",
        " ".join(f"{target:.8g}" for target in e.targets),
        f"{e.confidence:.3f}",
        f"{e.size_ratio:.3f}",
        row.close_reason or ("leave" if row.exit_time else "open"),
        "" if row.net_bps is None else f"{row.net_bps:+.1f}",
    )


def show(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    number: Annotated[int, typer.Argument(min=1, help="Of the signal.")],
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show one signal and what became of it.

    alphapulse signals show first 12
    """
    from alphapulse.cli.console import say_json, say_table

    row = _signal(strategy, number, as_of)
    outcome = _ask("outcome", as_of, row.issued.decision)
    if as_json:
        say_json({**_facts(row), "outcome": _builtins(outcome.event.outcome) if outcome else None})
        return
    e = row.issued
    facts = [
        ("strategy", f"{e.strategy} version {e.strategy_version} ({e.label})"),
        ("market", f"{e.instrument} {_label(e.timeframe)}"),
        ("issued", f"{when(e.time)}, at position {row.position} of the log"),
        ("side", SIDES[e.side]),
        ("entry, stop, target", f"{e.entry:.8g}, {e.stop:.8g}, {' '.join(f'{t:.8g}' for t in e.targets)}"),
        ("confidence", f"{e.confidence:.4f} by calibration {e.calibration}"),
        ("size", f"{e.size_ratio:.4f} of equity"),
        ("horizon", when(e.horizon_end)),
    ]
    if row.exit_time is not None:
        facts.append(("advised to leave", f"{when(row.exit_time)} at {row.exit_price:.8g}"))
    facts += _of_outcome(outcome.event.outcome) if outcome else [("outcome", "open")]
    say_table(("", f"signal {e.number}"), facts)


def _of_outcome(o: Any) -> list[tuple[str, str]]:
    facts = [
        ("outcome", f"{o.reason} at {o.exit_price:.8g}, {when(o.closed_at)}"),
        ("gross, net", f"{o.gross_bps:+.1f} bps, {o.net_bps:+.1f} bps"),
        ("R multiple", f"{o.r_multiple:+.2f}, net {o.net_r_multiple:+.2f}"),
        ("best, worst on the way", f"{o.mfe_bps:.1f} bps for us, {o.mae_bps:.1f} bps against us"),
        ("held", f"{o.holding_ns / 6e10:.1f} minutes"),
    ]
    if o.worst_label != o.best_label:
        facts.append(("in doubt", f"{o.worst_price:.8g} at worst, {o.best_price:.8g} at best"))
    return facts


def explain(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    number: Annotated[int, typer.Argument(min=1, help="Of the signal.")],
    as_json: AsJson = False,
) -> None:
    """Explain a signal: votes, consensus, claim and gate, each number with what made it.

    alphapulse signals explain first 12
    """
    import sys

    from alphapulse.cli.console import say_json
    from alphapulse.cli.explaining import explained

    row = _signal(strategy, number, None)
    found = _folded(row.issued.decision, _ask("decision", None, row.issued.decision))
    if as_json:
        say_json(_builtins(found.event))
        return
    sys.stdout.write(explained(found.event) + "\n")


def verify(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    number: Annotated[int, typer.Argument(min=1, help="Of the signal.")],
    as_json: AsJson = False,
) -> None:
    """Derive a signal's outcome once more from the recorded events of its market, and compare.

    alphapulse signals verify first 12

    Exit code 1 where the log says something else than its own market events.
    """
    import asyncio

    from alphapulse.cli.console import say

    found = asyncio.run(_verified(strategy, number))
    derived, later = _became(found.derived), _became(found.hindsight)
    facts = {
        "strategy": strategy,
        "number": number,
        "equal": not found.differences,
        "differences": list(found.differences),
        "events": found.events,
        "recorded": _builtins(found.recorded) if found.recorded else None,
        "derived": _builtins(found.derived),
        "hindsight": _builtins(found.hindsight),
    }
    verdict = "as recorded" if not found.differences else "NOT as recorded: " + "; ".join(found.differences)
    say(
        f"signal {number} of {strategy}: {found.events:,} events of its market give {derived}, {verdict}; "
        f"with all that is known now {later}",
        facts,
        as_json,
    )
    if found.differences:
        raise typer.Exit(1)


def _became(outcome: Any) -> str:
    return str(getattr(outcome, "reason", "open"))


async def _verified(strategy: str, number: int) -> Any:
    from alphapulse.processes.desks import jobs_of
    from alphapulse.processes.verifying import verify_outcome
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    row = _found(await _asked("signal", None, strategy, number, of=strategy), strategy, number)
    made = _folded(row.issued.decision, await _asked("decision", None, row.issued.decision))
    outcome = await _asked("outcome", None, row.issued.decision)
    async with event_store(load()) as store:
        (defined,) = [
            job.strategy
            for job in await jobs_of(store)
            if (job.strategy.name, job.strategy.version, job.part)
            == (strategy, row.issued.strategy_version, 0)
        ]
        return await verify_outcome(store, made.event, defined, outcome.event.outcome if outcome else None)


def watch(
    strategy: Strategy = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Resume after this position; without it, now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print signals as they are issued and closed, the surest first, until Ctrl-C. None is left out.

    alphapulse signals watch --strategy first --after 120000

    With --json each line says which position to resume after, so that nothing is missed.
    """
    import asyncio
    from contextlib import suppress

    with suppress(KeyboardInterrupt):
        asyncio.run(_watch(strategy, after, as_json))


async def _watch(strategy: str | None, after: int | None, as_json: bool) -> None:
    from alphapulse.adapters.store.codec import codec
    from alphapulse.cli.console import say
    from alphapulse.domain.signals.signal import SignalIssued
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    names = ("signal.issued.v1", "signal.exit_recommended.v1", "signal.closed.v1")
    async with event_store(load()) as store:
        await check_strategy(store, strategy)
        position = await store.head() if after is None else after
        while True:
            page = await store.read(position, names=names, limit=100)
            events = [codec.decode(record) for record in page.records]
            mine = [each for each in events if strategy in (None, each.event.strategy)]
            surest = sorted(mine, key=lambda r: -getattr(r.event, "confidence", 0.0))
            for n, each in enumerate(surest, 1):
                is_new = isinstance(each.event, SignalIssued)
                resume = page.scanned_to if n == len(surest) else position  # all are told, or not yet
                where = {"name": each.name, "position": each.position, "resume_after": resume}
                facts = {**_builtins(each.event), **where}
                say(_issued(each.event) if is_new else _changed(each.event), facts, as_json)
            if page.scanned_to == position:
                await store.changed(position, 2.0)
            position = page.scanned_to


def _issued(e: Any) -> str:
    return (
        f"{when(e.time)} {e.strategy} {e.number}: {SIDES[e.side]} {e.instrument} {_label(e.timeframe)} at "
        f"{e.entry:.8g}, stop {e.stop:.8g}, target {e.targets[0]:.8g}, confidence {e.confidence:.3f}"
    )


def _changed(e: Any) -> str:
    if hasattr(e, "net_bps"):
        return (
            f"{when(e.time)} {e.strategy} {e.number}: {e.reason} at {e.price:.8g}, net {e.net_bps:+.1f} bps"
        )
    return f"{when(e.time)} {e.strategy} {e.number}: leave at {e.price:.8g}, consensus {e.consensus:+.2f}"


def outcomes(
    strategy: Strategy = None,
    instrument: Market = None,
    refused: Annotated[bool, typer.Option("--refused", help="Of candidates that were refused.")] = False,
    last: Last = 20,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """List what became of signals, or with --refused of the candidates that became none.

    alphapulse outcomes --strategy first --last 50
    """
    from alphapulse.cli.console import say_json, say_table
    from alphapulse.projections.decision_queries import Page, Wanted

    wanted = Wanted(strategy=strategy, instrument=instrument, is_signal=not refused)
    _, found = _ask("outcomes", as_of, wanted, of=strategy, page=Page(limit=last))
    if as_json:
        for each in found:
            say_json(_builtins(each.event))
        return
    rows = [
        (
            f"{e.strategy} {e.number or ''}".strip(),
            f"{e.instrument} {_label(e.timeframe)}",
            SIDES[e.side],
            f"{e.confidence:.3f}" if e.confidence > 0 else "",
            e.outcome.reason,
            when(e.outcome.closed_at),
            f"{e.outcome.net_bps:+.1f}",
            f"{e.outcome.net_r_multiple:+.2f}",
            f"{e.outcome.holding_ns / 6e10:.0f}",
        )
        for e in (each.event for each in found)
    ]
    say_table(("of", "market", "side", "claim", "reason", "closed", "net bps", "net R", "minutes"), rows)


def calibration(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    candidates: Annotated[bool, typer.Option(help="Judge refused candidates too.")] = False,
    bins: Annotated[int, typer.Option(min=1, max=50)] = 10,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show how well the claims of a strategy were met, and how they are made.

    alphapulse calibration first --candidates
    """
    import sys

    from alphapulse.cli.console import say_json, say_table
    from alphapulse.projections.decision_queries import Wanted

    wanted = Wanted(strategy=strategy, is_signal=None if candidates else True)
    judged = _ask("judged_claims", as_of, wanted, of=strategy, bins=bins)
    fitted = _ask("calibrations", as_of, strategy, limit=5)
    if as_json:
        from dataclasses import asdict

        say_json({**asdict(judged), "fitted": [_builtins(each.event) for each in fitted]})
        return
    if judged.claims:
        sys.stdout.write(
            f"{judged.claims} claims ({judged.effective:.0f} without overlap): mean claim "
            f"{judged.mean_claim:.3f}, won {judged.win_rate:.3f}, Brier {judged.brier:.4f} "
            f"(skill {judged.skill:+.3f}), calibration error {judged.error:.3f}\n"
        )
        rows = [
            (
                f"{b.low:.3f} to {b.high:.3f}",
                f"{b.count:.1f}",
                f"{b.claimed:.3f}",
                f"{b.won:.3f}",
                f"{b.won_low:.3f} to {b.won_high:.3f}",
            )
            for b in judged.bins
        ]
        say_table(("claims", "effective", "claimed", "won", "95 %"), rows)
    else:
        sys.stdout.write(f"no claim of {strategy} has been resolved yet\n")
    fits = [
        (
            str(e.number),
            e.method,
            str(e.candidates),
            f"{e.effective:.0f}",
            f"{e.brier_skill:+.3f}",
            f"{e.ece:.3f}",
            when(e.known_until),
            e.why,
        )
        for e in (each.event for each in fitted)
    ]
    say_table(("fit", "method", "candidates", "effective", "skill", "error", "known until", "why"), fits)


def risk(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    timeframe: Annotated[str, typer.Option(help="Of the bars: 1m, 5m, 15m, 1h, 4h, 1d or 1w.")] = "1h",
    horizon: Annotated[int, typer.Option(min=1, max=1_000, help="Bars that the loss is over.")] = 24,
    bars: Annotated[int, typer.Option(min=2, max=5_000, help="The last ones to look at.")] = 2_000,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Show what the open signals of a strategy may lose: exposure, value at risk, expected shortfall.

    alphapulse risk first --timeframe 1h --horizon 24
    """
    import asyncio
    import sys

    from alphapulse.cli.console import say_json, say_table
    from alphapulse.domain.market.timeframes import TIMEFRAMES

    if timeframe not in TIMEFRAMES:
        raise typer.BadParameter(
            f"{timeframe!r} is none of {', '.join(TIMEFRAMES)}", param_hint="--timeframe"
        )
    found = asyncio.run(_risk(strategy, TIMEFRAMES[timeframe], horizon, bars, as_of))
    exposure = found.exposure
    if as_json:
        from dataclasses import asdict

        facts = {"open": len(found.book.open), "closed": found.book.closed, "equity": found.book.equity}
        tails = [asdict(tail) for tail in found.tails]
        shown = asdict(exposure) if exposure else None
        say_json({**facts, "exposure": shown, "tails": tails, "rows": found.rows, "note": found.note})
        return
    sys.stdout.write(
        f"{strategy}: equity {found.book.equity:.4f}, {len(found.book.open)} open, "
        f"{found.book.closed} closed\n"
    )
    if exposure and exposure.open:
        sys.stdout.write(
            f"exposure {exposure.gross:.3f} gross, {exposure.net:+.3f} net, "
            f"{exposure.at_stops:.4f} lost if all stops are hit\n"
        )
    rows = [
        (
            t.method,
            f"{t.confidence:.0%}",
            f"{t.value_at_risk:.4f}",
            f"{t.expected_shortfall:.4f}",
            str(t.losses),
        )
        for t in found.tails
    ]
    if rows:
        say_table(("method", "confidence", "value at risk", "expected shortfall", "of losses"), rows)
    else:
        sys.stdout.write(f"no tails: {found.note}\n")


async def _risk(strategy: str, timeframe: int, horizon: int, bars: int, as_of: str | None) -> Any:
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.adapters.store.codec import codec
    from alphapulse.cli.candles import position_of
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections.risk_queries import risk_of
    from alphapulse.settings import load

    settings = load()
    info = connection_info(settings.database(), role=None)
    async with event_store(settings) as store, await AsyncConnection.connect(info, autocommit=True) as db:
        await check_strategy(store, strategy)
        position = None if as_of is None else await position_of(store, as_of)
        return await risk_of(
            store,
            codec.decode,
            db,
            strategy,
            timeframe=timeframe,
            horizon_bars=horizon,
            bars=bars,
            as_of=position,
        )


def _signal(strategy: str, number: int, as_of: str | None) -> Any:
    return _found(_ask("signal", as_of, strategy, number, of=strategy), strategy, number)


def _found(row: Any, strategy: str, number: int) -> Any:
    if row is None:
        raise UnknownSignal(f"no signal {number} of strategy {strategy!r}")
    return row


def _folded(decision: str, found: Any) -> Any:
    """``found``: the signal's read model may be ahead of that of decisions."""
    from alphapulse.projections.candle_view import NotYetFolded

    if found is None:
        raise NotYetFolded(f"{decision} is not in the read model `decisions` yet")
    return found


class UnknownSignal(LookupError):
    """There is no signal of that number."""


def _ask(query: str, as_of: str | None, *arguments: Any, of: str | None = None, **named: Any) -> Any:
    """Run a query of decision_queries.py or claim_queries.py; ``of`` is a strategy that must be there."""
    import asyncio

    return asyncio.run(_asked(query, as_of, *arguments, of=of, **named))


async def _asked(query: str, as_of: str | None, *arguments: Any, of: str | None = None, **named: Any) -> Any:
    from psycopg import AsyncConnection

    from alphapulse.adapters.database import connection_info
    from alphapulse.cli.candles import position_of
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections import claim_queries, decision_queries
    from alphapulse.settings import load

    settings = load()
    ask = getattr(decision_queries, query, None) or getattr(claim_queries, query)
    info = connection_info(settings.database(), role=None)
    async with event_store(settings) as store, await AsyncConnection.connect(info, autocommit=True) as db:
        await check_strategy(store, of)
        position = None if as_of is None else await position_of(store, as_of)
        return await ask(db, *arguments, as_of=position, **named)


async def check_strategy(store: Any, name: str | None) -> None:
    """Raises UnknownStrategy: it was never defined."""
    from alphapulse.domain.decision.strategy_decider import UnknownStrategy, stream_for

    if name is not None and not await store.version(stream_for(name)):
        raise UnknownStrategy(f"no strategy {name!r}")


def when(time: int) -> str:
    """A venue's time in UTC, to the second."""
    return datetime.fromtimestamp(time // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _label(timeframe: int) -> str:
    from alphapulse.domain.market.timeframes import LABELS

    return LABELS[timeframe]


def _builtins(event: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(event)


def _facts(row: Any) -> dict[str, Any]:
    later: Sequence[str] = (
        "position",
        "exit_time",
        "exit_price",
        "closed_at",
        "close_reason",
        "close_price",
        "net_bps",
        "r_multiple",
        "equity",
    )
    return {**_builtins(row.issued), **{name: getattr(row, name) for name in later}}
