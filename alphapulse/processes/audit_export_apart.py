"""An export in a process of its own, as the API has it made, and put where it can be fetched for a while."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.provenance.export_job import ExportAsked, ExportMade, ExportTold
from alphapulse.domain.provenance.lines import NotItsLeaf
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.graphql.jobs import WorkRefused
from alphapulse.processes.audit_anchors import NotOurCheckpoint
from alphapulse.processes.audit_checkpoint import NotSealed
from alphapulse.processes.audit_chosen import NoSuchSignal
from alphapulse.processes.auditing import Exported, ExportTooLarge, NothingSelected, export
from alphapulse.processes.export_shelf import ExportShelf, ShelfFull
from alphapulse.processes.one_off import in_a_process

_REFUSALS = (NothingSelected, NotSealed, NoSuchSignal, NotOurCheckpoint, NotItsLeaf, ExportTooLarge)
_INSTEAD = "; `alphapulse audit export` knows no limit"


class _Work(NamedTuple):
    asked: ExportAsked
    out: Path
    key: str
    max_bytes: int


async def export_apart(
    database_url: str,
    shelf: ExportShelf,
    key: Callable[[], NoteKey | None],
    asked: ExportAsked,
    tell: Callable[[ExportTold], None],
) -> ExportMade:
    """Make the bundle and put it on the ``shelf``; cancelling ends the work at once and leaves nothing.

    Raises:
        WorkRefused: nothing like that can be exported; the message is for whoever asked.
        WorkFailed: the process ended without a result.
    """
    if (signed_by := key()) is None:
        raise WorkRefused("this server holds no key of a log: nothing is sealed from here")
    try:
        token, out = shelf.place()
    except ShelfFull as error:
        raise WorkRefused(str(error)) from None
    work = _Work(asked, out, str(signed_by), shelf.limits.file_bytes)
    try:
        made = await in_a_process(_work, database_url, work, tell, refusals=_REFUSALS, refused=_refusal)
    finally:
        shelf.discard(out)
    assert isinstance(made, Exported)
    return ExportMade(
        token=token,
        expires_at=shelf.expires_at(out),
        bytes=made.bytes,
        events=made.events,
        erased=made.erased,
        withheld=made.withheld,
        size=made.size,
        root=made.root,
        manifest=made.manifest,
    )


def _refusal(message: str) -> WorkRefused:
    return WorkRefused(message + (_INSTEAD if message.startswith("over ") else ""))


async def _work(database_url: str, work: _Work, tell: Callable[[ExportTold], None]) -> Exported:
    async with PostgresEventStore(database_url, readers=2) as log, PostgresSeals(database_url) as seals:
        return await export(
            log,
            seals,
            work.asked.selection,
            work.out,
            key=NoteKey.parse(work.key),
            since=work.asked.since,
            tables=work.asked.tables,
            actor=work.asked.actor,
            tell=tell,
            max_bytes=work.max_bytes,
        )
