"""What funding and news say at a moment: only what was known, the same whatever the batches, bounded."""

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.domain.market import fundamentals_state as fs
from alphapulse.domain.market.columns import MAX_EXPONENT, Int64s
from alphapulse.domain.market.fundamentals import (
    EVERY,
    HOUR_NS,
    FundingColumns,
    FundingObserved,
    Headline,
    HeadlinesObserved,
)
from alphapulse.domain.market.fundamentals_state import (
    FundingAt,
    FundingState,
    NewsState,
    SentimentAt,
    evolve,
    funding_at,
    sentiment_at,
)
from alphapulse.domain.market.instrument import Instrument

BTC = Instrument("sim", "BTC_USD")
START = 1_700_006_400_000_000_000  # 2023-11-15 00:00 UTC
Rate = tuple[int, int, int, int]  # time, mantissa, exponent, interval in hours


def rates_event(rows: Sequence[Rate]) -> FundingObserved:
    """``rows`` as one batch under the finest of their exponents."""
    exponent = max(row[2] for row in rows)
    columns = [
        (time, mantissa * 10 ** (exponent - own), hours) for time, mantissa, own, hours in sorted(rows)
    ]
    time, rate, hours = (np.array(column, dtype=np.int64) for column in zip(*columns, strict=True))
    return FundingObserved(
        instrument=BTC,
        columns=FundingColumns(time=time, rate=rate, interval_hours=hours, rate_exponent=exponent),
    )


def rates(n: int, *, seed: int = 1, hours: int = 8) -> list[Rate]:
    rng = random.Random(seed)
    return [
        (START + i * hours * HOUR_NS + rng.randrange(20) * 1_000_000, rng.randint(-3000, 3000), 7, hours)
        for i in range(n)
    ]


def folded(rows: Sequence[Rate], state: FundingState | None = None) -> FundingState:
    return evolve(state or FundingState(), rates_event(rows))


def at(*times: int) -> Int64s:
    return np.array(times, dtype=np.int64)


def bits(answer: FundingAt | SentimentAt) -> list[bytes]:
    return [column.tobytes() for column in answer]


def dense(rows: Sequence[Rate], n: int = 300) -> Int64s:
    lo, hi = rows[0][0] - 10 * HOUR_NS, rows[-1][0] + 40 * HOUR_NS
    exactly = [t + d for t, *_ in rows for d in (-1, 0, 1)]
    return np.array([*np.linspace(lo, hi, n).astype(np.int64), *exactly], dtype=np.int64)


def slow_funding(rows: Sequence[Rate], time: int) -> tuple[float, float, float, float] | None:
    """By the definition, with exact sums."""
    known = sorted(row for row in rows if row[0] <= time)
    if not known or time - known[-1][0] > 3 * known[-1][3] * HOUR_NS:
        return None
    last = known[-1][0]
    window = [r for r in known if r[0] > last - 30 * 24 * HOUR_NS][-1_000:]
    x = [m / 10**e * 8 / hours for _, m, e, hours in window]
    w = [0.5 ** ((last - r[0]) / (7 * 24 * HOUR_NS)) for r in window]
    mean = math.fsum(a * b for a, b in zip(x, w, strict=True)) / math.fsum(w)
    square = math.fsum(b * (a - mean) ** 2 for a, b in zip(x, w, strict=True)) / math.fsum(w)
    return x[-1], mean, math.sqrt(square) if len(x) > 1 else math.nan, float(len(x))


@pytest.mark.parametrize("hours", [1, 8])
def test_funding_equals_its_definition_at_any_time(hours: int) -> None:
    rows = rates(400, hours=hours)
    del rows[120:160]
    times = dense(rows)
    found = np.stack(funding_at(folded(rows), times), axis=1)
    wanted = [slow_funding(rows, t) or (math.nan,) * 4 for t in times.tolist()]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-18)
    assert np.isnan(found).any(axis=1).sum() > 5


