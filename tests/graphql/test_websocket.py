"""graphql-transport-ws over real sockets: the protocol, its limits, and what a lost peer leaves behind."""

import asyncio

import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from alphapulse.graphql.limits import Limits
from tests.graphql.client import PROTOCOL, Subscriber, connect, eventually, subscriber
from tests.graphql.conftest import Api, StartApi
from tests.graphql.events import append_large, append_watermarks

LOG = (
    "subscription($after: Position) { log(after: $after) { previous position events { position version } } }"
)


async def closed_with(socket: Subscriber | websockets.ClientConnection) -> tuple[int, str]:
    """The code and reason of the close frame that comes next, or after some messages."""
    bare = socket.socket if isinstance(socket, Subscriber) else socket
    try:
        async with asyncio.timeout(10):
            while True:
                await bare.recv()
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


async def test_queries_and_subscriptions_share_a_socket(api: Api) -> None:
    async with subscriber(api.port) as peer:
        live = await peer.subscribe(LOG)
        assert await peer.next() == {"log": {"previous": 0, "position": 0, "events": []}}
        query = await peer.subscribe("{ log { position } }")
        assert await peer.receive() == {
            "id": query,
            "type": "next",
            "payload": {"data": {"log": {"position": 0}}},
        }
        assert await peer.receive() == {"id": query, "type": "complete"}
        await append_watermarks(api.services.store, 1)
        message = await peer.receive()
        assert (message["id"], message["type"]) == (live, "next")


async def test_a_ping_is_answered_also_before_the_peer_has_said_who_it_is(api: Api) -> None:
    async with connect(api.port) as socket:
        peer = Subscriber(socket)
        await peer.send(type="ping", payload={"any": "thing"})
        assert await peer.receive() == {"type": "pong"}


async def test_completing_a_subscription_ends_its_messages_and_frees_its_id(api: Api) -> None:
    async with subscriber(api.port) as peer:
        first = await peer.subscribe(LOG)
        await peer.next()
        await peer.send(id=first, type="complete")
        await peer.send(id=first, type="subscribe", payload={"query": LOG})
        assert await peer.next() == {"log": {"previous": 0, "position": 0, "events": []}}
        await append_watermarks(api.services.store, 1)
        assert (await peer.receive())["id"] == first
        assert api.services.hub.members == 1


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        ("nonsense", 4400, "JSON"),
        ("[]", 4400, "None"),
        ('{"type":"start"}', 4400, "start"),
        ('{"type":"connection_init"}', 4429, "twice"),
        ('{"type":"subscribe","payload":{}}', 4400, "id"),
        ('{"type":"subscribe","id":"","payload":{}}', 4400, "id"),
        ('{"type":"subscribe","id":7,"payload":{}}', 4400, "id"),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_closed_with_its_code(
    api: Api, sent: str, code: int, reason: str
) -> None:
    async with subscriber(api.port) as peer:
        await peer.socket.send(sent)
        got_code, got_reason = await closed_with(peer)
        assert got_code == code
        assert reason in got_reason


async def test_an_id_in_use_closes_the_socket(api: Api) -> None:
    async with subscriber(api.port) as peer:
        await peer.subscribe(LOG)
        await peer.send(id="1", type="subscribe", payload={"query": LOG})
        assert (await closed_with(peer))[0] == 4409


async def test_subscribing_before_saying_who_one_is_is_refused(api: Api) -> None:
    async with connect(api.port) as socket:
        await Subscriber(socket).subscribe(LOG)
        assert (await closed_with(socket))[0] == 4401


async def test_a_peer_that_says_nothing_is_closed_after_the_init_wait(start_api: StartApi) -> None:
    api = await start_api(Limits(init_s=0.2))
    async with connect(api.port) as socket:
        assert (await closed_with(socket))[0] == 4408


@pytest.mark.parametrize("subprotocols", [["graphql-ws"], None])
async def test_other_protocols_are_refused(api: Api, subprotocols: list[str] | None) -> None:
    async with connect(api.port, subprotocols=subprotocols) as socket:
        assert (await closed_with(socket))[0] == 4406


async def test_a_page_of_another_site_may_not_connect(api: Api) -> None:
    async with connect(api.port, origin="https://elsewhere.example") as socket:
        assert (await closed_with(socket))[0] == 4403
    async with subscriber(api.port, origin=f"http://127.0.0.1:{api.port}"):
        pass


