"""``auditExport`` over a real socket, and the links that it gives."""

import multiprocessing
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.graphql.downloads import Gone, NotThere
from alphapulse.graphql.jobs import JobLimits
from alphapulse.processes.api import Exports
from alphapulse.processes.export_shelf import ExportShelf, ShelfFull, ShelfLimits
from tests.graphql.client import eventually, subscriber
from tests.graphql.conftest import Api, StartApi
from tests.graphql.test_counterfactual import to_the_end
from tests.provenance import reading
from tests.provenance.in_database import SealedDatabase, sealed_database

ASK = """subscription($filter: AuditExportFilter, $since: String, $csv: Boolean = false) {
  auditExport(filter: $filter, since: $since, csv: $csv) {
    phase progress events bytes
    file { path expiresAt bytes events erased withheld size root manifest }
  }
}"""


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[SealedDatabase]:
    async with sealed_database(database_url) as log:
        await log.append(300, stream="facts")
        await log.append(50, stream="others")
        await log.seal(100)
        yield log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exports"


@pytest.fixture
async def api(start_api: StartApi, log: SealedDatabase, folder: Path) -> Api:
    exports = Exports(shelf=ExportShelf(folder), key=lambda: log.signer.key)
    return await start_api(exports=exports, job_limits=JobLimits())


async def exported(api: Api, **variables: Any) -> list[Any]:
    """The payloads of the job."""
    async with subscriber(api.port) as peer:
        await peer.subscribe(ASK, variables)
        return await to_the_end(peer)


async def test_a_client_sees_how_far_it_is_and_fetches_a_bundle_that_verifies(
    api: Api, log: SealedDatabase, tmp_path: Path
) -> None:
    asked = {"streams": ["facts"], "lastPosition": 200}
    updates = [payload["data"]["auditExport"] for payload in await exported(api, filter=asked, csv=True)]
    assert {each["phase"] for each in updates} <= {"WAITING", "RUNNING", "DONE"}
    last = updates[-1]
    assert (last["phase"], last["progress"], last["events"]) == ("DONE", 1.0, 200)
    file = last["file"]
    answer = await api.http.request("GET", file["path"])
    assert (answer.status, len(answer.body)) == (200, file["bytes"])
    assert answer.headers["content-type"] == "application/gzip"
    assert answer.headers["cache-control"] == "no-store"
    out = tmp_path / "fetched.tar.gz"
    out.write_bytes(answer.body)
    assert reading.manifest(out)["filter"] == {"streams": ["facts"], "positions": [None, 200]}
    assert reading.verified(out, log.signer.key).verdict == "VALID"
    assert len(reading.table(out)) == file["events"] == 200


async def test_the_export_goes_into_the_log_under_the_name_of_who_asked(
    api: Api, log: SealedDatabase
) -> None:
    (*_, last) = await exported(api, filter={"streams": ["others"]})
    (record,) = await log.store.read_stream("audit-exports")
    assert record.envelope.actor == "api:anyone"
    assert codec.decode(record).event.manifest == last["data"]["auditExport"]["file"]["manifest"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"streams": ["nothing"]}, "no event up to position"),
        ({"signal": "nobody/1"}, "strategy 'nobody' has issued no signal 1"),
        ({"firstPosition": 9, "lastPosition": 3}, "positions from 9 to 3: the other way round"),
        ({"asOf": {"position": 5}}, "no checkpoint ends at position 5 or before"),
    ],
)
async def test_what_cannot_be_exported_is_said_in_words(api: Api, asked: Any, why: str) -> None:
    async with subscriber(api.port) as peer:
        await peer.subscribe(ASK, {"filter": asked})
        while (message := await peer.receive())["type"] == "next" and "errors" not in message["payload"]:
            pass
        assert why in str(message)
        assert "BAD_USER_INPUT" in str(message)


async def test_a_checkpoint_of_somebody_else_is_refused(api: Api) -> None:
    async with subscriber(api.port) as peer:
        await peer.subscribe(ASK, {"since": "hello"})
        while "errors" not in str(message := await peer.receive()) and message["type"] == "next":
            pass
        assert "the earlier checkpoint is not of" in str(message)


