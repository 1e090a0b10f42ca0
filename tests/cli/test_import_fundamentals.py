"""``alphapulse import funding`` and ``import news`` as a person and a program meet them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group

Run = Callable[..., Result]
RATES = (
    "Symbol,Date,Funding Rate\nBTC-USDT,2023-01-01 03:00:00,0.0001\nBTC-USDT,2023-01-01 11:00:00,-0.00005\n"
)
NEWS = """date;sentiment;source;subject;text;title;url
2-1-2022 00:05;{'class': 'positive', 'polarity': 0.25, 'subjectivity': 0.1};Wire;bitcoin;t;Up it goes;https://w/2
1-1-2022 00:05;{'class': 'negative', 'polarity': -0.25, 'subjectivity': 0.1};Wire;nft;t;Down it went;https://w/1
"""


@pytest.fixture
def alphapulse(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)

    def run(*words: object) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


def told(result: Result) -> str:
    """Its complaint without the box that is drawn around it."""
    return " ".join(result.stderr.replace("│", " ").split())


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_import_of_rates_says_what_came_of_it_and_a_second_one_adds_nothing(
    alphapulse: Run, tmp_path: Path
) -> None:
    path = tmp_path / "f.csv"
    path.write_text(RATES)
    result = alphapulse("import", "funding", path, "--venue", "binance", "--json")
    assert result.exit_code == 0, result.output
    (facts,) = objects(result)
    assert (facts["kind"], facts["rows"], facts["accepted"]) == ("funding", 2, 2)
    assert (facts["format"], facts["instruments"]) == ("funding_history:+03:00", ["binance:BTC_USDT"])
    assert (facts["time_lo"], facts["time_hi"]) == (
        "2023-01-01T00:00:00.000000Z",
        "2023-01-01T08:00:00.000000Z",
    )
    shown = alphapulse("import", "funding", path, "--venue", "binance")
    assert "2 rows of binance:BTC_USDT (funding_history:+03:00): 0 accepted, 2 known already" in shown.stdout


def test_zone_and_interval_can_be_given_and_must_be_where_nothing_is_preset(
    alphapulse: Run, tmp_path: Path
) -> None:
    path = tmp_path / "f.csv"
    path.write_text(RATES)
    result = alphapulse("import", "funding", path, "--venue", "okx")
    assert result.exit_code == 1
    assert "give --zone UTC or such as --zone +03:00" in result.stderr
    words = (
        "import",
        "funding",
        path,
        "--venue",
        "okx",
        "--symbol",
        "BTC_USDT",
        "--zone",
        "-05:30",
        "--json",
    )
    result = alphapulse(*words, "--interval-hours", 4)
    assert (result.exit_code, objects(result)[0]["time_lo"]) == (0, "2023-01-01T08:30:00.000000Z")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "3", "+3", "+15:00", "+03:75", ""])
def test_a_zone_that_is_no_offset_is_a_wrong_call(alphapulse: Run, tmp_path: Path, zone: str) -> None:
    (tmp_path / "f.csv").write_text(RATES)
    result = alphapulse("import", "funding", tmp_path / "f.csv", "--venue", "binance", "--zone", zone)
    assert result.exit_code == 2
    assert f"zone {zone!r} is not UTC or an offset such as" in told(result)


def test_refused_rows_are_shown_and_the_exit_code_is_3(alphapulse: Run, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(RATES + "BTC-USDT,2023-01-01 19:00:00,1e9\n")
    result = alphapulse("import", "funding", path, "--venue", "binance")
    assert result.exit_code == 3
    assert f"{path}: row 3 refused: rate '1e9' is not between -1 and 1 an interval" in result.stderr


def test_headlines_come_in_from_a_packed_file_and_a_broken_one_does_not_stop_the_others(
    alphapulse: Run, tmp_path: Path
) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress((NEWS * 99).encode())[:-9])
    (tmp_path / "n.csv.gz").write_bytes(gzip.compress(NEWS.encode()))
    result = alphapulse("import", "news", tmp_path / "cut.csv.gz", tmp_path / "n.csv.gz", "--json")
    assert result.exit_code == 1
    failed, good = objects(result)
    assert "broken or cut off" in failed["error"]
    assert (good["kind"], good["accepted"], good["instruments"]) == ("news", 2, ["news:cryptonews"])
    assert good["time_lo"] == "2022-01-01T00:05:00.000000Z"


def test_any_columns_of_rates_and_headlines_can_be_mapped(alphapulse: Run, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("when|what|how_long\n1672531200000|-0.0001|4\n")
    result = alphapulse(
        "import", "funding", tmp_path / "f.txt", "--map", "time=when,rate=what,interval=how_long",
        "--time-unit", "ms", "--venue", "otc", "--symbol", "BTC_USD", "--json",
    )  # fmt: skip
    assert (result.exit_code, objects(result)[0]["accepted"]) == (0, 1)
    (tmp_path / "n.csv").write_text("at,head,score\n2/1/2022 10:00,Up,0.5\n")
    words = ("import", "news", tmp_path / "n.csv", "--map", "time=at,title=head,sentiment=score", "--json")
    formatted = (*words, "--time-format", "%d/%m/%Y %H:%M", "--zone", "+01:00")
    assert "give --source" in alphapulse(*formatted).stderr
    result = alphapulse(*formatted, "--source", "wire")
    assert (result.exit_code, objects(result)[0]["time_lo"]) == (0, "2022-01-02T09:00:00.000000Z")
    again = alphapulse(*words, "--time-format", "%d/%m/%Y %H:%M", "--source", "wire")
    assert "in which zone" in again.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--map", "time=a,price=b"), "is not MEANING=COLUMN"),
        (("--map", "time=a"), "says no column for rate"),
        (("--format", "nonsense"), "'nonsense' is none of auto, funding_history"),
        (("--interval-hours", "0"), "greater than or equal to 1"),
    ],
)
def test_wrong_words_are_complained_about(
    alphapulse: Run, tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "f.csv").write_text(RATES)
    result = alphapulse("import", "funding", tmp_path / "f.csv", "--venue", "binance", *words)
    assert result.exit_code in (1, 2)
    assert complaint in told(result)


@pytest.mark.parametrize("what", ["funding", "news"])
def test_help_shows_examples(alphapulse: Run, what: str) -> None:
    result = alphapulse("import", what, "--help")
    assert result.exit_code == 0
    assert f"alphapulse import {what} " in result.stdout