@pytest.mark.parametrize("payload", [{"Authorization": "Bearer s3cret"}, {"token": "s3cret"}])
async def test_a_token_opens_the_socket(start_api: StartApi, payload: dict[str, str]) -> None:
    api = await start_api(token="s3cret")
    async with subscriber(api.port, payload) as peer:
        await peer.subscribe(LOG)
        await peer.next()


@pytest.mark.parametrize("payload", [None, {}, {"token": "wrong"}, {"Authorization": "s3cret"}, {"token": 5}])
async def test_without_the_token_the_socket_closes(start_api: StartApi, payload: object) -> None:
    api = await start_api(token="s3cret")
    async with connect(api.port) as socket:
        await Subscriber(socket).send(type="connection_init", payload=payload)
        code, reason = await closed_with(socket)
        assert code == 4401
        assert "s3cret" not in reason


async def test_subscriptions_of_one_socket_are_bounded_and_the_socket_lives_on(start_api: StartApi) -> None:
    api = await start_api(Limits(subscriptions=2))
    async with subscriber(api.port) as peer:
        for _ in range(2):
            await peer.subscribe(LOG)
            await peer.next()
        third = await peer.subscribe(LOG)
        message = await peer.receive()
        assert (message["id"], message["type"]) == (third, "error")
        assert message["payload"][0]["extensions"]["code"] == "TOO_MANY_SUBSCRIPTIONS"
        await peer.send(id="1", type="complete")
        await peer.subscribe(LOG)
        await peer.next()


async def test_connections_are_bounded(start_api: StartApi) -> None:
    api = await start_api(Limits(connections=2))
    async with subscriber(api.port), subscriber(api.port), connect(api.port) as third:
        assert await closed_with(third) == (1013, "2 connections are open; try later")
    await eventually(lambda: not api.app.state.websocket.connections)
    async with subscriber(api.port):
        pass


async def test_a_message_over_the_limit_closes_the_socket(start_api: StartApi) -> None:
    api = await start_api(Limits(message_bytes=1000))
    async with subscriber(api.port) as peer:
        await peer.subscribe(LOG + " " * 700)
        await peer.next()
        await peer.subscribe(LOG + " " * 1000)
        assert (await closed_with(peer))[0] == 1009


@pytest.mark.parametrize(
    ("query", "variables", "said"),
    [
        ("subscription { log { nothing } }", None, "nothing"),
        (LOG, {"after": "x"}, "position 'x'"),
        (LOG, {"after": 10}, "after 10 lies beyond the end of the log, 0"),
        ("subscription { log { position } log2: log { position } }", None, "one top level field"),
        ("{ nothing }", None, "nothing"),
        ("", None, "no query"),
    ],
)
async def test_a_mistake_ends_its_own_operation_with_an_error(
    api: Api, query: str, variables: dict[str, object] | None, said: str
) -> None:
    async with subscriber(api.port) as peer:
        wrong = await peer.subscribe(query, variables)
        message = await peer.receive()
        assert (message["id"], message["type"]) == (wrong, "error")
        assert said in message["payload"][0]["message"]
        await peer.subscribe(LOG)
        await peer.next()


async def follow(peer: Subscriber, until: int) -> list[int]:
    """Positions in the order in which they came, up to ``until``; each message must follow the last."""
    positions: list[int] = []
    last: int | None = None
    while last is None or last < until:
        update = (await peer.next())["log"]
        assert last is None or update["previous"] == last
        last = update["position"]
        positions += [event["position"] for event in update["events"]]
    return positions


async def test_a_killed_socket_resumes_and_all_that_came_equals_the_log(api: Api) -> None:
    appending = asyncio.create_task(_append(api, commits=120))
    got: list[int] = []
    while len(got) < 600:
        async with subscriber(api.port) as peer:
            await peer.subscribe(LOG, {"after": got[-1] if got else 0})
            for _ in range(3):
                if len(got) < 600:
                    got += [event["position"] for event in (await peer.next())["log"]["events"]]
            peer.socket.transport.abort()
    recorded = await appending
    assert got == recorded


