"""What a verdict says, and that a good signature over something else is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from image_updater.signatures import Attached, Bundled, Inquiry, SimpleSigning, keys
from tests.parts import signing

DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64
KEY = ec.generate_private_key(ec.SECP256R1())
TRUST = keys.load({"cosign.pub": signing.public_pem(KEY)}, "Secret apps/keys")
WHO = str(TRUST.keys[0])
DEEP = b"[" * 200_000


def inquiry(*attestations: str) -> Inquiry:
    return Inquiry(digest=DIGEST, trust=TRUST, attestations=attestations)


def simple(data: bytes) -> SimpleSigning:
    return SimpleSigning(payload=data, signature=signing.b64(signing.sign(KEY, data)))


def attached(body: bytes) -> Attached:
    return Attached(data=json.dumps(signing.enveloped(KEY, body)).encode())


def bundled(body: bytes) -> Bundled:
    return Bundled(data=json.dumps(signing.key_bundle(KEY, body)).encode())


def test_nothing_at_all_may_still_come() -> None:
    verdict = inquiry().verdict()
    assert (verdict.ok, verdict.reason, verdict.lasting) == (False, "not signed (yet)", False)


def test_one_good_signature_is_enough_whatever_else_is_there() -> None:
    asked = inquiry()
    for found in (simple(b"junk"), simple(signing.payload(OTHER)), simple(signing.payload(DIGEST))):
        asked.add(found)
    verdict = asked.verdict()
    assert (verdict.ok, verdict.reason, verdict.lasting) == (True, f"signed by {WHO}", True)
    assert asked.complete


def _changed(body: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(body), **changes}).encode()


BODY = signing.statement(DIGEST)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (simple(signing.payload(OTHER)), f"it signs another digest, '{OTHER}'"),
        (simple(signing.payload(DIGEST, kind="x" * 500)), "the payload is 'xxx"),
        (simple(signing.payload(DIGEST, kind="atomic container signature")), "the payload is 'atomic"),
        (simple(b"{"), "the payload is not JSON"),
        (simple(b"\xff"), "the payload is not JSON"),
        (simple(b"[]"), "the payload is not a JSON object"),
        (simple(b"{}"), "the payload has no critical"),
        (simple(b'{"critical": {"type": "cosign container image signature"}}'), "the payload has no image"),
        (simple(DEEP), "the payload is not JSON"),
        (attached(signing.statement(OTHER)), f"it signs another digest, {OTHER}"),
        (bundled(signing.statement(OTHER)), f"it signs another digest, {OTHER}"),
        (bundled(_changed(BODY, subject=[])), "it signs another digest"),
        (bundled(_changed(BODY, subject="x")), "it signs another digest"),
        (bundled(_changed(BODY, subject=[{"digest": {"sha512": "1" * 64}}])), "it signs another digest"),
        (bundled(_changed(BODY, _type="https://in-toto.io/Statement/v9")), "no in-toto statement"),
        (bundled(_changed(BODY, _type=["https://in-toto.io/Statement/v1"])), "no in-toto statement"),
        (
            bundled(_changed(BODY, subject=[{"digest": {"sha256": "\ud800\x1b[2J"}}])),
            "it signs another digest, sha256:",
        ),
        (Attached(data=json.dumps(signing.envelope(BODY, b"x") | {"payloadType": "\ud800"}).encode()), "no media type"),
        (bundled(_changed(BODY, predicateType=None)), "the statement has no predicateType"),
        (bundled(b"{"), "the statement is not JSON"),
        (bundled(DEEP), "the statement is not JSON"),
        (Attached(data=b"{}"), "the envelope has no payloadType"),
        (
            Attached(data=b'{"payloadType": "x", "signatures": [1], "payload": ""}'),
            "the envelope's signature is missing",
        ),
        (Attached(data=b'{"payloadType": "x", "signatures": [{"sig": 1}]}'), "the envelope's payload is missing"),
        (Attached(data=json.dumps(signing.envelope(b"", *[b"x"] * 9)).encode()), "no signature, or more than 8"),
        (Attached(data=b"\0"), "the envelope is not JSON"),
        (Attached(data=DEEP), "the envelope is not JSON"),
        (Bundled(data=b"{}"), "the bundle is nothing"),
        (Bundled(data=json.dumps({"mediaType": signing.BUNDLE}).encode()), "has no verificationMaterial"),
        (Bundled(data=DEEP), "the bundle is not JSON"),
    ],
)
def test_a_signature_over_something_else_says_so_and_lasts(found: Any, reason: str) -> None:
    asked = inquiry()
    asked.add(found)
    verdict = asked.verdict()
    assert not verdict.ok
    assert verdict.lasting
    assert verdict.reason.startswith("its signature does not count: ")
    assert reason in verdict.reason
    assert len(verdict.reason) < 300
    assert verdict.reason.isprintable()


def test_many_refusals_are_one_sentence() -> None:
    asked = inquiry()
    for n in range(6):
        asked.add(simple(signing.payload(f"sha256:{n}")))
    asked.skip("one was not read (too many)")
    reason = asked.verdict().reason
    assert reason.startswith("none of its 6 signatures counts: it signs another digest, 'sha256:0'; ")
    assert reason.count("another digest") == 3
    assert reason.endswith("one was not read (too many)")


# ------------------------------------------------------------------------------------------------ attestations


def test_attestations_must_all_be_there() -> None:
    asked = inquiry(signing.PROVENANCE, signing.SPDX)
    asked.add(simple(signing.payload(DIGEST)))
    asked.add(attached(signing.statement(DIGEST, signing.PROVENANCE)))
    verdict = asked.verdict()
    assert (verdict.ok, verdict.lasting) == (False, False)
    assert verdict.reason == f"signed by {WHO}, but not attested: {signing.SPDX}"
    asked.add(bundled(signing.statement(DIGEST, signing.SPDX)))
    verdict = asked.verdict()
    assert verdict.ok
    assert verdict.reason == f"signed by {WHO}; {signing.PROVENANCE} by {WHO}; {signing.SPDX} by {WHO}"


def test_an_attestation_by_another_key_is_missing_and_may_still_come() -> None:
    asked = inquiry(signing.SPDX)
    asked.add(simple(signing.payload(DIGEST)))
    other = signing.enveloped(ec.generate_private_key(ec.SECP256R1()), signing.statement(DIGEST, signing.SPDX))
    asked.add(Attached(data=json.dumps(other).encode()))
    verdict = asked.verdict()
    assert (verdict.ok, verdict.lasting) == (False, False)
    assert f"but not attested: {signing.SPDX}: wrong, or by another key" in verdict.reason


@pytest.mark.parametrize(
    ("predicate", "signs"),
    [
        (signing.SIGN, True),
        (signing.PROVENANCE, True),
        ("https://slsa.dev/provenance/v0.2", True),
        (signing.SPDX, False),
        ("https://cosign.sigstore.dev/attestation/vuln/v1", False),
        (signing.SIGN + "/more", False),
    ],
)
def test_what_others_find_out_about_an_image_is_no_signature(predicate: str, signs: bool) -> None:
    asked = inquiry()
    assert asked.wants(predicate) is signs
    asked.add(bundled(signing.statement(DIGEST, predicate)))
    assert asked.verdict().ok is signs


def test_no_more_is_wanted_than_is_needed() -> None:
    asked = inquiry(signing.SPDX)
    assert asked.wants(None)
    assert asked.wants(signing.SPDX)
    asked.add(simple(signing.payload(DIGEST)))
    assert not asked.wants(signing.SIGN)
    assert asked.wants(signing.SPDX)
    asked.add(bundled(signing.statement(DIGEST, signing.SPDX)))
    assert not asked.wants(None)
