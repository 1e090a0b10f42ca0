"""``alphapulse up``: the real stack as a process, killed in every way, and it comes back."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from alphapulse.adapters.embedded.process import running as processes
from alphapulse.processes.wiring import ROLES
from alphapulse.settings import ADDRESSES
from tests import servers
from tests.launch import IS_ROOT, command_line, eventually, finished, is_alive, kill, line_of

READY_S = 90  # a busy machine; it takes about 3 s on an idle one

Up = tuple[subprocess.Popen[str], dict[str, Any]]


@contextmanager
def up(data_dir: Path, *options: str, as_user: bool = False, **variables: str) -> Iterator[Up]:
    """A ready stack; killed at the end, if it still runs, and gone before this returns."""
    words = ("up", "--json", "--port", "0", "--data-dir", data_dir, *options)
    with command_line(*words, as_user=as_user, **variables) as process:
        line = line_of(process, READY_S)
        assert line, f"up ended with {process.wait(5)}"
        facts = json.loads(line)
        assert facts["ready"] is True
        yield process, facts
    eventually(lambda: remains(data_dir) == set())


def remains(data_dir: Path) -> set[int]:
    """What still runs of a stack."""
    mark = os.fsencode(data_dir)
    return processes(lambda argv: any(word.startswith(mark + b"/") for word in argv))


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(60)


def ask(facts: dict[str, Any], query: str) -> Any:
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(facts["graphql"], body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["data"]


def answers(facts: dict[str, Any]) -> bool:
    try:
        return bool(ask(facts, "{ __typename }") == {"__typename": "Query"})
    except OSError:
        return False


@pytest.fixture(scope="module")
def stack() -> Iterator[dict[str, Any]]:
    """A running stack that its tests leave as it is."""
    with servers.open_directory() as directory, up(directory / "data") as (process, facts):
        yield facts
        stop(process)


def test_everything_runs_and_sigterm_leaves_no_process(open_directory: Path) -> None:
    data = open_directory / "data"
    with up(data) as (process, facts):
        assert set(facts["children"]) == {"postgres", "nats", *ROLES} - {"anchor"}
        assert answers(facts)
        with psycopg.connect(facts["database_url"]) as connection:
            assert connection.execute("SELECT count(*) FROM stored_events").fetchone() == (0,)
        assert stop(process) == 0
        assert not any(is_alive(pid) for pid in facts["children"].values())
        assert remains(data) == set()
        assert not (data / ADDRESSES).exists()


def test_a_second_start_on_the_data_directory_names_the_pid_and_harms_nothing(stack: dict[str, Any]) -> None:
    data = stack["data_dir"]
    done = finished("up", "--data-dir", data, "--port", 0)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"alphapulse: AlphaPulse in {data} is already running (pid {stack['pid']})\n"
    assert answers(stack)


def test_other_commands_find_the_running_stack_by_its_data_directory(stack: dict[str, Any]) -> None:
    done = finished("migrate", "--check", "--json", ALPHAPULSE_DATA_DIR=stack["data_dir"])
    facts = json.loads(done.stdout)
    assert facts["now"] == facts["newest"]


def test_the_doctor_finds_a_running_stack_healthy(stack: dict[str, Any]) -> None:
    done = finished(
        "doctor", "--json", ALPHAPULSE_DATA_DIR=stack["data_dir"], ALPHAPULSE_PORT=str(_port(stack))
    )
    report = json.loads(done.stdout)
    assert [finding for finding in report["findings"] if finding["verdict"] == "fail"] == []
    assert (done.returncode, report["ok"]) == (0, True)
    found = {finding["check"]: finding["found"] for finding in report["findings"]}
    assert f"`alphapulse up` runs here (pid {stack['pid']})" in found["port"]
    assert found["database"] == "PostgreSQL 18"
    assert found["JetStream"].endswith("streams")


def _port(stack: dict[str, Any]) -> int:
    return int(urllib.parse.urlsplit(stack["graphql"]).port or 0)


def test_each_child_comes_back_after_kill_9(open_directory: Path) -> None:
    data = open_directory / "data"
    with up(data) as (process, facts):
        with psycopg.connect(facts["database_url"], autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
        for name in ("api", "decide", "project", "seal", "relay", "nats", "postgres"):
            pid = facts["children"][name]
            kill(pid)
            eventually(lambda pid=pid: not is_alive(pid))
        eventually(lambda: answers(facts), 60)
        with psycopg.connect(facts["database_url"]) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
        assert process.poll() is None
        assert stop(process) == 0


def test_after_kill_9_of_the_supervisor_everything_goes_and_the_next_start_recovers(
    open_directory: Path,
) -> None:
    data = open_directory / "data"
    with up(data) as (process, facts):
        with psycopg.connect(facts["database_url"], autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
        nats = facts["nats_url"]
        process.kill()
        process.wait()
    with up(data) as (process, facts):  # what the first left is gone, or waited for
        with psycopg.connect(facts["database_url"]) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
        assert facts["nats_url"] == nats
        assert stop(process) == 0


def test_after_kill_9_of_the_whole_tree_the_next_start_recovers(open_directory: Path) -> None:
    data = open_directory / "data"
    with up(data) as (process, facts):
        with psycopg.connect(facts["database_url"], autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
        for pid in [process.pid, *facts["children"].values()]:
            kill(pid)
        process.wait()
        with up(data) as (second, again):  # at once
            with psycopg.connect(again["database_url"]) as connection:
                assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
            assert answers(again)
            assert stop(second) == 0


@pytest.mark.parametrize(
    ("after_s", "number"), [(0.5, signal.SIGINT), (1.6, signal.SIGHUP), (2.4, signal.SIGTERM)]
)
def test_a_kill_at_any_moment_of_the_first_start_is_no_obstacle_to_the_next_which_ends_when_asked(
    open_directory: Path, after_s: float, number: signal.Signals
) -> None:
    """Asked by Ctrl-C, by the end of the terminal, or by ``kill``."""
    data = open_directory / "data"
    with command_line("up", "--json", "--port", 0, "--data-dir", data) as process:
        time.sleep(after_s)
        process.kill()
        process.wait()
    with up(data) as (process, facts):
        assert answers(facts)
        assert stop(process, number) == 0
        assert not any(is_alive(pid) for pid in facts["children"].values())


@pytest.mark.parametrize("after_s", [0.9, 1.8])
def test_a_wish_to_stop_during_the_start_is_heard(open_directory: Path, after_s: float) -> None:
    data = open_directory / "data"
    with command_line("up", "--json", "--port", 0, "--data-dir", data) as process:
        time.sleep(after_s)
        assert stop(process) in {0, -signal.SIGTERM}  # the latter while Python itself starts
    eventually(lambda: remains(data) == set())


def test_servers_with_a_url_are_used_and_not_started(
    open_directory: Path, empty_database_url: str, nats_url: str
) -> None:
    urls = {"ALPHAPULSE_DATABASE_URL": empty_database_url, "ALPHAPULSE_NATS_URL": nats_url}
    with up(open_directory / "data", **urls) as (process, facts):
        assert set(facts["children"]) == set(ROLES) - {"anchor"}
        assert (facts["database_url"], facts["nats_url"]) == (empty_database_url, nats_url)
        assert answers(facts)
        assert stop(process) == 0
        assert sorted(path.name for path in (open_directory / "data").iterdir()) == [
            "lock",
            "logs",
            "seal.key",
        ]


def test_a_taken_port_is_said_before_anything_is_started(open_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = finished("up", "--data-dir", open_directory / "data", "--port", port)
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr
    assert not (open_directory / "data" / "postgres").exists()


def test_a_database_that_is_not_there_is_named_without_its_password(open_directory: Path) -> None:
    url = "postgresql://u:hunter2@127.0.0.1:1/nowhere"
    done = finished("up", "--port", 0, "--data-dir", open_directory / "data", ALPHAPULSE_DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1" in done.stderr
    assert "hunter2" not in done.stderr


def test_credentials_of_nats_reach_the_server_and_the_roles_and_no_output(open_directory: Path) -> None:
    secret = {"ALPHAPULSE_NATS_USER": "alpha", "ALPHAPULSE_NATS_PASSWORD": "p%ss w'rd"}
    data = open_directory / "data"
    with up(data, **secret) as (process, facts):
        assert "@" not in facts["nats_url"]
        assert "'rd" in (data / "nats" / "nats-server.conf").read_text()
        eventually(lambda: "relay" in (data / "logs" / "relay.log").read_text())
        time.sleep(1)
        logs = "".join(path.read_text() for path in (data / "logs").iterdir())
        assert "Authorization" not in logs
        assert "'rd" not in logs
        stop(process)


@pytest.mark.skipif(not IS_ROOT, reason="run by an ordinary user, every test here is one of an ordinary user")
def test_an_ordinary_user_runs_everything(open_directory: Path) -> None:
    open_directory.chmod(0o777)
    data = open_directory / "data"
    with up(data, as_user=True, TMPDIR=str(open_directory)) as (process, facts):
        for pid in facts["children"].values():
            assert Path(f"/proc/{pid}").stat().st_uid == data.stat().st_uid != 0
        assert answers(facts)
        assert stop(process) == 0
