"""Signatures of time-stamping authorities: RSA (RFC 8017, section 8.2.2) and ECDSA (FIPS 186-4, section 6.4).

Only what authorities use: RSA of 2048 to 8192 bits, PKCS#1 v1.5; the curves P-256 and P-384; SHA-256, SHA-384
and SHA-512. Nothing here is secret, so nothing needs constant time.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Optional, Tuple

from alphapulse.adapters.verifier.der import BadDer, Der, der_of

DIGESTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_RSA_KEY = "1.2.840.113549.1.1.1"
_RSA_WITH = {
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
}
_EC_KEY = "1.2.840.10045.2.1"
_ECDSA_WITH = {
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
# What stands before a digest (RFC 8017, section 9.2, note 1).
_DIGEST_HEADS = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_CurvePoint = Optional[Tuple[int, int]]  # None: the point at infinity


class Curve(NamedTuple):
    """y² = x³ - 3x + b over the integers modulo p; the base point has the prime order n."""

    size: int  # bytes of a coordinate
    p: int
    b: int
    base: tuple[int, int]
    n: int


# FIPS 186-4, appendix D.1.2.
_CURVES = {
    "1.2.840.10045.3.1.7": Curve(
        32,
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        (
            0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
            0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        ),
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    ),
    "1.3.132.0.34": Curve(
        48,
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        (
            0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
            0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
        ),
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    ),
}


class UnknownAlgorithm(Exception):
    """A signature of a kind that is not checked here; says which."""


def is_signed_by(key: Der, algorithm: Der, digest_oid: str, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``message`` is of ``key``, a SubjectPublicKeyInfo.

    Raises:
        UnknownAlgorithm: this cannot be said.
        BadDer: the key or the signature is none.
    """
    kind, public = key.children()[:2]
    key_oid, oid = kind.children()[0].oid(), algorithm.children()[0].oid()
    if key_oid == _RSA_KEY:
        name = _RSA_WITH.get(oid) or (DIGESTS.get(digest_oid) if oid == _RSA_KEY else None)
        if name is None:
            raise UnknownAlgorithm(f"signature of kind {oid}")
        return _is_rsa(der_of(public.bits()), name, message, signature)
    if key_oid == _EC_KEY:
        curve = _CURVES.get(kind.children()[1].oid())
        name = _ECDSA_WITH.get(oid)
        if curve is None or name is None:
            raise UnknownAlgorithm(f"signature of kind {oid} on curve {kind.children()[1].oid()}")
        return _is_ecdsa(curve, public.bits(), hashlib.new(name, message).digest(), der_of(signature))
    raise UnknownAlgorithm(f"key of kind {key_oid}")


def _is_rsa(key: Der, name: str, message: bytes, signature: bytes) -> bool:
    modulus, exponent = (number.number() for number in key.children()[:2])
    if not 2047 < modulus.bit_length() < 8193 or not 2 < exponent < 1 << 33:
        raise UnknownAlgorithm(f"RSA of {modulus.bit_length()} bits")
    size = (modulus.bit_length() + 7) // 8
    if len(signature) != size:
        return False
    digest = _DIGEST_HEADS[name] + hashlib.new(name, message).digest()
    wanted = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
    return pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(size, "big") == wanted


def _is_ecdsa(curve: Curve, public: bytes, digest: bytes, signature: Der) -> bool:
    r, s = (number.number() for number in signature.only(0x30).children()[:2])
    point = _point_on(curve, public)
    if not (0 < r < curve.n and 0 < s < curve.n):
        return False
    z = int.from_bytes(digest[: curve.size], "big")
    inverse = pow(s, curve.n - 2, curve.n)
    found = _sum_of_products(curve, z * inverse % curve.n, curve.base, r * inverse % curve.n, point)
    return found is not None and found[0] % curve.n == r


def _point_on(curve: Curve, public: bytes) -> tuple[int, int]:
    if len(public) != 1 + 2 * curve.size or public[0] != 4:
        raise BadDer(f"a point of {len(public)} bytes on a curve of {curve.size}")
    x = int.from_bytes(public[1 : 1 + curve.size], "big")
    y = int.from_bytes(public[1 + curve.size :], "big")
    if max(x, y) >= curve.p or (y * y - x * x * x + 3 * x - curve.b) % curve.p:
        raise BadDer("a point that is not on its curve")
    return x, y


def _sum_of_products(
    curve: Curve, factor: int, point: _CurvePoint, other_factor: int, other: _CurvePoint
) -> _CurvePoint:
    """``factor`` times ``point`` plus ``other_factor`` times ``other``, doubling once for both."""
    choices = (None, point, other, _plus(curve, point, other))
    total: _CurvePoint = None
    for bit in range(max(factor, other_factor).bit_length() - 1, -1, -1):
        total = _plus(curve, total, total)
        total = _plus(curve, total, choices[(factor >> bit & 1) + 2 * (other_factor >> bit & 1)])
    return total


def _plus(curve: Curve, one: _CurvePoint, other: _CurvePoint) -> _CurvePoint:
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % curve.p == 0:
            return None
        slope = 3 * (one[0] * one[0] - 1) * pow(2 * one[1], -1, curve.p)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, curve.p)
    x = (slope * slope - one[0] - other[0]) % curve.p
    return x, (slope * (one[0] - x) - one[1]) % curve.p