def test_an_hourly_rate_counts_eight_times_to_be_comparable() -> None:
    answer = funding_at(folded([(START, 25, 6, 1)]), at(START))
    assert answer.rate_8h[0] == 0.0002
    assert answer.rates[0] == 1
    assert np.isnan(answer.std_8h[0])


def test_a_rate_is_known_from_its_own_nanosecond_for_three_intervals() -> None:
    answer = funding_at(
        folded([(START, 1, 4, 8)]), at(START - 1, START, START + 24 * HOUR_NS, START + 24 * HOUR_NS + 1)
    )
    assert np.isnan(answer.rate_8h).tolist() == [True, False, False, True]
    assert np.isnan(answer.mean_8h).tolist() == [True, False, False, True]


def test_without_any_rate_everything_is_absent_and_never_zero() -> None:
    for column in funding_at(FundingState(), at(0, START)):
        assert np.isnan(column).all()
    for column in sentiment_at(NewsState(), "BTC", at(0, START)):
        assert np.isnan(column).all()


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_batches_and_the_exponents_they_happen_to_have_change_no_bit(seed: int, batches: int) -> None:
    rows = rates(200, seed=seed)
    times = dense(rows, 50)
    whole = bits(funding_at(folded(rows), times))
    rng = random.Random(seed)
    cuts = sorted({0, len(rows), *(rng.randrange(1, len(rows)) for _ in range(batches))})
    state = FundingState()
    for lo, hi in pairwise(cuts):
        finer = [(t, m * 100, e + 2, h) for t, m, e, h in rows[lo:hi]] if rng.random() < 0.5 else rows[lo:hi]
        state = folded(finer, state)
    assert bits(funding_at(state, times)) == whole


@given(st.integers(0, 10**6))
def test_rates_that_come_late_or_in_any_order_end_in_the_same_bits(seed: int) -> None:
    rows = rates(150, seed=seed)
    times = dense(rows, 50)
    mixed = rows.copy()
    random.Random(seed).shuffle(mixed)
    state = FundingState()
    for lo in range(0, len(mixed), 10):
        state = folded(mixed[lo : lo + 10], state)
    assert bits(funding_at(state, times)) == bits(funding_at(folded(rows), times))


def test_live_questions_get_the_bits_that_a_batch_gets_afterwards() -> None:
    rows = rates(300)
    state, live = FundingState(), []
    for row in rows:
        state = folded([row], state)
        live.append(np.stack(funding_at(state, at(row[0], row[0] + HOUR_NS)), axis=1))
    times = np.array([t + d for t, *_ in rows for d in (0, HOUR_NS)], dtype=np.int64)
    assert np.concatenate(live).tobytes() == np.stack(funding_at(folded(rows), times), axis=1).tobytes()


def test_poisoned_future_rates_change_nothing_before_them() -> None:
    rows = rates(200)
    half = rows[100][0]
    poisoned = [(t, m if t <= half else m * 1_000_003, e, 1 if t > half else h) for t, m, e, h in rows]
    times = dense(rows)
    before = times[times <= half]
    assert bits(funding_at(folded(poisoned), before)) == bits(funding_at(folded(rows), before))
    after = times[times > rows[101][0]]
    assert bits(funding_at(folded(poisoned), after)) != bits(funding_at(folded(rows), after))


def test_of_two_rates_for_one_settlement_the_first_in_the_log_stays() -> None:
    state = folded([(START, 1, 4, 8)])
    state = folded([(START + 15_000_000, 9, 4, 8)], state)
    assert len(state.time) == 1
    assert funding_at(state, at(START + HOUR_NS)).rate_8h[0] == 0.0001


def test_stamps_some_milliseconds_before_and_after_the_hour_are_one_settlement() -> None:
    state = folded([(START - 10_000_000, 1, 4, 8)])
    state = folded([(START + 15_000_000, 1, 4, 8)], state)
    assert state.time.tolist() == [START - 10_000_000]


