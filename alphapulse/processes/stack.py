"""The whole stack on this machine: PostgreSQL, nats-server and one process a role, under one supervisor.

In the data directory: ``postgres`` and ``nats`` (each with its data, locks and socket), ``logs``, ``lock``
(held while the stack runs) and, once it is ready, ``addresses.json``. A server with a URL set is not started.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import pwd
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alphapulse.adapters import database
from alphapulse.adapters.embedded import nats, postgres
from alphapulse.adapters.embedded.process import (
    AlreadyRunning,
    FileLock,
    ServerError,
    free_port,
    is_free,
    make_directory,
    spawn,
)
from alphapulse.processes.logs import RotatingLog
from alphapulse.processes.supervise import Interrupted, Program, Say, Supervisor
from alphapulse.processes.wiring import check_kept
from alphapulse.settings import ADDRESSES, PREFIX, Settings

DATABASE = "alphapulse"
ROLE_STOP_STEPS = ((signal.SIGTERM, 25.0),)  # a role gives its tasks 20 s; then SIGKILL
EXTERNAL_S = 30.0  # how long a server that is not ours may take to be reachable


@dataclass(frozen=True, kw_only=True)
class Running:
    """Where a running stack is."""

    graphql: str
    health: str
    database_url: str
    nats_url: str
    data_dir: str
    logs: str
    pid: int
    children: dict[str, int]


async def run_stack(
    settings: Settings,
    roles: Sequence[str],
    *,
    say: Say,
    on_ready: Callable[[Running], None],
    show_all: bool = False,
) -> None:
    """Start everything, call ``on_ready``, keep it running until SIGINT, SIGTERM or SIGHUP, stop everything.

    Raises:
        AlreadyRunning: a stack runs on this data directory.
        ServerError: something does not start.
        GaveUp: something kept dying.
        RolledBack: the database does not go on from what was sealed.
    """
    with _owned(settings.data_dir):
        settings = _with_port(settings)
        logs = make_directory(settings.data_dir / "logs", mode=0o700)
        supervisor = Supervisor(
            log_for=lambda name: RotatingLog(logs / f"{name}.log"), say=say, show_all=show_all
        )
        with _signals_to(supervisor):
            try:
                running = await _start(supervisor, settings, roles)
                with _addresses(running):
                    on_ready(running)
                    await supervisor.watch()
            except Interrupted:
                pass
            finally:
                await supervisor.stop()


async def _start(supervisor: Supervisor, settings: Settings, roles: Sequence[str]) -> Running:
    settings = await _start_servers(supervisor, settings)
    await _migrate(supervisor, settings.database())
    await check_kept(settings)
    for role in roles:
        await supervisor.start(_role(role, settings))
    root = f"http://{_reachable(settings.host)}:{settings.port}"
    return Running(
        graphql=f"{root}/graphql",
        health=f"{root}/health",
        database_url=settings.database_url or "",
        nats_url=settings.nats_url or "",
        data_dir=str(settings.data_dir),
        logs=str(settings.data_dir / "logs"),
        pid=os.getpid(),
        children=supervisor.pids(),
    )


async def _start_servers(supervisor: Supervisor, settings: Settings) -> Settings:
    """Start the servers whose URL is not set; return the settings with both URLs."""
    if settings.database_url is None:
        server = postgres.PostgresServer(settings.data_dir / "postgres", user=settings.servers_user)
        await supervisor.start(_postgres(server))
        settings = dataclasses.replace(settings, database_url=server.create_database(DATABASE))
    if settings.nats_url is None:
        bus = nats.NatsServer(
            settings.data_dir / "nats",
            port=settings.nats_port or None,
            user=settings.nats_user,
            password=settings.nats_password,
            token=settings.nats_token,
            run_as=settings.servers_user,
        )
        await supervisor.start(_nats(bus))
        settings = dataclasses.replace(settings, nats_url=bus.url_without_credentials)
    return settings


def _postgres(server: postgres.PostgresServer) -> Program:
    return Program(
        name="postgres",
        launch=server.spawn,
        is_ready=server.is_ready,
        stop_steps=postgres.STOP_STEPS,
        ready_timeout_s=postgres.START_TIMEOUT_S,
        close=server.stop,
    )


def _nats(server: nats.NatsServer) -> Program:
    return Program(
        name="nats",
        launch=server.spawn,
        is_ready=server.is_ready,
        stop_steps=nats.STOP_STEPS,
        ready_timeout_s=nats.START_TIMEOUT_S,
        close=server.stop,
    )


def _role(name: str, settings: Settings) -> Program:
    ours = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    environment = {**ours, **settings.variables(), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "alphapulse", "run", name]
    listens = (_reachable(settings.host), settings.port) if name == "api" else None
    return Program(
        name=name,
        # SIGKILL: a role is made to be killed at any moment, and must not outlive its supervisor.
        launch=lambda output: spawn(
            command, on_parent_death=signal.SIGKILL, environment=environment, output=output
        ),
        is_ready=lambda: listens is None or _answers(*listens),
        stop_steps=ROLE_STOP_STEPS,
    )


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host.strip("[]"), port), timeout=2).close()
    except OSError:
        return False
    return True


async def _migrate(supervisor: Supervisor, url: str) -> None:
    """Migrate in a thread; a wish to stop does not wait for it (stopping PostgreSQL ends it)."""
    migration = asyncio.create_task(asyncio.to_thread(database.migrate, url))
    wish = asyncio.create_task(supervisor.stop_wanted.wait())
    await asyncio.wait({migration, wish}, return_when=asyncio.FIRST_COMPLETED)
    wish.cancel()
    if not migration.done():
        migration.add_done_callback(lambda task: task.cancelled() or task.exception())
        raise Interrupted
    await migration


def _with_port(settings: Settings) -> Settings:
    """``settings`` with a port that the API can have."""
    if settings.port == 0:
        return dataclasses.replace(settings, port=free_port(settings.host))
    if not is_free(settings.host, settings.port):
        raise ServerError(
            f"port {settings.port} on {settings.host} is taken: --port, ALPHAPULSE_PORT give another (0: any)"
        )
    return settings


def _reachable(host: str) -> str:
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  compares only
    return f"[{local}]" if ":" in local and not local.startswith("[") else local


@contextlib.contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process.

    Raises:
        AlreadyRunning: another one does.
        ServerError: it cannot be written.
    """
    try:
        make_directory(data_dir, mode=0o711 if os.geteuid() == 0 else 0o700)
        lock = FileLock(data_dir / "lock")
        if not lock.acquire():
            raise AlreadyRunning("AlphaPulse", data_dir, lock.holder())
    except OSError as error:
        user = pwd.getpwuid(os.geteuid()).pw_name
        raise ServerError(
            f"the data directory {data_dir} cannot be used by {user}: {error}. "
            f"Give --data-dir (or ALPHAPULSE_DATA_DIR) one that {user} may write"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _addresses(running: Running) -> Iterator[None]:
    """Leave the addresses in the data directory for other commands while the stack runs."""
    path = Path(running.data_dir) / ADDRESSES
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(dataclasses.asdict(running), file)
    new.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _signals_to(supervisor: Supervisor) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP stop; a second one hurries. An ignored SIGHUP (nohup) stays ignored."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if supervisor.stop_wanted.is_set():
            supervisor.hurry.set()
        supervisor.stop_wanted.set()

    stopping = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        stopping.append(signal.SIGHUP)
    for number in stopping:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGCHLD, supervisor.child_ended.set)
    try:
        yield
    finally:
        for number in [*stopping, signal.SIGCHLD]:
            loop.remove_signal_handler(number)
