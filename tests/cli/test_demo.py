"""The demo, as a stranger runs it off a terminal."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.launch import environment
from tests.servers import open_directory


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run in ``folder``: pictures and evidence land in its var."""
    return subprocess.run(
        [sys.executable, "-m", "alphapulse", "demo", *options],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
        cwd=folder,
        check=False,
    )


def test_demo_off_a_terminal_shows_all_steps_and_ends_by_itself(tmp_path: Path) -> None:
    done = demo(tmp_path, "--trades", "20000")
    assert done.returncode == 0, done.stderr
    assert "20,000 trades (0 repeats left out)" in done.stdout
    assert "sim:BTC_USD, 20,000 trades" in done.stdout
    assert "live:BTC_USD" in done.stdout
    assert "equal, row by row" in done.stdout
    assert "NOT EQUAL" not in done.stdout
    assert "\n     VALID" in done.stdout
    assert (tmp_path / "var" / "evidence.tar.gz").exists()


def test_demo_in_a_directory_that_cannot_be_says_so_and_fails(tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("a file")
    done = demo(tmp_path, "--data-dir", str(occupied))
    assert done.returncode == 1
    assert str(occupied) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("blow", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_demo_that_is_ended_leaves_no_server_behind(blow: signal.Signals, code: int) -> None:
    with open_directory() as folder:
        _end(folder / "data", blow, code)


def _end(data: Path, blow: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "alphapulse", "demo", "--trades", "2000000", "--data-dir", str(data)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(), cwd="/"
    ) as process:
        assert process.stdout is not None
        while "ready after" not in process.stdout.readline():
            assert process.poll() is None
        assert _running_on(data)
        process.send_signal(blow)
        process.stdout.read()  # or it could not say what it says
        assert process.wait(60) == code
    deadline = time.monotonic() + 60
    while _running_on(data):
        assert time.monotonic() < deadline, "what it started is still there"
        time.sleep(0.1)


def _running_on(data: Path) -> list[str]:
    """Command lines of processes that name ``data``."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if any(str(data) in word for word in words) and "demo" not in words:
            found.append(" ".join(words))
    return found