def test_an_exponent_as_fine_as_can_be_still_gives_the_nearest_float() -> None:
    state = folded([(START, 658_153_991_747_989, MAX_EXPONENT, 8)])
    assert funding_at(state, at(START)).rate_8h[0] == 0.000658153991747989


def test_rates_of_more_digits_than_a_float_are_the_same_under_any_exponent() -> None:
    rng = random.Random(4)
    exact = [(START + i * 8 * HOUR_NS, rng.randrange(10**15, 10**16), 16, 8) for i in range(500)]
    finer = [(t, m * 100, 18, h) for t, m, _, h in exact]
    times = dense(exact, 10)
    assert bits(funding_at(folded(exact), times)) == bits(funding_at(folded(finer), times))


def test_a_rate_older_than_what_was_dropped_changes_nothing_when_it_comes_late() -> None:
    rows = rates(300)
    small = folded(rows[50:], FundingState(capacity=200))
    late = folded(rows[:50], small)
    assert late.forgotten == small.forgotten
    times = dense(rows)
    assert bits(funding_at(late, times)) == bits(funding_at(small, times))


def test_a_headline_older_than_what_was_dropped_changes_nothing_when_it_comes_late() -> None:
    found = [headline(i, i / 400, "BTC") for i in range(300)]
    small = told(found[50:], NewsState(capacity=100))
    late = told(found[:50], small)
    times = hours(*np.linspace(0, 350, 500))
    assert bits(sentiment_at(late, "BTC", times)) == bits(sentiment_at(small, "BTC", times))


def test_the_newest_rates_are_kept_up_to_the_limit_and_windows_beyond_it_are_absent() -> None:
    rows = rates(500)
    full, small = folded(rows), folded(rows, FundingState(capacity=200))
    assert (len(small.time), small.time[0]) == (200, rows[300][0])
    times = dense(rows)
    # Row 389 is the last whose 30 days (90 rows of 8 hours) reach into what was dropped.
    safe = times >= rows[391][0]
    for ours, whole in zip(funding_at(small, times), funding_at(full, times), strict=True):
        assert ours[safe].tobytes() == whole[safe].tobytes()
        assert np.isnan(ours[times < rows[385][0]]).all()
    assert np.isfinite(funding_at(small, at(rows[395][0])).mean_8h).all()


@given(st.integers(0, 10**6))
def test_at_the_limit_batches_still_change_no_bit(seed: int) -> None:
    rows = rates(260, seed=seed)
    times = dense(rows, 50)
    state = FundingState(capacity=150)
    rng, lo = random.Random(seed), 0
    while lo < len(rows):
        hi = lo + rng.randint(1, 60)
        state = folded(rows[lo:hi], state)
        lo = hi
    assert len(state.time) == 150
    assert bits(funding_at(state, times)) == bits(funding_at(folded(rows, FundingState(capacity=150)), times))


def test_a_window_holds_at_most_a_thousand_rates() -> None:
    rows = [(START + i * 60_000_000_000, i % 7, 4, 1) for i in range(1_300)]
    answer = funding_at(folded(rows), at(rows[-1][0]))
    assert answer.rates[0] == fs.FUNDING_WINDOW_ROWS == 1_000
    wanted = slow_funding(rows, rows[-1][0])
    assert wanted is not None
    assert answer.mean_8h[0] == pytest.approx(wanted[1], rel=1e-12)


def headline(hour: float, score: float | None, *subjects: str, title: str = "") -> Headline:
    time = START + int(hour * HOUR_NS)
    return Headline(
        time=time,
        title=title or f"at {hour}",
        url="",
        publisher="p",
        subjects=subjects,
        sentiment=score,
    )


def told(found: Sequence[Headline], state: NewsState | None = None) -> NewsState:
    rows = tuple(sorted(found, key=lambda h: h.key))
    return evolve(state or NewsState(), HeadlinesObserved(source="wire", headlines=rows))


