"""Exports of the sealed log: a job that a subscription watches, and at last a link to fetch the bundle by."""

import base64
from collections.abc import AsyncIterator
from typing import cast

import strawberry

from alphapulse.domain.provenance import selection as chosen
from alphapulse.domain.provenance.export_job import ExportAsked, ExportMade, ExportTold
from alphapulse.domain.provenance.notes import MAX_NOTE_BYTES
from alphapulse.graphql import downloads
from alphapulse.graphql.access import READ
from alphapulse.graphql.as_of import AsOf
from alphapulse.graphql.candles import Info
from alphapulse.graphql.counterfactuals import JobPhase
from alphapulse.graphql.errors import UserError
from alphapulse.graphql.fanout import Stream, Watch
from alphapulse.graphql.jobs import JobFeed, JobState
from alphapulse.graphql.scalars import Long, Position, Time

WORK = 20  # of reading the log once, as a factor of the cost: how long it takes is bounded elsewhere
_US_NS = 1_000


@strawberry.input(description="What to export; all conditions hold at once, none is the whole log.")
class AuditExportFilter:
    first_position: Position | None = None
    last_position: Position | None = strawberry.field(default=None, description="Included.")
    first_leaf: Long | None = None
    last_leaf: Long | None = strawberry.field(default=None, description="Included.")
    streams: list[str] | None = None
    names: list[str] | None = strawberry.field(
        default=None, description="Stored names, such as signal.issued.v1."
    )
    actors: list[str] | None = None
    signal: str | None = strawberry.field(
        default=None,
        description="strategy/number or a decision's id: with all that led to it and became of it.",
    )
    strategy: str | None = strawberry.field(
        default=None, description="Its definition, calibrations, decisions, signals, outcomes and trials."
    )
    recorded_from: Time | None = None
    recorded_to: Time | None = strawberry.field(default=None, description="Not included.")
    happened_from: Time | None = strawberry.field(default=None, description="By the venue's clock.")
    happened_to: Time | None = strawberry.field(default=None, description="Not included.")
    as_of: AsOf | None = strawberry.field(
        default=None, description="Out of the last checkpoint at or before this moment."
    )
    withhold_open: bool = strawberry.field(
        default=False, description="Keep back what signals say that are still open."
    )


@strawberry.type(description="A bundle that can be fetched for a while. Whoever has the link may.")
class AuditExportFile:
    path: str = strawberry.field(description="Of the link, on this server.", metadata=READ)
    expires_at: Time = strawberry.field(metadata=READ)
    bytes: Long = strawberry.field(metadata=READ)
    events: Long = strawberry.field(metadata=READ)
    erased: Long = strawberry.field(description="Of them, without their payload.", metadata=READ)
    withheld: Long = strawberry.field(description="Of them, kept back for now.", metadata=READ)
    size: Long = strawberry.field(description="Leaves of the checkpoint in it.", metadata=READ)
    root: str = strawberry.field(description="Of the checkpoint, base64.", metadata=READ)
    manifest: str = strawberry.field(description="SHA-256 of manifest.json, hexadecimal.", metadata=READ)


@strawberry.type(description="How far the export is; at last with its file, after which nothing comes.")
class AuditExportUpdate:
    phase: JobPhase = strawberry.field(metadata=READ)
    progress: float = strawberry.field(description="From 0 to 1.", metadata=READ)
    events: Long = strawberry.field(description="So far.", metadata=READ)
    bytes: Long = strawberry.field(description="So far, packed.", metadata=READ)
    file: AuditExportFile | None = strawberry.field(metadata=READ)


def update_of(state: JobState[ExportTold, ExportMade]) -> AuditExportUpdate:
    told, made = state.progress or ExportTold(events=0, bytes=0, ratio=0.0), state.result
    phase = JobPhase.DONE if made else JobPhase.RUNNING if state.running else JobPhase.WAITING
    return AuditExportUpdate(
        phase=phase,
        progress=1.0 if made else told.ratio,
        events=Long(made.events if made else told.events),
        bytes=Long(made.bytes if made else told.bytes),
        file=None if made is None else _file_of(made),
    )


def _file_of(made: ExportMade) -> AuditExportFile:
    return AuditExportFile(
        path=f"{downloads.PATH}/{made.token}",
        expires_at=Time(made.expires_at),
        bytes=Long(made.bytes),
        events=Long(made.events),
        erased=Long(made.erased),
        withheld=Long(made.withheld),
        size=Long(made.size),
        root=base64.b64encode(made.root).decode(),
        manifest=made.manifest,
    )


def _span(first: int | None, second: int | None, unit: int = 1, more: int = 0) -> chosen.Span | None:
    if first is None and second is None:
        return None
    return (
        None if first is None else first // unit,
        None if second is None else second // unit + more,
    )


def selection_of(asked: AuditExportFilter) -> chosen.Selection:
    """Raises UserError: nothing can be selected so."""
    try:
        return chosen.Selection(
            positions=_span(asked.first_position, asked.last_position),
            leaves=_span(asked.first_leaf, asked.last_leaf, more=1),
            streams=tuple(asked.streams or ()),
            names=tuple(asked.names or ()),
            actors=tuple(asked.actors or ()),
            signal=asked.signal,
            strategy=asked.strategy,
            recorded=_span(asked.recorded_from, asked.recorded_to, _US_NS),
            event_time=_span(asked.happened_from, asked.happened_to),
            as_of=_as_of(asked.as_of),
            withhold_open=asked.withhold_open,
        )
    except chosen.BadSelection as error:
        raise UserError(str(error)) from None


def _as_of(asked: AsOf | None) -> chosen.AsOf | None:
    if asked is None:
        return None
    if isinstance(asked.position, int):
        return chosen.AsOf(position=asked.position)
    assert isinstance(asked.recorded_at, int), "a one-of input has exactly one field"
    return chosen.AsOf(recorded=asked.recorded_at // _US_NS)


@strawberry.type
class AuditExportSubscription:
    @strawberry.subscription(
        description="Make a bundle of what is sealed: a job whose progress is told, and at last a link to "
        "fetch it by, which expires. `since` is a checkpoint that you hold: the bundle then proves that the "
        "log goes on from it. The export goes into the log as an event. Who leaves ends the job, unless "
        "others watch the same. Large exports are for the command `alphapulse audit export`.",
        metadata={**READ, "size": WORK},
    )
    async def audit_export(
        self,
        info: Info,
        filter: AuditExportFilter | None = None,  # noqa: A002  as clients call it
        since: str | None = None,
        csv: bool = False,
        parquet: bool = False,
    ) -> AsyncIterator[AuditExportUpdate]:
        services = info.context.services
        if services.exports is None:
            raise UserError("this server makes no exports: use `alphapulse audit export`")
        if since is not None and len(since) > MAX_NOTE_BYTES:
            raise UserError(f"a checkpoint of {len(since)} characters")
        tables = [kind for kind, is_wanted in (("csv", csv), ("parquet", parquet)) if is_wanted]
        ask = ExportAsked(
            selection=selection_of(filter or AuditExportFilter()),
            tables=tuple(tables),
            since=since,
            actor=f"api:{info.context.principal.name}",
        )
        jobs = services.exports

        def feed() -> JobFeed[ExportAsked, ExportTold, ExportMade]:
            return JobFeed(jobs, ask, update_of)

        watch = Watch(("auditExport", ask), feed, None)
        return cast("AsyncIterator[AuditExportUpdate]", Stream(services.hub, watch))
