"""Health tells which anchor is behind the log's checkpoints, and by how much."""

import asyncio
import os
from typing import Any

import pytest

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store.seals import PostgresSeals
from alphapulse.domain.provenance.merkle import Frontier
from alphapulse.domain.provenance.sealing import Receipt, Tree, grown, seal
from alphapulse.graphql.health import Health, Thresholds
from alphapulse.projections import anchor_status
from tests.adapters.store.events import run_of
from tests.graphql.conftest import Api

NAMES = ("file:/a", "ots:https://b", "witness:https://c")


def anchor_reasons(report: Any) -> list[str]:
    return [reason for reason in report.warnings if any(name in reason for name in NAMES)]


async def test_an_anchor_is_behind_from_the_first_checkpoint_that_it_has_no_receipt_for(
    api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, tree = KeySigner("log.example", os.urandom(32)), Tree(Frontier(), 0, {})
    store = api.services.store
    health = Health(api.services, Thresholds(anchors=NAMES, anchor_lag_s=0.0))
    assert anchor_reasons(await health.report()) == [], "nothing is sealed"
    async with PostgresSeals(database_url) as seals:
        fence = await store.leases.acquire("seal", "test", 60)
        assert fence
        for start in (1, 4):
            await store.append(run_of("s-1", start, 3))
            page = await store.read(tree.position, limit=3)
            done = seal(tree, page.records, os.urandom(48), "log.example", signer)
            await seals.append(done, fence=fence)
            tree = grown(tree, done)
            if start == 1:
                await seals.keep(Receipt(size=3, anchor=NAMES[1], kind="ots", time=None, data=b"1"))
                await asyncio.sleep(0.4)
        await seals.keep(Receipt(size=6, anchor=NAMES[0], kind="file", time=1, data=b"2"))
        await seals.keep(Receipt(size=6, anchor="removed", kind="file", time=1, data=b"3"))
    report = await health.report()
    young, old = anchor_reasons(report)
    assert young.startswith("ots:https://b is 3 leaves, ")
    assert old.startswith("witness:https://c is 6 leaves, ")
    assert old.endswith(" s behind; 0 s are allowed")
    held, promised, nothing = report.details["anchors"]
    assert held == {"anchor": NAMES[0], "size": 6, "lag_leaves": 0, "lag_seconds": 0.0}
    assert (promised["size"], promised["lag_leaves"]) == (3, 3)
    assert (nothing["size"], nothing["lag_leaves"]) == (0, 6)
    assert nothing["lag_seconds"] >= promised["lag_seconds"] + 0.4, "from the first, and from the second seal"
    monkeypatch.setattr(anchor_status, "LOOKED_AT", 2)  # those for 6 leaves
    told = (await health.report()).details["anchors"]
    assert [each["size"] for each in told] == [6, 0, 0]
    patient = Health(api.services, Thresholds(anchors=NAMES, anchor_lag_s=3600))
    assert anchor_reasons(await patient.report()) == []
