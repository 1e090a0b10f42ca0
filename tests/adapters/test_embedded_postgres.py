"""Our launcher of PostgreSQL: it comes back from whatever the last one left, and says what it cannot do."""

import os
import shutil
import signal
import stat
import sys
import time
from pathlib import Path

import psycopg
import pytest

from alphapulse.adapters.embedded.postgres import (
    SOCKET_PATH_LIMIT,
    PostgresServer,
    installed_binaries,
)
from alphapulse.adapters.embedded.process import AlreadyRunning, ServerError, free_port, running
from tests.launch import eventually, is_alive, kill, launched, line_of, needs_root

BUSY = b"DO $$ BEGIN LOOP END LOOP; END $$"  # never looks up from its work

LAUNCHER = """
import signal, sys
from pathlib import Path
from alphapulse.adapters.embedded.postgres import PostgresServer
server = PostgresServer(Path(sys.argv[1]), durable=False)
server.start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(server.process.pid, flush=True)
signal.sigwait([signal.SIGTERM])
server.stop()
print("stopped", flush=True)
"""


def processes_on(directory: Path) -> set[int]:
    return running(lambda argv: os.fsencode(directory / "data") in argv)


def write(server: PostgresServer, number: int) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        connection.execute("INSERT INTO kept VALUES (%s)", [number])


def numbers(server: PostgresServer) -> list[int]:
    with psycopg.connect(server.url()) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM kept ORDER BY 1")]


def test_commits_survive_kill_9_of_the_postmaster(postgres: PostgresServer) -> None:
    write(postgres, 1)
    assert postgres.process
    postgres.process.kill()
    postgres.process.wait()
    postgres.spawn()
    postgres.wait_ready()
    assert numbers(postgres) == [1]


def test_a_busy_backend_of_a_killed_postmaster_does_not_hold_up_the_next_start(
    postgres: PostgresServer,
) -> None:
    connection = psycopg.connect(postgres.url())
    backend = connection.info.backend_pid
    connection.pgconn.send_query(BUSY)
    assert postgres.process
    postgres.process.kill()
    postgres.process.wait()
    time.sleep(0.2)
    assert is_alive(backend)
    postgres.spawn()
    postgres.wait_ready(20)
    assert not is_alive(backend)
    connection.close()


def test_a_second_start_on_the_directory_names_the_pid_of_the_first(postgres: PostgresServer) -> None:
    second = PostgresServer(postgres.directory)
    with pytest.raises(
        AlreadyRunning, match=rf"{postgres.directory} is already running \(pid {os.getpid()}\)"
    ):
        second.start()
    assert postgres.is_ready()


def test_stop_then_start_keeps_the_data_and_leaves_no_process(postgres: PostgresServer) -> None:
    write(postgres, 7)
    postgres.stop()
    assert processes_on(postgres.directory) == set()
    postgres.start()
    assert numbers(postgres) == [7]


def test_a_server_whose_launcher_was_killed_shuts_down_by_itself(open_directory: Path) -> None:
    with launched(LAUNCHER, open_directory / "pg") as launcher:
        pid = int(line_of(launcher))
        assert is_alive(pid)
        launcher.kill()
        eventually(lambda: processes_on(open_directory / "pg") == set())


def test_a_start_right_after_the_launcher_was_killed_waits_for_the_old_server(open_directory: Path) -> None:
    server = PostgresServer(open_directory / "pg", durable=False)
    with launched(LAUNCHER, server.directory) as launcher:
        line_of(launcher)
        write(server, 3)
        launcher.kill()
        launcher.wait()
        server.start(30)
    try:
        assert numbers(server) == [3]
    finally:
        server.stop()


