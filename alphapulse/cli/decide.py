"""``alphapulse decide``: decide over the log as it is, once; with --dry-run record nothing."""

from collections import Counter
from typing import Annotated, Any

import typer


def decide(
    strategy: Annotated[
        str | None, typer.Argument(help="Only this strategy; without it all that are in use.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be decided, record nothing.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With --dry-run: every decision in words.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Decide over the log up to its present end, and stop.

    alphapulse decide first --dry-run

    With --dry-run also what the strategy would have decided before it was defined counts, and the vetoes of
    its book do not: a proposal is what passed the gate. Without it the same is recorded that the role
    `decide` of `alphapulse up` records, which then finds it done; what is told is all that is recorded.
    """
    import asyncio
    import sys

    from alphapulse.cli.console import say
    from alphapulse.processes.extensions import load_voters

    load_voters()
    show = sys.stderr.isatty() and not as_json
    for name, counts in asyncio.run(_decide(strategy, dry_run, verbose and not as_json, show)):
        facts = {"strategy": name, "dry_run": dry_run, **counts}
        kind = "proposals" if dry_run else "signals"
        refused = ", ".join(f"{n} {why}" for why, n in sorted(counts["refused"].items()))
        won = f"{counts['won']} of {counts['resolved']} reached the target first"
        say(
            f"{name}: {counts['candidates']} candidates, {counts['issued']} {kind}"
            + (f"; refused: {refused}" if refused else "")
            + f"; {won}; {counts['calibrations']} calibrations"
            + ("" if dry_run else f"; {counts['recorded']} of these are new"),
            facts,
            as_json,
        )


async def _decide(strategy: str | None, dry_run: bool, verbose: bool, show: bool) -> list[tuple[str, Any]]:
    from alphapulse.cli.progress import counter
    from alphapulse.domain.decision.strategy_decider import UnknownStrategy
    from alphapulse.processes.decide import once
    from alphapulse.processes.desks import jobs_of
    from alphapulse.processes.wiring import event_store
    from alphapulse.settings import load

    found: dict[str, _Counts] = {}
    async with event_store(load()) as store:
        jobs = [
            job
            for job in await jobs_of(store)
            if job.retired is None and strategy in (None, job.strategy.name)
        ]
        if not jobs:
            raise UnknownStrategy(
                "no strategy is in use: define one first, `alphapulse strategies define --help`"
                if strategy is None
                else f"no strategy {strategy!r} is in use"
            )
        head = await store.head()
        for job in jobs:
            name = f"{job.strategy.name}.{job.strategy.version}"
            counts = found.setdefault(name, _Counts(verbose))
            with counter(f"{job}", head, show=show) as tell:
                take = counts.take if dry_run else _ignore
                await once(store, job, head, take, tell, is_dry=dry_run)
        if not dry_run:
            await _count(store, found, head)
    return [(name, counts.facts()) for name, counts in found.items()]


def _ignore(_: object) -> None:
    """What the book did with it stands in the log."""


async def _count(store: Any, found: dict[str, "_Counts"], head: int) -> None:
    """Take what is recorded; new is what lies behind ``head``."""
    from alphapulse.adapters.store.codec import codec

    names, position = ("decision.made.v1", "outcome.recorded.v1", "calibration.fitted.v1"), 0
    while True:
        page = await store.read(position, names=names, limit=500)
        for record in page.records:
            event = codec.decode(record).event
            counts = found.get(f"{event.strategy}.{event.strategy_version}")
            if counts is not None:
                counts.take(event, is_new=record.position > head)
        if page.scanned_to == position:
            return
        position = page.scanned_to


class _Counts:
    """What became of candidates."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._all: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def take(self, event: Any, is_new: bool = False) -> None:
        from alphapulse.domain.decision.decisions import ISSUED, CalibrationFitted, DecisionMade
        from alphapulse.domain.signals.signal import OutcomeRecorded

        self._all["recorded"] += is_new
        match event:
            case DecisionMade():
                self._all["candidates"] += 1
                self._all["issued"] += event.verdict == ISSUED
                self._refused.update(event.refusals)
                if self._verbose:
                    self._tell(event)
            case OutcomeRecorded():
                self._all["resolved"] += 1
                self._all["won"] += event.outcome.is_win
            case CalibrationFitted():
                self._all["calibrations"] += 1

    def _tell(self, event: Any) -> None:
        import sys

        from alphapulse.cli.explaining import explained

        sys.stdout.write(explained(event) + "\n\n")

    def facts(self) -> dict[str, Any]:
        names = ("candidates", "issued", "resolved", "won", "calibrations", "recorded")
        return {**{name: self._all[name] for name in names}, "refused": dict(self._refused)}
