"""GraphQL over real HTTP, on a real PostgreSQL."""

import asyncio
import logging
from urllib.parse import quote

import orjson
import pytest

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.graphql.limits import Limits
from tests import servers
from tests.graphql.client import eventually
from tests.graphql.conftest import Api, StartApi, running_api
from tests.graphql.events import STREAM, append_watermarks

HEAD = "{ log { position } }"
MODERN = "application/graphql-response+json"


async def test_a_post_is_answered_with_the_data_it_asks_for(api: Api) -> None:
    records = await append_watermarks(api.services.store, 3)
    answer = await api.http.post(
        "{ events(first: 2) { head position events { position stream name payload } } }"
    )
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    page = answer.json["data"]["events"]
    assert page["head"] == records[2].position
    assert page["position"] == records[1].position
    assert page["events"][0] == {
        "position": records[0].position,
        "stream": STREAM,
        "name": "feed.watermark_passed.v1",
        "payload": {"venue": "test", "symbol": "BTC_USD", "time": 0},
    }


async def test_a_get_runs_queries_only(api: Api) -> None:
    answer = await api.http.request("GET", f"/graphql?query={quote(HEAD)}")
    assert answer.json == {"data": {"log": {"position": 0}}}
    subscription = await api.http.request(
        "GET", f"/graphql?query={quote('subscription { log { position } }')}"
    )
    assert "WebSocket" in subscription.json["errors"][0]["message"]


async def test_variables_and_operation_name_are_taken_from_body_and_url(api: Api) -> None:
    await append_watermarks(api.services.store, 2)
    query = "query A { log { position } } query B($n: Int!) { events(first: $n) { events { version } } }"
    body = orjson.dumps({"query": query, "variables": {"n": 1}, "operationName": "B"})
    answer = await api.http.request(
        "POST", "/graphql", body, {"Content-Type": "application/json; charset=utf-8"}
    )
    assert answer.json == {"data": {"events": {"events": [{"version": 1}]}}}
    variables = quote('{"n":1}')
    url = f"/graphql?query={quote(query)}&operationName=B&variables={variables}"
    assert (await api.http.request("GET", url)).json == answer.json


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not JSON"),
        (b"[]", "batches"),
        (b'[{"query":"{ log { position } }"}]', "batches"),
        (b"{}", "no query"),
        (b'{"query":5}', "query needs a string, not a number"),
        (b'{"query":"{ log { position } }","variables":[]}', "variables need a JSON object, not an array"),
        (
            b'{"query":"{ log { position } }","operationName":{}}',
            "operationName needs a string, not an object",
        ),
        (b'{"query":"{"}', "Syntax Error"),
        (b'{"query":"{ nothing }"}', "Cannot query field 'nothing'"),
        (b'{"query":"query($n: Int!) { events(first: $n) { head } }"}', "'$n'"),
        (b'{"query":"{ events(first: 501) { head } }"}', "501"),
        (b'{"query":"{ events(first: 0) { head } }"}', "first 0"),
        (b'{"query":"{ events(after: -1) { head } }"}', "-1"),
    ],
)
async def test_a_mistake_of_the_client_is_named_with_its_value(api: Api, body: bytes, message: str) -> None:
    answer = await api.http.request("POST", "/graphql", body, {"Content-Type": "application/json"})
    (error,) = answer.json["errors"]
    assert message in error["message"]


async def test_statuses_follow_the_media_type_that_is_asked_for(api: Api) -> None:
    plain = await api.http.post("{ nothing }")
    assert (plain.status, plain.headers["content-type"]) == (200, "application/json")
    modern = await api.http.post("{ nothing }", Accept=MODERN)
    assert (modern.status, modern.headers["content-type"]) == (400, MODERN)
    assert (await api.http.post(HEAD, Accept=MODERN)).status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_a_post_that_a_foreign_page_could_send_is_refused(api: Api, kind: str) -> None:
    body = orjson.dumps({"query": HEAD})
    assert (await api.http.request("POST", "/graphql", body, {"Content-Type": kind})).status == 415


