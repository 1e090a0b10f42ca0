"""How we reach NATS: secrets, TLS, and servers that are not there, silent or gone in the middle."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from alphapulse.adapters.bus.connection import Connection, NatsOptions, connected
from alphapulse.adapters.bus.jetstream import JetStreamBus
from alphapulse.adapters.embedded.nats import NatsServer, installed_binary
from alphapulse.domain.ports import BusUnavailable, Message

ODD = "p@ss/w:rd %1?#"  # what a URL has to write in percent signs


@contextmanager
def running(directory: Path, **options: Any) -> Iterator[NatsServer]:
    server = NatsServer(directory / "nats", **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def works(options: NatsOptions) -> bool:
    bus = JetStreamBus(options)
    try:
        return (await bus.end()).message is None
    finally:
        await bus.close()


def address(server: NatsServer) -> str:
    return f"nats://127.0.0.1:{server.port}"


async def test_user_and_password_stand_in_the_url_or_beside_it(open_directory: Path) -> None:
    with running(open_directory, user="app", password=ODD) as server:
        assert await works(NatsOptions(servers=(server.url,)))
        assert await works(NatsOptions(servers=(address(server),), user="app", password=ODD))
        with pytest.raises(BusUnavailable, match=r"[Aa]uthorization|credentials"):
            await works(NatsOptions(servers=(address(server),)))


async def test_a_token_stands_in_the_url_or_beside_it(open_directory: Path) -> None:
    with running(open_directory, token=ODD) as server:
        assert await works(NatsOptions(servers=(server.url,)))
        assert await works(NatsOptions(servers=(address(server),), token=ODD))


async def test_no_secret_shows_in_an_error(open_directory: Path) -> None:
    with running(open_directory, user="app", password=ODD) as server:
        wrong = server.url.replace("app:", "app:wrong-")
        with pytest.raises(BusUnavailable) as caught:
            await works(NatsOptions(servers=(wrong,)))
        assert "wrong" not in str(caught.value)
        assert f"127.0.0.1:{server.port}" in str(caught.value)
        assert "wrong" not in repr(NatsOptions(servers=(wrong,), password="wrong"))


@pytest.fixture
def certificate(open_directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1, signed by itself, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: no certificate to test TLS with")
    cert, key = open_directory / "cert.pem", open_directory / "key.pem"
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*request, *names], check=True, capture_output=True)
    key.chmod(0o644)
    return cert, key


async def test_tls_demands_a_certificate_that_we_trust(
    open_directory: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    with running(open_directory, tls={"cert_file": str(cert), "key_file": str(key)}) as server:
        assert await works(NatsOptions(servers=(server.url,), ca=cert))
        with pytest.raises(BusUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await works(NatsOptions(servers=(server.url,)))


async def test_nobody_listening_is_said_at_once() -> None:
    start = asyncio.get_running_loop().time()
    with pytest.raises(BusUnavailable, match="Refused"):
        await works(NatsOptions(servers=("nats://127.0.0.1:1",)))
    assert asyncio.get_running_loop().time() - start < 2


async def test_of_several_servers_one_that_lives_is_enough(nats_url: str) -> None:
    assert await works(NatsOptions(servers=("nats://127.0.0.1:1", nats_url)))


async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1")
    port = silent.sockets[0].getsockname()[1]
    start = asyncio.get_running_loop().time()
    with pytest.raises(BusUnavailable):
        await works(NatsOptions(servers=(f"nats://127.0.0.1:{port}",), connect_timeout_s=0.5))
    assert asyncio.get_running_loop().time() - start < 3
    silent.close()


async def test_who_waits_for_an_answer_hears_of_the_end_at_once(nats: NatsServer) -> None:
    async with connected(NatsOptions(servers=(nats.url,))) as connection:
        await connection.client.subscribe("nobody.answers")
        waiting = asyncio.create_task(connection.ask("nobody.answers", b"", timeout_s=60))
        await asyncio.sleep(0.2)
        assert nats.process
        nats.process.kill()
        async with asyncio.timeout(5):
            with pytest.raises(BusUnavailable, match="has ended"):
                await waiting


async def test_a_question_is_not_waited_for_without_end(nats_url: str) -> None:
    async with connected(NatsOptions(servers=(nats_url,))) as connection:
        await connection.client.subscribe("nobody.answers")
        with pytest.raises(BusUnavailable, match=r"0\.2 s"):
            await connection.ask("nobody.answers", b"", timeout_s=0.2)


async def test_a_listener_hears_of_the_end_and_may_listen_anew(nats: NatsServer) -> None:
    bus = JetStreamBus(NatsOptions(servers=(nats.url,)))
    async with bus.listen() as live:
        waiting = asyncio.create_task(live.take())
        await asyncio.sleep(0.2)
        assert nats.process
        nats.process.kill()
        nats.process.wait()
        async with asyncio.timeout(5):
            with pytest.raises(BusUnavailable):
                await waiting
    nats.stop()
    nats.start()
    async with asyncio.timeout(5), bus.listen() as live:
        message = Message(subject="alphapulse.x", headers={}, data=b"")
        await bus.publish([message], after=(await bus.end()).sequence)
        assert len(await live.take()) == 1
    await bus.close()


async def test_a_bus_whose_server_was_restarted_connects_again(nats: NatsServer) -> None:
    bus = JetStreamBus(NatsOptions(servers=(nats.url,)))
    message = Message(subject="alphapulse.x", headers={}, data=b"kept")
    last = await bus.publish([message], after=(await bus.end()).sequence)
    nats.stop()
    with pytest.raises(BusUnavailable):
        await bus.end()
    nats.start()
    assert (await bus.end()).sequence == last
    assert await bus.publish([message], after=last) == last + 1
    await bus.close()


async def test_jetstream_that_is_off_is_said_so(open_directory: Path) -> None:
    with plain_server(open_directory) as url, pytest.raises(BusUnavailable, match="is JetStream enabled"):
        await works(NatsOptions(servers=(url,)))


@contextmanager
def plain_server(directory: Path) -> Iterator[str]:
    """A plain nats-server without JetStream, at any port."""
    ports = directory / "ports"
    ports.mkdir()
    command = [str(installed_binary()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(ports)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(500):
            if found := list(ports.glob("*.ports")):
                break
            time.sleep(0.01)
        yield json.loads(found[0].read_text())["nats"][0]
    finally:
        process.kill()
        process.wait()


async def test_closing_twice_is_harmless(nats_url: str) -> None:
    connection = await Connection.open(NatsOptions(servers=(nats_url,)))
    await connection.close()
    await connection.close()
    assert not connection.is_open
