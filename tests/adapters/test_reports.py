"""A backtest's report as files: whole, the same each time, safe to open, plain about what it lacks."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from alphapulse.adapters.reports import writing
from alphapulse.adapters.reports.belief import apart, reliability_sheet
from alphapulse.adapters.reports.credit import MAX_PARTS, attribution_sheet
from alphapulse.adapters.reports.doubt import overfit_sheet, widest
from alphapulse.adapters.reports.findings import FEW, findings, verdict
from alphapulse.adapters.reports.money import MAX_POINTS, equity_sheet, months_sheet, thinned
from alphapulse.adapters.reports.outcomes import scatter_sheet
from alphapulse.adapters.reports.page import report_page
from alphapulse.adapters.reports.style import MAX_NAME, _drawn, inline_of, png_of, printable, svg_of
from alphapulse.adapters.reports.tables import MAX_ROWS, table
from alphapulse.adapters.reports.words import UNKNOWN, moment, number
from alphapulse.adapters.reports.writing import (
    DIGITS,
    draw_attribution,
    draw_performance,
    sheets_of,
    write_report,
)  # fmt: skip
from alphapulse.domain.backtest.results import MAX_SCATTER, BacktestReport, Fan, Scatter
from alphapulse.domain.decision.intervals import win_rate_interval
from alphapulse.domain.performance.figures import Figure, Performance, Point
from tests.adapters.report_samples import DAY, HOSTILE, START, report_of, trades_of, unclaimed
from tests.graphql.browser import CHROMIUM, browser

VOID = {"meta", "link"}
PNG = b"\x89PNG\r\n\x1a\n"


class Checked(HTMLParser):
    """Every element is closed where it was opened; what it refers to, its ids and its text are kept."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def many() -> BacktestReport:
    return report_of(150)


@pytest.fixture(scope="module")
def written(many: BacktestReport, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    return write_report(many, tmp_path_factory.mktemp("reports") / "a" / "report")


@pytest.fixture(scope="module")
def page(written: Sequence[Path]) -> str:
    return written[0].read_text(encoding="utf-8")


def test_a_report_is_a_page_its_data_and_a_picture_of_each_thing(written: Sequence[Path]) -> None:
    names = [path.name for path in written]
    assert names[:2] == ["report.html", "report.json"]
    assert set(names[2:]) == {
        "equity.png", "equity-candidates.png", "months.png", "months-candidates.png", "reliability.png",
        "reliability-candidates.png", "outcomes.png", "attribution-voter.png", "attribution-instrument.png",
        "walk-forward-rolling.png", "equity-rolling.png", "cross-validation.png", "monte-carlo-blocks.png",
        "overfitting.png",
    }  # fmt: skip
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(names)
    assert all(path.read_bytes().startswith(PNG) for path in written[2:])


def test_the_data_is_the_report_itself(many: BacktestReport, written: Sequence[Path]) -> None:
    held = msgspec.json.decode(written[1].read_bytes(), type=BacktestReport)
    assert (held.configuration, held.settings) == (many.configuration, many.settings)
    found, expected = leaves_of(held), leaves_of(many)
    measured = {key: value for key, value in expected.items() if isinstance(value, float)}
    assert {key: found.pop(key) for key in measured} == pytest.approx(
        measured, rel=10.0 ** (1 - DIGITS), abs=0
    )
    assert found == {key: value for key, value in expected.items() if key not in measured}


def leaves_of(value: object, at: str = "") -> dict[str, object]:
    """Every value that holds no others, by where it stands."""
    if not isinstance(value, dict | list | tuple | msgspec.Struct):
        return {at: value}
    value = msgspec.to_builtins(value)
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: leaf for name, each in pairs for key, leaf in leaves_of(each, f"{at}/{name}").items()}


def test_what_was_set_is_written_with_all_its_digits() -> None:
    third = 1 / 3
    report = msgspec.structs.replace(report_of(5), settings={"latency_ms": third})
    report = msgspec.structs.replace(report, candidates=at_the_end(report.candidates, third))
    held = msgspec.json.decode(writing.json_of(report), type=BacktestReport)
    assert held.settings == {"latency_ms": third}
    assert held.candidates.curve[-1].equity == 0.3333333


