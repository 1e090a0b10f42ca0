"""The demo, as a stranger runs it off a terminal."""

import subprocess
import sys
from pathlib import Path

from tests.launch import environment


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alphapulse", "demo", *options],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
        cwd="/",
        check=False,
    )


def test_demo_off_a_terminal_shows_all_steps_and_ends_by_itself() -> None:
    done = demo("--trades", "20000")
    assert done.returncode == 0, done.stderr
    assert "20,000 trades (0 repeats left out)" in done.stdout
    assert "sim:BTC_USD, 20,000 trades" in done.stdout
    assert "live:BTC_USD" in done.stdout
    assert "equal, row by row" in done.stdout


def test_demo_in_a_directory_that_cannot_be_says_so_and_fails(tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("a file")
    done = demo("--data-dir", str(occupied))
    assert done.returncode == 1
    assert str(occupied) in done.stderr
    assert "Traceback" not in done.stderr