def stories(n: int, seed: int = 3) -> list[Headline]:
    rng = random.Random(seed)
    hours = sorted(rng.uniform(0, 300) + (70 if i > n // 2 else 0) for i in range(n))
    return [
        headline(
            hour,
            rng.choice([None, rng.uniform(-1, 1)]),
            *rng.choice([("BTC",), ("ETH",), ("BTC", "ETH"), ()]),
            title=f"{i}",
        )
        for i, hour in enumerate(hours)
    ]


def hours(*found: float) -> Int64s:
    return np.array([START + int(hour * HOUR_NS) for hour in found], dtype=np.int64)


def slow_sentiment(found: Sequence[Headline], subject: str, time: int) -> tuple[float, float]:
    window = [
        h
        for h in found
        if time - 48 * HOUR_NS < h.time <= time and (subject == EVERY or subject in h.subjects)
    ]
    if not window:
        return math.nan, math.nan
    scored = [
        (h.sentiment, 0.5 ** ((time - h.time) / (6 * HOUR_NS))) for h in window if h.sentiment is not None
    ]
    weight = math.fsum(w for _, w in scored)
    mean = math.fsum(s * w for s, w in scored) / weight if scored else math.nan
    return mean, float(sum(h.time > time - 24 * HOUR_NS for h in window))


@pytest.mark.parametrize("subject", ["BTC", "ETH", EVERY])
def test_sentiment_equals_its_definition_at_any_time(subject: str) -> None:
    found = stories(120)
    times = hours(*np.linspace(-60, 480, 400))
    answer = np.stack(sentiment_at(told(found), subject, times), axis=1)
    wanted = [slow_sentiment(found, subject, t) for t in times.tolist()]
    np.testing.assert_allclose(answer, wanted, rtol=1e-12, atol=1e-15)
    assert np.isnan(answer[:, 1]).sum() > 10
    assert np.isfinite(answer[:, 0]).sum() > 100


def test_a_headline_is_known_from_its_publication_for_two_days() -> None:
    state = told([headline(0, 0.5, "BTC")])
    answer = sentiment_at(state, "BTC", hours(0, 24, 47.9, 48) - at(1, 0, 0, 0))
    assert np.isnan(answer.mean).tolist() == [True, False, False, True]
    np.testing.assert_array_equal(answer.count_24h, [math.nan, 0, 0, math.nan])


def test_headlines_without_a_score_are_counted_but_have_no_say() -> None:
    answer = sentiment_at(told([headline(0, None, "BTC")]), "BTC", hours(1))
    assert np.isnan(answer.mean[0])
    assert answer.count_24h[0] == 1
    both = told([headline(0, 0.5, "BTC"), headline(0.5, None, "BTC")])
    assert [float(c[0]) for c in sentiment_at(both, "BTC", hours(1))] == [0.5, 2]


@given(st.integers(0, 10**5), st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_keys_of_headlines_go_with_their_seconds_so_that_batches_lie_apart(s: int, a: str, b: str) -> None:
    first, later = headline(s / 3600, None, title=a), headline((s + 1) / 3600, None, title=b)
    assert 0 < first.key < later.key < 1 << 62 or first.time // 10**9 == later.time // 10**9


def test_a_subject_nobody_wrote_about_is_absent() -> None:
    assert np.isnan(sentiment_at(told([headline(0, 0.5, "ETH")]), "BTC", hours(1)).count_24h).all()


@given(st.integers(0, 10**6))
def test_batches_and_order_of_headlines_change_no_bit(seed: int) -> None:
    found = stories(80, seed)
    times = hours(*np.linspace(-10, 430, 90))
    mixed = found.copy()
    rng = random.Random(seed)
    if rng.random() < 0.5:
        rng.shuffle(mixed)
    state, lo = NewsState(), 0
    while lo < len(mixed):
        hi = lo + rng.randint(1, 30)
        state = told(mixed[lo:hi], state)
        lo = hi
    state = told(found[:10], state)  # a repeat
    for subject in ("BTC", "ETH", EVERY):
        assert bits(sentiment_at(state, subject, times)) == bits(sentiment_at(told(found), subject, times))


def test_poisoned_future_headlines_change_nothing_before_them() -> None:
    found = stories(100)
    times = hours(*np.linspace(0, 200, 300))
    before = [h for h in found if h.time <= times[-1]]
    later = [headline(200 + i / 10, -1.0, "BTC", "ETH") for i in range(1, 50)]
    clean, poisoned = told(before), told([*before, *later])
    for subject in ("BTC", "ETH", EVERY):
        assert bits(sentiment_at(clean, subject, times)) == bits(sentiment_at(poisoned, subject, times))


def test_the_newest_headlines_are_kept_up_to_the_limit_and_windows_beyond_it_are_absent() -> None:
    found = [headline(i, i / 400, "BTC") for i in range(400)]
    full, small = told(found), told(found, NewsState(capacity=100))
    stepped = NewsState(capacity=100)
    for lo in range(0, 400, 7):
        stepped = told(found[lo : lo + 7], stepped)
    times = hours(*np.linspace(0, 450, 500))
    safe = times >= hours(347)[0]  # the newest forgotten is of hour 299, and a window opens 48 hours before
    for state in (small, stepped):
        answer, whole = sentiment_at(state, "BTC", times), sentiment_at(full, "BTC", times)
        for ours, all_rows in zip(answer, whole, strict=True):
            assert ours[safe].tobytes() == all_rows[safe].tobytes()
            assert np.isnan(ours[~safe]).all()
        assert len(state.subjects["BTC"].time) == 100


def test_subjects_beyond_the_limit_are_not_followed_but_those_before_are() -> None:
    state = NewsState(max_subjects=3)
    for i in range(5):
        state = told([headline(i, 0.5, f"C{i}")], state)
    assert set(state.subjects) == {EVERY, "C0", "C1"}
    assert sentiment_at(state, EVERY, hours(5)).count_24h[0] == 5


def test_a_window_scores_at_most_two_thousand_headlines_the_newest() -> None:
    found = [headline(i / 1_000, -1.0 if i < 500 else 1.0, "BTC", title=str(i)) for i in range(2_500)]
    answer = sentiment_at(told(found), "BTC", hours(3))
    assert [float(c[0]) for c in answer] == [1.0, 2_500]
    assert fs.NEWS_WINDOW_ROWS == 2_000


@pytest.mark.parametrize("times", [np.array([1.0]), np.array([[1]], dtype=np.int64)])
def test_times_that_are_no_row_of_nanoseconds_are_refused(times: Int64s) -> None:
    with pytest.raises(ValueError, match="int64 of shape"):
        funding_at(FundingState(), times)
    with pytest.raises(ValueError, match="int64 of shape"):
        sentiment_at(NewsState(), "BTC", times)


def test_a_state_evolves_by_its_own_events_alone() -> None:
    with pytest.raises(TypeError, match="FundingState does not evolve by HeadlinesObserved"):
        evolve(FundingState(), HeadlinesObserved(source="s", headlines=(headline(0, 0.1),)))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"title": ""}, "title is blank"),
        ({"title": "x" * 501}, "title of 501 characters, over 500"),
        ({"url": "x" * 2_001}, "url of 2001 characters"),
        ({"sentiment": 1.1}, "sentiment 1.1 is not between"),
        ({"sentiment": math.nan}, "sentiment nan is not between"),
        ({"time": -1}, "time -1 ns"),
        ({"subjects": ("X" * 17,)}, "subjects"),
    ],
)
def test_a_headline_out_of_bounds_cannot_be_made(change: dict[str, object], complaint: str) -> None:
    fields: dict[str, object] = {
        "time": START, "title": "t", "url": "", "publisher": "", "subjects": (), "sentiment": None, **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=complaint):
        Headline(**fields)  # type: ignore[arg-type]


def test_a_batch_of_headlines_has_at_least_one_and_at_most_ten_thousand() -> None:
    one = headline(0, None)
    for n in (0, 10_001):
        with pytest.raises(ValueError, match=f"not {n}"):
            HeadlinesObserved(source="s", headlines=(one,) * n)
