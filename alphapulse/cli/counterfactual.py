"""``alphapulse counterfactual``: what would have become of a strategy, had it been another."""

import sys
from typing import Annotated, Any

import typer


def counterfactual(
    strategy: Annotated[str, typer.Argument(help="The strategy.")],
    version: Annotated[int | None, typer.Option(min=1, help="Its version; the newest without it.")] = None,
    gate: Annotated[
        float | None, typer.Option(help="What if the least confidence of a signal were this.")
    ] = None,
    without_voter: Annotated[
        list[str] | None, typer.Option("--without-voter", help="What if this voter were out. Repeatable.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="What if a field were another: risk.fee_bps=2. Repeatable."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Decisions from here on count: ISO 8601, UTC.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Decisions before this count, by the venue's clock.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Also what would have been decided before it was defined.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do not count it among the strategy's trials.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay the log under another gate, without a voter or with another field, and compare.

    alphapulse counterfactual first --gate 0.80

    The base is the same replay of the strategy as it is, so that the difference is due to the change alone.
    What was tried goes to the strategy's trials, which deflated figures count; nothing else is recorded.
    """
    import asyncio

    from alphapulse.cli.console import say_json
    from alphapulse.cli.feature_bounds import nanoseconds_of
    from alphapulse.domain.backtest.counterfactuals import Asked
    from alphapulse.processes.extensions import load_voters

    load_voters()
    asked = Asked(
        strategy=strategy,
        version=version,
        gate=gate,
        without=tuple(without_voter or ()),
        changes=tuple(set_ or ()),
        since=nanoseconds_of(from_) if from_ else None,
        until=nanoseconds_of(to) if to else None,
        whole=whole,
    )
    found, is_new = asyncio.run(_look(asked, dry_run, sys.stderr.isatty() and not as_json))
    if as_json:
        import msgspec

        say_json({**msgspec.to_builtins(found), "trial_is_new": is_new})
    else:
        _tell(found, is_new)


async def _look(asked: Any, dry_run: bool, show: bool) -> tuple[Any, bool | None]:
    from alphapulse.cli.progress import file_progress
    from alphapulse.processes.counterfactual import counterfactual
    from alphapulse.processes.trials import LogTrials
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    async with event_store(load()) as store:
        with file_progress(asked.strategy, show=show) as tell:
            found = await counterfactual(store, asked, lambda told: tell(f"{told.bars:,} bars", told.ratio))
        if dry_run:
            return found.result, None
        return found.result, await LogTrials(store, asked.strategy).add(found.trial)


def _tell(found: Any, is_new: bool | None) -> None:
    from alphapulse.cli.console import say_table

    sys.stdout.write(f"{found.strategy}.{found.version}, had it been another: {found.change}\n")
    rows = [
        ("as it is", found.base.signals),
        ("changed", found.changed.signals),
        ("in both: as it is", found.both_base),
        ("in both: changed", found.both_changed),
        ("only as it is", found.only_base),
        ("only changed", found.only_changed),
    ]
    say_table(
        ("", "signals", "resolved", "won", "of the equity", "net R"),
        [
            (name, f"{s.signals:,}", f"{s.resolved:,}", f"{s.won:,}", f"{s.contribution:+.4%}", f"{s.r:+.2f}")
            for name, s in rows
        ],
    )
    gates = [("as it is", found.base), ("changed", found.changed)]
    say_table(
        ("kept out", "candidates", "would have earned", "net R missed", "would have lost", "net R saved"),
        [
            (
                name,
                f"{side.gate.refused:,}",
                f"{side.gate.missed:,}",
                f"{side.gate.missed_r:.2f}",
                f"{side.gate.avoided:,}",
                f"{-side.gate.avoided_r:.2f}",
            )
            for name, side in gates
        ],
    )
    for figure, text in ((found.difference, "{:+.4%}"), (found.difference_r, "{:+.2f} R")):
        sys.stdout.write(f"the change: {_figure(figure, text)}\n")
    if (parted := found.first_divergence) is not None:
        was, now = (_standing(each) for each in (parted.base, parted.changed))
        sys.stdout.write(f"first to differ: {parted.decision}: {was}; changed: {now}\n")
    sys.stdout.write(f"{found.note}\n")
    sys.stdout.write(f"{_trial(found, is_new)}\n")


def _figure(figure: Any, text: str) -> str:
    between = "" if figure.low is None else f" ({text.format(figure.low)} to {text.format(figure.high)})"
    return f"{text.format(figure.value)}{between}; {figure.sample} signals; {figure.note}"


def _standing(standing: Any) -> str:
    if standing is None:
        return "not a candidate"
    claimed = "nothing claimed" if standing.confidence is None else f"confidence {standing.confidence:.4f}"
    side = "long" if standing.side > 0 else "short"
    return f"{side}, {claimed}, " + (f"signal {standing.number}" if standing.number else "refused")


def _trial(found: Any, is_new: bool | None) -> str:
    if is_new is None:
        return "not counted among the trials"
    return f"trial {found.trial[:12]} " + ("is counted" if is_new else "was counted before")
