"""Pictures of bars: the same file each time, with all that was put in, and pages that load nothing."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from alphapulse.adapters.charts.drawing import MAX_LABELS, draw, figure_of
from alphapulse.adapters.charts.page import NoAssets, data_of, page
from alphapulse.adapters.charts.picture import LevelLine, Line, Mark, Pane, Picture, lies_among_prices
from alphapulse.domain.analysis.bars import AFTER_GAP, Bars
from alphapulse.domain.analysis.fields import INPUTS
from alphapulse.graphql.pages import ASSETS
from tests.graphql.browser import CHROMIUM, browser

N = 60
NEEDS_ASSETS = pytest.mark.skipif(not (ASSETS / "chart.js").exists(), reason="the assets are not built")


def market() -> Bars:
    rng = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, N)))
    values = np.empty((INPUTS, N))
    values[0] = np.arange(N) * 60 + 27_000_000
    values[1], values[4] = np.roll(close, 1), close
    values[1, 0] = close[0]
    values[2], values[3] = np.maximum(values[1], close) * 1.002, np.minimum(values[1], close) * 0.998
    values[5:] = rng.gamma(2, 1, (3, N))
    zeros, flags = np.zeros(N, dtype=np.int64), np.zeros(N, dtype=np.int64)
    flags[30] = AFTER_GAP
    return Bars(
        instrument="test:BTC_USD", timeframe=60, values=values, known_time=zeros, position=zeros,
        input_position=zeros, flags=flags,
    )  # fmt: skip


def picture() -> Picture:
    bars = market()
    line = bars.values[4].copy()
    line[:5] = np.nan
    return Picture(
        title="test </script> <b>",
        bars=bars,
        overlays=[Line("average", line)],
        panes=[
            Pane("rsi(period=14)", [Line("rsi", np.full(N, 50.0)), Line("histogram", line - 100)], (30, 70))
        ],
        marks=[Mark(3, 1, "hammer", 0.5), Mark(3, 1, "doji", 0.2), Mark(9, -1, "engulfing", 0.9)],
        levels=[LevelLine(float(bars.values[4].mean()), "round 100")],
        regimes=["range"] * 30 + ["trend_up"] * 30,
        notes=["Relative strength index"],
    )


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_picture_gives_the_same_file(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    draw(picture(), first)
    draw(picture(), second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[:4] in (b"\x89PNG", b"<?xm")


def test_a_drawing_says_what_it_shows(tmp_path: Path) -> None:
    file = tmp_path / "chart.svg"
    draw(picture(), file)
    text = re.sub(r"<!--(.*?)-->", r"\1", file.read_text())  # matplotlib writes each text as a comment too
    for word in (
        "hammer",
        "engulfing",
        "round 100",
        "average",
        "rsi(period=14)",
        "trend up",
        "Relative strength",
    ):
        assert word in text


def test_each_bar_has_its_body_and_a_missing_bar_its_line() -> None:
    axis = figure_of(picture()).axes[0]
    wicks, bodies = axis.collections[:2]
    assert len(wicks.get_paths()) == len(bodies.get_paths()) == N
    assert [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == ":"] == [29.5]


def test_of_too_many_marks_only_the_strongest_are_named() -> None:
    many = [Mark(i, 1, f"mark{i}", i / 100) for i in range(MAX_LABELS + 20)]
    figure = figure_of(replace(picture(), marks=many, levels=()))
    named = {text.get_text() for text in figure.axes[0].texts}
    assert named == {f"mark{i}" for i in range(20, MAX_LABELS + 20)}


def test_marks_at_one_bar_are_one_mark_that_counts_them() -> None:
    figure = figure_of(replace(picture(), levels=()))
    assert {text.get_text() for text in figure.axes[0].texts} == {"hammer +1", "engulfing"}


def test_lines_far_from_the_prices_get_a_pane_of_their_own() -> None:
    bars = market()
    assert lies_among_prices(bars.values[4], bars)
    assert not lies_among_prices(np.full(N, 2.0), bars)
    assert not lies_among_prices(np.full(N, np.nan), bars)


def test_a_page_leaves_holes_where_there_is_no_value() -> None:
    (line,) = data_of(picture())["overlays"]
    assert [("value" in point) for point in line["points"]] == [False] * 5 + [True] * (N - 5)


def test_a_page_without_built_assets_says_what_else_there_is(tmp_path: Path) -> None:
    with pytest.raises(NoAssets, match=r"draw a \.png or \.svg"):
        page(picture(), tmp_path)


@NEEDS_ASSETS
def test_no_text_of_a_page_becomes_part_of_its_code() -> None:
    text = page(picture(), ASSETS)
    assert "<h1>test &lt;/script&gt; &lt;b&gt;</h1>" in text
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert len(orjson.loads(data[1])["bars"]) == N
    assert text.count("</script>") == 2


@NEEDS_ASSETS
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_a_page_draws_itself_and_loads_nothing(tmp_path: Path) -> None:
    file = tmp_path / "chart.html"
    file.write_text(page(picture(), ASSETS), encoding="utf-8")
    async with browser() as tab:
        await tab.open(file.as_uri())
        await tab.until("document.querySelectorAll('#chart canvas').length > 3")
        assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
        assert tab.complaints == []
