"""Stored names and their readers: what was ever written stays readable."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphapulse.adapters.store import codec as codec_module
from alphapulse.adapters.store.codec import FORMS, Codec, codec, content_id, json_form
from alphapulse.domain.analysis.features import Feature, SetDefined, SetRetired
from alphapulse.domain.analysis.models import FittedModel, ModelFitted, Trained
from alphapulse.domain.analysis.quality_record import QualityBreached, QualityRecovered
from alphapulse.domain.market.events import (
    FeedConnected,
    FeedLost,
    GapClosed,
    ImportFinished,
    RefusedRow,
    RowsRefused,
    WatermarkPassed,
)
from alphapulse.domain.market.fundamentals import FundingObserved, HeadlinesObserved
from alphapulse.domain.ports import Envelope, StoredRecord, UndecodableEvent, UnknownEvent
from alphapulse.domain.provenance.exported import AuditExported
from tests.adapters.store.decided import DECIDED, any_of
from tests.adapters.store.market import any_bars, any_funding, any_headlines, any_trades, bars, trades

SAMPLES = Path(__file__).parents[2] / "stored_events"
TEXT, NS = st.text(max_size=50), st.integers(-(1 << 63), (1 << 63) - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def record(name: str, state: bytes) -> StoredRecord:
    return StoredRecord(
        stream="s",
        version=3,
        name=name,
        state=state,
        envelope=Envelope(event_id=uuid4()),
        position=7,
        recorded_at=datetime.now(UTC),
    )


def plain(value: Any) -> Any:
    """An event as JSON can hold it, arrays as lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "__dataclass_fields__"):
        return {field: plain(getattr(value, field)) for field in value.__dataclass_fields__}
    return json.loads(msgspec.json.encode(value))


JUDGED = {
    **dict.fromkeys(("set_name", "instrument", "feature", "check", "detail"), TEXT),
    **dict.fromkeys(("set_version", "timeframe", "rows", "reference_rows", "clock", "seen_position"), NS),
    **dict.fromkeys(("value", "threshold"), FINITE),
}
ANY_EVENT = st.one_of(
    st.builds(
        SetDefined,
        **dict.fromkeys(("name", "owner", "description", "digest"), TEXT),
        version=NS,
        timeframes=st.lists(NS, max_size=3).map(tuple),
        features=st.lists(
            st.builds(
                Feature,
                **dict.fromkeys(("name", "rule", "output"), TEXT),
                parameters=st.dictionaries(TEXT, FINITE, max_size=3),
                timeframe=st.none() | NS,
                lag=NS,
                code_version=NS,
            ),
            max_size=3,
        ).map(tuple),
    ),
    st.builds(SetRetired, name=TEXT, version=NS, reason=TEXT),
    *map(any_of, DECIDED),
    st.builds(QualityBreached, **JUDGED),
    st.builds(QualityRecovered, **JUDGED),
    any_trades(),
    any_bars(),
    any_funding(),
    any_headlines(),
    st.builds(FeedConnected, venue=TEXT, symbol=TEXT, time=NS),
    st.builds(FeedLost, venue=TEXT, symbol=TEXT, time=NS, reason=TEXT),
    st.builds(GapClosed, venue=TEXT, symbol=TEXT, start=NS, end=NS, back_filled=st.booleans()),
    st.builds(WatermarkPassed, venue=TEXT, symbol=TEXT, time=NS),
    st.builds(
        RowsRefused,
        venue=TEXT,
        symbol=TEXT,
        source=TEXT,
        sha256=TEXT,
        rows=st.lists(st.builds(RefusedRow, row=NS, reason=TEXT, raw=TEXT), max_size=3).map(tuple),
    ),
    st.builds(
        ImportFinished,
        **dict.fromkeys(("venue", "symbol", "source", "sha256", "format"), TEXT),
        **dict.fromkeys(("rows", "accepted", "duplicates", "refused"), NS),
        time_lo=st.none() | NS,
        time_hi=st.none() | NS,
    ),
    st.builds(
        ModelFitted,
        **dict.fromkeys(("version", "part", "parts"), NS),
        digest=TEXT,
        model=st.builds(
            FittedModel,
            **dict.fromkeys(("name", "kind", "instrument"), TEXT),
            timeframe=NS,
            features=st.lists(TEXT, max_size=3).map(tuple),
            recipe=st.dictionaries(TEXT, NS | TEXT, max_size=3),
            trained=st.builds(
                Trained,
                **dict.fromkeys(
                    ("first_start", "last_start", "first_position", "last_position", "known_time", "bars"), NS
                ),
            ),
            parameters=st.dictionaries(TEXT, st.lists(FINITE, max_size=3), max_size=3),
            artifact=st.binary(max_size=50),
            metrics=st.dictionaries(TEXT, FINITE, max_size=3),
            code_versions=st.dictionaries(TEXT, NS, max_size=3),
            libraries=st.dictionaries(TEXT, TEXT, max_size=3),
            seed=NS,
        ),
    ),
    st.builds(
        AuditExported,
        **dict.fromkeys(("kind", "manifest"), TEXT),
        **dict.fromkeys(("events", "erased", "withheld", "size"), NS),
        asked=st.dictionaries(TEXT, TEXT | st.lists(NS | st.none(), max_size=2), max_size=3),
        root=st.binary(max_size=32),
    ),
)


