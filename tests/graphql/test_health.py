"""Health tells how far behind everything is, and is not ready when answers are not fresh."""

import re
from typing import Any

from alphapulse.domain.provenance.faults import Fault, FaultKind
from alphapulse.graphql.health import Health, Thresholds
from alphapulse.projections import relay_status, sweeps
from tests.graphql.conftest import Api, Market
from tests.projections.market_log import trades


async def ready(api: Api) -> tuple[int, Any]:
    answer = await api.http.request("GET", "/health/ready")
    return answer.status, answer.json


async def write_relay(api: Api, position: int | None, problem: str | None = None) -> None:
    async with api.services.reads.connection() as db, db.transaction():
        await db.execute("SET TRANSACTION READ WRITE")
        await relay_status.write(db, position=position, sequence=1, epoch=1, problem=problem)


async def test_without_a_projector_the_api_is_alive_and_not_ready(api: Api) -> None:
    assert (await api.http.request("GET", "/health/live")).json == {"status": "ok"}
    status, report = await ready(api)
    assert (status, report["status"]) == (503, "down")
    assert "candles has never run" in report["reasons"]
    assert (await api.http.request("GET", "/health")).status == 200


async def test_with_everything_at_the_end_of_the_log_all_is_well(market: Market) -> None:
    position = await market.folded(trades([(0, 100, 1)]))
    await write_relay(market.api, position)
    status, report = await ready(market.api)
    assert (status, report["status"], report["reasons"]) == (200, "ok", [])
    assert report["head"] == position
    assert report["projections"][0]["lag_events"] == 0
    assert report["relay"]["position"] == position


async def test_a_relay_that_is_missing_or_has_a_problem_degrades(market: Market) -> None:
    position = await market.folded(trades([(0, 100, 1)]))
    status, report = await ready(market.api)
    assert (status, report["status"]) == (200, "degraded")
    assert report["reasons"] == ["no relay has ever run"]
    await write_relay(market.api, position, "NATS is away")
    status, report = await ready(market.api)
    assert (status, report["reasons"]) == (200, ["relay: NATS is away"])


async def test_what_the_sweep_found_degrades_until_it_is_gone(market: Market) -> None:
    await write_relay(market.api, await market.folded(trades([(0, 100, 1)])))
    found = [Fault(leaf, FaultKind.PAYLOAD_ERASED, leaf + 1, "gone") for leaf in (4, 7)]
    async with market.api.services.reads.connection() as db:
        await db.execute("SET default_transaction_read_only TO off")
        begun = await sweeps.now(db)
        await sweeps.begin(db, 9)
        await sweeps.note(db, [*found, Fault(5, FaultKind.ROW_MISSING, 6, "gone")])
        assert await sweeps.note(db, found) == [], "known already"
        status, report = await ready(market.api)
        assert (status, report["status"]) == (200, "degraded")
        assert _of_sweep(report) == ["the sweep found 2 x payload erased", "the sweep found 1 x row missing"]
        assert report["sweep"]["faults"] == {"payload erased": 2, "row missing": 1}
        await sweeps.finish(db)
        assert await sweeps.forget(db, begun) == []
        assert len(await sweeps.forget(db, await sweeps.now(db))) == 3
        assert _of_sweep((await ready(market.api))[1]) == []
        await db.execute("UPDATE log_sweep SET updated_at = updated_at - interval '20 minutes'")
        (reason,) = _of_sweep((await ready(market.api))[1])
    assert reason.startswith("no sweep seen for 120")


def _of_sweep(report: Any) -> list[str]:
    return [reason for reason in report["reasons"] if "sweep" in reason]


async def test_lag_beyond_the_threshold_is_not_ready_and_says_how_much(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    async with market.api.services.reads.connection() as db, db.transaction():
        await db.execute("SET TRANSACTION READ WRITE")
        await db.execute("SELECT FROM projections FOR UPDATE")  # so that the projector passes nothing
        await market.append(trades([(1, 101, 1)], first_id=2))
        report = await Health(market.api.services, Thresholds(lag_s=0.0)).report()
    assert report.status == "down"
    assert re.search(r"[a-z_]+ is 1 events, .* 0 s are allowed", report.failures[0])


async def test_sealing_that_falls_behind_degrades_and_says_how_far(market: Market) -> None:
    position = await market.folded(trades([(0, 100, 1)]))
    await write_relay(market.api, position)
    report = await Health(market.api.services, Thresholds(seal_lag_s=0.0)).report()
    assert (report.status, report.failures) == ("degraded", [])
    (warning,) = report.warnings
    assert re.fullmatch(rf"sealing is {position} events, .* s behind; 0 s are allowed", warning)
    assert report.details["sealed"]["size"] == 0
    assert report.details["sealed"]["lag_events"] == position


async def test_parked_events_degrade(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    await market.api.write(
        "INSERT INTO parked "
        "(projection, generation, position, stream, version, name, event_id, reason, tries) VALUES "
        "('candles', 1, 1, 's', 1, 'n', gen_random_uuid(), 'test', 3)"
    )
    status, report = await ready(market.api)
    assert (status, report["status"]) == (200, "degraded")
    assert "candles: 1 events parked" in report["reasons"]


async def test_code_that_would_fold_otherwise_is_not_ready(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    await market.api.write("UPDATE projections SET code_version = 99")
    status, report = await ready(market.api)
    assert status == 503
    assert "99" in report["reasons"][0]
