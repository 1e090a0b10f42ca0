"""Our launcher of nats-server: JetStream on, one server a directory, back on the same port after a kill."""

import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats as nats_client
import pytest
from nats.js import JetStreamContext

from alphapulse.adapters.bus.connection import NatsOptions, connected
from alphapulse.adapters.embedded.nats import MAX_PAYLOAD, NatsServer, installed_binary
from alphapulse.adapters.embedded.process import AlreadyRunning, ServerError, running
from alphapulse.domain.ports import BusUnavailable
from tests.certificates import authority
from tests.launch import eventually, launched, line_of, needs_root

LAUNCHER = """
import signal, sys
from pathlib import Path
from alphapulse.adapters.embedded.nats import NatsServer
server = NatsServer(Path(sys.argv[1]))
server.start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(server.process.pid, flush=True)
signal.sigwait([signal.SIGTERM])
server.stop()
"""


@asynccontextmanager
async def jetstream(server: NatsServer) -> AsyncIterator[JetStreamContext]:
    connection = await nats_client.connect(server.url, allow_reconnect=False)
    try:
        yield connection.jetstream()
    finally:
        await connection.close()


def processes_on(directory: Path) -> set[int]:
    return running(lambda argv: os.fsencode(directory / "nats-server.conf") in argv)


async def test_messages_and_port_survive_kill_9(nats: NatsServer) -> None:
    before = nats.port
    async with jetstream(nats) as js:
        await js.add_stream(name="KEPT", subjects=["kept.>"])
        await js.publish("kept.one", b"1")
    assert nats.process
    nats.process.kill()
    nats.process.wait()
    nats.spawn()
    nats.wait_ready()
    assert nats.port == before
    async with jetstream(nats) as js:
        assert (await js.get_msg("KEPT", 1)).data == b"1"


async def test_the_limit_of_a_message_is_one_megabyte(nats: NatsServer) -> None:
    async with connected(NatsOptions(servers=(nats.url,))) as connection:
        assert connection.client.max_payload == MAX_PAYLOAD == 1024 * 1024


def test_a_second_start_on_the_directory_names_the_pid_of_the_first(nats: NatsServer) -> None:
    with pytest.raises(AlreadyRunning, match=rf"{nats.directory} is already running \(pid {os.getpid()}\)"):
        NatsServer(nats.directory).start()
    assert nats.is_ready()


def test_a_server_whose_launcher_was_killed_ends_and_the_next_start_has_its_port(
    open_directory: Path,
) -> None:
    server = NatsServer(open_directory / "nats")
    with launched(LAUNCHER, server.directory) as launcher:
        line_of(launcher)
        port = int((server.directory / "port").read_text())
        launcher.kill()
        launcher.wait()
        server.start(30)
    try:
        assert server.port == port
    finally:
        server.stop()
    eventually(lambda: processes_on(server.directory) == set())


def test_a_taken_port_that_was_asked_for_is_an_error_and_one_of_ours_is_replaced(
    open_directory: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {taken} on 127.0.0.1 is taken"):
            NatsServer(open_directory / "asked", port=taken).start()
        server = NatsServer(open_directory / "any")
        server.directory.mkdir()
        (server.directory / "port").write_text(f"{taken}\n")
        server.start()
        try:
            assert server.port != taken
        finally:
            server.stop()


def test_another_server_on_the_port_is_not_taken_for_ours(nats: NatsServer, open_directory: Path) -> None:
    """Whoever greets there must be the very process that we launched."""
    server = NatsServer(open_directory / "other")
    server._port, server._launch_name = nats.port, "alphapulse-of-another-launch"
    assert not server.is_ready()
    assert nats.is_ready()


def test_a_listener_that_says_nothing_is_not_ready(open_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = NatsServer(open_directory / "nats")
        server._port = silent.getsockname()[1]
        started = time.monotonic()
        assert not server.is_ready()
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "secret", [{"user": 'a"b', "password": "p ä:@/\\%$1"}, {"token": "to'ken"}, {"token": "12345"}]
)
async def test_credentials_of_any_shape_are_demanded(open_directory: Path, secret: dict[str, str]) -> None:
    server = NatsServer(open_directory / "nats", **secret)
    server.start()
    try:
        async with connected(NatsOptions(servers=(server.url,))) as connection:
            assert connection.is_open
        async with connected(NatsOptions(servers=(server.url_without_credentials,), **secret)) as connection:
            assert connection.is_open
        with pytest.raises(BusUnavailable, match=r"Authorization|credentials"):
            async with connected(NatsOptions(servers=(server.url_without_credentials,))):
                pass
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ({"user": "a"}, "both a user and a password"),
        ({"user": "a", "password": "b", "token": "c"}, "not both"),
        ({"token": "$2a$11$abc"}, "bcrypt"),
    ],
)
def test_credentials_that_cannot_work_are_refused(
    open_directory: Path, secret: dict[str, str], problem: str
) -> None:
    with pytest.raises(ServerError, match=problem):
        NatsServer(open_directory / "nats", **secret)