def test_an_orphan_that_does_not_go_by_itself_is_ended(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A postmaster frozen by SIGSTOP holds the lock for ever; so would one in a stuck system call."""
    monkeypatch.setattr("alphapulse.adapters.embedded.postgres.WINDING_DOWN_S", 0.5)
    monkeypatch.setattr(
        "alphapulse.adapters.embedded.postgres.ORPHAN_STEPS", ((signal.SIGQUIT, 0.2), (signal.SIGKILL, 5))
    )
    server = PostgresServer(open_directory / "pg", durable=False)
    with launched(LAUNCHER, server.directory) as launcher:
        pid = int(line_of(launcher))
        write(server, 5)
        os.kill(pid, signal.SIGSTOP)
        launcher.kill()
        launcher.wait()
        server.start(30)
    try:
        assert numbers(server) == [5]
    finally:
        server.stop()


@pytest.mark.parametrize("after_s", [0.15, 0.3, 0.45])
def test_a_kill_while_the_cluster_is_made_leaves_nothing_to_trip_over(
    open_directory: Path, after_s: float
) -> None:
    server = PostgresServer(open_directory / "pg", durable=False)
    with launched(LAUNCHER, server.directory) as launcher:
        eventually(lambda: (server.directory / "data.unfinished").exists() or server.data.exists())
        time.sleep(after_s)
        launcher.kill()
        launcher.wait()
        server.start(30)
    server.stop()


def test_a_half_made_cluster_is_made_anew(open_directory: Path) -> None:
    unfinished = open_directory / "pg" / "data.unfinished" / "base"
    unfinished.mkdir(parents=True)
    (unfinished.parent / "PG_VERSION").write_text("18\n")
    server = PostgresServer(open_directory / "pg", durable=False)
    server.start()
    server.stop()
    assert not unfinished.exists()


def test_a_pid_file_that_names_some_other_living_process_is_stale(postgres: PostgresServer) -> None:
    """In a restarted container another program has the number, and PostgreSQL alone would refuse to start."""
    assert postgres.process
    postgres.process.kill()
    postgres.process.wait()
    file = postgres.data / "postmaster.pid"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    beside_the_socket = postgres.socket / ".s.PGSQL.5432.lock"
    beside_the_socket.write_text(file.read_text())
    postgres.spawn()
    postgres.wait_ready(20)


def test_a_server_started_by_other_hands_is_left_alone(postgres: PostgresServer) -> None:
    """As with pg_ctl, which knows nothing of our locks."""
    stranger = PostgresServer(postgres.directory)
    (postgres.directory / "launcher.lock").unlink()
    (postgres.directory / "server.lock").unlink()
    assert postgres.process
    with pytest.raises(AlreadyRunning, match=f"pid {postgres.process.pid}"):
        stranger.start()
    assert postgres.is_ready()


@pytest.mark.parametrize("name", ["x" * 100, "a,b", 'with "quotes" and spaces', "100%", "käse"])
def test_a_directory_of_any_name_gets_a_socket_that_works(open_directory: Path, name: str) -> None:
    server = PostgresServer(open_directory / name / "pg", durable=False)
    server.start()
    try:
        write(server, 1)
        assert numbers(server) == [1]
        assert len(os.fsencode(server.socket / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    finally:
        server.stop()
    assert not server.socket.exists()


def test_another_versions_data_is_refused_by_name_and_left_alone(postgres: PostgresServer) -> None:
    postgres.stop()
    (postgres.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(ServerError, match=r"written by PostgreSQL 17 and this build is 18.*pg_dump"):
        postgres.start()
    (postgres.data / "PG_VERSION").write_text("18\n")
    postgres.start()


def test_a_directory_with_other_peoples_files_is_left_alone(open_directory: Path) -> None:
    note = open_directory / "pg" / "data" / "thesis.txt"
    note.parent.mkdir(parents=True)
    note.write_text("years of work")
    with pytest.raises(ServerError, match="holds no PostgreSQL cluster"):
        PostgresServer(open_directory / "pg").start()
    assert note.read_text() == "years of work"


def test_a_setting_that_postgresql_refuses_is_shown_with_its_words(open_directory: Path) -> None:
    server = PostgresServer(open_directory / "pg", settings={"shared_buffers": "many"}, durable=False)
    with pytest.raises(ServerError, match=r'exit code 1.*\n(.*\n)*.*invalid value.*shared_buffers.*"many"'):
        server.start()


def test_a_server_that_is_up_but_refuses_us_is_quoted(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=a_lot")
    with pytest.raises(ServerError, match=r'refuses us: .*"work_mem": "a_lot"'):
        PostgresServer(open_directory / "pg", durable=False).start()


def test_settings_of_ours_and_the_callers_are_in_force(postgres: PostgresServer) -> None:
    wanted = {"wal_init_zero": "off", "max_connections": "60", "listen_addresses": "", "TimeZone": "UTC"}
    with psycopg.connect(postgres.url()) as connection:
        rows = connection.execute("SELECT name, setting FROM pg_settings").fetchall()
    assert wanted.items() <= dict(rows).items()


def test_fsync_is_on_unless_a_test_says_otherwise(open_directory: Path) -> None:
    server = PostgresServer(open_directory / "pg")
    server.start()
    try:
        with psycopg.connect(server.url()) as connection:
            rows = connection.execute(
                "SELECT setting FROM pg_settings WHERE name ~ '^(fsync|full_page_writes)$'"
            )
            assert rows.fetchall() == [("on",), ("on",)]
    finally:
        server.stop()


def test_tcp_wants_a_password(open_directory: Path) -> None:
    port = free_port("127.0.0.1")
    with pytest.raises(ServerError, match=f"TCP port {port} needs a password"):
        PostgresServer(open_directory / "pg", tcp_port=port)
    server = PostgresServer(open_directory / "pg", tcp_port=port, password="it's 100%", durable=False)
    server.start()
    try:
        where = {"host": "127.0.0.1", "port": port, "user": "alphapulse", "dbname": "postgres"}
        with psycopg.connect(**where, password="it's 100%") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(**where, password="guess")
    finally:
        server.stop()


@needs_root
def test_as_root_the_server_becomes_another_user(postgres: PostgresServer) -> None:
    assert postgres.process
    assert Path(f"/proc/{postgres.process.pid}").stat().st_uid != 0
    assert postgres.data.stat().st_uid != 0


@needs_root
def test_a_directory_closed_to_that_user_is_named_and_not_opened(open_directory: Path) -> None:
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(
        ServerError, match=rf"reached by the user 'nobody'.*{closed} is drwx------.*chmod o\+x {closed}"
    ):
        PostgresServer(closed / "pg").start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert list(closed.iterdir()) == []


@needs_root
def test_binaries_closed_to_that_user_are_copied_for_it(open_directory: Path) -> None:
    """A root user's virtual environment is often under /root."""
    closed = open_directory / "root"
    closed.mkdir(mode=0o700)
    package = installed_binaries().parent
    (closed / package.name).symlink_to(package)
    (closed / f"{package.name}.libs").symlink_to(package.with_name(f"{package.name}.libs"))
    install = closed / package.name / installed_binaries().name
    server = PostgresServer(open_directory / "pg", binaries=install, durable=False)
    server.start()
    try:
        assert server.process
        program = Path(f"/proc/{server.process.pid}/exe").resolve()
        assert program.is_relative_to(server.directory)
    finally:
        server.stop()
    server.start()  # from the copy of the last time
    server.stop()
    assert len(list(server.directory.glob("binaries*"))) == 1


@needs_root
def test_root_without_the_right_to_trace_still_finds_orphans(open_directory: Path) -> None:
    """Docker takes CAP_SYS_PTRACE from root, and with it the sight of other users' working directories."""
    if (setpriv := shutil.which("setpriv")) is None:
        pytest.skip("setpriv is not installed")
    code = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    drop = [setpriv, "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", sys.executable, "-c", RESTART]
    with launched(code, *drop, open_directory / "pg") as process:
        assert line_of(process) == "ready again"
        assert process.wait(30) == 0


RESTART = """
import sys, os, psycopg
from pathlib import Path
from alphapulse.adapters.embedded.postgres import PostgresServer
server = PostgresServer(Path(sys.argv[1]), durable=False)
server.start()
connection = psycopg.connect(server.url(), autocommit=True)
connection.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
server.process.kill()
server.process.wait()
server.spawn()
server.wait_ready(20)
print("ready again", flush=True)
server.stop()
"""


def test_an_ordinary_user_runs_it_as_itself(open_directory: Path) -> None:
    open_directory.chmod(0o777)
    with launched(LAUNCHER, open_directory / "pg", as_user=True) as launcher:
        pid = int(line_of(launcher))
        assert Path(f"/proc/{pid}").stat().st_uid == (open_directory / "pg").stat().st_uid != 0
        launcher.terminate()
        assert line_of(launcher) == "stopped"
        assert not is_alive(pid)


@needs_root
def test_what_an_ordinary_user_began_root_continues_as_that_user(open_directory: Path) -> None:
    open_directory.chmod(0o777)
    with launched(LAUNCHER, open_directory / "pg", as_user=True) as launcher:
        line_of(launcher)
        launcher.terminate()
        assert line_of(launcher) == "stopped"
    server = PostgresServer(open_directory / "pg", durable=False)
    owner = server.data.stat().st_uid
    server.start()
    try:
        assert server.process
        assert Path(f"/proc/{server.process.pid}").stat().st_uid == owner
    finally:
        server.stop()


def test_no_descriptor_and_no_secret_of_ours_reaches_the_server(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHAPULSE_NATS_PASSWORD", "hunter2")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=1MB")
    server = PostgresServer(open_directory / "pg", durable=False)
    server.start()
    try:
        assert server.process
        inherited = Path(f"/proc/{server.process.pid}/environ").read_bytes()
        assert b"hunter2" not in inherited
        assert b"PGOPTIONS" not in inherited
    finally:
        server.stop()


def test_kill_9_in_a_loop_never_loses_a_commit(postgres: PostgresServer) -> None:
    for number in range(5):
        write(postgres, number)
        assert postgres.process
        kill(postgres.process.pid)
        postgres.process.wait()
        postgres.spawn()
        postgres.wait_ready(30)
    assert numbers(postgres) == [0, 1, 2, 3, 4]