@given(ANY_EVENT)
def test_every_stored_type_comes_back_as_it_was(event: object) -> None:
    encoded = codec.encode(event)
    assert codec.decode(record(encoded.name, encoded.state)).event == event


@pytest.mark.parametrize("name", codec.names)
def test_every_name_ever_stored_stays_readable(name: str) -> None:
    """To add one: write the sample of a new name with ``python -m tests.adapters.store.samples``."""
    path = SAMPLES / f"{name}.json"
    assert path.exists(), f"{name} has no sample: every registered name needs one"
    sample = json.loads(path.read_text())
    assert plain(codec.read(name, base64.b64decode(sample["state"]))) == sample["event"]


def test_no_sample_is_without_its_name() -> None:
    assert {path.stem for path in SAMPLES.glob("*.json")} == set(codec.names)


def test_every_form_is_sampled_by_the_property_above() -> None:
    """An event added to the registry has to be added to ANY_EVENT as well."""
    sampled = {FeedConnected, FeedLost, GapClosed, ImportFinished, RowsRefused, WatermarkPassed, ModelFitted}
    sampled |= {HeadlinesObserved, AuditExported}
    sampled |= {SetDefined, SetRetired, QualityBreached, QualityRecovered}
    sampled |= set(DECIDED)
    assert {form.type for form in FORMS.values()} == sampled | {type(trades()), type(bars()), FundingObserved}


def test_an_unknown_name_says_where_it_is() -> None:
    with pytest.raises(UnknownEvent, match=r"no reader for 'market\.trades_observed\.v99'") as caught:
        codec.decode(record("market.trades_observed.v99", b""))
    assert caught.value.__notes__ == ["position 7: version 3 of s"]


@pytest.mark.parametrize("name", sorted(FORMS))
@given(garbage=st.binary(max_size=60))
def test_garbage_under_a_known_name_is_undecodable(name: str, garbage: bytes) -> None:
    with pytest.raises(UndecodableEvent):
        codec.read(name, b"\x00" + garbage)


@pytest.mark.parametrize("state", [b"{}", b"[]", b'{"venue":"k","symbol":"s","time":1.5}', b'{"venue":1'])
def test_json_of_another_shape_is_undecodable(state: bytes) -> None:
    with pytest.raises(UndecodableEvent, match=r"feed\.connected\.v1"):
        codec.decode(record("feed.connected.v1", state))


