"""Feature sets: what a vector of features is made of, as numbered versions that never change.

Stream ``feature-set-{name}``: Events, then the decider. A feature is an output of a registered indicator
with its parameters; its definition holds the code version of that indicator, so the digest of a set
stands for the values that it gives. Times are in minutes where they name a timeframe.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import msgspec

from alphapulse.domain.analysis.bars import AFTER_GAP, BACK_FILLED, FEED_DOWN, RECEIVE_TIME, SUPPLIED
from alphapulse.domain.analysis.registry import BadParameter, Spec, find
from alphapulse.domain.decider import Decider
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.domain.versions import Versions

MAX_FEATURES = 256  # of a set
MAX_LAG = 500  # bars
MAX_VERSIONS = 1_000  # of a set
MAX_SETS = 64  # versions that are kept up to date at the same time
MAX_TEXT = 2_000  # characters of a description

# Flags of a row, besides those of bars.py, which say what was met inside its windows.
WARMING = 32  # some feature has no value yet
NOT_SETTLED = 64  # the first bar still shows in some feature that will forget it
OUT_OF_ORDER = 128  # bars of another timeframe came before ours of the same time: they are not looked at

FLAG_NAMES: Mapping[int, str] = {
    SUPPLIED: "supplied",
    BACK_FILLED: "back_filled",
    RECEIVE_TIME: "receive_time",
    AFTER_GAP: "after_gap",
    FEED_DOWN: "feed_down",
    WARMING: "warming",
    NOT_SETTLED: "not_settled",
    OUT_OF_ORDER: "out_of_order",
}

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class BadFeatureSet(ValueError):
    """Not a set that can be defined: the message holds the values."""


class UnknownFeatureSet(LookupError):
    """There is no set of that name or version."""


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One value of the vector.

    ``timeframe``: of the bars that the rule looks at, where they are not those of the row: the latest that
    is known when the row is. ``lag``: the value of so many bars before.
    """

    name: str
    rule: str  # name of an indicator
    parameters: dict[str, float] = {}
    output: str = ""
    timeframe: int | None = None
    lag: int = 0
    code_version: int = 0  # of the indicator

    @property
    def spec(self) -> Spec:
        return Spec.of(self.rule, self.parameters)


