"""Witnesses that speak C2SP tlog-witness: each sees our checkpoints, refuses a fork, and cosigns."""

from collections.abc import Sequence
from dataclasses import dataclass

from alphapulse.adapters.provenance.http import TIMEOUT_S, Answer, ask
from alphapulse.adapters.provenance.keys import ed25519
from alphapulse.domain.provenance.anchors import (
    MAX_PROOF_HASHES,
    MICROSECONDS,
    WITNESS,
    Ahead,
    AnchorFailed,
    Contradicted,
    ProofFrom,
    add_checkpoint,
    cosigned,
)
from alphapulse.domain.provenance.notes import BadNote, NoteKey, parse_note
from alphapulse.domain.provenance.sealing import Receipt, Sealed

_SIZE_KIND = "text/x.tlog.size"
_TRIES = 3  # another of ours may show it a checkpoint between two of these


@dataclass(slots=True, kw_only=True)
class WitnessAnchor:
    """``url`` is the witness's submission prefix; only cosignatures of ``key`` are kept."""

    name: str
    url: str
    key: NoteKey
    timeout_s: float = TIMEOUT_S
    kind: str = WITNESS
    _seen: int = 0  # leaves of the tree that it cosigned last, as far as we know

    async def anchor(self, sealed: Sealed, proof_from: ProofFrom) -> Receipt:
        old = min(self._seen, sealed.size)
        for _ in range(_TRIES):
            proof = await proof_from(old) if 0 < old < sealed.size else []
            answer = await self._asked(old, proof, sealed.note)
            match answer.status:
                case 200:
                    return self._receipt(sealed, answer)
                case 409:
                    old = self._conflict(answer, old, sealed)
                case status:
                    raise _refusal(self.url, status, answer, sealed, old)
        raise AnchorFailed(f"{self.url}: changed its mind {_TRIES} times about what it saw last, now {old}")

    async def settle(self, receipt: Receipt) -> Receipt | None:  # noqa: ARG002  a cosignature is settled
        return None

    async def _asked(self, old: int, proof: Sequence[bytes], note: str) -> Answer:
        assert len(proof) <= MAX_PROOF_HASHES, "a tree of 2**63 leaves has no longer proofs"
        request = add_checkpoint(old, proof, note)
        return await ask(f"{self.url}/add-checkpoint", request, timeout_s=self.timeout_s)

    def _receipt(self, sealed: Sealed, answer: Answer) -> Receipt:
        try:
            text = parse_note(sealed.note).text
            lines, time_s = cosigned(answer.body.decode(), text, self.key, ed25519)
        except (BadNote, UnicodeDecodeError) as error:
            raise AnchorFailed(f"{self.url}: {error}") from None
        self._seen = sealed.size
        return Receipt(
            size=sealed.size,
            anchor=self.name,
            kind=self.kind,
            time=time_s * MICROSECONDS,
            data=lines.encode(),
        )

    def _conflict(self, answer: Answer, old: int, sealed: Sealed) -> int:
        """The size from which the witness wants a proof."""
        size = _size(answer)
        if size is None and old != sealed.size:
            raise AnchorFailed(f"{self.url}: it saw another size than {old}, and does not say which")
        if size in (None, old) and old == sealed.size:
            raise Contradicted(
                f"{self.url} has cosigned another tree of {old} leaves of this log: one of them is a fork"
            )
        assert size is not None, "both cases without a size are told above"
        if size > sealed.size:
            raise Ahead(self.url, size, sealed.size)
        return size


def _size(answer: Answer) -> int | None:
    """What a conflict says that the witness has seen."""
    text = answer.body.removesuffix(b"\n")
    is_size = answer.kind.partition(";")[0].strip() == _SIZE_KIND
    return int(text) if is_size and text.isdigit() and len(text) < 20 else None


def _refusal(url: str, status: int, answer: Answer, sealed: Sealed, old: int) -> Exception:
    origin = sealed.note.partition("\n")[0]
    match status:
        case 404:
            return AnchorFailed(f"{url}: does not know the log {origin}: ask its operator ({answer.said})")
        case 403:
            return AnchorFailed(f"{url}: does not trust the key of {origin}: tell it ours ({answer.said})")
        case 422:
            return Contradicted(
                f"{url}: our {sealed.size} leaves do not continue the {old} that it has seen ({answer.said})"
            )
        case _:
            return AnchorFailed(f"{url}: {answer.said}")
