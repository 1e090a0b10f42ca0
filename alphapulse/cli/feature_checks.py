"""``alphapulse features drift`` and ``check``: can the live rows still be trusted?"""

from typing import Annotated, Any

import typer

from alphapulse.cli.feature_bounds import (
    DIFFERENT,
    AsJson,
    Instruments,
    Set,
    Timeframes,
    label_of,
    minute_of,
    named,
    timeframe_of,
)

Limits = Annotated[
    str, typer.Option("--thresholds", help="What is still good: psi=0.3,stale_bars=20; see docs/features.md.")
]


def drift(
    feature_set: Set,
    instrument: Instruments = None,
    timeframe: Timeframes = None,
    split: Annotated[
        str | None, typer.Option(help="Judge the bars from this time on; without it the last --window.")
    ] = None,
    thresholds: Limits = "",
    as_json: AsJson = False,
) -> None:
    """How far each feature has moved: PSI and Kolmogorov-Smirnov against the rows before. Records nothing."""
    _judge(feature_set, instrument, timeframe, thresholds, as_json, checks=("psi", "ks"), split=split)


def check(
    feature_set: Annotated[
        str | None, typer.Argument(metavar="[SET[@VERSION]]", help="Without it all sets in use.")
    ] = None,
    instrument: Instruments = None,
    timeframe: Timeframes = None,
    thresholds: Limits = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Record no event.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check drift, holes, age and range of live rows; a breach is an event. Exit code 3: there is one."""
    _judge(feature_set, instrument, timeframe, thresholds, as_json, keep=not dry_run, fail=True)


def _judge(
    feature_set: str | None,
    instrument: list[str] | None,
    timeframe: list[str] | None,
    thresholds: str,
    as_json: bool,
    *,
    checks: tuple[str, ...] = (),
    split: str | None = None,
    keep: bool = False,
    fail: bool = False,
) -> None:
    import asyncio

    from alphapulse.domain.analysis.quality import Thresholds

    limits = Thresholds.parse(thresholds)
    frames = None if timeframe is None else [timeframe_of(t) for t in timeframe]
    at = None if split is None else minute_of(split)
    name, version = (None, None) if feature_set is None else named(feature_set)
    findings, events = asyncio.run(_findings(name, version, limits, instrument, frames, at, keep))
    shown = [(label, f) for label, f in findings if not checks or f.check in checks]
    _show_findings(shown, events, as_json, everything=bool(checks))
    if fail and any(finding.breached for _, finding in shown):
        raise typer.Exit(DIFFERENT)


async def _findings(
    name: str | None, version: int | None, limits: Any, instruments: Any, frames: Any, split: Any, keep: bool
) -> tuple[list[tuple[str, Any]], int]:
    from alphapulse.cli.features import _connected
    from alphapulse.processes.quality import check, look_at
    from alphapulse.processes.wiring import event_store
    from alphapulse.projections.feature_queries import feature_set
    from alphapulse.settings import load

    settings = load()
    found: list[tuple[str, Any]] = []
    events = 0
    async with event_store(settings) as store, await _connected(settings) as db:
        if split is not None and name is not None:
            chosen = await feature_set(db, name, version)
            looks = look_at(db, chosen, limits, instruments=instruments, timeframes=frames, split=split)
            async for look in looks:
                found += [(label_of(look.found.defined), finding) for finding in look.findings]
            return found, 0
        checked = check(
            store,
            db,
            limits,
            name=name,
            version=version,
            instruments=instruments,
            timeframes=frames,
            keep=keep,
        )
        async for look, recorded in checked:
            found += [(label_of(look.found.defined), finding) for finding in look.findings]
            events += len(recorded)
    return found, events


def _show_findings(findings: list[tuple[str, Any]], events: int, as_json: bool, *, everything: bool) -> None:
    import dataclasses
    import sys

    from alphapulse.cli.console import say_json, say_table
    from alphapulse.domain.market.timeframes import LABELS

    if as_json:
        say_json(
            {
                "events": events,
                "findings": [{"set": label, **dataclasses.asdict(f)} for label, f in findings],
            }
        )
        return
    rows = [
        (
            label, f.instrument, LABELS[f.timeframe], f.feature or "(rows)", f.check,
            "" if f.value is None else f"{f.value:.4g}", f"{f.threshold:g}",
            {True: "BREACHED", False: "good", None: "not judged"}[f.breached], f.detail,
        )
        for label, f in findings
        if everything or f.breached
    ]  # fmt: skip
    if rows:
        say_table(("set", "instrument", "bars", "feature", "check", "value", "limit", "verdict", ""), rows)
    count = {verdict: sum(f.breached is verdict for _, f in findings) for verdict in (True, False, None)}
    sys.stdout.write(
        f"{count[True]} breached, {count[False]} good, {count[None]} not judged; {events} events recorded\n"
    )