def test_a_field_that_newer_code_added_is_passed_over() -> None:
    state = b'{"venue":"k","symbol":"s","time":5,"mood":"good"}'
    assert codec.read("feed.connected.v1", state) == FeedConnected(venue="k", symbol="s", time=5)


def test_a_type_without_a_name_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="str has no stored name"):
        codec.encode("text")


def test_a_batch_bounds_its_ids() -> None:
    encoded = codec.encode(trades(5))
    assert (encoded.id_lo, encoded.id_hi) == (77_000_000, 77_000_004)
    assert codec.encode(bars())[2:] == (None, None)


def test_an_event_carries_its_latest_time() -> None:
    event = trades(5)
    assert codec.event_time(event) == event.columns.time[-1]
    assert codec.event_time(GapClosed(venue="k", symbol="s", start=1, end=2, back_filled=True)) == 2
    assert codec.event_time(RowsRefused(venue="k", symbol="s", source="f", sha256="0", rows=())) is None


def test_the_same_batch_at_the_same_place_has_the_same_id() -> None:
    one, two = (codec.new_event("trades-kraken-BTC/USD", 4, trades(5)) for _ in range(2))
    assert one == two
    others = [
        codec.new_event("trades-kraken-BTC/USD", 5, trades(5)),
        codec.new_event("trades-other-BTC/USD", 4, trades(5)),
        codec.new_event("trades-kraken-BTC/USD", 4, trades(6)),
    ]
    assert len({e.envelope.event_id for e in (one, *others)}) == 4


def test_derived_ids_never_change() -> None:
    """Repeats are found by id: another formula would import every file again."""
    assert str(content_id("trades-kraken-BTC", 1, b"state")) == "376239a2-8193-55ce-9b06-88465cdb4e6c"


# -- upcasting, on a registry of its own ---------------------------------------------------------


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """v1 had ``amount`` in units, v2 in cents, v3 knows the currency."""

    cents: int
    currency: str


HISTORY = Codec(
    {"account.opened.v3": json_form(Opened)},
    {
        "account.opened.v1": ("account.opened.v2", lambda old: {"cents": old["amount"] * 100}),
        "account.opened.v2": ("account.opened.v3", lambda old: {**old, "currency": "EUR"}),
    },
)


def test_old_versions_are_lifted_one_step_at_a_time() -> None:
    assert HISTORY.read("account.opened.v1", b'{"amount":7}') == Opened(cents=700, currency="EUR")
    assert HISTORY.read("account.opened.v2", b'{"cents":5}') == Opened(cents=5, currency="EUR")
    assert HISTORY.read("account.opened.v3", b'{"cents":5,"currency":"USD"}') == Opened(
        cents=5, currency="USD"
    )


def test_only_the_newest_version_is_written() -> None:
    assert HISTORY.encode(Opened(cents=1, currency="EUR")).name == "account.opened.v3"
    assert HISTORY.names == ["account.opened.v1", "account.opened.v2", "account.opened.v3"]


def test_a_recorded_event_keeps_the_name_under_which_it_was_stored() -> None:
    assert HISTORY.decode(record("account.opened.v1", b'{"amount":7}')).name == "account.opened.v1"


def test_an_upcaster_that_meets_damage_is_undecodable() -> None:
    with pytest.raises(UndecodableEvent, match=r"account\.opened\.v1"):
        HISTORY.read("account.opened.v1", b'{"total":7}')


@pytest.mark.parametrize(
    "upcasters",
    [
        {"a.v1": ("a.v2", dict)},
        {"a.v1": ("a.v2", dict), "a.v2": ("a.v1", dict)},
    ],
)
def test_a_chain_that_ends_nowhere_is_refused_at_the_start(upcasters: Any) -> None:
    with pytest.raises(UnknownEvent):
        Codec({"account.opened.v3": json_form(Opened)}, upcasters)


def test_the_module_offers_the_registry_of_the_product() -> None:
    assert codec_module.decode == codec.decode
    assert codec_module.encode == codec.encode
