"""Feature sets into the log: define, retire, the default set, and sets in files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alphapulse.domain.analysis.features import (
    MAX_SETS,
    BadFeatureSet,
    DefineSet,
    Feature,
    RetireSet,
    SetDefined,
    digest_of,
    feature_of,
    feature_set,
    stream_of,
)
from alphapulse.domain.market.timeframes import TIMEFRAMES
from alphapulse.domain.ports import EventStore, Recorded
from alphapulse.domain.versions import Versions
from alphapulse.processes.definition_files import read_definition
from alphapulse.processes.transact import load, transact


class TooManySets(Exception):
    """So many sets are in use that no other can be kept up to date: retire one."""


@dataclass(frozen=True, slots=True)
class Defined:
    """``position`` is None where the version was there before."""

    version: int
    digest: str
    position: int | None


async def define(
    store: EventStore, db: AsyncConnection[Any], command: DefineSet, *, actor: str = "system"
) -> Defined:
    """The version that has the content of ``command``: a new one, unless one in use has it already.

    Raises:
        BadFeatureSet: it can not be defined; the message holds the values.
        TooManySets: MAX_SETS are in use.
    """
    cursor = await db.execute("SELECT count(*) FROM feature_sets WHERE retired_position IS NULL")
    row = await cursor.fetchone()
    full = row is not None and row[0] >= MAX_SETS
    state, _ = await load(store, feature_set, stream_of(command.name))
    if (new := feature_set.decide(command, state)) and full:
        assert isinstance(new[0], SetDefined)
        raise TooManySets(f"{MAX_SETS} feature sets are in use: retire one before {command.name} is defined")
    events = await transact(store, feature_set, stream_of(command.name), command, actor=actor)
    if events:
        return _of(events[0])
    return await _there(store, command)


def _of(recorded: Recorded) -> Defined:
    return Defined(recorded.event.version, recorded.event.digest, recorded.position)


async def _there(store: EventStore, command: DefineSet) -> Defined:
    """The version of this content that is in use."""
    (complete,) = feature_set.decide(command, Versions())
    assert isinstance(complete, SetDefined), "a set that is not there yet is defined"
    state, _ = await load(store, feature_set, stream_of(command.name))
    digest = digest_of(complete.timeframes, complete.features)
    version = state.in_use(digest)
    assert version is not None, "nothing was new, so it is there"
    return Defined(version, digest, None)


async def retire(
    store: EventStore, name: str, version: int, reason: str, *, actor: str = "system"
) -> int | None:
    """The position from which on there are no new rows of that version; None: it was retired before.

    Raises:
        UnknownFeatureSet: there is no such version.
    """
    command = RetireSet(name=name, version=version, reason=reason)
    events = await transact(store, feature_set, stream_of(name), command, actor=actor)
    return events[0].position if events else None


def from_file(path: Path, *, owner: str) -> DefineSet:
    """The set that a JSON or TOML file describes: see docs/features.md.

    Raises:
        BadFeatureSet: the file does not say what a set is.
        OSError: it cannot be read.
    """
    return read_definition(path, lambda content: from_content(content, owner=owner), BadFeatureSet)


class _FeatureText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: str  # rsi(period=14), bbands(20,2).percent_b
    name: str | None = None
    timeframe: str | None = None
    lag: int = 0


class _SetText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    timeframes: list[str]
    features: list[str | _FeatureText]
    owner: str | None = None
    description: str = ""


def from_content(content: Mapping[str, Any], *, owner: str) -> DefineSet:
    """
    Raises:
        BadFeatureSet: it does not say what a set is.
    """
    try:
        text = msgspec.convert(content, _SetText)
    except msgspec.ValidationError as error:
        raise BadFeatureSet(str(error)) from None
    return DefineSet(
        name=text.name,
        owner=text.owner or owner,
        description=text.description,
        timeframes=[_minutes(label) for label in text.timeframes],
        features=[_feature(each) for each in text.features],
    )


def _feature(text: str | _FeatureText) -> Feature:
    if isinstance(text, str):
        return feature_of(text)
    feature = feature_of(text.rule, name=text.name)
    timeframe = None if text.timeframe is None else _minutes(text.timeframe)
    return msgspec.structs.replace(feature, timeframe=timeframe, lag=text.lag)


def _minutes(label: str) -> int:
    try:
        return TIMEFRAMES[label]
    except KeyError:
        raise BadFeatureSet(f"timeframe {label!r} is none of {', '.join(TIMEFRAMES)}") from None


# What most models look at: one value of every family, scale-free where there is such a form.
CORE = (
    *(
        "return(1)",
        "return(5)",
        "return(20)",
        "price_to_sma(20)",
        "sma(20)",
        "ema(20)",
        "ema(50)",
        "kama(30)",
    ),
    *("rsi(14)", "macd.macd", "macd.signal", "macd.histogram", "stoch.k", "stoch.d", "willr(14)", "cci(20)"),
    *("roc(10)", "trix(15)", "adx.adx", "adx.plus_di", "adx.minus_di", "aroon.oscillator", "psar.direction"),
    *("supertrend.trend", "bbands.percent_b", "bbands.bandwidth", "atr(14)", "natr(14)"),
    *("realized_volatility(20)", "parkinson(20)", "yang_zhang(20)", "obv", "mfi(14)", "cmf(20)", "adosc"),
    *("vwap", "taker_imbalance(20)", "volume_ratio(20)", "cumulative_delta.ratio", "price_anomaly.score"),
    *("volume_anomaly.score", "regime.regime", "engulfing.signal", "hammer.signal", "doji.signal"),
)


def core(owner: str) -> DefineSet:
    """The default set: ``alphapulse features define --default``."""
    return DefineSet(
        name="core",
        owner=owner,
        description="One value of every family of indicators, on all timeframes.",
        timeframes=tuple(TIMEFRAMES.values()),
        features=[feature_of(text, name=_short(text)) for text in CORE],
    )


def _short(text: str) -> str:
    """``rsi_14`` for rsi(14), ``macd_signal`` for macd.signal, ``adx`` for adx.adx."""
    rule, _, output = text.partition(".")
    plain = rule.replace("(", "_").removesuffix(")")
    return plain if output in ("", rule) else f"{plain}_{output}"
