"""Health that tells the truth: not "the task is running", but how far behind the log everything is.

``/health/live``: this process answers. ``/health/ready``: its answers are fresh: 200, or 503 with the
reasons. ``/health`` is the same report, always 200. Status: ok, degraded (fresh, but a person should
look), down (not ready).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from alphapulse.domain.ports import StoreUnavailable
from alphapulse.graphql.context import Services
from alphapulse.projections import anchor_status, relay_status, seal_status, status, sweeps
from alphapulse.projections.anchor_status import AnchorStatus
from alphapulse.projections.relay_status import RelayStatus
from alphapulse.projections.seal_status import SealStatus
from alphapulse.projections.status import ProjectionStatus
from alphapulse.projections.sweeps import SweepStatus

_AWAY = (psycopg.Error, PoolTimeout, StoreUnavailable, TimeoutError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Beyond these, answers are not fresh."""

    lag_s: float = 10.0  # of a read model
    relay_lag_s: float = 30.0
    seal_lag_s: float = 30.0
    sweep_silent_s: float = 600.0  # a sweep that looked at nothing for so long is not at work
    anchors: tuple[str, ...] = ()  # that are configured
    anchor_lag_s: float = 900.0
    database_s: float = 2.0  # how long the database may take to say how things are


@dataclass(frozen=True, slots=True)
class Report:
    """``failures`` make the process not ready; ``warnings`` only degraded."""

    failures: Sequence[str]
    warnings: Sequence[str]
    details: dict[str, Any]

    @property
    def status(self) -> str:
        return "down" if self.failures else "degraded" if self.warnings else "ok"

    def json(self) -> bytes:
        reasons = [*self.failures, *self.warnings]
        return orjson.dumps({"status": self.status, "reasons": reasons, **self.details})


class Health:
    def __init__(self, services: Services, thresholds: Thresholds) -> None:
        self._services, self._thresholds = services, thresholds

    async def report(self) -> Report:
        limit_s = self._thresholds.database_s
        try:
            async with asyncio.timeout(limit_s):
                async with self._services.reads.connection() as db:
                    models = await status.projection_status(db, self._services.code_versions)
                    relay = await relay_status.read(db)
                    sealed = await seal_status.read(db)
                    sweep = await sweeps.status(db)
                    anchors = await anchor_status.read(db, self._thresholds.anchors)
                head = await self._services.store.head()
        except _AWAY as error:
            reason = f"the database does not answer within {limit_s:g} s ({type(error).__name__})"
            return Report([reason], [], {"database": "away"})
        return self._judge(head, models, relay, sealed, sweep, anchors)

    def _judge(
        self,
        head: int,
        models: Sequence[ProjectionStatus],
        relay: RelayStatus | None,
        sealed: SealStatus,
        sweep: SweepStatus | None,
        anchors: Sequence[AnchorStatus],
    ) -> Report:
        failures = [reason for model in models for reason in self._stale(model)]
        failures += [f"{name} has never run" for name in sorted(self._missing(models))]
        warnings = [f"{m.name}: {m.parked} events parked" for m in models if m.parked]
        warnings += self._relay_warnings(relay) + self._seal_warnings(sealed) + self._sweep_warnings(sweep)
        warnings += self._anchor_warnings(anchors)
        details = {
            "database": "ok",
            "head": head,
            "projections": [_model_details(model) for model in models],
            "relay": _relay_details(relay),
            "sealed": _seal_details(sealed),
            "sweep": _sweep_details(sweep),
            "anchors": [_anchor_details(anchor) for anchor in anchors],
        }
        return Report(failures, warnings, details)

    def _missing(self, models: Sequence[ProjectionStatus]) -> set[str]:
        return set(self._services.code_versions) - {model.name for model in models}

    def _stale(self, model: ProjectionStatus) -> list[str]:
        limit_s = self._thresholds.lag_s
        reasons = []
        if model.lag_s > limit_s:
            reasons.append(_behind(model.name, model.lag_events, model.lag_s, limit_s))
        if model.problem and not model.problem.endswith("parked"):
            reasons.append(f"{model.name}: {model.problem}")
        return reasons

    def _relay_warnings(self, relay: RelayStatus | None) -> list[str]:
        """The relay serves clients of NATS; whoever asks this API is served all the same."""
        limit_s = self._thresholds.relay_lag_s
        if relay is None:
            return ["no relay has ever run"]
        warnings = [f"relay: {relay.problem}"] if relay.problem else []
        if relay.silent_s > status.SILENT_S:
            warnings.append(f"no relay seen for {relay.silent_s:.0f} s")
        if relay.lag_s > limit_s:
            warnings.append(_behind("the relay", relay.lag_events, relay.lag_s, limit_s))
        return warnings

    def _anchor_warnings(self, anchors: Sequence[AnchorStatus]) -> list[str]:
        """What is not anchored yet is served and can be proved; only not yet when it was there."""
        limit_s = self._thresholds.anchor_lag_s
        return [
            f"{anchor.anchor} is {anchor.lag_leaves} leaves, {anchor.lag_s:.0f} s behind; "
            f"{limit_s:g} s are allowed"
            for anchor in anchors
            if anchor.lag_s > limit_s
        ]

    def _sweep_warnings(self, sweep: SweepStatus | None) -> list[str]:
        """A store that parts from its seals is a matter for a person; answers are as fresh as before."""
        if sweep is None:
            return []
        warnings = [f"the sweep found {count} x {kind}" for kind, count in sweep.faults.items()]
        if sweep.silent_s > self._thresholds.sweep_silent_s:
            warnings.append(f"no sweep seen for {sweep.silent_s:.0f} s")
        return warnings

    def _seal_warnings(self, sealed: SealStatus) -> list[str]:
        """What is not sealed yet is served all the same; it cannot be proved yet."""
        limit_s = self._thresholds.seal_lag_s
        if sealed.lag_s <= limit_s:
            return []
        return [_behind("sealing", sealed.lag_events, sealed.lag_s, limit_s)]


