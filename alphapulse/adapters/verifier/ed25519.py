"""Signatures: Ed25519 as RFC 8032 section 5.1.7 defines their verification.

Where implementations differ, this one is strict: S below the order of the group, a canonical public key, no
factor of 8, R compared as bytes. OpenSSL and Go's crypto/ed25519 accept no signature that this one refuses,
but for public keys that no honest signer has. Nothing here is secret, so nothing needs constant time.
"""

from __future__ import annotations

from hashlib import sha512
from typing import Tuple

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)

# A point as (X, Y, Z, T): x = X/Z, y = Y/Z, x*y = T/Z.
_Point = Tuple[int, int, int, int]
_NEUTRAL: _Point = (0, 1, 1, 0)


def is_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) over ``message`` is of ``public`` (32 bytes)."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, s = _point_of(public), int.from_bytes(signature[32:], "little")
    if key is None or s >= _ORDER:
        return False
    k = int.from_bytes(sha512(signature[:32] + public + message).digest(), "little") % _ORDER
    return _bytes_of(_two_products(s, _BASE, k, _negative(key))) == signature[:32]


def _point_of(encoded: bytes) -> _Point | None:
    """The point; None where there is none, or its encoding is not the canonical one (section 5.1.3)."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == _P - u and u:
        x = x * _ROOT_OF_MINUS_1 % _P
    if v * x * x % _P != u or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _bytes_of(point: _Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _sum(a: _Point, b: _Point) -> _Point:
    """Section 5.1.4; the formula holds for equal points too."""
    one, two = (a[1] - a[0]) * (b[1] - b[0]), (a[1] + a[0]) * (b[1] + b[0])
    three, four = 2 * a[3] * b[3] * _D, 2 * a[2] * b[2]
    e, f, g, h = two - one, four - three, four + three, two + one
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _negative(a: _Point) -> _Point:
    return _P - a[0], a[1], a[2], _P - a[3]


def _two_products(m: int, a: _Point, n: int, b: _Point) -> _Point:
    """m * a + n * b."""
    choices = (_NEUTRAL, a, b, _sum(a, b))
    total = _NEUTRAL
    for i in range(max(m.bit_length(), n.bit_length()) - 1, -1, -1):
        total = _sum(total, total)
        choice = (m >> i & 1) | (n >> i & 1) << 1
        if choice:
            total = _sum(total, choices[choice])
    return total


def _base_point() -> _Point:
    """The point with y = 4/5 and an even x."""
    found = _point_of((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))
    assert found is not None
    return found


_BASE = _base_point()
