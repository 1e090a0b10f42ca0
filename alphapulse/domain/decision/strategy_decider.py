"""Which strategies can be defined, when a version is new, and whether this code can run one.

Stream ``strategy-{name}``, events in strategy.py. A version never changes; the same content again is the same
version as long as that is in use.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from alphapulse.domain.analysis.features import BadFeatureSet, DefineSet, Feature
from alphapulse.domain.analysis.features import decide as define_set
from alphapulse.domain.analysis.registry import BadParameter, find
from alphapulse.domain.decider import Decider
from alphapulse.domain.decision import strategy_checks as checks
from alphapulse.domain.decision.strategy import (
    PRODUCTION,
    PRODUCTION_GATE,
    RESEARCH,
    Adaptation,
    Gate,
    Geometry,
    Learning,
    Risk,
    StrategyDefined,
    StrategyRetired,
    VoterChoice,
    stream_of,
)
from alphapulse.domain.decision.strategy_limits import MAX_TEXT, MAX_VERSIONS, BadStrategy
from alphapulse.domain.decision.votes import BadVoter, Kind, kind_of
from alphapulse.domain.versions import Versions

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_NOT_DIGESTED = ("name", "version", "owner", "description", "label", "digest")

ENGINE_RULES = ("atr", "regime", "volume_ratio")  # what the engine itself looks at, besides the voters
SWINGS = "last_swings"  # and where a geometry moves to levels


class UnknownStrategy(LookupError):
    """There is no strategy of that name or version."""


class DefineStrategy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As StrategyDefined, before it has a version. Parameters that voters leave out are the defaults."""

    name: str
    owner: str
    description: str = ""
    timeframes: tuple[int, ...]
    voters: tuple[VoterChoice, ...]
    geometries: tuple[Geometry, ...]
    instruments: tuple[str, ...] = ()
    reference: str = ""
    quorum: float = 2.0
    min_consensus: float = 0.2
    sharpness: float = 2.0
    gate: Gate = Gate()
    learning: Learning = Learning()
    risk: Risk = Risk()
    adaptations: tuple[Adaptation, ...] = ()
    parts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireStrategy:
    name: str
    version: int
    reason: str


Event = StrategyDefined | StrategyRetired
Command = DefineStrategy | RetireStrategy


def decide(command: Command, state: Versions) -> Sequence[Event]:
    """The events that ``command`` causes: none when a version of that content is in use already.

    Raises:
        BadStrategy: the strategy can not be defined.
        UnknownStrategy: there is no such version to retire.
    """
    match command:
        case DefineStrategy():
            defined = _defined(command, len(state.digests) + 1)
            if state.in_use(defined.digest) is not None:
                return []
            if len(state.digests) >= MAX_VERSIONS:
                raise BadStrategy(
                    f"{command.name} has {MAX_VERSIONS} versions: give the next a name of its own"
                )
            return [defined]
        case RetireStrategy(name=name, version=version, reason=reason):
            if not state.has(version):
                raise UnknownStrategy(
                    f"no strategy {name!r} version {version}: there are {len(state.digests)} versions"
                )
            _check_text("reason", reason)
            return (
                []
                if version in state.retired
                else [StrategyRetired(name=name, version=version, reason=reason)]
            )


def evolve(state: Versions, event: Event) -> Versions:
    match event:
        case StrategyDefined(digest=digest):
            return state.defined(digest)
        case StrategyRetired(version=version):
            return state.without(version)


strategy: Decider[Command, Versions, Event] = Decider(Versions(), decide, evolve)


def stream_for(name: str) -> str:
    """
    Raises:
        BadStrategy: no strategy can have this name.
    """
    if not _NAME.fullmatch(name):
        raise BadStrategy(
            f"strategy {name!r} needs 1-64 of a-z, 0-9, _ . - and begins with a letter or digit"
        )
    return stream_of(name)


