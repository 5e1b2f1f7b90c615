"""Ed25519ph, checking only (RFC 8032 sections 5.1 and 7.3): what cosign 3 signs with where its key is Ed25519.

`cryptography` has plain Ed25519 alone. Nothing here is secret, so plain integers will do: one check takes a few
milliseconds. Points and scalars that are not in their one canonical form are refused.
"""

from __future__ import annotations

import hashlib

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
"""A square root of -1."""
_DOM2 = b"SigEd25519 no Ed25519 collisions" + bytes([1, 0])
"""Pre-hashed, and without a context."""

Point = tuple[int, int, int, int]
"""Extended homogeneous coordinates: x = X/Z, y = Y/Z, xy = T/Z."""

_NEUTRAL: Point = (0, 1, 1, 0)


def is_key(key: bytes) -> bool:
    """Is it a point, and none of the few under which a signature of zeros holds?"""
    point = _decoded(key)
    return point is not None and not _same(_times(8, point), _NEUTRAL)


def verifies(key: bytes, message: bytes, signature: bytes) -> bool:
    """`key` is the raw public key (32 bytes)."""
    if len(key) != 32 or len(signature) != 64 or not is_key(key):
        return False
    public, commitment = _decoded(key), _decoded(signature[:32])
    response = int.from_bytes(signature[32:], "little")
    if public is None or commitment is None or response >= _ORDER:
        return False
    hashed = hashlib.sha512(_DOM2 + signature[:32] + key + hashlib.sha512(message).digest()).digest()
    challenge = int.from_bytes(hashed, "little") % _ORDER
    return _same(_times(response, _BASE), _sum(commitment, _times(challenge, public)))


def _decoded(data: bytes) -> Point | None:
    """A point of 32 bytes: y, and in the highest bit the sign of x (section 5.1.3)."""
    number = int.from_bytes(data, "little")
    y, sign = number & ((1 << 255) - 1), number >> 255
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _sum(one: Point, other: Point) -> Point:
    """Section 5.1.4."""
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: Point) -> Point:
    result = _NEUTRAL
    while scalar:
        if scalar & 1:
            result = _sum(result, point)
        point = _sum(point, point)
        scalar >>= 1
    return result


def _same(one: Point, other: Point) -> bool:
    return (one[0] * other[2] - other[0] * one[2]) % _P == 0 and (one[1] * other[2] - other[1] * one[2]) % _P == 0


def _base() -> Point:
    found = _decoded((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    assert found is not None
    return found


_BASE = _base()
