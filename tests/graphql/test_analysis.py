"""Indicators, detections, levels, profiles, regimes, correlations over GraphQL, against the kernels."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from alphapulse.domain.analysis.complex_event_text import parse_event
from alphapulse.domain.analysis.complex_event_watch import find_events
from alphapulse.domain.analysis.fields import INPUTS, Floats
from alphapulse.domain.analysis.hidden_regimes import Recipe, score
from alphapulse.domain.analysis.panel import compute
from alphapulse.domain.analysis.registry import Spec, everything
from alphapulse.domain.market.instrument import Instrument
from alphapulse.graphql import bar_feed
from alphapulse.graphql.scalars import write_time
from alphapulse.processes.fitting import fit_regimes
from alphapulse.projections import (
    analysis_queries,
    complex_event_queries,
    detection_queries,
    profile_queries,
)
from alphapulse.projections.known_bars import known_bars, known_position
from alphapulse.projections.model_log import fitted_models
from tests.candle_oracle import MINUTE
from tests.graphql.client import eventually, subscriber
from tests.graphql.conftest import Market
from tests.projections.market_log import ETH, T0, trades

MINUTES = 420
INDICATORS = """
query($specs: [String!]!, $last: Int, $from: Time, $to: Time, $asOf: AsOf) {
  indicators(instrument: "test:BTC_USD", timeframe: M1, specs: $specs, last: $last, from: $from, to: $to,
             asOf: $asOf) {
    position count start knownTime sourcePosition flags columns { name unit values }
  }
}
"""
DETECTION = """
    name direction signal strength regime reasons start knownTime sourcePosition
    context { trend volumeRatio support resistance others { timeframe trend } }
    agreement { verdict supporting opposing reasons }
    record { horizon detections hits hitRate hitLow hitHigh baseRate lift }
"""
PATTERNS = (
    """