def at_the_end(performance: Performance, equity: float) -> Performance:
    last = msgspec.structs.replace(performance.curve[-1], equity=equity)
    return msgspec.structs.replace(performance, curve=(*performance.curve[:-1], last))


def test_the_page_is_well_formed_and_refers_to_nothing_outside_itself(page: str) -> None:
    checked = Checked(page)
    assert [link for link in checked.links if not link.startswith(("#", "data:"))] == []
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    assert not {"script", "iframe", "object", "img"} & set(checked.tags)


def test_pictures_in_one_page_do_not_share_ids(page: str) -> None:
    checked = Checked(page)
    assert [each for each, count in Counter(checked.ids).items() if count > 1] == []
    referred = {link[1:] for link in checked.links if link.startswith("#")}
    referred |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert referred <= set(checked.ids)


def test_pictures_take_their_colours_from_the_page_so_that_they_can_be_read_in_the_dark(page: str) -> None:
    pictures = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    assert len(pictures) == 14
    ink = re.findall(r"\.(s\d+)\{[^}]*var\(--ink\)", page)
    assert all(any(f'class="{name}"' in each for name in ink) for each in pictures)
    assert page.count("#22262f") == page.count("#fdfdfc") == 1, "where the page says what its own colours are"
    assert "prefers-color-scheme: dark" in page


def test_what_a_picture_says_is_text_that_can_be_searched_and_told_apart(page: str) -> None:
    text = Checked(page).text
    assert "net result (R)" in text
    assert "a voter with quite a long name of its own i" in text
    assert "DejaVuSans-" not in page


def test_a_page_of_all_that_a_report_holds_is_no_burden() -> None:
    """A dot is an element: with every one of them the page has some hundred kilobytes."""
    report = report_of(MAX_SCATTER)
    assert report.trades.left_out == 2 * MAX_SCATTER
    assert len(report_page(report, sheets_of(report)).encode()) < 300_000
    assert len(writing.json_of(report)) < 400_000


def test_the_page_names_each_figure_and_each_picture(many: BacktestReport, page: str) -> None:
    text = Checked(page).text
    assert all(each.title in text for each in many.performance.figures)
    assert all(sheet.title in text and sheet.caption in text for sheet in sheets_of(many))
    assert many.decisions_digest in text
    assert many.source.files[0].sha256 in text
    assert many.command in text


def test_the_same_report_gives_the_same_bytes(many: BacktestReport) -> None:
    again = report_of.__wrapped__(150)
    one, other = scatter_sheet(many.trades), scatter_sheet(again.trades)
    assert png_of(one) == png_of(other)
    assert svg_of(one) == svg_of(other)
    assert inline_of(one, {}) == inline_of(other, {})
    assert writing.json_of(many) == writing.json_of(again)


def test_a_picture_of_few_colours_is_the_picture_that_was_drawn() -> None:
    report = report_of(150)
    for sheet in (scatter_sheet(report.trades), months_sheet(report.candidates)):
        drawn = _drawn(sheet, "png", titled=True)
        few = png_of(sheet)
        before, after = (np.asarray(Image.open(BytesIO(each)).convert("RGB"), int) for each in (drawn, few))
        assert np.abs(before - after).max() <= 10, "of 255"
        assert len(few) < 0.6 * len(drawn)


def test_a_report_of_nothing_says_so_in_words_and_draws_no_empty_axis(tmp_path: Path) -> None:
    nothing = report_of(0)
    assert all(sheet.blank for sheet in sheets_of(nothing))
    (tmp_path / "monte-carlo-blocks.png").write_bytes(b"of an earlier report")
    (tmp_path / "mine.png").write_bytes(b"of somebody else")
    files = write_report(nothing, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["mine.png", *(path.name for path in files)]
    )
    checked = Checked(files[0].read_text(encoding="utf-8"))
    assert (
        "No signals: there was no candidate at all. No edge was found, and none is claimed." in checked.text
    )
    assert checked.text.count("nothing to draw") >= 7
    assert "svg" not in checked.tags
    assert all(path.read_bytes().startswith(PNG) for path in files[2:])


