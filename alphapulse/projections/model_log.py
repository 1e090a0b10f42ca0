"""Fitted models, read from their streams: a few events each, so they need no table.

Source: models.fitted.v1. ``as_of`` is exact: a log cut there knows the versions that were complete by then.
"""

from collections.abc import Sequence

from alphapulse.domain.analysis.models import FittedModel, ModelFitted, assemble, stream_of
from alphapulse.domain.ports import Decode, EventStore

MAX_EVENTS = 20_000  # of one stream

_PAGE = 100  # events of at most 900 kB


class TooManyParts(Exception):
    """The stream of a model has grown beyond what is read at once: fit it under a new name."""


async def fitted_models(
    store: EventStore, decode: Decode, name: str, *, as_of: int | None = None, most: int = MAX_EVENTS
) -> Sequence[tuple[int, FittedModel]]:
    """(version, model) for every complete version of ``name``, oldest first; none when nobody knows it.

    Raises:
        BadModel: the name is none, or parts do not make the model that their digest names.
        TooManyParts: over ``most`` events.
    """
    stream, events, version = stream_of(name), list[ModelFitted](), 0
    while records := await store.read_stream(stream, after=version, limit=_PAGE):
        version = records[-1].version
        known = [record for record in records if as_of is None or record.position <= as_of]
        events += [decode(record).event for record in known]
        if len(events) > most:
            raise TooManyParts(f"{stream}: over {most} events")
        if len(known) < len(records):
            break
    return list(assemble(events))