query($names: [String!], $last: Int, $horizon: Int! = 5, $minStrength: Float! = 0, $asOf: AsOf) {
  patterns(instrument: "test:BTC_USD", timeframe: M1, names: $names, last: $last, horizon: $horizon,
           minStrength: $minStrength, asOf: $asOf) {
    position bars history
    detections {"""
    + DETECTION
    + """}
    reliability { name pending pValue adjusted record { horizon detections hits effective baseRate } }
  }
}
"""
)


def tape(seed: int, *, minutes: int = MINUTES, start: int = 0) -> list[tuple[float, float, float, int]]:
    """Four trades a minute of a seeded walk: (minute, price, size, side)."""
    rng = np.random.default_rng(seed)
    price, rows = 100.0 + seed, []
    for minute in range(start, start + minutes):
        for part in range(4):
            price = round(max(1.0, price * float(np.exp(rng.normal(0, 0.002)))), 2)
            size = round(float(rng.gamma(2.0, 0.5)) + 0.01, 4)
            rows.append((minute + part / 5, price, size, int(rng.choice([1, -1]))))
    return rows


def bars_of(rows: list[tuple[float, float, float, int]]) -> Floats:
    """The bars of every minute but the last, which has not ended: (INPUTS, T), computed on its own."""
    minutes = sorted({int(r[0]) for r in rows})[:-1]
    out = np.empty((INPUTS, len(minutes)))
    for t, minute in enumerate(minutes):
        inside = [r for r in rows if int(r[0]) == minute]
        prices, sizes = [r[1] for r in inside], [Decimal(str(r[2])) for r in inside]
        buys = [s for s, r in zip(sizes, inside, strict=True) if r[3] > 0]
        out[:, t] = [
            T0 // MINUTE + minute, prices[0], max(prices), min(prices), prices[-1],
            float(sum(sizes)), float(sum(buys, Decimal(0))), len(inside),
        ]  # fmt: skip
    return out


async def known(market: Market, *events: Any) -> int:
    """Record events and wait until the features have them; return the last position."""
    position = await market.folded(*events)

    async def is_there() -> bool:
        async with market.api.services.reads.connection() as db:
            return await known_position(db) >= position

    await eventually(is_there)
    return position


@pytest.fixture
async def walked(market: Market) -> Market:
    await known(market, trades(tape(1)), trades(tape(2), instrument=ETH))
    return market


def numbers(values: list[float | None]) -> Floats:
    return np.array([np.nan if v is None else v for v in values])


async def test_indicators_are_what_the_kernels_give_over_all_bars(walked: Market) -> None:
    specs = ["rsi", "ema(period=10)", "bbands", "obv"]
    found = (await walked.api.http.data(INDICATORS, {"specs": specs, "last": 100}))["indicators"]
    expected = compute([Spec.parse(text) for text in specs], bars_of(tape(1)))
    assert found["count"] == 100
    assert found["start"][-1] == (T0 // 10**9 + (MINUTES - 2) * 60) * 1000
    assert len(found["columns"]) == len(expected)
    for column, values in zip(found["columns"], expected, strict=True):
        np.testing.assert_allclose(numbers(column["values"]), values[-100:], rtol=1e-9, atol=1e-12)
    # What never forgets begins at the first bar, so it is equal to the last bit.
    assert found["columns"][-1]["values"] == expected[-1, -100:].tolist()


async def test_indicators_before_their_first_value_are_null(walked: Market) -> None:
    begin = write_time(T0)
    found = (await walked.api.http.data(INDICATORS, {"specs": ["sma(period=20)"], "from": begin}))[
        "indicators"
    ]
    values = found["columns"][0]["values"]
    assert values[:19] == [None] * 19
    assert None not in values[19:]


async def test_indicators_as_of_a_position_are_what_was_answered_then(market: Market) -> None:
    rows = tape(1, minutes=60)
    first = await known(market, trades(rows))
    asked = {"specs": ["rsi", "atr"], "last": 30}
    then = (await market.api.http.data(INDICATORS, asked))["indicators"]
    more = trades(tape(1, minutes=30, start=60), first_id=len(rows) + 1)
    await known(market, more)
    now = (await market.api.http.data(INDICATORS, asked))["indicators"]
    again = (await market.api.http.data(INDICATORS, asked | {"asOf": {"position": str(first)}}))["indicators"]
    assert again == then
    assert now["start"] != then["start"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"specs": ["rsy"]}, "no indicator is called 'rsy'"),
        ({"specs": ["rsi(period=1)"]}, "rsi: period 1 needs a whole number from 2"),
        ({"specs": ["rsi(length=5)"]}, "rsi has no length: it takes period"),
        ({"specs": []}, "0 indicators were asked for, 1 to 40 can be"),
        ({"specs": ["rsi", "rsi(14)"]}, "an indicator stands twice"),
        ({"specs": ["rsi"], "last": 10_001}, "last 10001 needs 1 to 10000"),
        ({"specs": ["rsi"], "last": 0}, "last 0 needs 1 to 10000"),
    ],
)
async def test_a_bad_question_is_told_what_would_be_a_good_one(
    walked: Market, asked: dict[str, Any], says: str
) -> None:
    error = await walked.api.http.error(INDICATORS, asked)
    assert says in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_the_catalogue_lists_every_registered_indicator(walked: Market) -> None:
    query = """{ indicatorCatalogue {
        name kind source parameters { name default } outputs { name unit lookback } } }"""
    found = (await walked.api.http.data(query))["indicatorCatalogue"]
    assert [each["name"] for each in found] == list(everything())
    rsi = next(each for each in found if each["name"] == "rsi")
    assert rsi["parameters"] == [{"name": "period", "default": 14.0}]
    assert rsi["outputs"] == [{"name": "rsi", "unit": "percent", "lookback": 14}]


async def test_patterns_are_those_of_the_kernels_with_context_and_their_record_so_far(walked: Market) -> None:
    names = ["doji", "engulfing", "harami"]
    found = (await walked.api.http.data(PATTERNS, {"names": names, "last": 300}))["patterns"]
    bars = bars_of(tape(1))
    expected = []
    for name in names:
        signal, strength = compute([Spec.of(name)], bars)[:2]
        expected += [
            (t, f"{name}", signal[t], strength[t])
            for t in np.flatnonzero(np.nan_to_num(signal[-300:])) + len(signal) - 300
        ]
    got = [(d["start"], d["name"].partition("(")[0], d["signal"], d["strength"]) for d in found["detections"]]
    minutes = {write_time(int(start) * MINUTE): t for t, start in enumerate(bars[0])}
    assert sorted((minutes[start], *rest) for start, *rest in got) == sorted(expected)
    assert found["bars"] == 300
    assert found["history"] == MINUTES - 1 - 300
    for each in found["detections"]:
        assert each["agreement"]["verdict"] in ("confirmed", "contradicted", "divided", "alone")
        assert [o["timeframe"] for o in each["context"]["others"]] == ["M5", "M15", "H1", "H4", "D1", "W1"][
            : len(each["context"]["others"])
        ]
        assert each["record"] is None or each["record"]["hits"] <= each["record"]["detections"]


async def test_the_record_of_a_detection_counts_only_what_was_resolved_at_its_bar(walked: Market) -> None:
    found = (await walked.api.http.data(PATTERNS, {"names": ["doji"], "last": 400}))["patterns"]
    rows = [d for d in found["detections"] if d["record"]]
    counts = [d["record"]["detections"] for d in rows]
    assert counts[0] == 0, "nothing was known at the first one"
    (total,) = [r["record"]["detections"] + r["pending"] for r in found["reliability"]]
    assert max(counts) < total


async def test_weak_patterns_are_left_out_on_request(walked: Market) -> None:
    every = (await walked.api.http.data(PATTERNS, {"last": 300}))["patterns"]["detections"]
    strong = (await walked.api.http.data(PATTERNS, {"last": 300, "minStrength": 0.5}))["patterns"][
        "detections"
    ]
    assert 0 < len(strong) < len(every)
    assert min(d["strength"] for d in strong) >= 0.5


async def test_only_patterns_answer_to_the_field_of_patterns(walked: Market) -> None:
    error = await walked.api.http.error(PATTERNS, {"names": ["rsi"]})
    assert "rsi(period=14) is no pattern" in error["message"]


@pytest.mark.parametrize("field", ["analysisSignals", "anomalies"])
async def test_signals_and_anomalies_are_answered_like_patterns(walked: Market, field: str) -> None:
    asked = f'{field}(instrument: "test:BTC_USD", timeframe: M1, last: 300)'
    query = f"{{ {asked} {{ bars detections {{ {DETECTION} }} }} }}"
    found = (await walked.api.http.data(query))[field]
    assert found["bars"] == 300
    assert {d["direction"] for d in found["detections"]} <= {"UP", "DOWN", "NEITHER"}
    if field == "analysisSignals":
        assert found["detections"]
        assert all(d["reasons"] for d in found["detections"])


async def test_levels_stand_on_either_side_of_the_close_and_say_why(walked: Market) -> None:
    query = """{ levels(instrument: "test:BTC_USD", timeframe: M1) {
        close bars levels { kind price side strength distance touches knownTime reasons } } }"""
    found = (await walked.api.http.data(query))["levels"]
    assert found["bars"] == MINUTES - 1
    assert {level["side"] for level in found["levels"]} == {"support", "resistance"}
    for level in found["levels"]:
        assert (level["price"] > found["close"]) == (level["side"] == "resistance")
        assert level["reasons"]
        assert level["knownTime"] <= write_time(T0 + MINUTES * MINUTE)


PROFILE = """query($from: Time!, $to: Time!, $binSize: String, $asOf: AsOf) {
  volumeProfile(instrument: "test:BTC_USD", from: $from, to: $to, sessionMinutes: 60, binSize: $binSize,
                asOf: $asOf) {
    exact binSize
    sessions { start end volume pointOfControl valueAreaLow valueAreaHigh prices volumes trades takerBuys }
  }
}"""


async def test_a_volume_profile_adds_up_to_the_trades_exactly(walked: Market) -> None:
    asked = {"from": write_time(T0), "to": write_time(T0 + 120 * MINUTE), "binSize": "0.05"}
    found = (await walked.api.http.data(PROFILE, asked))["volumeProfile"]
    assert found["exact"] is True
    assert found["binSize"] == "0.05"
    for hour, session in enumerate(found["sessions"]):
        inside = [r for r in tape(1) if hour * 60 <= r[0] < hour * 60 + 60]
        assert Decimal(session["volume"]) == sum(Decimal(str(r[2])) for r in inside)
        assert sum(map(Decimal, session["volumes"])) == Decimal(session["volume"])
        assert sum(session["trades"]) == len(inside)
        by_bin: dict[Decimal, Decimal] = {}
        for _, price, size, _side in inside:
            at = Decimal(str(price)) // Decimal("0.05") * Decimal("0.05")
            by_bin[at] = by_bin.get(at, Decimal(0)) + Decimal(str(size))
        assert Decimal(session["pointOfControl"]) == max(by_bin, key=by_bin.__getitem__)
    assert len(found["sessions"]) == 2


async def test_a_profile_as_of_a_position_knows_no_later_trade(market: Market) -> None:
    first = await known(market, trades([(0, 100, 1), (1, 101, 2)]))
    await known(market, trades([(2, 102, 5)], first_id=3))
    asked = {"from": write_time(T0), "to": write_time(T0 + 60 * MINUTE), "asOf": {"position": str(first)}}
    (session,) = (await market.api.http.data(PROFILE, asked))["volumeProfile"]["sessions"]
    assert session["volume"] == "3"


async def test_a_profile_of_too_many_sessions_is_refused_with_the_number(walked: Market) -> None:
    asked = {"from": write_time(T0), "to": write_time(T0 + 101 * 60 * MINUTE)}
    error = await walked.api.http.error(PROFILE, asked)
    assert "101 sessions of 60 minutes: 1 to 100 are possible" in error["message"]
    assert error["extensions"]["code"] == "TOO_LARGE"


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ("1e400000000", "needs 1e-18 to 1e18"),
        ("1e-19", "needs 1e-18 to 1e18"),
        ("1.0000000000000000000001", "needs 1e-18 to 1e18"),
        ("-1", "needs 1e-18 to 1e18"),
        ("0", "needs 1e-18 to 1e18"),
        ("NaN", "needs 1e-18 to 1e18"),
        ("Infinity", "needs 1e-18 to 1e18"),
        ("ten", "is no decimal number"),
        ("1e-18", "bins"),
    ],
)
async def test_a_hostile_bin_size_is_refused_at_once(walked: Market, size: str, says: str) -> None:
    asked = {"from": write_time(T0), "to": write_time(T0 + 60 * MINUTE), "binSize": size}
    error = await walked.api.http.error(PROFILE, asked)
    assert says in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_what_is_asked_for_beyond_the_limits_is_refused_with_the_numbers(walked: Market) -> None:
    ask = walked.api.http.error
    many = {"specs": [f"sma({n})" for n in range(2, 43)]}
    assert "41 indicators were asked for, 1 to 40 can be" in (await ask(INDICATORS, many))["message"]
    crowd = {"instruments": [f"test:I{n}" for n in range(51)]}
    assert "51 instruments: 2 to 50 different ones" in (await ask(CORRELATION, crowd))["message"]
    far = {"horizon": 2_001}
    assert "horizon 2001 needs 1 to 2000 bars" in (await ask(PATTERNS, far))["message"]


async def test_computations_that_would_take_too_long_are_refused(
    walked: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis_queries, "MAX_VALUES", 418)
    error = await walked.api.http.error(INDICATORS, {"specs": ["obv"], "last": 10})
    assert "419 bars by 1 outputs, the limit is 418 values" in error["message"]
    assert error["extensions"]["code"] == "TOO_LARGE"
    monkeypatch.undo()
    monkeypatch.setattr(detection_queries, "MAX_FOUND", 3)
    error = await walked.api.http.error(PATTERNS, {"names": ["doji"], "last": 400})
    assert "over 3 detections in 400 bars" in error["message"]
    monkeypatch.setattr(profile_queries, "MAX_TRADES", 1_000)
    asked = {"from": write_time(T0), "to": write_time(T0 + 60 * MINUTE)}
    error = await walked.api.http.error(PROFILE, asked)
    assert "1680 trades of test:BTC_USD lie there, the limit is 1000" in error["message"]
    monkeypatch.undo()
    monkeypatch.setattr(profile_queries, "MAX_BINS", 100)
    fine = asked | {"binSize": "0.01"}
    assert "over 100 bins in 1 sessions" in (await walked.api.http.error(PROFILE, fine))["message"]


async def test_the_regime_is_named_at_each_bar_with_what_decided(walked: Market) -> None:
    query = """{ regime(instrument: "test:BTC_USD", timeframe: M1, last: 400) {
        count current start regime columns { name values } } }"""
    found = (await walked.api.http.data(query))["regime"]
    assert found["count"] == 400
    assert found["regime"][0] is None, "nobody can tell before the lookback"
    assert set(found["regime"]) - {None} <= {"trend_up", "trend_down", "range", "turbulence"}
    assert found["current"] == found["regime"][-1] is not None
    assert [c["name"] for c in found["columns"]] == [o.name for o in everything()["regime"].outputs]


CORRELATION = """query($instruments: [String!]!, $base: String) {
  correlation(instruments: $instruments, timeframe: M1, last: 300, base: $base, window: 50) {
    bars instruments rows { instrument values counts } betas { instrument base beta correlation start }
  }
}"""


async def test_correlation_is_that_of_the_returns_both_have(walked: Market) -> None:
    names = ["test:BTC_USD", "test:ETH_USD"]
    found = (await walked.api.http.data(CORRELATION, {"instruments": names, "base": names[0]}))["correlation"]
    closes = np.stack([bars_of(tape(seed))[4, -300:] for seed in (1, 2)])
    returns = np.diff(np.log(closes), axis=1)
    expected = np.corrcoef(returns)[0, 1]
    assert found["rows"][0]["values"][0] == 1
    assert found["rows"][0]["values"][1] == pytest.approx(expected, rel=1e-9)
    assert found["rows"][0]["counts"] == [299, 299]
    (beta,) = found["betas"]
    assert beta["instrument"] == names[1]
    last = returns[:, -50:]
    assert beta["beta"][-1] == pytest.approx(np.cov(last)[0, 1] / np.var(last[0], ddof=1), rel=1e-9)


async def test_correlation_of_one_instrument_is_refused(walked: Market) -> None:
    error = await walked.api.http.error(CORRELATION, {"instruments": ["test:BTC_USD"]})
    assert "1 instruments: 2 to 50 different ones are needed" in error["message"]


LIVE = (
    """subscription($after: Position) {
  detections(instrument: "test:BTC_USD", timeframe: M1, kind: "pattern", after: $after) {
    previous position bars detections {"""
    + DETECTION
    + """} discontinuity { after until reason } } }"""
)


async def test_detections_are_told_when_their_bar_ends_and_after_an_absence(market: Market) -> None:
    rows = tape(1, minutes=90)
    split = 60 * 4 + 1  # the first trade of minute 60 ends minute 59
    first = await known(market, trades(rows[:split]))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE)
        message = (await peer.next())["detections"]
        assert (message["previous"], message["position"], message["bars"]) == (first, first, 1)
        found: list[Any] = []
        await market.append(
            *(trades(rows[at : at + 4], first_id=at + 1) for at in range(split, len(rows), 4))
        )
        ended = 0
        while ended < 29:
            message = (await peer.next())["detections"]
            found += message["detections"]
            ended += message["bars"]
        assert ended == 29, "minutes 60 to 88, each once"
    query = {"last": 29, "horizon": 10}
    asked = (await market.api.http.data(PATTERNS, query))["patterns"]["detections"]
    assert [(d["start"], d["name"], d["signal"]) for d in found] == [
        (d["start"], d["name"], d["signal"]) for d in asked
    ]
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE, {"after": str(first)})
        message = (await peer.next())["detections"]
        assert message["previous"] == first
        assert [(d["start"], d["name"]) for d in message["detections"]] == [
            (d["start"], d["name"]) for d in found
        ]


async def test_an_unknown_instrument_has_no_bars(walked: Market) -> None:
    query = (
        '{ indicators(instrument: "nowhere:X", timeframe: H1, specs: ["rsi"]) { count columns { values } } }'
    )
    found = (await walked.api.http.data(query))["indicators"]
    assert found == {"count": 0, "columns": [{"values": []}]}


EVENTS = """query($event: String!, $last: Int, $asOf: AsOf) {
  complexEvents(instrument: "test:BTC_USD", timeframe: M1, event: $event, last: $last, asOf: $asOf) {
    event bars matches { steps knownTime sourcePosition reasons }
  }
}"""


async def test_complex_events_are_found_where_the_whole_history_has_them(walked: Market) -> None:
    text = "rsi < 45 then rsi > 55 within 20 bars"
    found = (await walked.api.http.data(EVENTS, {"event": text, "last": 300}))["complexEvents"]
    bars = bars_of(tape(1))
    first = bars.shape[1] - 300
    expected = [rows for rows in find_events(parse_event(text), bars) if rows[-1] >= first]
    assert expected, "the walk has some"
    starts = [[write_time(int(bars[0, row]) * MINUTE) for row in rows] for rows in expected]
    assert [match["steps"] for match in found["matches"]] == starts
    assert all(len(match["reasons"]) == 2 for match in found["matches"])
    assert (found["bars"], found["event"]) == (300, str(parse_event(text)))


async def test_a_complex_event_that_cannot_be_read_is_shown_where(
    walked: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("rsi <", "rsi < 30 then", "nothing > 1", "x" * 100_000):
        error = await walked.api.http.error(EVENTS, {"event": text[:60_000]})
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
    monkeypatch.setattr(complex_event_queries, "MAX_MATCHES", 3)
    error = await walked.api.http.error(EVENTS, {"event": "close > 0", "last": 10})
    assert "10 matches, the limit is 3" in error["message"]


HIDDEN = """query($model: String!, $timeframe: Timeframe! = M1) {
  hiddenRegime(instrument: "test:BTC_USD", timeframe: $timeframe, model: $model, last: 200) {
    count versions states { name values }
  }
}"""


async def test_hidden_regimes_come_from_the_version_that_each_bar_may_know(walked: Market) -> None:
    recipe = Recipe(kind="regime_gmm", features=("stddev(period=10)",), window=100, every=100)
    services = walked.api.services
    async with services.reads.connection() as db:
        bars = await known_bars(db, "test:BTC_USD", 1)
    done = await fit_regimes(services.store, bars, recipe, "m")
    await known(walked, trades(tape(3, minutes=1), instrument=Instrument("test", "OTHER")))
    found = (await walked.api.http.data(HIDDEN, {"model": "m"}))["hiddenRegime"]
    expected = score(await fitted_models(services.store, services.decode, "m"), bars)
    assert found["versions"] == expected.version[-200:].tolist()
    assert len(done.recorded) == 4, "an event that holds hours does not make its bars known at once"
    assert set(found["versions"]) <= {0, *range(1, len(done.recorded) + 1)}
    assert len(set(found["versions"])) > 1
    for i, state in enumerate(found["states"]):
        assert state["values"] == expected.probabilities[-200:, i].tolist()
    error = await walked.api.http.error(HIDDEN, {"model": "other"})
    assert "no model 'other' was fitted by position" in error["message"]
    error = await walked.api.http.error(HIDDEN, {"model": "m", "timeframe": "M5"})
    assert "model 'm' is of test:BTC_USD in 1 minutes" in error["message"]


async def test_more_bars_than_a_message_holds_are_announced_as_a_discontinuity(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_feed, "MAX_ENDED", 5)
    rows = tape(1, minutes=30)
    first = await known(market, trades(rows[:5]))
    last = await known(market, trades(rows[5:], first_id=6))
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE, {"after": str(first)})
        message = (await peer.next())["detections"]
        assert message["discontinuity"] == {
            "after": first, "until": last, "reason": f"over 5 bars ended after position {first}"
        }  # fmt: skip
        assert message["detections"] == []
    async with subscriber(market.api.port) as peer:
        await peer.subscribe(LIVE, {"after": str(last)})
        more = await market.append(trades(tape(1, minutes=31)[120:], first_id=121))
        message = (await peer.next())["detections"]
        while not message["bars"]:
            message = (await peer.next())["detections"]
        assert (message["position"], message["discontinuity"]) == (more, None)
