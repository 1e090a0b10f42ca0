"""Fitted models as facts: what was fitted, on which bars, with which result.

Stream ``model-{name}``. A model is only ever applied to bars that were known after ``Trained.known_time``.
One name is one recipe, refitted as time goes on: versions are 1, 2, 3 … and their cutoffs increase.
A model too large for one event goes in parts; it exists once its last part is recorded.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from math import isfinite
from typing import Any

import msgspec

from alphapulse.domain.decider import Decider

MAX_PART_BYTES = 600_000  # of the artifact in one event: base64 makes 800 kB of it, the store takes 900 kB
MAX_PARTS = 32
MAX_PARAMETER_BYTES = 80_000  # as JSON, with all else that is not the artifact
MAX_VERSIONS = 10_000
MAX_FEATURES = 200

OF_A_NAME = ("kind", "instrument", "timeframe", "features", "recipe")  # the same in all versions

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


class BadModel(ValueError):
    """Not a model that can be recorded, or parts that do not make one: the message holds the values."""


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """The bars that a model was fitted on. ``first_start`` and ``last_start`` are minutes since 1970 UTC."""

    first_start: int
    last_start: int
    first_position: int  # of the events that ended the first and the last of them
    last_position: int
    known_time: int  # ns, the venue's clock: every bar of the training was known by then
    bars: int


class FittedModel(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A model and all that is needed to judge it or to fit it again.

    ``features`` are columns of specs, in the order of the model's inputs. ``recipe`` is what the person
    chose (number of states, window …), ``parameters`` what the fitting found; both hold finite numbers,
    texts, and lists and dictionaries of these. ``artifact`` is ONNX, where a model is more than numbers.
    """

    name: str
    kind: str  # regime_gmm, regime_hmm, isolation_forest …
    instrument: str  # venue:symbol
    timeframe: int  # minutes
    features: tuple[str, ...]
    recipe: dict[str, Any]
    trained: Trained
    parameters: dict[str, Any]
    artifact: bytes = b""
    metrics: dict[str, float] = {}
    code_versions: dict[str, int] = {}  # of the indicators behind the features
    libraries: dict[str, str] = {}  # name -> version of what did the fitting
    seed: int = 0

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the whole content, keys in order, as hexadecimal."""
        return sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class ModelFitted(msgspec.Struct, frozen=True, kw_only=True):
    """Version ``version`` of a model was fitted; this is part ``part`` of ``parts``, counted from 1.

    ``model.artifact`` holds this part's bytes; ``model.parameters`` is empty in all parts but the first.
    ``digest`` is that of the whole.
    """

    version: int
    part: int
    parts: int
    digest: str
    model: FittedModel


@dataclass(frozen=True, slots=True)
class RecordModel:
    """Make ``model`` the next version. Repeat until it causes no event: a part each time."""

    model: FittedModel


@dataclass(frozen=True, slots=True)
class Versions:
    """The state of a stream: the complete versions, and one that still lacks parts."""

    by_digest: Mapping[str, int] = field(default_factory=dict)
    last: FittedModel | None = None  # of the last complete version, the first part of it
    pending: tuple[ModelFitted, ...] = ()

    @property
    def count(self) -> int:
        return len(self.by_digest)


def stream_of(name: str) -> str:
    """Where the versions of model ``name`` are."""
    if not _NAME.fullmatch(name):
        raise BadModel(f"{name!r}: a model's name has 1 to 100 of a-z 0-9 _ . - and begins with a-z or 0-9")
    return f"model-{name}"


def decide(command: RecordModel, state: Versions) -> Sequence[ModelFitted]:
    """The next part of ``command.model`` that is missing; none when the version is complete.

    A version whose fitter died half-way is taken over by the next model.

    Raises:
        BadModel: see ``check``; or it is of another recipe than the versions before it, or its cutoff is
            not after theirs; or there are too many versions.
    """
    model = command.model
    check(model)
    if model.digest in state.by_digest:
        return []
    _check_succession(model, state)
    done = state.pending if state.pending and state.pending[0].digest == model.digest else ()
    return [_part(model, state.count + 1, len(done) + 1)]


def evolve(state: Versions, event: ModelFitted) -> Versions:
    resumes = event.part > 1 and state.pending and state.pending[0].digest == event.digest
    # Of earlier parts only the first is kept whole: a state need not hold megabytes.
    pending = (*state.pending, _emptied(event)) if resumes else (event,)
    if event.part < event.parts:
        return Versions(state.by_digest, state.last, pending)
    return Versions({**state.by_digest, event.digest: event.version}, pending[0].model, ())


model_decider: Decider[RecordModel, Versions, ModelFitted] = Decider(Versions(), decide, evolve)


def check(model: FittedModel) -> None:
    """Raises BadModel when ``model`` by itself cannot be recorded."""
    stream_of(model.name)
    _check_trained(model)
    if not 1 <= len(model.features) <= MAX_FEATURES:
        raise BadModel(f"{model.name}: {len(model.features)} features, 1 to {MAX_FEATURES} are allowed")
    for what in ("recipe", "parameters", "metrics"):
        _check_plain(getattr(model, what), f"{model.name}: {what}")
    size = len(msgspec.json.encode(msgspec.structs.replace(model, artifact=b"")))
    if size > MAX_PARAMETER_BYTES:
        raise BadModel(f"{model.name}: {size} bytes besides the artifact, over {MAX_PARAMETER_BYTES}")
    if len(model.artifact) > MAX_PARTS * MAX_PART_BYTES:
        most = MAX_PARTS * MAX_PART_BYTES
        raise BadModel(f"{model.name}: an artifact of {len(model.artifact)} bytes, over {most}")


def check_recipe(state: Versions, name: str, facts: Mapping[str, object]) -> None:
    """Raises BadModel unless ``facts`` (of OF_A_NAME) are those of the versions that ``name`` has."""
    for what, mine in facts.items() if state.last else ():
        theirs = getattr(state.last, what)
        if mine != theirs:
            raise BadModel(
                f"{name}: {what} {mine!r}, but version {state.count} has {theirs!r}: choose another name"
            )


def assemble(events: Iterable[ModelFitted]) -> Iterator[tuple[int, FittedModel]]:
    """Version and model for each version that ``events`` of one stream, in order, complete.

    Raises:
        BadModel: parts do not make the model that their digest names.
    """
    parts: list[ModelFitted] = []
    for event in events:
        follows = parts and event.digest == parts[0].digest and event.part == len(parts) + 1
        parts = [*parts, event] if follows else [event]
        if event.part == event.parts:
            yield event.version, _whole(parts)
            parts = []


def _whole(parts: Sequence[ModelFitted]) -> FittedModel:
    artifact = b"".join(event.model.artifact for event in parts)
    model = msgspec.structs.replace(parts[0].model, artifact=artifact)
    if model.digest != parts[0].digest or len(parts) != parts[0].parts:
        raise BadModel(
            f"{model.name} version {parts[0].version}: {len(parts)} of {parts[0].parts} parts give "
            f"{model.digest}, recorded is {parts[0].digest}"
        )
    return model


def _part(model: FittedModel, version: int, part: int) -> ModelFitted:
    parts = max(1, -(-len(model.artifact) // MAX_PART_BYTES))
    return ModelFitted(
        version=version,
        part=part,
        parts=parts,
        digest=model.digest,
        model=msgspec.structs.replace(
            model,
            artifact=model.artifact[(part - 1) * MAX_PART_BYTES : part * MAX_PART_BYTES],
            parameters=model.parameters if part == 1 else {},
        ),
    )


def _emptied(event: ModelFitted) -> ModelFitted:
    return msgspec.structs.replace(event, model=msgspec.structs.replace(event.model, artifact=b""))


def _check_succession(model: FittedModel, state: Versions) -> None:
    last = state.last
    if last is None:
        return
    if state.count >= MAX_VERSIONS:
        raise BadModel(
            f"{model.name}: has {state.count} versions, the most there may be: choose another name"
        )
    check_recipe(state, model.name, {what: getattr(model, what) for what in OF_A_NAME})
    if model.trained.known_time <= last.trained.known_time:
        raise BadModel(
            f"{model.name}: fitted on bars known by {model.trained.known_time}, "
            f"but version {state.count} already knew those up to {last.trained.known_time}"
        )


def _check_trained(model: FittedModel) -> None:
    t = model.trained
    if not (t.bars >= 1 and t.first_start <= t.last_start and 1 <= t.first_position <= t.last_position):
        raise BadModel(
            f"{model.name}: {t.bars} bars from {t.first_start} to {t.last_start}, "
            f"positions {t.first_position} to {t.last_position}"
        )
    end = (t.last_start + model.timeframe) * 60_000_000_000
    if model.timeframe < 1 or t.known_time < end:
        raise BadModel(
            f"{model.name}: the last bar of {model.timeframe} minutes ends at {end}, "
            f"after {t.known_time}, by which it is said to be known"
        )


def _check_plain(value: object, where: str) -> None:
    """Raises BadModel unless JSON gives ``value`` back as it is."""
    match value:
        case dict():
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise BadModel(f"{where}: the key {key!r} is no text")
                _check_plain(inner, f"{where}.{key}")
        case list():
            for i, inner in enumerate(value):
                _check_plain(inner, f"{where}[{i}]")
        case float() if isfinite(value):
            pass
        case None | bool() | str():
            pass
        case int() if -(1 << 63) <= value < 1 << 63:
            pass
        case _:
            raise BadModel(f"{where}: {value!r} is neither a finite number nor a text nor a list of these")