def test_hostile_names_are_text_and_nothing_else() -> None:
    report = report_of(5, name=HOSTILE)
    report = msgspec.structs.replace(report, attribution=(hostile_attribution(report),))
    checked = Checked(report_page(report, [attribution_sheet(report.attribution[0])]))
    assert not {"script", "b"} & set(checked.tags)
    assert '<script>alert("x")</script>' in checked.text


def test_a_name_that_no_font_can_draw_is_drawn_as_boxes_and_cut() -> None:
    assert printable("a字\nb") == "a□ b"
    assert printable("x" * 100) == "x" * (MAX_NAME - 1) + "…"
    assert png_of(attribution_sheet(hostile_attribution(report_of(5)))).startswith(PNG)


def hostile_attribution(report: BacktestReport):
    held = report.attribution[0]
    parts = tuple(msgspec.structs.replace(part, key=f"{HOSTILE}{i}") for i, part in enumerate(held.parts))
    return msgspec.structs.replace(held, parts=parts, note=HOSTILE)


def test_where_nothing_was_claimed_outcomes_lie_by_day_and_reliability_says_why() -> None:
    report = unclaimed(report_of(5))
    outcomes = scatter_sheet(report.trades)
    assert "None of them claimed a confidence" in outcomes.caption
    assert png_of(outcomes).startswith(PNG)
    reliability = reliability_sheet(report.performance)
    assert reliability.blank
    assert "None of 5 trades claimed a confidence" in reliability.caption


def test_where_all_claimed_alike_outcomes_lie_by_day_too() -> None:
    trades = report_of(5).trades
    alike = tuple(None if claim is None else 0.4 for claim in trades.confidence)
    sheet = scatter_sheet(msgspec.structs.replace(trades, confidence=alike))
    claimed = sum(claim is not None for claim in alike)
    assert f"All {claimed} that claimed anything claimed 40.0 %, so they lie by the day" in sheet.caption
    assert "claimed nothing are not drawn" not in sheet.caption
    assert png_of(sheet).startswith(PNG)


def test_nothing_is_written_when_a_picture_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(figure: object) -> None:
        raise ValueError("cannot be drawn")

    broken = replace(equity_sheet(report_of(5).performance), paint=fails)
    monkeypatch.setattr(writing, "sheets_of", lambda report: [broken])
    with pytest.raises(ValueError, match="cannot be drawn"):
        write_report(report_of(5), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_performance_and_attribution_are_drawn_alone_too(tmp_path: Path, suffix: str) -> None:
    report = report_of(5)
    begin = {".png": PNG, ".svg": b"<?xml", ".html": b"<!doctype html>"}[suffix]
    draw_performance(report.performance, tmp_path / f"p{suffix}")
    draw_attribution(report.attribution[0], tmp_path / f"a{suffix}")
    assert (tmp_path / f"p{suffix}").read_bytes().startswith(begin)
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(begin)
    if suffix == ".html":
        assert "Win rate" in Checked((tmp_path / "p.html").read_text(encoding="utf-8")).text


def test_another_suffix_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"p\.pdf ends in \.pdf, not in \.png, \.svg, \.html"):
        draw_performance(report_of(0).performance, tmp_path / "p.pdf")
    assert list(tmp_path.iterdir()) == []


def test_a_long_curve_is_thinned_to_a_limit_that_keeps_its_extremes() -> None:
    equity = 1 + np.cumsum(np.random.default_rng(3).normal(0, 0.01, 30_000))
    fallen = 1 - equity / np.maximum.accumulate(equity)
    points = [
        Point(time=START + i * DAY, equity=float(e), drawdown=float(d))
        for i, (e, d) in enumerate(zip(equity, fallen, strict=True))
    ]
    kept = thinned(points)
    assert MAX_POINTS // 2 <= len(kept) <= MAX_POINTS
    assert all(a.time < b.time for a, b in pairwise(kept))
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert max(p.equity for p in kept) == equity.max()
    assert max(p.drawdown for p in kept) == fallen.max()
    assert thinned(points[:MAX_POINTS]) == points[:MAX_POINTS]