def digest_of(defined: StrategyDefined) -> str:
    """SHA-256 over all that decides, versions of voters and indicators too; not over name and description."""
    content = {k: v for k, v in msgspec.structs.asdict(defined).items() if k not in _NOT_DIGESTED}
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def problem_of(defined: StrategyDefined) -> str | None:
    """Why this code can not decide as it was defined; None: it can."""
    for seat in defined.voters:
        try:
            version = _version(kind_of(seat.kind), seat.parameters)
        except BadVoter as error:
            return f"{seat.name}: {error}"
        if version != seat.version:
            return (
                f"{seat.name}: defined with version {seat.version} of {seat.kind}, this code has version "
                f"{version}: define the strategy again"
            )
    for rule, was in defined.code_versions.items():
        try:
            now = find(rule).code_version
        except BadParameter as error:
            return str(error)
        if now != was:
            return f"defined with code version {was} of {rule}, this code has version {now}: define it again"
    return None


def _defined(command: DefineStrategy, version: int) -> StrategyDefined:
    stream_for(command.name)
    _check_text("owner", command.owner)
    _check_text("description", command.description)
    checks.check(command)
    voters = tuple(_seat(choice) for choice in command.voters)
    timeframes = tuple(sorted(command.timeframes))
    given = {name: getattr(command, name) for name in command.__struct_fields__}
    complete = {"voters": voters, "timeframes": timeframes}
    defined = StrategyDefined(
        **(given | complete),
        version=version,
        label=PRODUCTION if command.gate.threshold >= PRODUCTION_GATE else RESEARCH,
        code_versions=_code_versions(command, voters),
    )
    return msgspec.structs.replace(defined, digest=digest_of(defined))


def _seat(choice: VoterChoice) -> VoterChoice:
    """``choice`` with every parameter and the version of the rule."""
    try:
        kind = kind_of(choice.kind)
        if bool(kind.model) != bool(choice.model):
            needs = f"needs a model of kind {kind.model}" if kind.model else "takes no model"
            raise BadVoter(f"{kind.name} {needs}, it is given {choice.model or 'none'!r}")
        version = _version(kind, choice.parameters)
    except BadVoter as error:
        raise BadStrategy(f"voter {choice.name}: {error}") from None
    parameters = {**kind.parameters, **choice.parameters}
    numbers = {name: float(parameters[name]) for name in sorted(parameters)}
    return msgspec.structs.replace(choice, parameters=numbers, version=version)


def _version(kind: Kind, parameters: Mapping[str, float]) -> int:
    """Of the voter's rule. One with a model can not be made here: whether that fits is asked later."""
    if not kind.model:
        return kind.made(parameters).version
    if unknown := sorted(set(parameters) - set(kind.parameters)):
        raise BadVoter(f"{kind.name} has no {', '.join(unknown)}: it takes {', '.join(kind.parameters)}")
    return kind.version


def _code_versions(command: DefineStrategy, voters: Sequence[VoterChoice]) -> dict[str, int]:
    """Of the rules that voters and engine look at; a fitted model names those of its voter itself."""
    rules = {*ENGINE_RULES, *([SWINGS] if any(g.to_levels for g in command.geometries) else [])}
    for choice in voters:
        kind = kind_of(choice.kind)
        if not kind.model:
            inputs = kind.made(choice.parameters).inputs
            _check_inputs(choice.name, inputs, command.timeframes)
            rules |= {feature.rule for feature in inputs}
    return {rule: find(rule).code_version for rule in sorted(rules)}


def _check_inputs(voter: str, inputs: Sequence[Feature], timeframes: Sequence[int]) -> None:
    """That there are such features, of rows of each timeframe. Raises BadStrategy."""
    for timeframe in timeframes if inputs else ():
        command = DefineSet(name="inputs", owner="", description="", timeframes=(timeframe,), features=inputs)
        try:
            define_set(command, Versions())
        except BadFeatureSet as error:
            raise BadStrategy(
                f"what voter {voter} looks at, on bars of {timeframe} minutes: {error}"
            ) from None


def _check_text(what: str, text: str) -> None:
    if len(text) > MAX_TEXT or "\0" in text:
        raise BadStrategy(f"{what} of {len(text)} characters: at most {MAX_TEXT}, none of them NUL")
