"""A small sealed log in memory, which grows, and can be forked."""

import os
from dataclasses import dataclass, field
from uuid import uuid4

from alphapulse.adapters.provenance.keys import KeySigner
from alphapulse.adapters.store.memory import MemoryEventStore
from alphapulse.adapters.store.memory_seals import MemorySeals
from alphapulse.domain.ports import Envelope, Fence, NewEvent
from alphapulse.domain.provenance.anchors import ProofFrom
from alphapulse.domain.provenance.merkle import Frontier
from alphapulse.domain.provenance.sealing import Sealed, Tree, grown, seal
from alphapulse.projections.proofs import consistency_proof

ORIGIN = "log.example/test"


@dataclass
class SealedLog:
    store: MemoryEventStore
    seals: MemorySeals
    signer: KeySigner
    fence: Fence
    tree: Tree = field(default_factory=lambda: Tree(Frontier(), 0, {}))

    async def grow(self, count: int = 1) -> Sealed:
        """``count`` more events, sealed at once; the newest checkpoint."""
        stream = f"s-{uuid4()}"
        await self.store.append(
            [
                NewEvent(
                    stream=stream,
                    version=version + 1,
                    name="test.happened.v1",
                    state=b'{"n":%d}' % version,
                    envelope=Envelope(event_id=uuid4()),
                )
                for version in range(count)
            ]
        )
        page = await self.store.read(self.tree.position, limit=count)
        done = seal(self.tree, page.records, os.urandom(16 * count), self.signer.key.name, self.signer)
        await self.seals.append(done, fence=self.fence)
        self.tree = grown(self.tree, done)
        return await self.newest()

    async def newest(self) -> Sealed:
        found = await self.seals.sealed()
        assert found is not None
        return found

    def proof_to(self, sealed: Sealed) -> ProofFrom:
        async def proof_from(old: int) -> list[bytes]:
            return list(await consistency_proof(self.seals, old, sealed.size))

        return proof_from


async def sealed_log(signer: KeySigner | None = None) -> SealedLog:
    """An empty log; with the ``signer`` of another one, a fork of that."""
    store = MemoryEventStore()
    fence = await store.leases.acquire("seal", "test", 3600)
    assert fence is not None
    return SealedLog(store, MemorySeals(store.leases), signer or KeySigner(ORIGIN, os.urandom(32)), fence)