def test_parts_beyond_the_limit_are_summed_and_the_sum_stays() -> None:
    held = report_of(5).attribution[1]
    assert len(held.parts) == 40
    parts = held.at_most(MAX_PARTS)
    assert len(parts) == MAX_PARTS
    assert sum(part.contribution for part in parts) == pytest.approx(held.total, abs=1e-12)
    assert parts[-1].key == "17 others"


def test_a_table_beyond_the_limit_says_how_much_it_leaves_out() -> None:
    text = table(("a", "b"), [(str(i), "x") for i in range(MAX_ROWS + 5)])
    assert text.count("<tr>") == MAX_ROWS + 1
    assert "5 more rows are in report.json" in text


def with_expectancy(report: BacktestReport, low: float) -> BacktestReport:
    """That interval begins at ``low``."""
    figures = tuple(
        msgspec.structs.replace(each, value=9.0, low=low, high=12.0)
        if each.name == "expectancy_bps"
        else each
        for each in report.performance.figures
    )
    performance = msgspec.structs.replace(report.performance, figures=figures)
    return msgspec.structs.replace(report, performance=performance)


def searched(report: BacktestReport, **changes: object) -> BacktestReport:
    return msgspec.structs.replace(report, search=msgspec.structs.replace(report.search, **changes))


def test_each_thing_that_forbids_a_claim_forbids_it() -> None:
    good = searched(with_expectancy(report_of(FEW), 5.0), deflated=0.97, overfit=0.2)
    assert verdict(good).startswith("9 bps (95 % interval 5 to 12) a signal after costs")
    assert "for this history only" in verdict(good)
    assert "too few" in verdict(report_of(FEW - 1))
    assert verdict(with_expectancy(good, 0.0)).startswith("No edge found: 9 bps (95 % interval 0 to 12)")
    assert "No edge is claimed" in verdict(searched(good, deflated=None))
    assert verdict(searched(good, deflated=0.94)).startswith("No edge found: of 37 trials")
    assert verdict(searched(good, overfit=0.5)).startswith("Overfit")


def test_findings_count_every_trial_and_say_what_was_refused_is_not_claimed() -> None:
    said = " ".join(findings(report_of(40)))
    assert "37 trials of this strategy in the log, 12 of them in this run" in said
    assert "nothing is claimed of them" in said


def test_a_report_without_costs_says_so() -> None:
    report = report_of(5)
    risk = msgspec.structs.replace(report.configuration.risk, fee_bps=0.0, slippage_bps=0.0)
    free = msgspec.structs.replace(report.configuration, risk=risk)
    assert "No costs were counted" in " ".join(findings(msgspec.structs.replace(report, configuration=free)))
    assert "No costs" not in " ".join(findings(report))


def test_lines_of_a_fan_are_named_where_they_can_be_told_apart() -> None:
    lines = {"0.05": (1.0, 0.9, 1.1), "0.95": (1.0, 1.2, 1.1)}
    assert widest(Fan(shares=(0, 0.5, 1), lines=lines, observed=(1, 1, 1.1))) == 1
    lines = {"0.05": (1.0, 0.9, 0.9), "0.95": (1.0, 1.2, 1.2)}
    assert widest(Fan(shares=(0, 0.5, 1), lines=lines, observed=(1, 1, 1.1))) == 2


def test_overfitting_counts_a_logit_of_zero_to_the_lower_half() -> None:
    report = report_of(40)
    sheet = overfit_sheet(report.search)
    share = sum(count for logit, count in report.search.logits if logit <= 0) / 252
    assert sum(count for _, count in report.search.logits) == 252
    assert "252 splits of the days" in sheet.caption
    assert f"{share * 100:.1f} %" in sheet.caption


def test_a_month_that_nothing_closed_in_still_draws() -> None:
    performance = report_of(5).performance
    flat = tuple(msgspec.structs.replace(month, value=0.0) for month in performance.months)
    assert png_of(months_sheet(msgspec.structs.replace(performance, months=flat))).startswith(PNG)


def test_what_was_added_up_is_called_a_sum_and_its_year_is_one() -> None:
    candidates = report_of(150).candidates
    equity, months = equity_sheet(candidates), months_sheet(candidates)
    assert equity.title == "Sum of the results of candidates"
    assert "losses may exceed it" in equity.caption
    assert "Nobody traded this" in equity.caption
    assert "a year is their sum" in months.caption
    assert "years compound their months" in months_sheet(report_of(150).performance).caption


