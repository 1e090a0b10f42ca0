"""``alphapulse doctor``: each thing that can be wrong is found, with a word on what to do."""

import json
import os
import re
import socket
from pathlib import Path

import psycopg
import pytest

from alphapulse.adapters.embedded.nats import NatsServer
from alphapulse.processes import doctor
from alphapulse.processes.doctor import Finding, examine, examine_database, failed
from tests.launch import finished, needs_root


async def findings(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, **variables: str
) -> dict[str, list[Finding]]:
    """The findings by check, with these settings."""
    monkeypatch.setenv("ALPHAPULSE_DATA_DIR", str(data_dir))
    monkeypatch.setenv("ALPHAPULSE_PORT", "0")
    for name, value in variables.items():
        monkeypatch.setenv(f"ALPHAPULSE_{name}", value)
    found: dict[str, list[Finding]] = {}
    async for finding in examine():
        found.setdefault(finding.check, []).append(finding)
    return found


def test_a_fresh_installation_is_healthy_and_the_exit_code_says_so(open_directory: Path) -> None:
    done = finished("doctor", "--json", "--port", 0, "--data-dir", open_directory / "data")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (0, True)
    assert not (open_directory / "data").exists()


def test_a_wrong_setting_is_a_finding_and_the_exit_code_is_1() -> None:
    done = finished("doctor", ALPHAPULSE_PROT="1")
    assert done.returncode == 1
    assert "ALPHAPULSE_PROT is not a setting; the nearest is ALPHAPULSE_PORT" in done.stdout


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((3, 10), "fail"), ((3, 11), "ok"), ((3, 14), "ok"), ((3, 15), "fail")],
)
def test_pythons_outside_of_3_11_to_3_14_are_refused(version: tuple[int, int], verdict: str) -> None:
    assert doctor.python(version, "linux").verdict == verdict


def test_an_encoding_that_is_not_utf_8_is_a_warning() -> None:
    assert (doctor.encoding("ANSI_X3.4-1968").verdict, doctor.encoding("utf-8").verdict) == ("warn", "ok")


async def test_a_port_that_somebody_has_is_found(
    monkeypatch: pytest.MonkeyPatch, open_directory: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = await findings(monkeypatch, open_directory / "data", PORT=str(port))
    assert found["port"][0].verdict == "fail"
    assert f"127.0.0.1:{port} is taken" in found["port"][0].found


async def test_a_host_that_is_not_ours_is_found(
    monkeypatch: pytest.MonkeyPatch, open_directory: Path
) -> None:
    found = await findings(monkeypatch, open_directory, HOST="192.0.2.1", PORT="8000")
    assert "cannot listen on 192.0.2.1" in found["port"][0].found


@needs_root
async def test_a_data_directory_closed_to_the_servers_user_is_found(
    monkeypatch: pytest.MonkeyPatch, open_directory: Path
) -> None:
    (open_directory / "closed").mkdir(mode=0o700)
    found = await findings(monkeypatch, open_directory / "closed" / "data")
    (finding,) = found["data directory"]
    assert (finding.verdict, str(open_directory / "closed") in finding.found) == ("fail", True)


def test_too_little_space_is_found(monkeypatch: pytest.MonkeyPatch, open_directory: Path) -> None:
    settings = doctor.load({"ALPHAPULSE_DATA_DIR": str(open_directory)}, running=False)
    for limits, verdict in {(1, 2): "ok", (1, 1 << 60): "warn", (1 << 59, 1 << 60): "fail"}.items():
        monkeypatch.setattr(doctor, "SPACE_FAIL", limits[0])
        monkeypatch.setattr(doctor, "SPACE_WARN", limits[1])
        assert doctor.free_space(settings).verdict == verdict


def test_a_cache_that_cannot_be_written_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/1/none")
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).startswith("/proc"))
    assert doctor.numba_cache().verdict == "warn"


def test_a_migrated_database_is_healthy_but_for_the_fsync_that_tests_go_without(database_url: str) -> None:
    found = list(examine_database(database_url))
    assert [(finding.check, finding.found) for finding in found if finding.verdict != "ok"] == [
        ("durability", "fsync is off")
    ]


def test_a_database_that_is_behind_is_told_to_migrate(empty_database_url: str) -> None:
    (finding,) = [f for f in examine_database(empty_database_url) if f.check == "migrations"]
    assert (finding.verdict, finding.advice) == ("fail", "run `alphapulse migrate`")


def test_a_database_in_another_encoding_is_found(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = f"latin_{connection.info.dbname}"
        how = "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc"
        connection.execute(f"CREATE DATABASE {name} {how}")
        try:
            url = database_url.replace(connection.info.dbname, name)
            assert "its encoding is LATIN1" in [finding.found for finding in examine_database(url)]
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_database_that_is_not_there_is_found_without_its_password(
    monkeypatch: pytest.MonkeyPatch, open_directory: Path
) -> None:
    url = "postgresql://u:hunter2@127.0.0.1:1/d"
    found = await findings(monkeypatch, open_directory / "data", DATABASE_URL=url)
    assert found["database"][0].verdict == "fail"
    assert "hunter2" not in str(found)


async def test_a_nats_server_is_examined(
    monkeypatch: pytest.MonkeyPatch, open_directory: Path, nats_url: str
) -> None:
    found = await findings(monkeypatch, open_directory / "data", NATS_URL=nats_url)
    assert [finding.verdict for finding in [*found["NATS"], *found["JetStream"]]] == ["ok", "ok"]


async def test_a_nats_server_that_refuses_us_is_found(
    monkeypatch: pytest.MonkeyPatch, open_directory: Path
) -> None:
    server = NatsServer(open_directory / "nats", token="right")
    server.start()
    try:
        url = server.url_without_credentials
        found = await findings(monkeypatch, open_directory / "data", NATS_URL=url, NATS_TOKEN="wr0ng")
        assert found["NATS"][0].verdict == "fail"
        # It says why and hangs up; which of the two reaches us first is a matter of chance.
        assert re.search("Authorization|credentials", found["NATS"][0].found)
        assert "wr0ng" not in str(found)
    finally:
        server.stop()


async def test_nothing_is_started_and_the_rest_is_only_mentioned(
    monkeypatch: pytest.MonkeyPatch, open_directory: Path
) -> None:
    found = await findings(monkeypatch, open_directory / "data")
    assert found["database"][0].found == found["NATS"][0].found == "`alphapulse up` will start one"
    assert not failed([finding for several in found.values() for finding in several])
    assert os.listdir(open_directory) == []  # noqa: PTH208  a test may block