async def _append(api: Api, commits: int) -> list[int]:
    positions = []
    for _ in range(commits):
        positions += [record.position for record in await append_watermarks(api.services.store, 5)]
        await asyncio.sleep(0.002)
    return positions


async def test_many_subscribers_each_get_every_event_once_and_in_order(api: Api) -> None:
    async with subscriber(api.port) as one, subscriber(api.port) as two, subscriber(api.port) as three:
        for peer in (one, two, three):
            await peer.subscribe(LOG, {"after": 0})
        recorded = await _append(api, commits=40)
        for peer in (one, two, three):
            assert await follow(peer, recorded[-1]) == recorded


async def test_a_subscriber_that_takes_too_little_ends_with_where_to_resume(start_api: StartApi) -> None:
    # Filling its socket takes a while on a busy machine: it is not to be cut off as dead meanwhile.
    api = await start_api(Limits(queue_messages=3, send_s=120.0))
    wide = LOG.replace("{ position version }", "{ position stream name payload eventId actor recordedAt }")
    async with subscriber(api.port, max_queue=1) as peer:
        await peer.subscribe(wide)
        await peer.next()
        await _fill(api, peer)
        got: list[int] = []
        while (message := await peer.receive())["type"] == "next":
            got += [event["position"] for event in message["payload"]["data"]["log"]["events"]]
        (error,) = message["payload"]
        assert error["extensions"] == {"code": "SLOW_CONSUMER", "resumeAfter": got[-1]}
        await peer.subscribe(wide, {"after": got[-1]})
        head = await api.services.store.head()
        got += await follow(peer, head)
        page = [record.position for record in await all_records(api)]
        assert got == page


async def _fill(api: Api, peer: Subscriber) -> None:
    """Append without the peer reading, until its socket and its queue are full."""
    peer.socket.transport.pause_reading()
    await append_large(api.services.store, 200)
    await asyncio.sleep(0.2)
    peer.socket.transport.resume_reading()


async def all_records(api: Api) -> list:  # type: ignore[type-arg]
    records, after, head = [], 0, await api.services.store.head()
    while after < head:
        page = await api.services.store.read(after, until=head)
        records += page.records
        after = page.scanned_to
    return records


async def test_a_peer_that_takes_nothing_at_all_is_cut_off(start_api: StartApi) -> None:
    api = await start_api(Limits(send_s=0.3))
    async with subscriber(api.port, max_queue=1) as peer:
        await peer.subscribe(LOG.replace("version", "payload"))
        await peer.next()
        peer.socket.transport.pause_reading()
        async with asyncio.timeout(30):
            while api.app.state.websocket.connections:
                await append_large(api.services.store, 1)
        assert api.services.hub.members == 0
        peer.socket.transport.resume_reading()


async def test_aborted_sockets_leave_nothing_behind(api: Api) -> None:
    for _ in range(4):
        await _abort_sockets(api, 60)
    await eventually(lambda: not _serving())
    assert api.services.hub.topics == 0


def _serving() -> list[str]:
    """What runs for a socket, an operation or a topic."""
    ours = ("WebSocketsSansIOProtocol", "Connection", "_Topic", "HttpEndpoint")
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith(ours)]


async def test_what_serves_a_socket_is_seen_by_the_test_above(api: Api) -> None:
    async with subscriber(api.port) as peer:
        await peer.subscribe(LOG)
        await peer.next()
        kinds = {name.partition(".")[0] for name in _serving()}
        assert kinds == {"WebSocketsSansIOProtocol", "Connection", "_Topic"}


async def _abort_sockets(api: Api, count: int) -> None:
    """Drop ``count`` sockets with 0 to 3 subscriptions each; return when the server has let go of them."""
    url = f"ws://127.0.0.1:{api.port}/graphql"
    sockets = [await websockets.connect(url, subprotocols=[PROTOCOL], proxy=None) for _ in range(count)]
    for number, socket in enumerate(sockets):
        peer = Subscriber(socket)
        await peer.send(type="connection_init")
        await peer.receive()
        for _ in range(number % 4):
            await peer.subscribe(LOG)
    for socket in sockets:
        socket.transport.abort()
    await append_watermarks(api.services.store, 1)
    await eventually(lambda: not api.app.state.websocket.connections and not api.services.hub.members)