async def test_a_foreign_page_is_given_no_leave_to_post(api: Api) -> None:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answer = await api.http.request("OPTIONS", "/graphql", b"", headers)
    assert "access-control-allow-origin" not in answer.headers


async def test_a_body_at_the_limit_is_read_and_one_byte_more_refused(start_api: StartApi) -> None:
    api = await start_api(Limits(body_bytes=200))
    headers = {"Content-Type": "application/json"}
    body = orjson.dumps({"query": HEAD})
    at_limit = body + b" " * (200 - len(body))
    assert (await api.http.request("POST", "/graphql", at_limit, headers)).status == 200
    assert (await api.http.request("POST", "/graphql", at_limit + b" ", headers)).status == 413


async def test_a_principal_over_its_rate_is_told_when_to_come_back(start_api: StartApi) -> None:
    api = await start_api(Limits(rate_cost_per_s=1, rate_burst_cost=6))
    for _ in range(3):
        assert (await api.http.post(HEAD)).status == 200
    refused = await api.http.post(HEAD)
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) in (2, 3)
    assert refused.json["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_with_a_token_nobody_reads_without_it(start_api: StartApi) -> None:
    api = await start_api(token="s3cret")
    for shown in ("", "Bearer wrong", "Basic s3cret", "Bearer"):
        answer = await api.http.post("{ __typename }", Authorization=shown)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert b"s3cret" not in answer.body
    assert (await api.http.post(HEAD, Authorization="Bearer s3cret")).status == 200


async def test_guessing_tokens_runs_into_the_rate(start_api: StartApi) -> None:
    api = await start_api(Limits(rate_cost_per_s=1, rate_burst_cost=10_000), token="s3cret")
    statuses = [(await api.http.post(HEAD, Authorization=f"Bearer {n}")).status for n in range(3)]
    assert statuses == [401, 401, 429]


@pytest.mark.logs_errors
async def test_an_error_of_ours_shows_an_id_that_stands_in_our_log(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    await api.write("DROP TABLE relay_status")
    with caplog.at_level(logging.ERROR, "alphapulse.graphql"):
        error = await api.http.error("{ log { relay { lagEvents } } }")
    assert error["message"] == "internal error"
    assert error["extensions"]["code"] == "INTERNAL"
    (record,) = caplog.records
    assert error["extensions"]["id"] in record.getMessage()
    assert "relay_status" in record.getMessage()


@pytest.mark.logs_errors
async def test_a_database_that_is_away_is_said_without_its_words(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    servers.make_template(postgres)
    with servers.fresh_database(postgres) as url:
        async with running_api(url, Limits(execution_s=2)) as api:
            assert await api.http.data(HEAD) == {"log": {"position": 0}}
            postgres.stop()
            error = await api.http.error("{ log { position } }")
            assert error["extensions"]["code"] in {"UNAVAILABLE", "TIMEOUT"}
            assert "socket" not in error["message"]
            ready = await api.http.request("GET", "/health/ready")
            assert (ready.status, ready.json["status"]) == (503, "down")
            assert (await api.http.request("GET", "/health/live")).status == 200
            postgres.start()

            async def is_back() -> bool:
                return "errors" not in (await api.http.post(HEAD)).json

            await eventually(is_back, within_s=15)


async def test_connections_that_answer_queries_cannot_write(api: Api) -> None:
    async with api.services.reads.connection() as db:
        with pytest.raises(Exception, match="read-only"):
            await db.execute("DELETE FROM candles")


async def test_requests_beyond_those_that_may_wait_are_told_to_try_again(start_api: StartApi) -> None:
    api = await start_api(Limits(concurrent_requests=1, waiting_requests=1, execution_s=5))
    async with api.services.reads.connection() as db:
        await db.execute("SELECT pg_advisory_lock(1)")
        answers = await asyncio.gather(*(api.http.post("{ log { relay { lagEvents } } }") for _ in range(20)))
        await db.execute("SELECT pg_advisory_unlock(1)")
    statuses = {answer.status for answer in answers}
    assert statuses <= {200, 503}
    assert 503 in statuses
