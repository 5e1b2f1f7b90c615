"""Signatures by public keys: which schemes count, which keys a Secret may hold, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519

from image_updater.errors import SpecError
from image_updater.signatures import Attached, Bundled, SimpleSigning, ed25519ph, keys
from image_updater.signatures.model import Unverified
from tests.parts import signing

DIGEST = "sha256:" + "1" * 64
RSA = rsa.generate_private_key(65537, 2048)
KEYS: dict[str, signing.PrivateKey] = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": RSA,
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
SHA256, SHA384, SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()


def trust(*trusted: signing.PrivateKey) -> keys.KeyTrust:
    return keys.load({f"{n}.pub": signing.public_pem(key) for n, key in enumerate(trusted)}, "Secret apps/keys")


def simple(key: signing.PrivateKey, data: bytes, **how: Any) -> SimpleSigning:
    return SimpleSigning(payload=data, signature=signing.b64(signing.sign(key, data, **how)))


@pytest.mark.parametrize("kind", KEYS)
def test_each_kind_of_key_is_known_in_each_format(kind: str) -> None:
    key = KEYS[kind]
    by = trust(key)
    who = f"key 0.pub (sha256:{signing.sha256(signing.public_der(key))[:16]})"
    assert by.simple(simple(key, signing.payload(DIGEST))) == who
    body = signing.statement(DIGEST)
    attached = by.attached(Attached(data=json.dumps(signing.enveloped(key, body)).encode()))
    bundled = by.bundled(Bundled(data=json.dumps(signing.key_bundle(key, body)).encode()), DIGEST)
    assert attached == bundled
    assert attached[0] == who
    assert attached[1].payload == body
    content = b'{"schemaVersion": 2}'
    whole = Bundled(data=json.dumps(signing.message_bundle(key, content)).encode(), content=content)
    assert by.bundled(whole, signing.digest_of(content)) == (who, None)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("p384", {"algorithm": SHA384}),
        ("p521", {"algorithm": SHA512}),
        ("rsa", {"algorithm": SHA384}),
        ("rsa", {"algorithm": SHA512}),
        ("rsa", {"pss": True}),
        ("rsa", {"pss": True, "algorithm": SHA512}),
    ],
    ids=["p384-sha384", "p521-sha512", "rsa-sha384", "rsa-sha512", "pss", "pss-sha512"],
)
def test_the_hash_of_a_keys_size_counts_too(kind: str, how: dict[str, Any]) -> None:
    assert trust(KEYS[kind]).simple(simple(KEYS[kind], b"x", **how))


def test_a_hash_that_is_too_short_or_not_the_curves_does_not_count() -> None:
    for kind, algorithm in (("p256", SHA512), ("p384", hashes.SHA224()), ("rsa", hashes.SHA224())):
        with pytest.raises(Unverified, match="wrong, or by another key"):
            trust(KEYS[kind]).simple(simple(KEYS[kind], b"x", algorithm=algorithm))


def test_any_of_several_keys_counts_and_is_named() -> None:
    p256, p384 = KEYS["p256"], KEYS["p384"]
    assert trust(p256, p384).simple(simple(p384, b"x")).startswith("key 1.pub")
    with pytest.raises(Unverified, match=r"another key than 0.pub \(sha256:[0-9a-f]{16}\), 1.pub"):
        trust(p256, p384).simple(simple(RSA, b"x"))


@pytest.mark.parametrize("kind", KEYS)
def test_what_was_changed_is_refused(kind: str) -> None:
    by, key = trust(KEYS[kind]), KEYS[kind]
    good = simple(key, signing.payload(DIGEST))
    data = signing.sign(key, good.payload)
    for bad in (
        replace(good, payload=good.payload + b" "),
        replace(good, signature=signing.b64(data[:-1])),
        replace(good, signature=signing.b64(bytes([data[0] ^ 1]) + data[1:])),
        replace(good, signature=signing.b64(bytes(len(data)))),
        replace(good, signature=""),
    ):
        with pytest.raises(Unverified, match="wrong, or by another key"):
            by.simple(bad)
    with pytest.raises(Unverified, match="is not Base64"):
        by.simple(replace(good, signature="*" + good.signature))


def test_an_envelope_counts_by_any_of_its_signatures() -> None:
    body = signing.statement(DIGEST)
    good = signing.sign(KEYS["p256"], signing.pae(body))
    envelope = signing.envelope(body, b"junk", good)
    assert trust(KEYS["p256"]).attached(Attached(data=json.dumps(envelope).encode()))


def test_the_type_of_an_envelope_is_signed_as_well() -> None:
    body = signing.statement(DIGEST)
    good = signing.sign(KEYS["p256"], signing.pae(body, "text/plain"))
    with pytest.raises(Unverified, match="wrong"):
        trust(KEYS["p256"]).attached(Attached(data=json.dumps(signing.envelope(body, good)).encode()))


def test_a_bundle_with_a_certificate_is_not_a_keys() -> None:
    bundle = signing.key_bundle(KEYS["p256"], signing.statement(DIGEST))
    bundle["verificationMaterial"]["certificate"] = {"rawBytes": ""}
    with pytest.raises(Unverified, match="with a certificate, not with a key"):
        trust(KEYS["p256"]).bundled(Bundled(data=json.dumps(bundle).encode()), DIGEST)


def test_a_bundle_over_other_content_is_refused() -> None:
    content = b"{}"
    found = Bundled(data=json.dumps(signing.message_bundle(KEYS["p256"], content)).encode(), content=content)
    with pytest.raises(Unverified, match="signs another digest"):
        trust(KEYS["p256"]).bundled(found, DIGEST)
    changed = replace(found, content=b"{ }")
    with pytest.raises(Unverified, match="wrong, or by another key"):
        trust(KEYS["p256"]).bundled(changed, signing.digest_of(content))


# ------------------------------------------------------------------------------------------------ Ed25519ph

SECRET = "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"
VECTOR = (
    "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
    "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
)


def test_the_vector_of_rfc_8032_for_ed25519ph() -> None:
    """Section 7.3."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET)).public_key()
    raw, good = key.public_bytes_raw(), bytes.fromhex(VECTOR)
    assert ed25519ph.verifies(raw, b"abc", good)
    assert keys.verifies(key, b"abc", good)
    order = 2**252 + 27742317777372353535851937790883648493
    raised = (int.from_bytes(good[32:], "little") + order).to_bytes(32, "little")
    for message, signature, by in (
        (b"abd", good, raw),
        (b"abc", good[:63], raw),
        (b"abc", good[:32] + raised, raw),
        (b"abc", b"\xff" * 32 + good[32:], raw),
        (b"abc", bytes(64), raw),
        (b"abc", good, raw[:31]),
        (b"abc", good, b"\xff" * 32),
    ):
        assert not ed25519ph.verifies(by, message, signature)