async def test_an_export_over_the_limit_points_to_the_command(
    start_api: StartApi, log: SealedDatabase, folder: Path
) -> None:
    shelf = ExportShelf(folder, ShelfLimits(file_bytes=1_000))
    api = await start_api(exports=Exports(shelf=shelf, key=lambda: log.signer.key))
    async with subscriber(api.port) as peer:
        await peer.subscribe(ASK)
        while "errors" not in str(message := await peer.receive()) and message["type"] == "next":
            pass
        assert "over 1,000 bytes after 350 events" in str(message)
        assert "alphapulse audit export" in str(message)
    assert os.listdir(folder) == []  # noqa: PTH208


async def test_who_leaves_ends_the_work_and_leaves_nothing_behind(api: Api, folder: Path) -> None:
    async with subscriber(api.port) as peer:
        await peer.subscribe(ASK)
        await eventually(lambda: any(c.name == "one-off" for c in multiprocessing.active_children()))
    await eventually(lambda: api.services.exports is not None and api.services.exports.taken == 0)
    assert os.listdir(folder) == []  # noqa: PTH208


async def test_without_a_key_or_a_folder_that_is_said(start_api: StartApi, folder: Path) -> None:
    keyless = await start_api(exports=Exports(shelf=ExportShelf(folder), key=lambda: None))
    for api, why in [(keyless, "holds no key of a log"), (await start_api(), "this server makes no exports")]:
        async with subscriber(api.port) as peer:
            await peer.subscribe(ASK)
            while "errors" not in str(message := await peer.receive()) and message["type"] == "next":
                pass
            assert why in str(message)
    assert (await api.http.request("GET", "/log/exports/anything")).status == 404


async def test_a_link_answers_404_where_there_never_was_a_file_and_410_where_its_time_is_over(
    start_api: StartApi, log: SealedDatabase, folder: Path
) -> None:
    now = [0.0]
    shelf = ExportShelf(folder, ShelfLimits(age_s=60), now_s=lambda: time.time() + now[0])
    api = await start_api(exports=Exports(shelf=shelf, key=lambda: log.signer.key))
    (*_, last) = await exported(api)
    path = last["data"]["auditExport"]["file"]["path"]
    assert (await api.http.request("GET", path)).status == 200
    assert (await api.http.request("GET", path[:-1] + ("A" if path[-1] != "A" else "B"))).status == 404
    now[0] = 61.0
    answer = await api.http.request("GET", path)
    assert (answer.status, answer.body) == (410, b"this link has expired: ask for the export again\n")
    assert os.listdir(folder) == []  # noqa: PTH208


def test_a_shelf_that_is_full_refuses_and_has_room_again_when_files_expire(tmp_path: Path) -> None:
    now = [1_000.0]
    shelf = ExportShelf(tmp_path, ShelfLimits(files=2, age_s=60), now_s=lambda: now[0])
    places = [shelf.place() for _ in range(2)]
    for _, path in places:
        path.write_bytes(b"x")
        os.utime(path, (now[0], now[0]))
    with pytest.raises(ShelfFull, match="2 exports of 2 bytes wait to be fetched"):
        shelf.place()
    now[0] += 61
    token, _ = shelf.place()
    assert [path.name for path in tmp_path.iterdir()] == []
    with pytest.raises(NotThere):
        shelf.find(token)
    with pytest.raises(Gone):
        shelf.find(places[0][0])


def test_a_shelf_of_too_many_bytes_refuses(tmp_path: Path) -> None:
    shelf = ExportShelf(tmp_path, ShelfLimits(bytes=10))
    shelf.place()[1].write_bytes(bytes(10))
    with pytest.raises(ShelfFull, match="1 exports of 10 bytes"):
        shelf.place()


def test_no_name_in_the_folder_gives_a_link(tmp_path: Path) -> None:
    shelf = ExportShelf(tmp_path)
    token, path = shelf.place()
    path.write_bytes(b"x")
    assert token not in path.name
    assert shelf.find(token) == path
    for name in (path.name, path.name.removesuffix(".tar.gz"), "../secret", ""):
        with pytest.raises(NotThere):
            shelf.find(name)


def test_what_was_left_half_made_is_removed_in_time(tmp_path: Path) -> None:
    now = [0.0]
    shelf = ExportShelf(tmp_path, ShelfLimits(age_s=60), now_s=lambda: now[0])
    (tmp_path / "a.tar.gz.partial").mkdir()
    os.utime(tmp_path / "a.tar.gz.partial", (0, 0))
    shelf.clean()
    assert len(list(tmp_path.iterdir())) == 1
    now[0] = 61
    shelf.clean()
    assert list(tmp_path.iterdir()) == []
