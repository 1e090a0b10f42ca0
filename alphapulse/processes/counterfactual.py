"""What if the gate were lower, or a voter were out: the log replayed under another strategy, and compared.

The base is the same replay under the strategy as it is, so the difference is due to the change alone; whether
that base is what was recorded is said. Reads only; what was tried is given back, as a trial to write down.
"""

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from alphapulse import __version__
from alphapulse.adapters.store.codec import codec
from alphapulse.domain.backtest import trials
from alphapulse.domain.backtest.counterfactuals import (
    Asked,
    Counterfactual,
    Told,
    changed_of,
    counterfactual_of,
)
from alphapulse.domain.backtest.trials import TrialRecorded
from alphapulse.domain.decision.decisions import ISSUED, DecisionMade
from alphapulse.domain.ports import EventStore
from alphapulse.domain.signals.signal import OutcomeRecorded
from alphapulse.processes.backtest_files import LOG, LogSource, Opened, bounds
from alphapulse.processes.backtesting import Progress, Run, run_backtest
from alphapulse.processes.deciding import Job
from alphapulse.processes.parity import jobs_of_version, streams_of_version
from alphapulse.processes.searching import Search, trial_of

_PAGE = 500


Tell = Callable[[Told], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    result: Counterfactual
    trial: TrialRecorded  # of the changed strategy, not written down yet


async def counterfactual(store: EventStore, asked: Asked, tell: Tell) -> Found:
    """What would have become of the strategy.

    Raises:
        BadVariant: the change is none, or gives what no strategy can be.
        UnknownStrategy: there is no such version.
        CannotRun: this code cannot run the strategy.
        NothingToRead: the log holds nothing of a market.
    """
    job, first, upto = await _asked_of(store, asked)
    variant = changed_of(job.strategy, asked)
    after = 0 if asked.whole else job.position
    base, changed = [
        await run_backtest(
            store,
            strategy,
            upto=upto,
            since=asked.since,
            until=asked.until,
            after=after,
            tell=_half(n, tell),
        )
        for n, strategy in enumerate((job.strategy, variant.strategy))
    ]
    trial = _trial(changed, Opened(store, LOG, first, upto), after)
    result = counterfactual_of(
        base,
        changed,
        change=variant.name,
        upto=upto,
        since=asked.since or 0,
        until=asked.until or 0,
    )
    is_recorded, note = await _held_to_the_log(store, base)
    return Found(result=replace(result, recorded=is_recorded, note=note, trial=trial.trial), trial=trial)


async def _asked_of(store: EventStore, asked: Asked) -> tuple[Job, int, int]:
    """The job of the strategy, and the positions between which is looked; not beyond its retirement."""
    job = (await jobs_of_version(store, asked.strategy, asked.version))[0]
    ends = (await store.head(), asked.upto, job.retired)
    return job, *await bounds(store, min(end for end in ends if end is not None))


def _half(n: int, tell: Tell) -> Callable[[Progress], None]:
    """``tell`` of the n-th of two replays. Bars of the first are not known in the second: it has as many."""

    def told(progress: Progress) -> None:
        share = progress.position / max(progress.upto, 1)
        tell(Told(ratio=(n + share) / 2, position=progress.position, bars=progress.bars * (n + 1)))

    return told


def _trial(run: Run, opened: Opened, after: int) -> TrialRecorded:
    plan = Search(source=LogSource("", opened.last), variants=(), since=run.since, until=run.until)
    settings = {**plan.settings, "after": float(after)}
    trial = trials.id_of(
        run.strategy,
        source=[opened.name, opened.first, opened.last],
        since=run.since,
        until=run.until,
        settings=settings,
        code_version=__version__,
    )
    made = trial_of(run, trial, trials.group_of([trial]), plan, opened, kind="counterfactual")
    return replace(made, settings=settings)


@dataclass(slots=True)
class _Recorded:
    """What the log holds of a version, of the decisions that count."""

    issued: dict[str, DecisionMade]
    outcomes: dict[str, OutcomeRecorded]
    decided: set[str]


async def _held_to_the_log(store: EventStore, base: Run) -> tuple[bool | None, str]:
    """Whether signals and outcomes of ``base`` are those that are recorded, and what is to be said of it."""
    held = await _recorded(store, base)
    if not held.decided:
        return None, "nothing of it is recorded in this range"
    issued = {made.decision: made for made in base.issued}
    signals = sum(made == held.issued.get(decision) for decision, made in issued.items())
    rows = base.trades.rows()
    resolved = sum(row.decision in held.outcomes for row in rows)
    same = sum(
        (row.number, row.closed, row.net_bps) == (o.number, o.outcome.closed_at, o.outcome.net_bps)
        for row in rows
        if (o := held.outcomes.get(row.decision))
    )
    said = (
        f"{signals} of {len(issued)} signals and {same} of {len(rows)} outcomes of the base are as recorded; "
        f"recorded are {len(held.issued)} and {len(held.outcomes)}"
    )
    is_same = (
        signals == len(issued) == len(held.issued) and same == len(rows) == len(held.outcomes) == resolved
    )
    return is_same, said


async def _recorded(store: EventStore, base: Run) -> _Recorded:
    """Whose decisions were made from ``since`` on and before ``until``, by market data up to the end."""
    found = _Recorded({}, {}, set())
    for stream in await streams_of_version(store, base.strategy, False):
        version = 0
        while records := await store.read_stream(stream, after=version, limit=_PAGE):
            version = records[-1].version
            for record in records:
                _take(found, codec.decode(record).event, base)
    return found


def _take(found: _Recorded, event: object, base: Run) -> None:
    match event:
        case DecisionMade() if base.since <= event.time < base.until and event.position <= base.last_position:
            found.decided.add(event.decision)
            if event.verdict == ISSUED:
                found.issued[event.decision] = event
        case OutcomeRecorded() if event.decision in found.decided:
            if event.outcome.position <= base.last_position:
                found.outcomes[event.decision] = event
