"""One digest of all that was decided and of what became of it: every number, and no event is made for it.

Two folds that agree in it gave the same outputs, however each was cut. Words are not in it: they follow from
the numbers, and from the rows that voters saw.
"""

from hashlib import blake2b

import msgspec
import numpy as np

from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.signals import engine_arrays as k
from alphapulse.domain.signals.engine_events import ADAPTED, DECISION, EXIT, FITTED, OUTCOME, Outputs
from alphapulse.domain.signals.engine_picked import Picked


class Digest:
    """Of outputs that are handed in, in their order."""

    def __init__(self) -> None:
        self._of_kind = [blake2b(digest_size=32) for _ in (OUTCOME, ADAPTED, DECISION, EXIT, FITTED)]

    def take(self, outputs: Outputs) -> None:
        """The next ones of an engine or a desk."""
        for kind, columns in (
            (OUTCOME, _outcomes),
            (ADAPTED, _adapted),
            (DECISION, _decisions),
            (EXIT, _exits),
        ):
            picked = Picked(outputs, kind)
            if len(picked.rows):
                names = picked.each(lambda block: _code(block.instrument), np.int64)
                where = np.stack(
                    [outputs.positions[picked.rows], outputs.ordinals[picked.rows], names], axis=1
                )
                rows = np.concatenate([where, *columns(picked)], axis=1)
                self._of_kind[kind].update(np.ascontiguousarray(rows, dtype="<i8").data)
        for row in np.flatnonzero(outputs.kinds == FITTED).tolist():
            output = outputs[row]
            self._of_kind[FITTED].update(msgspec.json.encode((output.position, output.ordinal, output.event)))

    def hexdigest(self) -> str:
        """Of all so far; more may follow."""
        return blake2b(b"".join(each.digest() for each in self._of_kind), digest_size=32).hexdigest()


def _code(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def _bits(floats: Floats) -> Int64s:
    """(n, columns): floats as they lie in memory."""
    return np.ascontiguousarray(floats.reshape(len(floats), -1)).view(np.int64)


def _outcomes(picked: Picked) -> tuple[Int64s, ...]:
    return (
        picked.whole(lambda b: b.notes.outcome_i),
        picked.whole(lambda b: b.notes.outcome_mine_i),
        _bits(picked.floats(lambda b: b.notes.outcome_f)),
        _bits(picked.floats(lambda b: b.notes.outcome_mine_f)),
    )


def _adapted(picked: Picked) -> tuple[Int64s, ...]:
    return picked.whole(lambda b: b.notes.adapted)[:, 1:], picked.whole(lambda b: b.adapted.whole)[:, : k.AT]


def _decisions(picked: Picked) -> tuple[Int64s, ...]:
    return (
        # Which row of a call a decision is of follows from how the log is cut.
        picked.whole(lambda b: b.notes.decision_i)[:, k.ROW + 1 :],
        picked.whole(lambda b: b.decided.whole)[:, : k.AT],
        picked.whole(lambda b: b.decided.lineage),
        picked.whole(lambda b: b.notes.horizons),
        picked.each(lambda b: b.table.number, np.int64)[:, None],
        _bits(picked.floats(lambda b: b.notes.decision_f)),
        _bits(picked.floats(lambda b: b.decided.floats)),
        _bits(picked.floats(lambda b: b.notes.of_voters)),
        _bits(picked.floats(lambda b: b.notes.proposed)),
    )


def _exits(picked: Picked) -> tuple[Int64s, ...]:
    return (picked.whole(lambda b: b.notes.exits)[:, : k.OF_IDEA_I],)


_COLUMNS = ((OUTCOME, _outcomes), (ADAPTED, _adapted), (DECISION, _decisions), (EXIT, _exits))