class SetDefined(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Version ``version`` of a set exists from here on. Parameters are complete."""

    name: str
    version: int
    owner: str
    description: str
    timeframes: tuple[int, ...]  # on whose bars there are rows
    features: tuple[Feature, ...]
    digest: str  # of timeframes and features: see ``digest_of``

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)


class SetRetired(msgspec.Struct, frozen=True, kw_only=True):
    """From here on there are no new rows of this version; those that are there stay."""

    name: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineSet:
    """``features`` may leave out parameters (then the defaults count) and the only output."""

    name: str
    owner: str
    description: str
    timeframes: Sequence[int]
    features: Sequence[Feature]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireSet:
    name: str
    version: int
    reason: str


Event = SetDefined | SetRetired
Command = DefineSet | RetireSet


def decide(command: Command, state: Versions) -> Sequence[Event]:
    """The events that ``command`` causes: none when a version of that content is in use already.

    Raises:
        BadFeatureSet: the set can not be defined.
        UnknownFeatureSet: there is no such version to retire.
    """
    match command:
        case DefineSet():
            defined = _defined(command, len(state.digests) + 1)
            if state.in_use(defined.digest) is not None:
                return []
            if len(state.digests) >= MAX_VERSIONS:
                raise BadFeatureSet(
                    f"{command.name} has {MAX_VERSIONS} versions: give the next set a name of its own"
                )
            return [defined]
        case RetireSet(name=name, version=version, reason=reason):
            if not state.has(version):
                raise UnknownFeatureSet(
                    f"no feature set {name!r} version {version}: there are {len(state.digests)} versions"
                )
            _check_text("reason", reason)
            return [] if version in state.retired else [SetRetired(name=name, version=version, reason=reason)]


def evolve(state: Versions, event: Event) -> Versions:
    match event:
        case SetDefined(digest=digest):
            return state.defined(digest)
        case SetRetired(version=version):
            return state.without(version)


feature_set: Decider[Command, Versions, Event] = Decider(Versions(), decide, evolve)


def stream_of(name: str) -> str:
    """
    Raises:
        BadFeatureSet: no set can have this name.
    """
    if not _NAME.fullmatch(name):
        raise BadFeatureSet(
            f"feature set {name!r} needs 1-64 of a-z, 0-9, _ . - and begins with a letter or digit"
        )
    return f"feature-set-{name}"


def digest_of(timeframes: Sequence[int], features: Sequence[Feature]) -> str:
    """SHA-256 over all that the values depend on, code versions too; not over name, owner, description."""
    content = {"timeframes": timeframes, "features": [msgspec.structs.asdict(f) for f in features]}
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def problem_of(defined: SetDefined) -> str | None:
    """Why this code can not make the values that were defined; None: it can."""
    for feature in defined.features:
        try:
            known = feature.spec.known
        except BadParameter as error:
            return f"{feature.name}: {error}"
        if known.code_version != feature.code_version:
            return (
                f"{feature.name}: defined with code version {feature.code_version} of {feature.rule}, "
                f"this code has version {known.code_version}: define the set again"
            )
    return None


def _defined(command: DefineSet, version: int) -> SetDefined:
    stream_of(command.name)
    _check_text("owner", command.owner)
    _check_text("description", command.description)
    timeframes = _timeframes(command.timeframes)
    if not 1 <= len(command.features) <= MAX_FEATURES:
        raise BadFeatureSet(
            f"{command.name}: {len(command.features)} features, a set has 1 to {MAX_FEATURES}"
        )
    features = tuple(_complete(feature, timeframes) for feature in command.features)
    names = [feature.name for feature in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadFeatureSet(f"{command.name}: more than one feature is called {', '.join(twice)}")
    return SetDefined(
        name=command.name,
        version=version,
        owner=command.owner,
        description=command.description,
        timeframes=timeframes,
        features=features,
        digest=digest_of(timeframes, features),
    )


def _timeframes(given: Sequence[int]) -> tuple[int, ...]:
    unknown = [t for t in given if t not in LABELS]
    if unknown or not given or len(set(given)) < len(given):
        known = ", ".join(LABELS.values())
        raise BadFeatureSet(f"timeframes {list(given)} (minutes): each once, at least one, of {known}")
    return tuple(sorted(given))


def _complete(feature: Feature, timeframes: Sequence[int]) -> Feature:
    """``feature`` with every parameter, its output and the code version."""
    if not _NAME.fullmatch(feature.name):
        raise BadFeatureSet(f"feature {feature.name!r} needs 1-64 of a-z, 0-9, _ . -")
    try:
        spec = feature.spec
    except BadParameter as error:
        raise BadFeatureSet(f"feature {feature.name}: {error}") from None
    outputs = [output.name for output in spec.known.outputs]
    output = feature.output or (outputs[0] if len(outputs) == 1 else "")
    if output not in outputs:
        raise BadFeatureSet(
            f"feature {feature.name}: {feature.rule} has no output {feature.output!r}: it gives "
            f"{', '.join(outputs)}"
        )
    if feature.timeframe is not None and (
        feature.timeframe not in LABELS or feature.timeframe < max(timeframes)
    ):
        raise BadFeatureSet(
            f"feature {feature.name}: timeframe {feature.timeframe} (minutes) is none of ours, or smaller "
            f"than that of the rows ({max(timeframes)}): they would see a part of its bars only"
        )
    if not 0 <= feature.lag <= MAX_LAG:
        raise BadFeatureSet(f"feature {feature.name}: lag {feature.lag} is not 0 to {MAX_LAG} bars")
    names = [p.name for p in spec.known.parameters]
    return Feature(
        name=feature.name,
        rule=feature.rule,
        parameters=dict(zip(names, spec.params, strict=True)),
        output=output,
        timeframe=feature.timeframe,
        lag=feature.lag,
        code_version=spec.known.code_version,
    )


def _check_text(what: str, text: str) -> None:
    if len(text) > MAX_TEXT or "\0" in text:
        raise BadFeatureSet(f"{what} of {len(text)} characters: at most {MAX_TEXT}, none of them NUL")


def feature_of(text: str, *, name: str | None = None) -> Feature:
    """The feature written as ``rsi(period=14)`` or ``bbands(20,2).upper``, called like that if not named.

    Raises:
        BadFeatureSet: there is no such rule, parameter or output.
    """
    rule, dot, output = text.strip().rpartition(".")
    if not dot or ")" in output or output.isdigit():
        rule, output = text.strip(), ""
    try:
        spec = Spec.parse(rule)
    except BadParameter as error:
        raise BadFeatureSet(str(error)) from None
    numbers = {p.name: v for p, v in zip(spec.known.parameters, spec.params, strict=True)}
    return Feature(name=name or _called(spec, output), rule=spec.indicator, parameters=numbers, output=output)


def _called(spec: Spec, output: str) -> str:
    """Such as ``bbands_20_2.upper``: only what a name may hold."""
    numbers = "".join(f"_{value:g}" for value in spec.params)
    return (
        f"{spec.indicator}{numbers}{'.' + output if output and len(find(spec.indicator).outputs) > 1 else ''}"
    )


def warm_up(defined: SetDefined) -> Mapping[str, tuple[int, int | None]]:
    """For each feature: bars before its first value, and bars until it has forgotten its start (or None)."""
    found: dict[str, tuple[int, int | None]] = {}
    for feature in defined.features:
        spec = feature.spec
        index = [output.name for output in spec.known.outputs].index(feature.output)
        forgets = spec.known.forgets(spec.params)
        found[feature.name] = (
            spec.known.lookbacks(spec.params)[index] + feature.lag,
            None if forgets is None else forgets + feature.lag,
        )
    return found
