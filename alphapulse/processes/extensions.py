"""Voters of other packages: found by their entry points, loaded before anything decides.

A package names its kinds under ``alphapulse.voters``, as docs/voters.md shows. Loading is all or nothing as
far as a strategy can tell: who would decide without a voter that is installed but broken decides otherwise
than the log says, so what cannot be loaded stops the process, with the distribution in the message.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions

from alphapulse.domain.decision.votes import BadVoter, Kind, kinds
from alphapulse.processes import learned_models

GROUP = "alphapulse.voters"
MAX_VOTERS = 1_000  # of other packages


class CannotLoad(Exception):
    """Voters of other packages that cannot be loaded: the message names distributions and reasons."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """One kind of voter, and the distribution that it is from."""

    kind: str
    distribution: str  # name and version


def load_voters(installed: Iterable[Distribution] | None = None) -> Sequence[Loaded]:
    """Load what ``installed`` distributions (by default, all that Python finds) name under GROUP.

    May be called again; what is loaded stays.

    Raises:
        CannotLoad: a module that cannot be imported, a kind that it does not register, one of a name that is
            taken, or whose defaults or inputs do not fit; or there are more than MAX_VOTERS.
    """
    learned_models.wire()
    kinds()  # ours come first: nobody takes their names
    entries = list(_entries(distributions() if installed is None else installed))
    if len(entries) > MAX_VOTERS:
        raise CannotLoad(f"{len(entries)} voters are installed, at most {MAX_VOTERS} are loaded")
    loaded, problems = [], []
    for entry in entries:
        try:
            _load(entry)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            problems.append(f"{_source(entry)} gives {entry.name} = {entry.value}: {reason}")
        else:
            loaded.append(Loaded(entry.name, _source(entry)))
    if problems:
        raise CannotLoad("; ".join(problems))
    return loaded


def _entries(installed: Iterable[Distribution]) -> Iterator[EntryPoint]:
    """In one order on every machine; a distribution that Python finds twice counts once, the first."""
    found = {
        (distribution.name, entry.name): entry
        for distribution in reversed(list(installed))
        for entry in distribution.entry_points
        if entry.group == GROUP
    }
    yield from (found[key] for key in sorted(found))


def _load(entry: EntryPoint) -> None:
    before = kinds().get(entry.name)
    entry.load()
    kind = kinds().get(entry.name)
    if kind is None:
        raise BadVoter(f"registers no kind of voter called {entry.name!r}")
    if kind is before and not _is_from(kind, entry):
        raise BadVoter(f"{kind.make.__module__} has a kind of voter called {entry.name!r}")
    if not kind.model:
        for feature in kind.made({}).inputs:
            feature.spec  # noqa: B018  raises where there is no such indicator


def _is_from(kind: Kind, entry: EntryPoint) -> bool:
    return kind.make.__module__.partition(".")[0] == entry.module.partition(".")[0]


def _source(entry: EntryPoint) -> str:
    assert entry.dist is not None, "of a distribution"
    return f"{entry.dist.name} {entry.dist.version}"
