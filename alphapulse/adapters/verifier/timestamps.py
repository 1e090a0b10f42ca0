"""Answers of time-stamping authorities: RFC 3161 inside of CMS signed data (RFC 5652).

Checked are status, digest, the signature by the certificate that comes along, and that the signature names
this certificate. Whether to trust that certificate is not said here: see ``openssl ts -verify``.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Sequence

from alphapulse.adapters.verifier.der import BadDer, Der, der_of
from alphapulse.adapters.verifier.public_keys import DIGESTS, UnknownAlgorithm, is_signed_by

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"  # by SHA-1
_SIGNING_CERTIFICATE_2 = "1.2.840.113549.1.9.16.2.47"  # by SHA-256, or what it says
_SEQUENCE, _SET, _OCTETS = 0x30, 0x31, 0x04


class StampRefused(Exception):
    """No timestamp of this message."""


class Stamp(NamedTuple):
    """What an authority said."""

    time: int  # µs since 1970 UTC
    certificate: bytes | None  # that signed; None where that was not checked
    unchecked: str  # why the signature could not be checked; empty where it was


def stamp_of(response: bytes, message: bytes) -> Stamp:
    """What ``response`` (a TimeStampResp) says of ``message``.

    Raises:
        StampRefused: it is of another message, was refused, is damaged, or not signed as it says.
    """
    try:
        return _stamp(der_of(response), message)
    except (BadDer, IndexError, ValueError) as error:
        raise StampRefused(f"no timestamp: {error}") from None


def _stamp(response: Der, message: bytes) -> Stamp:
    status, *token = response.only(_SEQUENCE).children()
    code = status.children()[0].number()
    if code not in (0, 1) or len(token) != 1:
        raise StampRefused(f"the authority refused, with status {code}")
    kind, wrapped = token[0].children()
    if kind.oid() != _SIGNED_DATA:
        raise BadDer(f"content of kind {kind.oid()}")
    parts = wrapped.only(0xA0).children()[0].children()
    content_kind, content = parts[2].children()
    info = content.only(0xA0).children()[0].only(_OCTETS).content
    if content_kind.oid() != _TST_INFO:
        raise BadDer(f"content of kind {content_kind.oid()}")
    time = _time_in(der_of(info), message)
    certificates = [one for part in parts[3:-1] if part.tag == 0xA0 for one in part.children()]
    signers = parts[-1].only(_SET).children()
    if len(signers) != 1:
        raise BadDer(f"{len(signers)} signatures")
    try:
        certificate = _signer(signers[0].children(), certificates, info)
    except UnknownAlgorithm as error:
        return Stamp(time, None, str(error))
    return Stamp(time, certificate, "")


def _time_in(info: Der, message: bytes) -> int:
    """The time in a TSTInfo, if it is of ``message``."""
    _, _, imprint, _, time, *_ = info.only(_SEQUENCE).children()
    algorithm, digest = imprint.children()
    oid = algorithm.children()[0].oid()
    if oid not in DIGESTS:
        raise StampRefused(f"a timestamp of a digest of kind {oid}")
    wanted = hashlib.new(DIGESTS[oid], message).digest()
    if digest.only(_OCTETS).content != wanted:
        raise StampRefused(f"a timestamp of {digest.content.hex()}, and the note has {wanted.hex()}")
    return time.time_us()


def _signer(parts: Sequence[Der], certificates: Sequence[Der], info: bytes) -> bytes:
    """The certificate that signed ``info``, whose signature is checked.

    Raises:
        UnknownAlgorithm: that cannot be said.
        StampRefused: none did.
    """
    _, who, digest_kind, attributes, algorithm, signature = parts[:6]
    digest_oid = digest_kind.children()[0].oid()
    if digest_oid not in DIGESTS:
        raise UnknownAlgorithm(f"digest of kind {digest_oid}")
    known = _attributes(attributes.only(0xA0))
    if known[_CONTENT_TYPE].oid() != _TST_INFO:
        raise StampRefused("the signature is over something else")
    digest = hashlib.new(DIGESTS[digest_oid], info).digest()
    if known[_MESSAGE_DIGEST].only(_OCTETS).content != digest:
        raise StampRefused("what was signed is another timestamp")
    certificate = _certificate_of(who, certificates)
    _check_named(known, certificate.whole)
    signed = bytes((_SET,)) + attributes.whole[1:]  # RFC 5652, section 5.4
    key = _fields(certificate)[5]
    if not is_signed_by(key, algorithm, digest_oid, signed, signature.only(_OCTETS).content):
        raise StampRefused("the authority's signature is not over this timestamp")
    return certificate.whole


def _attributes(found: Der) -> dict[str, Der]:
    known = {}
    for attribute in found.children():
        kind, values = attribute.children()
        known[kind.oid()] = values.children()[0]
    for oid in (_CONTENT_TYPE, _MESSAGE_DIGEST):
        if oid not in known:
            raise BadDer(f"an attribute of kind {oid} is missing")
    return known


def _certificate_of(who: Der, certificates: Sequence[Der]) -> Der:
    """The certificate with the issuer and serial number that the signature names."""
    if who.tag != _SEQUENCE:
        raise UnknownAlgorithm("signer named by its key")
    issuer, serial = who.children()
    for certificate in certificates:
        if certificate.tag == _SEQUENCE:
            fields = _fields(certificate)
            if (fields[0].number(), fields[2].whole) == (serial.number(), issuer.whole):
                return certificate
    raise UnknownAlgorithm("signer whose certificate does not come along")


def _fields(certificate: Der) -> Sequence[Der]:
    """Serial number, algorithm, issuer, validity, subject, key, and what follows."""
    fields = certificate.children()[0].children()
    return fields[1:] if fields[0].tag == 0xA0 else fields


def _check_named(attributes: dict[str, Der], certificate: bytes) -> None:
    """Raises StampRefused unless what was signed names this certificate (RFC 5816)."""
    if _SIGNING_CERTIFICATE_2 in attributes:
        parts = attributes[_SIGNING_CERTIFICATE_2].children()[0].children()[0].children()
        oid = parts[0].children()[0].oid() if parts[0].tag == _SEQUENCE else "2.16.840.1.101.3.4.2.1"
        if oid not in DIGESTS:
            raise UnknownAlgorithm(f"digest of kind {oid}")
        digest = hashlib.new(DIGESTS[oid], certificate).digest()
        named = parts[1] if parts[0].tag == _SEQUENCE else parts[0]
    elif _SIGNING_CERTIFICATE in attributes:
        named = attributes[_SIGNING_CERTIFICATE].children()[0].children()[0].children()[0]
        digest = hashlib.new("sha1", certificate).digest()  # noqa: S324  RFC 2634 knows no other
    else:
        raise StampRefused("the signature does not name its certificate")
    if named.only(_OCTETS).content != digest:
        raise StampRefused("the signature names another certificate")