def test_a_key_of_small_order_signs_nothing() -> None:
    """With such a key, a signature of zeros would hold for (nearly) every message."""
    neutral = (1).to_bytes(32, "little")
    assert not any(ed25519ph.verifies(neutral, bytes([n]), neutral + bytes(32)) for n in range(8))
    with pytest.raises(SpecError, match="of small order"):
        keys.load({"a.pub": _spki(neutral)}, "Secret apps/keys")


def _spki(raw: bytes) -> bytes:
    der = bytes.fromhex("302a300506032b6570032100") + raw
    return b"-----BEGIN PUBLIC KEY-----\n" + signing.b64(der).encode() + b"\n-----END PUBLIC KEY-----\n"


# ------------------------------------------------------------------------------------------------ the Secret


def test_all_keys_of_a_secret_are_read_once_each() -> None:
    both = signing.public_pem(KEYS["p256"]) + b"\n" + signing.public_pem(RSA)
    files = {"b.pem": both, "a.pub": signing.public_pem(RSA), "README": b"x", "other.key": b"y"}
    assert [key.name for key in keys.load(files, "Secret apps/keys").keys] == ["a.pub", "b.pem"]


def _public(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


PRIVATE = RSA.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no public key"),
        ({"cosign.key": b"x"}, "holds no public key"),
        ({"a.pub": b"ssh-ed25519 AAAA"}, "a.pub of Secret apps/keys is not PEM"),
        ({"a.pub": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"}, "no readable public key"),
        ({"a.pem": PRIVATE}, "holds a private key"),
        ({"a.pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "CERTIFICATE, not PUBLIC KEY"),
        ({"a.pub": _public(rsa.generate_private_key(65537, 1024))}, "an RSA key of 1024 bits"),
        ({"a.pub": _public(ec.generate_private_key(ec.SECP256K1()))}, "curve secp256k1"),
        ({"a.pub": _public(dsa.generate_private_key(2048))}, "type DSA"),
        ({"a.pub": _public(ed448.Ed448PrivateKey.generate())}, "type Ed448"),
        ({"a.pub": _public(x25519.X25519PrivateKey.generate())}, "type X25519"),
        ({"a.pub": signing.public_pem(RSA) * 65}, "more than 64"),
    ],
    ids=[
        "none",
        "other-file",
        "not-pem",
        "broken",
        "private",
        "certificate",
        "short",
        "curve",
        "dsa",
        "ed448",
        "x25519",
        "many",
    ],
)
def test_a_secret_with_a_key_that_cannot_be_used_is_an_error(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        keys.load(files, "Secret apps/keys")
    assert caught.value.remedy
    assert "BEGIN" not in str(caught.value).partition("(")[0]
