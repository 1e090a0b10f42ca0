"""The composition root: Settings in, running parts out. The only module that builds things.

A role is a coroutine that works until ``stop`` is set, then returns; an exception from it is a failure. What
a role needs from outside may be away for a while: it waits and tries again by itself.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alphapulse.adapters.bus.connection import NatsOptions
from alphapulse.domain.ports import EventStore
from alphapulse.domain.provenance.sealing import SealedLog
from alphapulse.settings import Settings, SettingsError

if TYPE_CHECKING:  # cryptography takes its time, and most commands sign nothing
    from alphapulse.adapters.provenance.keys import KeySigner
    from alphapulse.domain.provenance.notes import NoteKey
    from alphapulse.domain.provenance.sealing import Receipt

log = logging.getLogger(__name__)

SEAL_KEY = "seal.key"  # in the data directory
Role = Callable[[Settings, asyncio.Event], Awaitable[None]]


async def api(settings: Settings, stop: asyncio.Event) -> None:
    """GraphQL over the read models and the log."""
    from alphapulse.domain.provenance.anchor_names import parse_anchors
    from alphapulse.processes.api import ApiOptions, Exports, run_api
    from alphapulse.processes.export_shelf import ExportShelf

    shelf = ExportShelf(settings.data_dir / "exports")
    options = ApiOptions(
        token=settings.api_token,
        origins=frozenset(settings.api_origins),
        rate_cost_per_s=settings.api_rate,
        max_lag_s=settings.api_max_lag_s,
        anchors=tuple(map(str, parse_anchors(settings.anchors))),
        anchor_lag_s=3 * settings.anchor_interval_s,
        exports=Exports(shelf=shelf, key=lambda: public_key(settings)),
    )
    await run_api(settings.database(), settings.host, settings.port, options, stop)


async def project(settings: Settings, stop: asyncio.Event) -> None:
    """Read models, kept at the end of the log."""
    from alphapulse.processes.follower import from_bus
    from alphapulse.processes.project import run_project

    await run_project(settings.database(), from_bus(nats_options(settings)), stop)


async def decide(settings: Settings, stop: asyncio.Event) -> None:
    """Strategies at work: decisions, signals and their outcomes."""
    from alphapulse.processes.decide import contexts_of, recorder
    from alphapulse.processes.desks import run_decide
    from alphapulse.processes.extensions import load_voters

    load_voters()
    await run_decide(settings.database(), contexts_of, recorder, stop)


async def relay(settings: Settings, stop: asyncio.Event) -> None:
    """The log, published on NATS."""
    from alphapulse.processes.relay import run_relay

    await run_relay(settings.database(), nats_options(settings), stop)


async def quality(settings: Settings, stop: asyncio.Event) -> None:
    """The quality of features, looked at now and again."""
    from alphapulse.domain.analysis.quality import Thresholds
    from alphapulse.processes.quality import run_quality

    thresholds = Thresholds.parse(settings.quality_thresholds)
    await run_quality(settings.database(), thresholds, settings.quality_interval_s, stop)


async def seal(settings: Settings, stop: asyncio.Event) -> None:
    """A Merkle tree over the log, with a signed checkpoint each second."""
    from alphapulse.processes.seal import run_seal

    await run_seal(settings.database(), signer(settings), settings.data_dir, stop)


async def anchor(settings: Settings, stop: asyncio.Event) -> None:
    """Checkpoints, shown to the anchors that are configured."""
    from alphapulse.domain.provenance.anchor_names import parse_anchors

    if not (names := parse_anchors(settings.anchors)):
        log.info("no anchors are configured: ALPHAPULSE_ANCHORS names them, see docs/anchors.md")
        await stop.wait()
        return
    from alphapulse.processes.anchoring import run_anchor

    interval_s = settings.anchor_interval_s
    await run_anchor(settings.database(), names, lambda: signer(settings).key, interval_s, stop)


async def sweep(settings: Settings, stop: asyncio.Event) -> None:
    """What is stored, compared with what was sealed, again and again."""
    from alphapulse.processes.sweep import run_sweep

    await run_sweep(settings.database(), lambda: public_key(settings), stop)


# In the order in which they start; they stop the other way round.
ROLES: Mapping[str, Role] = {
    "relay": relay,
    "seal": seal,
    "anchor": anchor,
    "project": project,
    "decide": decide,
    "quality": quality,
    "sweep": sweep,
    "api": api,
}


def wanted_roles(settings: Settings) -> Sequence[str]:
    """The roles that have something to do under ``settings``, in the order in which they start."""
    return [name for name in ROLES if name != "anchor" or settings.anchors]


@asynccontextmanager
async def event_store(settings: Settings) -> AsyncIterator[EventStore]:
    """The log, for commands that read or append by themselves.

    Raises:
        SettingsError: the database's URL is not set.
    """
    from alphapulse.adapters.store.postgres import PostgresEventStore

    async with PostgresEventStore(settings.database()) as store:
        yield store


@asynccontextmanager
async def sealed_log(settings: Settings) -> AsyncIterator[SealedLog]:
    """What is sealed of the log, for commands that read it by themselves.

    Raises:
        SettingsError: the database's URL is not set.
    """
    from alphapulse.adapters.store.seals import PostgresSeals

    async with PostgresSeals(settings.database()) as seals:
        yield seals


async def anchored_now(settings: Settings) -> "Mapping[str, Receipt | Exception | None]":
    """What each anchor that is configured gives for the newest checkpoint; see ``anchor_once``."""
    from alphapulse.adapters.store.seals import PostgresSeals
    from alphapulse.domain.provenance.anchor_names import parse_anchors
    from alphapulse.processes.anchoring import anchor_of, anchor_once

    names = parse_anchors(settings.anchors)
    anchors = [anchor_of(name, lambda: signer(settings).key) for name in names]
    async with PostgresSeals(settings.database()) as seals:
        return await anchor_once(seals, anchors)


def witness_keys(settings: Settings) -> "Mapping[str, NoteKey]":
    """The keys of the file witnesses that are configured, made now where there are none.

    Raises:
        AnchorFailed, OSError, BadNote: see ``open_witness``.
    """
    from alphapulse.adapters.provenance.anchor_file import open_witness
    from alphapulse.domain.provenance.anchor_names import parse_anchors
    from alphapulse.domain.provenance.anchors import witness_key

    names = [name for name in parse_anchors(settings.anchors) if name.kind == "file"]
    return {str(name): witness_key(open_witness(Path(name.target), name.key).key) for name in names}


def signer(settings: Settings) -> "KeySigner":
    """The key that signs checkpoints, made now if there is none.

    Raises:
        OSError: its file cannot be read or made.
        BadNote: it holds no key, or one of another origin than the settings say.
    """
    from alphapulse.adapters.provenance.keys import load_or_create_signer

    return load_or_create_signer(_seal_key(settings), settings.origin)


def public_key(settings: Settings) -> "NoteKey | None":
    """The key by which others check our checkpoints; None where no private one is kept here yet.

    Raises:
        OSError: its file cannot be read.
        BadNote: it holds no key, or one of another origin than the settings say.
    """
    return signer(settings).key if _seal_key(settings).exists() else None


async def check_kept(settings: Settings) -> None:
    """Demand that the database goes on from the checkpoint that was kept outside of it, if one was.

    Raises:
        RolledBack: it does not.
        OSError, BadNote: key or checkpoint cannot be read.
        StoreUnavailable: the database did not answer.
    """
    if not _seal_key(settings).exists():  # nothing was sealed from here
        return
    from alphapulse.processes import seal

    await seal.check_kept(settings.database(), signer(settings), settings.data_dir)


def _seal_key(settings: Settings) -> Path:
    return settings.seal_key or settings.data_dir / SEAL_KEY


class SystemClock:
    def now_ns(self) -> int:
        return time.time_ns()


def nats_options(settings: Settings) -> NatsOptions:
    """How to reach NATS.

    Raises:
        SettingsError: its URL is not set.
    """
    if settings.nats_url is None:
        raise SettingsError("ALPHAPULSE_NATS_URL is not set: set it, or use `alphapulse up`")
    return NatsOptions(
        servers=tuple(server.strip() for server in settings.nats_url.split(",")),
        user=settings.nats_user,
        password=settings.nats_password,
        token=settings.nats_token,
        credentials=settings.nats_credentials,
        ca=settings.nats_ca,
        cert=settings.nats_cert,
        key=settings.nats_key,
    )