def test_a_control_character_never_reaches_the_configuration(open_directory: Path) -> None:
    with pytest.raises(ServerError, match="control character"):
        NatsServer(open_directory / "nats", token="a\nb").start()


def test_the_configuration_with_its_password_is_for_the_server_alone(open_directory: Path) -> None:
    server = NatsServer(open_directory / "nats", token="secret")
    server.start()
    try:
        assert (server.directory / "nats-server.conf").stat().st_mode & 0o777 == 0o600
    finally:
        server.stop()


async def test_tls_is_verified_against_our_own_authority(open_directory: Path) -> None:
    ca = authority(open_directory)
    certificate, key = ca.issue("server", alternatives="IP:127.0.0.1")
    key.chmod(0o644)  # the server is another user when the tests run as root
    tls = {"cert_file": certificate, "key_file": key}
    server = NatsServer(open_directory / "nats", user="u", password="p", tls=tls)
    server.start()
    try:
        async with connected(NatsOptions(servers=(server.url,), ca=ca.certificate)) as connection:
            assert connection.is_open
        with pytest.raises(BusUnavailable, match=r"CERTIFICATE_VERIFY_FAILED"):
            async with connected(NatsOptions(servers=(server.url,))):  # the system's authorities
                pass
        nobody = NatsOptions(servers=(server.url_without_credentials,), ca=ca.certificate)
        with pytest.raises(BusUnavailable):  # by its words, or by a reset that overtook them
            async with connected(nobody):
                pass
    finally:
        server.stop()


async def test_a_certificate_for_another_host_is_refused(open_directory: Path) -> None:
    ca = authority(open_directory)
    certificate, key = ca.issue("elsewhere", alternatives="DNS:elsewhere.example")
    key.chmod(0o644)
    server = NatsServer(open_directory / "nats", tls={"cert_file": certificate, "key_file": key})
    server.start()
    try:
        with pytest.raises(BusUnavailable, match=r"CERTIFICATE_VERIFY_FAILED.*mismatch"):
            async with connected(NatsOptions(servers=(server.url,), ca=ca.certificate)):
                pass
    finally:
        server.stop()


async def test_a_client_certificate_is_demanded_where_the_server_verifies(open_directory: Path) -> None:
    ca = authority(open_directory)
    certificate, key = ca.issue("server", alternatives="IP:127.0.0.1")
    key.chmod(0o644)
    ours, our_key = ca.issue("alphapulse")
    tls = {"cert_file": certificate, "key_file": key, "ca_file": ca.certificate, "verify": True}
    server = NatsServer(open_directory / "nats", tls=tls)
    server.start()
    try:
        options = NatsOptions(servers=(server.url,), ca=ca.certificate, cert=ours, key=our_key)
        async with connected(options) as connection:
            assert connection.is_open
        with pytest.raises(BusUnavailable):
            async with connected(NatsOptions(servers=(server.url,), ca=ca.certificate)):
                pass
    finally:
        server.stop()


@needs_root
def test_as_root_the_server_becomes_another_user(nats: NatsServer) -> None:
    assert nats.process
    assert Path(f"/proc/{nats.process.pid}").stat().st_uid != 0


@needs_root
def test_a_binary_closed_to_that_user_is_copied_for_it(open_directory: Path) -> None:
    closed = open_directory / "root"
    closed.mkdir(mode=0o700)
    (closed / "nats-server").symlink_to(installed_binary())
    server = NatsServer(open_directory / "nats", binary=closed / "nats-server")
    server.start()
    try:
        assert server.process
        assert Path(f"/proc/{server.process.pid}/exe").resolve().is_relative_to(server.directory)
    finally:
        server.stop()