def test_where_all_was_lost_the_months_say_so() -> None:
    ruined = msgspec.structs.replace(report_of(5).performance, months=())
    assert months_sheet(ruined).blank
    assert "All was lost by one of 5 trades" in months_sheet(ruined).caption


def test_one_trade_alone_can_be_drawn() -> None:
    one = report_of(1)
    assert isinstance(one.performance, Performance)
    for sheet in (equity_sheet(one.performance), months_sheet(one.performance), scatter_sheet(one.trades)):
        assert png_of(sheet).startswith(PNG)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, UNKNOWN), (float("nan"), UNKNOWN), (0.0, "0"), (1234567.0, "1,234,567"), (0.12345678, "0.1235"),
     (-12.5, "-12.5"), (0.000012, "0.000012"), (1.1656e-9, "1.17e-9"), (-2.347e-7, "-2.35e-7"),
     (123456.7, "123,457")],
)  # fmt: skip
def test_numbers_are_short_and_have_an_exponent_only_where_they_are_tiny(
    value: float | None, text: str
) -> None:
    assert number(value) == text


def test_no_time_is_said_to_be_unknown() -> None:
    assert moment(0) == UNKNOWN
    assert moment(START) == "2018-01-01 00:00 UTC"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_the_page_opens_in_a_browser_and_asks_nobody_for_anything(written: Sequence[Path]) -> None:
    async with browser() as tab:
        await tab.open(written[0].as_uri())
        await tab.until("document.readyState === 'complete'")
        drawn = "[...document.querySelectorAll('figure svg')].filter((s) => s.getBBox().width > 500).length"
        assert await tab.evaluate(drawn) == 14
        assert await tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth") is True
        assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
        assert tab.complaints == []


def test_a_figure_that_cannot_be_said_shows_why() -> None:
    report = report_of(0)
    unknown = Figure(name="sharpe", title="Sharpe", unit="per_year", value=None, note="fewer than two days")
    performance = msgspec.structs.replace(report.performance, figures=(unknown,))
    text = Checked(report_page(msgspec.structs.replace(report, performance=performance), [])).text
    assert f"Sharpe{UNKNOWN}{UNKNOWN}0{UNKNOWN}fewer than two days" in text


def test_of_signals_and_of_what_was_refused_so_many_are_held_evenly_over_their_time() -> None:
    candidates = trades_of(np.random.default_rng(5), 50, "t", 0.0)
    held = Scatter.of(candidates, 80)
    assert (len(held.decision), held.left_out) == (130, 70)
    assert sum(number > 0 for number in held.number) == 50
    assert list(held.closed) == sorted(held.closed)
    few = Scatter.of(candidates, 20)
    assert sum(number > 0 for number in few.number) == 20
    assert len(few.number) == 40
    assert {1, 50} <= set(few.number)
    assert "160 more are not held in the report" in scatter_sheet(few).caption
    assert Scatter.of(candidates, 150).left_out == 0


def test_claims_that_are_all_alike_are_one_point_and_can_be_read() -> None:
    report = report_of(40)
    alike = tuple(
        msgspec.structs.replace(each, low=0.4 + i * 1e-9, high=0.4 + (i + 1) * 1e-9, claimed=0.4 + i * 1e-9)
        for i, each in enumerate(report.performance.bins)
    )
    (joined,) = apart(alike)
    count = sum(each.count for each in alike)
    assert joined.count == pytest.approx(count)
    assert joined.won == pytest.approx(sum(each.won * each.count for each in alike) / count)
    assert (joined.won_low, joined.won_high) == pytest.approx(win_rate_interval(joined.won * count, count))
    sheet = reliability_sheet(msgspec.structs.replace(report.performance, bins=alike))
    assert "1 bin (joined where they are too near to be told apart)" in sheet.caption
    assert png_of(sheet).startswith(PNG)


def test_bins_that_lie_apart_stay_as_they_are() -> None:
    bins = report_of(150).performance.bins
    assert len(bins) > 2
    assert apart(bins) == list(bins)
