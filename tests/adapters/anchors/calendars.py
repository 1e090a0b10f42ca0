"""An OpenTimestamps calendar and an explorer of blocks, played with python-opentimestamps."""

import struct
from dataclasses import dataclass, field
from hashlib import sha256

from opentimestamps.core.notary import BitcoinBlockHeaderAttestation, PendingAttestation
from opentimestamps.core.op import OpAppend, OpPrepend, OpSHA256
from opentimestamps.core.serialize import BytesSerializationContext
from opentimestamps.core.timestamp import Timestamp

from alphapulse.domain.provenance.bitcoin import BlockHeader
from tests.adapters.anchors.servers import Reply, Request

EASY = 0x207FFFFF  # every second hash will do: regtest's target
BLOCK_TIME = 1_750_000_000


def serialized(timestamp: Timestamp) -> bytes:
    context = BytesSerializationContext()
    timestamp.serialize(context)
    return context.getbytes()


def mined(root: bytes, time_s: int = BLOCK_TIME, bits: int = EASY) -> BlockHeader:
    for nonce in range(1_000_000):
        header = BlockHeader(struct.pack("<i32s32sIII", 4, bytes(32), root, time_s, bits, nonce))
        if header.is_worked:
            return header
    raise AssertionError("no luck")


@dataclass
class Calendar:
    """Promises under ``uri``, which the test sets; keeps what it promised once ``mine`` was called."""

    uri: str = ""
    height: int = 800_000
    promised: dict[bytes, bytes] = field(default_factory=dict)  # commitment -> what it was made of
    kept: dict[bytes, bytes] = field(default_factory=dict)  # commitment -> the answer
    headers: dict[int, BlockHeader] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    async def __call__(self, request: Request) -> Reply:
        self.requests.append(f"{request.method} {request.path}")
        match request.path.strip("/").split("/"):
            case ["digest"]:
                assert request.method == "POST"
                assert len(request.body) == 32
                return Reply(200, self._promise(request.body))
            case ["timestamp", commitment]:
                assert request.headers["accept"] == "application/vnd.opentimestamps.v1"
                found = self.kept.get(bytes.fromhex(commitment))
                return Reply(200, found) if found else Reply(404, b"Pending confirmation")
            case ["api", "block-height", height] if int(height) in self.headers:
                return Reply(200, self.headers[int(height)].hash.encode())
            case ["api", "block", block, "header"]:
                for header in self.headers.values():
                    if header.hash == block:
                        return Reply(200, header.data.hex().encode())
        return Reply(404, b"not found")

    def _promise(self, digest: bytes) -> bytes:
        start = Timestamp(digest)
        end = start.ops.add(OpPrepend(b"\x65\x00\x00\x00")).ops.add(OpSHA256()).ops.add(OpAppend(b"hmac----"))
        end.attestations.add(PendingAttestation(self.uri))
        self.promised[end.msg] = digest
        return serialized(start)

    def mine(self, time_s: int = BLOCK_TIME) -> BlockHeader:
        """Put everything that is promised into one block (of one leaf each, for short)."""
        header = None
        for commitment in self.promised:
            start = Timestamp(commitment)
            end = (
                start.ops.add(OpSHA256())
                .ops.add(OpPrepend(b"tx" * 20))
                .ops.add(OpSHA256())
                .ops.add(OpSHA256())
            )
            end.attestations.add(BitcoinBlockHeaderAttestation(self.height))
            self.kept[commitment] = serialized(start)
            header = self.headers[self.height] = mined(end.msg, time_s)
            assert end.msg == sha256(sha256(b"tx" * 20 + sha256(commitment).digest()).digest()).digest()
            self.height += 1
        assert header is not None
        return header
