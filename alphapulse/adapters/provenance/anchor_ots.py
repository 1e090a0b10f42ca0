"""OpenTimestamps: a calendar gathers digests and puts one root into a Bitcoin transaction, hours later.

The receipt is a detached ``.ots`` file for the bytes of the checkpoint's note. First it holds a calendar's
promise; once the block is there, the path into it; and, where headers can be looked up, the block's header,
whose time is the receipt's. Without a header no time is told: the block's number is, for who looks it up.

A calendar sees the SHA-256 of the note's digest with 16 random bytes, which says nothing of the note.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256

from alphapulse.adapters.provenance.http import TIMEOUT_S, Answer, ask
from alphapulse.domain.provenance import bitcoin
from alphapulse.domain.provenance.anchors import MICROSECONDS, OTS, AnchorFailed, ProofFrom
from alphapulse.domain.provenance.bitcoin import BadHeader, BlockHeader, block_header
from alphapulse.domain.provenance.opentimestamps import (
    BLOCK_HEADER,
    SHA256,
    Attestation,
    BadTimestamp,
    Timestamp,
    append,
    chain,
    file_of,
    parse_file,
    parse_timestamp,
)
from alphapulse.domain.provenance.sealing import Receipt, Sealed

MAX_ANSWER_BYTES = 10_000
MAX_PROMISES = 8  # of one timestamp, asked for
# Promises name their own calendar; only these are asked besides those that are configured. The list of
# python-opentimestamps 0.4.5 (calendar.py).
KNOWN_CALENDARS = (
    "https://*.calendar.opentimestamps.org",
    "https://*.calendar.eternitywall.com",
    "https://*.calendar.catallaxy.com",
)
_HEADERS = {"Accept": "application/vnd.opentimestamps.v1", "Content-Type": "application/octet-stream"}


@dataclass(slots=True, kw_only=True)
class OtsAnchor:
    """``url`` takes digests; ``calendars`` may be asked later; ``headers`` speaks Esplora's HTTP API."""

    name: str
    url: str
    calendars: Sequence[str] = ()
    headers: str | None = None
    least_work: int = bitcoin.LEAST_WORK
    timeout_s: float = TIMEOUT_S
    kind: str = OTS

    async def anchor(self, sealed: Sealed, proof_from: ProofFrom) -> Receipt:  # noqa: ARG002  needs none
        digest, nonce = sha256(sealed.note.encode()).digest(), os.urandom(16)
        commitment = sha256(digest + nonce).digest()
        answer = await self._ask(f"{self.url}/digest", commitment)
        if answer.status != 200:
            raise AnchorFailed(f"{self.url}: {answer.said}")
        try:
            given = parse_timestamp(answer.body)
            promises = [a.uri or a.height for _, a in given.attested(commitment)]
            data = file_of(digest, chain([append(nonce), SHA256], given))
        except BadTimestamp as error:
            raise AnchorFailed(f"{self.url}: {error}") from None
        if not any(promise is not None for promise in promises):
            raise AnchorFailed(f"{self.url}: it answered with neither a promise nor a block")
        return Receipt(size=sealed.size, anchor=self.name, kind=self.kind, time=None, data=data)

    async def settle(self, receipt: Receipt) -> Receipt | None:
        try:
            digest, timestamp = parse_file(receipt.data)
            found = await self._with_blocks(digest, timestamp)
            found, time_us = await self._with_header(digest, found)
            data = file_of(digest, found)
        except (BadTimestamp, BadHeader) as error:
            raise AnchorFailed(f"{self.name}, {receipt.size} leaves: {error}") from None
        if (data, time_us) == (receipt.data, receipt.time):
            return None
        return Receipt(size=receipt.size, anchor=self.name, kind=self.kind, time=time_us, data=data)

    async def _with_blocks(self, digest: bytes, timestamp: Timestamp) -> Timestamp:
        """``timestamp`` with the way to a block, if one of the calendars knows it by now."""
        attested = list(timestamp.attested(digest))
        if any(attestation.height is not None for _, attestation in attested):
            return timestamp
        promises = [(message, uri) for message, a in attested if (uri := a.uri) is not None]
        failed: Exception | None = None
        for message, uri in promises[:MAX_PROMISES]:
            try:
                if (more := await self._kept_promise(message, uri)) is not None:
                    return timestamp.upgraded(digest, message, more)
            except (AnchorFailed, BadTimestamp) as error:
                failed = error
        if failed is not None:
            raise failed
        return timestamp

    async def _kept_promise(self, message: bytes, uri: str) -> Timestamp | None:
        uri = uri.rstrip("/")
        if not self._may_ask(uri):
            raise AnchorFailed(f"{self.name}: promised by {uri}: add |calendar={uri} for it to be asked")
        answer = await self._ask(f"{uri}/timestamp/{message.hex()}")
        if answer.status == 404:  # not in a block yet
            return None
        if answer.status != 200:
            raise AnchorFailed(f"{uri}: {answer.said}")
        more = parse_timestamp(answer.body)
        return more if any(a.height is not None for _, a in more.attested(message)) else None

    def _may_ask(self, uri: str) -> bool:
        host = uri.partition("://")[2]
        is_known = not {"/", ":"} & set(host) and any(fnmatchcase(uri, known) for known in KNOWN_CALENDARS)
        return is_known or uri in (self.url, *self.calendars)

    async def _with_header(self, digest: bytes, timestamp: Timestamp) -> tuple[Timestamp, int | None]:
        """``timestamp`` with the header of its first block, and that block's time; None without one."""
        known = [
            (message, block_header(a.payload, message, least_work=self.least_work))
            for message, a in timestamp.attested(digest)
            if a.tag == BLOCK_HEADER
        ]
        blocks = [(a.height, message) for message, a in timestamp.attested(digest) if a.height is not None]
        if not known and blocks and self.headers:
            height, message = min(blocks)
            header = await self._header(height, message)
            more = Timestamp(attestations=[Attestation(BLOCK_HEADER, header.data)])
            timestamp = timestamp.upgraded(digest, message, more)
            known = [(message, header)]
        time_us = min(header.time for _, header in known) * MICROSECONDS if known else None
        return timestamp, time_us

    async def _header(self, height: int, root: bytes) -> BlockHeader:
        """The header of block ``height``, looked up and checked against ``root``."""
        block = (await self._looked_up(f"block-height/{height}")).strip()
        if len(block) != 64 or not set(block) <= set("0123456789abcdef"):
            raise AnchorFailed(f"{self.headers}: {block[:80]!r} is not the hash of block {height}")
        data = (await self._looked_up(f"block/{block}/header")).strip()
        try:
            header = block_header(bytes.fromhex(data), root, least_work=self.least_work)
        except ValueError as error:  # also a BadHeader
            raise AnchorFailed(f"{self.headers}: block {height}: {error}") from None
        if header.hash != block:
            raise AnchorFailed(
                f"{self.headers}: block {height} is {block}, and the header that of {header.hash}"
            )
        return header

    async def _looked_up(self, path: str) -> str:
        answer = await ask(f"{self.headers}/{path}", timeout_s=self.timeout_s, most=MAX_ANSWER_BYTES)
        if answer.status != 200:
            raise AnchorFailed(f"{self.headers}/{path}: {answer.said}")
        return answer.body.decode("latin-1")

    async def _ask(self, url: str, body: bytes | None = None) -> Answer:
        return await ask(url, body, headers=_HEADERS, timeout_s=self.timeout_s, most=MAX_ANSWER_BYTES)