def _behind(name: str, events: int, lag_s: float, limit_s: float) -> str:
    return f"{name} is {events} events, {lag_s:.1f} s behind; {limit_s:g} s are allowed"


def routes(services: Services, thresholds: Thresholds) -> list[BaseRoute]:
    """``/health``, ``/health/ready`` and ``/health/live``; open to everybody, they tell no market data."""
    health = Health(services, thresholds)

    async def report(_request: Request) -> Response:
        return _json((await health.report()).json(), 200)

    async def ready(_request: Request) -> Response:
        report = await health.report()
        return _json(report.json(), 503 if report.failures else 200)

    async def live(_request: Request) -> Response:
        return _json(orjson.dumps({"status": "ok"}), 200)

    return [Route("/health", report), Route("/health/ready", ready), Route("/health/live", live)]


def _json(body: bytes, code: int) -> Response:
    return Response(body, code, media_type="application/json", headers={"cache-control": "no-store"})


def _model_details(model: ProjectionStatus) -> dict[str, Any]:
    return {
        "name": model.name,
        "generation": model.generation,
        "position": model.position,
        "lag_events": model.lag_events,
        "lag_seconds": round(model.lag_s, 3),
        "parked": model.parked,
        "problem": model.problem,
    }


def _relay_details(relay: RelayStatus | None) -> dict[str, Any] | None:
    if relay is None:
        return None
    return {
        "position": relay.position,
        "lag_events": relay.lag_events,
        "lag_seconds": round(relay.lag_s, 3),
        "problem": relay.problem,
    }


def _seal_details(sealed: SealStatus) -> dict[str, Any]:
    return {
        "size": sealed.size,
        "position": sealed.position,
        "lag_events": sealed.lag_events,
        "lag_seconds": round(sealed.lag_s, 3),
    }


def _sweep_details(found: SweepStatus | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "leaf": found.sweep.leaf,
        "size": found.sweep.size,
        "passes": found.sweep.passes,
        "finished_at": found.sweep.finished_at,
        "faults": {str(kind): count for kind, count in found.faults.items()},
    }


def _anchor_details(anchor: AnchorStatus) -> dict[str, Any]:
    return {
        "anchor": anchor.anchor,
        "size": anchor.size,
        "lag_leaves": anchor.lag_leaves,
        "lag_seconds": round(anchor.lag_s, 3),
    }
