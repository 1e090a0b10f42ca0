"""Timestamps of RFC 3161: an authority signs the SHA-256 of the checkpoint's note, and its own time.

The receipt is the authority's whole answer (TimeStampResp, DER), as ``openssl ts -verify -in`` reads it.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimeStampRequest,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerifierBuilder,
    decode_timestamp_response,
)

from alphapulse.adapters.provenance.http import TIMEOUT_S, Answer, ask
from alphapulse.adapters.verifier.der import der_of
from alphapulse.adapters.verifier.timestamps import stamp_of
from alphapulse.domain.provenance.anchors import RFC3161, AnchorFailed, ProofFrom
from alphapulse.domain.provenance.sealing import Receipt, Sealed

_SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_CERTIFICATES = 0xA0  # of the parts of SignedData (RFC 5652, 5.1)
_GRANTED = (0, 1)  # as asked, or with changes that the checks below would find
_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
_REPLY = "application/timestamp-reply"


@dataclass(slots=True, kw_only=True)
class Rfc3161Anchor:
    """``url`` is asked itself. Without ``roots``, whose signature it is, is for who verifies later."""

    name: str
    url: str
    roots: Path | None = None  # a file of certificates, read anew for each answer
    timeout_s: float = TIMEOUT_S
    kind: str = RFC3161

    async def anchor(self, sealed: Sealed, proof_from: ProofFrom) -> Receipt:  # noqa: ARG002  needs none
        message = sealed.note.encode()
        request = TimestampRequestBuilder(data=message, hash_algorithm=HashAlgorithm.SHA256).build()
        answer = await ask(self.url, request.as_bytes(), headers=_HEADERS, timeout_s=self.timeout_s)
        try:
            time_us = self._checked(answer, request, message)
        except Exception as error:  # what foreign bytes may raise in two parsers, nobody can list
            raise AnchorFailed(f"{self.url}: {error}") from None
        return Receipt(size=sealed.size, anchor=self.name, kind=self.kind, time=time_us, data=answer.body)

    async def settle(self, receipt: Receipt) -> Receipt | None:  # noqa: ARG002  a timestamp is settled
        return None

    def _checked(self, answer: Answer, request: TimeStampRequest, message: bytes) -> int:
        if answer.status != 200 or answer.kind.partition(";")[0].strip().lower() != _REPLY:
            raise AnchorFailed(f"no timestamp, but {answer.kind or 'something'}, {answer.said}")
        response = decode_timestamp_response(_in_order(answer.body))
        _check_granted(response)
        _check_info(response, request, message)
        if self.roots is not None:
            _check_signature(response, request, message, self.roots)
        return stamp_of(answer.body, message).time  # what verifiers will read; this client cuts it to seconds


def _in_order(answer: bytes) -> bytes:
    """``answer`` with its certificates in the order that DER has for sets.

    OpenSSL up to 3.0 at least, and so many authorities, answers with them as they were configured, which our
    client's parser refuses. No signature is over them as a set.
    """
    response = der_of(answer).children()
    if len(response) < 2:
        return answer
    signed_data = response[1].children()[1].children()[0].children()
    certificates = [part for part in signed_data if part.tag == _CERTIFICATES]
    if len(certificates) != 1:
        return answer
    place = certificates[0]
    in_order = b"".join(sorted(certificate.whole for certificate in place.children()))
    return answer[: place.start] + in_order + answer[place.end :]


def _check_granted(response: TimeStampResponse) -> None:
    if response.status not in _GRANTED:
        raise AnchorFailed(f"refused with status {response.status}: {', '.join(response.status_string)!r}")


def _check_info(response: TimeStampResponse, request: TimeStampRequest, message: bytes) -> None:
    info = response.tst_info
    if info.message_imprint.hash_algorithm != _SHA256:
        raise AnchorFailed(f"a timestamp of {info.message_imprint.hash_algorithm.dotted_string}, not SHA-256")
    if info.message_imprint.message != (wanted := sha256(message).digest()):
        raise AnchorFailed(f"a timestamp of {info.message_imprint.message.hex()}, not of {wanted.hex()}")
    if info.nonce != request.nonce:
        raise AnchorFailed(f"an answer to nonce {info.nonce}, where {request.nonce} was asked")
    if info.gen_time.year < 2000:
        raise AnchorFailed(f"a timestamp of {info.gen_time.isoformat()}, from before there were any")


def _check_signature(
    response: TimeStampResponse, request: TimeStampRequest, message: bytes, roots: Path
) -> None:
    # Nothing but the roots: this client trusts intermediates too, and an answer brings its own.
    trusted = x509.load_pem_x509_certificates(roots.read_bytes())
    VerifierBuilder(nonce=request.nonce, roots=trusted).build().verify_message(response, message)
