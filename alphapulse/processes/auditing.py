"""Exporting what is sealed: a bundle that a stranger verifies without us.

The checkpoint is chosen first and does not change; then the log is read once up to it, a page at a time, and
written in parts. Killed, it goes on behind its last part and ends with the same bytes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from alphapulse.adapters.provenance.partial import OtherExport, Partial
from alphapulse.adapters.provenance.reading import README
from alphapulse.adapters.verifier.joining import joined
from alphapulse.domain.ports import EventStore
from alphapulse.domain.provenance.export_job import ExportTold
from alphapulse.domain.provenance.exported import STREAM, AuditExported, exports
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.domain.provenance.sealing import Receipt, SealedLog
from alphapulse.domain.provenance.selection import Selection
from alphapulse.processes.audit_anchors import Useful, anchors, check_key, consistency, receipts_until
from alphapulse.processes.audit_bundle import Made, Source, write_bundle
from alphapulse.processes.audit_checkpoint import checkpoint_for
from alphapulse.processes.audit_chosen import Chosen, choose
from alphapulse.processes.audit_lines import Withheld, batches, never
from alphapulse.processes.audit_standing import Parts, Reached, Standing, Wanted
from alphapulse.processes.audit_withheld import withheld_at
from alphapulse.processes.transact import transact

SEAL_WAIT_S = 15.0


class NothingSelected(Exception):
    """No sealed event fits what was asked for."""


class ExportTooLarge(Exception):
    """The export is over the limit that it was given; a smaller selection, or another way, is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """``size`` and ``root`` are the checkpoint's, ``manifest`` is SHA-256 in hexadecimal, ``run`` its id."""

    out: Path
    run: UUID
    size: int
    root: bytes
    events: int
    erased: int
    withheld: int
    anchors: int
    bytes: int
    manifest: str


def _nobody(_: ExportTold) -> None:
    return


async def export(
    log: EventStore,
    seals: SealedLog,
    asked: Selection,
    out: Path,
    *,
    key: NoteKey,
    kind: str = "export",
    positions: Sequence[int] | None = None,
    members: Mapping[str, bytes] | None = None,
    withheld: Withheld | None = None,
    since: str | None = None,
    tables: Sequence[str] = (),
    actor: str | None = None,
    tell: Callable[[ExportTold], None] = _nobody,
    max_bytes: int | None = None,
    seal_wait_s: float = SEAL_WAIT_S,
) -> Exported:
    """Write what is ``asked`` for to ``out``, or go on with that.

    ``key`` is the log's. ``positions`` leave only events there. ``members`` are added as they are; ``since``
    is the receiver's earlier checkpoint, a signed note; ``tables`` are of csv and parquet. With an ``actor``
    the export is recorded as an event. ``max_bytes`` bounds what the packed events take. ``withheld`` takes
    the place of the rule by which open signals are kept back.

    Raises:
        NothingSelected, NotSealed, NoSuchSignal, NotOurCheckpoint, OtherExport, ExportTooLarge: see there.
        NotItsLeaf: the store holds something that was not sealed so.
    """
    work = Partial(out)
    wanted = Wanted(
        kind=kind,
        asked=asked,
        positions=None if positions is None else tuple(sorted(set(positions))),
        tables=tuple(sorted(tables)),
        since=since,
    )
    held = _held(work, wanted)
    standing, receipts = held or await _new(log, seals, wanted, seal_wait_s)
    check_key(standing.sealed, key)
    proof = None if since is None else await consistency(seals, since, standing.sealed, key)
    chosen = await choose(log, seals, asked, standing.sealed.position, wanted.positions)
    if held is None:
        work.save(receipts, "receipts.json")
        work.save(standing)
    if withheld is None:
        withheld = await withheld_at(log, standing.sealed.position) if asked.withhold_open else never
    parts = Parts(work, standing, Useful(receipts))
    try:
        await _read(log, seals, chosen, standing, parts, withheld, tell, max_bytes)
    finally:
        await parts.settle()
    if not standing.reached.events:
        work.drop()
        raise NothingSelected(f"no event up to position {standing.sealed.position} fits {asked.told()}")
    source = Source(
        key=key,
        signals=(await seals.counts(standing.sealed.size)).text().encode(),
        consistency=proof,
        anchors=await anchors(seals, receipts, standing.reached.anchored, standing.sealed),
        members={**(members or {}), "verify.py": joined().encode(), "README.txt": README.encode()},
    )
    made = await asyncio.to_thread(write_bundle, work, standing, source)
    if actor is not None:
        await _record(log, standing, made, actor)
    work.finish(made.path)
    return _exported(work.out, standing, source, made)


def _held(work: Partial, wanted: Wanted) -> tuple[Standing, Sequence[Receipt]] | None:
    """Where the export was left; None where it was not begun."""
    standing, receipts = work.load(Standing), work.load(list[Receipt], "receipts.json")
    if standing is None or receipts is None:
        return None
    if standing.wanted != wanted:
        raise OtherExport(f"{work.folder} is of another export: {standing.wanted.asked.told()}")
    return standing, receipts


async def _new(
    log: EventStore, seals: SealedLog, wanted: Wanted, seal_wait_s: float
) -> tuple[Standing, Sequence[Receipt]]:
    sealed = await checkpoint_for(log, seals, wanted.asked, wanted.positions, seal_wait_s)
    receipts = await receipts_until(seals, sealed.size)
    return Standing(wanted=wanted, run=uuid4(), sealed=sealed, reached=Reached(), parts=[]), receipts


async def _read(
    log: EventStore,
    seals: SealedLog,
    chosen: Chosen,
    standing: Standing,
    parts: Parts,
    withheld: Withheld,
    tell: Callable[[ExportTold], None],
    max_bytes: int | None,
) -> None:
    """Bring the events of ``chosen`` to disk, from where ``standing`` is."""
    reached = parts.begun
    async for batch in batches(
        chosen.pages(log, reached.scanned_to),
        seals,
        leaf=reached.leaf,
        size=standing.sealed.size,
        admits=standing.wanted.asked.admits,
        withheld=withheld,
    ):
        await parts.add(batch.lines, batch.scanned_to)
        _check_size(parts, max_bytes)
        tell(ExportTold(events=parts.events, bytes=parts.packed_bytes, ratio=chosen.ratio(batch.scanned_to)))
    await parts.end()
    _check_size(parts, max_bytes)


def _check_size(parts: Parts, max_bytes: int | None) -> None:
    if max_bytes is not None and parts.packed_bytes > max_bytes:
        raise ExportTooLarge(f"over {max_bytes:,} bytes after {parts.events:,} events: select less")


async def _record(log: EventStore, standing: Standing, made: Made, actor: str) -> None:
    """Record that the bundle was made; once, however often the same export is finished."""
    told = AuditExported(
        kind=standing.wanted.kind,
        asked=dict(standing.wanted.asked.told()),
        events=standing.reached.events,
        erased=standing.reached.erased,
        withheld=standing.reached.withheld,
        size=standing.sealed.size,
        root=standing.sealed.root,
        manifest=made.manifest,
    )
    await transact(log, exports, STREAM, told, command_id=standing.run, actor=actor)


def _exported(out: Path, standing: Standing, source: Source, made: Made) -> Exported:
    return Exported(
        out=out,
        run=standing.run,
        size=standing.sealed.size,
        root=standing.sealed.root,
        events=standing.reached.events,
        erased=standing.reached.erased,
        withheld=standing.reached.withheld,
        anchors=len(source.anchors),
        bytes=out.stat().st_size,
        manifest=made.manifest,
    )
