"""``alphapulse chart`` over a real log and its read model: what is asked for is what is drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from psycopg import AsyncConnection

from alphapulse.adapters.database import connection_info
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import BadParameter, Spec
from alphapulse.processes.charting import MAX_LEVELS, NothingToDraw, chart, save, wanted
from tests.cli.test_regimes import bring, walk

BARS = 600
MARKET = "venue:V"


@pytest.fixture
def filled(database_url: str) -> str:
    bring(database_url, walk(0, BARS))
    return database_url


def run(url: str, *words: object) -> Result:
    runner = CliRunner(env={"ALPHAPULSE_DATABASE_URL": url})
    return runner.invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])


def test_entries_are_separated_by_commas_outside_brackets() -> None:
    assert wanted(" rsi, bbands(period=20,width=2),patterns,") == [
        "rsi",
        "bbands(period=20,width=2)",
        "patterns",
    ]


async def test_lines_are_the_indicators_over_all_bars_and_lie_where_they_belong(filled: str) -> None:
    db = await AsyncConnection.connect(connection_info(filled, role=None), autocommit=True)
    async with db:
        entries = ["ema(10)", "rsi", "patterns", "signals", "anomalies", "levels", "regime"]
        picture = await chart(db, MARKET, 1, entries, last=100, as_of=None)
        whole = await chart(db, MARKET, 1, ["ema(10)"], last=BARS, as_of=None)
    ema, rsi = compute([Spec.parse("ema(10)"), Spec.of("rsi")], whole.bars.values)
    assert [line.name for line in picture.overlays] == ["ema(period=10)"]
    assert [pane.title for pane in picture.panes] == ["rsi(period=14)"]
    assert picture.panes[0].guides == (30, 70)
    np.testing.assert_allclose(picture.overlays[0].values, ema[-100:], rtol=1e-9)
    np.testing.assert_allclose(picture.panes[0].lines[0].values, rsi[-100:], rtol=1e-9)
    assert len(picture.bars) == len(picture.regimes) == 100
    assert 0 < len(picture.levels) <= MAX_LEVELS
    assert picture.marks
    assert all(0 <= mark.row < 100 for mark in picture.marks)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_file_is_written_and_described(filled: str, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"chart{suffix}"
    result = run(filled, "chart", MARKET, "1m", "--with", "bbands,rsi", "-o", file, "--last", 50, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["bars"] == 50
    assert facts["overlays"] == [f"bbands(period=20,width=2).{n}" for n in ("upper", "middle", "lower")]
    assert file.stat().st_size > 10_000


def test_the_same_question_gives_the_same_file(filled: str, tmp_path: Path) -> None:
    files = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for file in files:
        assert run(filled, "chart", MARKET, "5m", "--with", "macd,levels", "-o", file).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--with", "rsy"), "no indicator is called 'rsy'"),
        (("--with", "rsi(period=0)"), "period 0 needs a whole number from 2"),
        (("--last", "3000"), "less than or equal to 2000"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_could(
    filled: str, words: tuple[str, str], says: str
) -> None:
    result = run(filled, "chart", MARKET, "1m", *words)
    assert result.exit_code == 2
    assert says in " ".join(result.output.replace("│", " ").split())


def test_a_file_of_another_kind_is_refused(filled: str, tmp_path: Path) -> None:
    result = run(filled, "chart", MARKET, "1m", "-o", tmp_path / "chart.gif")
    assert isinstance(result.exception, NothingToDraw)
    assert not list(tmp_path.iterdir())


async def test_a_market_without_bars_is_an_error_that_names_it(database_url: str) -> None:
    db = await AsyncConnection.connect(connection_info(database_url, role=None), autocommit=True)
    async with db:
        with pytest.raises(NothingToDraw, match="no 1h bar of no:WHERE was known at position 0"):
            await chart(db, "no:WHERE", 60, ["rsi"], last=10, as_of=None)
        with pytest.raises(BadParameter, match="last 2001 needs 1 to 2000"):
            await chart(db, "no:WHERE", 60, ["rsi"], last=2001, as_of=None)


def test_saving_needs_a_known_suffix(tmp_path: Path) -> None:
    with pytest.raises(NothingToDraw, match=r"ends in none of \.png, \.svg, \.html"):
        save(None, tmp_path / "chart")  # type: ignore[arg-type]
