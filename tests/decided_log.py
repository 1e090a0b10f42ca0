"""A log in which a strategy has decided, and its read models: what commands and readers are tested on."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.ports import EventStore, Recorded
from alphapulse.processes.project import connector
from alphapulse.projections.attribution import Attribution
from alphapulse.projections.checkpoint import ensure_live
from alphapulse.projections.decisions import Decisions
from alphapulse.projections.features import Features
from alphapulse.projections.generations import newest
from alphapulse.projections.performance import Performance
from alphapulse.projections.read_model import AnyReadModel
from alphapulse.projections.rebuild import fold_until
from alphapulse.projections.runner import connection
from alphapulse.projections.signals import Signals
from tests.domain.signals.engine_world import world
from tests.launch import ROOT

MODELS: Sequence[AnyReadModel] = (Decisions(), Signals(), Features(), Performance(), Attribution())
# Two markets with an edge, in minutes; the strategy of engine_world.py issues some dozen signals on them.
MARKETS = [event for _, _, event in world(markets=2, bars=1_500, edge=3e-4, size=50)]


async def append_bars(store: EventStore, events: Sequence[Any]) -> int:
    """Record bars, one commit each; the last position."""
    position = await store.head()
    for event in events:
        stream = event.instrument.stream("bars") + "-1m"
        new = codec.new_event(stream, await store.version(stream) + 1, event)
        position = (await store.append([new]))[0].position
    return position


async def fold(url: str, *models: AnyReadModel) -> int:
    """Bring ``models``, or all that decisions are read from, to the end of the log; that position."""
    async with PostgresEventStore(url) as store, connection(connector(url)) as db:
        head = await store.head()
        for model in models or MODELS:
            await ensure_live(db, model.name, model.code_version)
            await fold_until(db, model, store, codec.decode, await newest(db, model.name, "live"), head)
    return head


async def recorded(store: EventStore, *names: str) -> list[Recorded]:
    """All events of these names."""
    found, after = list[Recorded](), 0
    while (page := await store.read(after, names=names, limit=500)).scanned_to > after:
        found += [codec.decode(record) for record in page.records]
        after = page.scanned_to
    return found


def with_test_voters(directory: Path) -> str:
    """A PYTHONPATH on which the program finds the voter of the tests, as it finds that of any package."""
    info = directory / "tests_voters-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tests-voters\nVersion: 1\n")
    entry = "test.echo = tests.domain.signals.engine_world"
    (info / "entry_points.txt").write_text(f"[alphapulse.voters]\n{entry}\n")
    return os.pathsep.join([str(ROOT), str(directory)])
