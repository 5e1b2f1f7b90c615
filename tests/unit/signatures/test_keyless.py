"""Keyless signatures under a trust root made here: bundles and cosign's annotations, and each way to forge one."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from image_updater.api.model import Keyless
from image_updater.errors import SpecError
from image_updater.signatures import Attached, Bundled, Material, SimpleSigning, keyless
from image_updater.signatures.model import MAX_TEXT, Unverified
from tests.parts import signing
from tests.parts.signing import ISSUER, SIGNED_AT, SUBJECT, Log, Sigstore

if TYPE_CHECKING:
    from collections.abc import Callable

DIGEST = "sha256:" + "1" * 64
BODY = signing.statement(DIGEST)
PAYLOAD = signing.payload(DIGEST)
WHO = f"identity {SUBJECT} ({ISSUER})"
EXACT = Keyless(issuer=ISSUER, subject=SUBJECT)


@pytest.fixture(scope="module")
def sigstore() -> Sigstore:
    return Sigstore()


@pytest.fixture(scope="module")
def trust(sigstore: Sigstore) -> keyless.KeylessTrust:
    return keyless.load(EXACT, sigstore.trusted_root(), "Secret apps/root")


def bundled(bundle: dict[str, Any], content: bytes | None = None) -> Bundled:
    return Bundled(data=json.dumps(bundle).encode(), content=content)


def simple(annotations: dict[str, str], payload: bytes = PAYLOAD) -> SimpleSigning:
    return SimpleSigning(
        payload=payload,
        signature=annotations["dev.cosignproject.cosign/signature"],
        material=material(annotations),
    )


def material(annotations: dict[str, str]) -> Material:
    return Material(
        certificate=annotations.get("dev.sigstore.cosign/certificate"),
        chain=annotations.get("dev.sigstore.cosign/chain"),
        rekor=annotations.get("dev.sigstore.cosign/bundle"),
    )


# ------------------------------------------------------------------------------------------------ what counts


def test_a_bundle_counts_and_says_whose_it_is(sigstore: Sigstore, trust: keyless.KeylessTrust) -> None:
    who, statement = trust.bundled(bundled(sigstore.signer().bundle(BODY)), DIGEST)
    assert who == WHO
    assert statement is not None
    assert statement.payload == BODY


def test_a_bundle_over_the_manifest_itself_counts(sigstore: Sigstore, trust: keyless.KeylessTrust) -> None:
    content = b'{"schemaVersion": 2}'
    found = bundled(sigstore.signer().message(content), content)
    assert trust.bundled(found, signing.digest_of(content)) == (WHO, None)
    with pytest.raises(Unverified, match="digest"):
        trust.bundled(found, DIGEST)
    with pytest.raises(Unverified, match="sha256, the image has a sha512"):
        trust.bundled(found, "sha512:" + "1" * 128)


def test_cosigns_annotations_count(sigstore: Sigstore, trust: keyless.KeylessTrust) -> None:
    assert trust.simple(simple(sigstore.signer().simple(PAYLOAD))) == WHO


@pytest.mark.parametrize("entry", [("dsse", "0.0.1"), ("intoto", "0.0.1"), ("intoto", "0.0.2")], ids="-".join)
def test_cosigns_attestations_count(sigstore: Sigstore, trust: keyless.KeylessTrust, entry: tuple[str, str]) -> None:
    data, annotations = sigstore.signer().attached(BODY, *entry)
    who, statement = trust.attached(Attached(data=data, material=material(annotations)))
    assert (who, statement.payload) == (WHO, BODY)


@pytest.mark.parametrize("kind", ["p384", "rsa", "ed25519"])
def test_a_certificate_in_annotations_may_have_any_kind_of_key(
    sigstore: Sigstore, trust: keyless.KeylessTrust, kind: str
) -> None:
    key: signing.PrivateKey = {
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    signer = sigstore.signer(key=key)
    assert trust.simple(simple(signer.simple(PAYLOAD))) == WHO
    if kind != "p384":
        with pytest.raises(Unverified, match="not ECDSA"):
            trust.bundled(bundled(signer.bundle(BODY)), DIGEST)


def test_an_address_and_an_older_certificate_count(sigstore: Sigstore) -> None:
    spec = Keyless(issuer=ISSUER, subject="release@example.com")
    by = keyless.load(spec, sigstore.trusted_root(), "Secret apps/root")
    signer = sigstore.signer(subject="release@example.com", email=True, old_issuer=True)
    assert by.simple(simple(signer.simple(PAYLOAD))) == f"identity release@example.com ({ISSUER})"
    assert by.bundled(bundled(signer.bundle(BODY)), DIGEST)[0] == f"identity release@example.com ({ISSUER})"


def test_a_trust_root_without_the_issuing_authority_takes_it_from_the_chain(sigstore: Sigstore) -> None:
    by = keyless.load(EXACT, sigstore.trusted_root(intermediate=False), "Secret apps/root")
    good = simple(sigstore.signer().simple(PAYLOAD))
    assert by.simple(good) == WHO
    with pytest.raises(Unverified, match="of no authority of the trust root"):
        by.simple(replace(good, material=replace(good.material, chain=None)))


# ------------------------------------------------------------------------------------------------ who

PATTERN = r"https://example\.com/acme/[a-z]+/\.github/workflows/.*"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (Keyless(issuer=ISSUER, subject_pattern=PATTERN), None),
        (Keyless(issuer_pattern=r"https://token\..*", subject=SUBJECT), None),
        (Keyless(issuer=ISSUER, subject="https://example.com/acme"), "another identity"),
        (Keyless(issuer=ISSUER, subject_pattern=r"https://example\.com/acme"), "another identity"),
        (Keyless(issuer=ISSUER, subject_pattern=r"xample.*"), "another identity"),
        (Keyless(issuer=ISSUER, subject_pattern=r"no|https://example\.com/acm"), "another identity"),
        (Keyless(issuer="https://accounts.example.com", subject=SUBJECT), "another issuer"),
        (Keyless(issuer_pattern="https://token", subject=SUBJECT), "another issuer"),
        (Keyless(issuer=ISSUER + "/", subject=SUBJECT), "another issuer"),
    ],
    ids=[
        "pattern",
        "issuer-pattern",
        "start",
        "start-pattern",
        "end-pattern",
        "half-pattern",
        "issuer",
        "half-issuer",
        "slash",
    ],
)
def test_only_the_identity_that_is_meant_counts(sigstore: Sigstore, spec: Keyless, reason: str | None) -> None:
    by = keyless.load(spec, sigstore.trusted_root(), "Secret apps/root")
    signer = sigstore.signer()
    for check in (
        lambda: by.simple(simple(signer.simple(PAYLOAD))),
        lambda: by.bundled(bundled(signer.bundle(BODY)), DIGEST)[0],
    ):
        if reason is None:
            assert check() == WHO
        else:
            with pytest.raises(Unverified, match=reason) as caught:
                check()
            assert SUBJECT in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Keyless(issuer=ISSUER), "names no subject"),
        (Keyless(subject=SUBJECT), "names no issuer"),
        (Keyless(issuer=ISSUER, subject_pattern="("), "subjectRegExp.*not a regular expression"),
        (Keyless(issuer=ISSUER, subject_pattern="a)|(b"), "subjectRegExp.*not a regular expression"),
        (Keyless(issuer=ISSUER, subject_pattern=r"(?=x)"), "subjectRegExp.*not a regular expression"),
    ],
    ids=["no-subject", "no-issuer", "broken", "unbalanced", "look-ahead"],
)
def test_an_identity_that_would_let_anybody_in_is_an_error(sigstore: Sigstore, spec: Keyless, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        keyless.load(spec, sigstore.trusted_root(), "Secret apps/root")


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"valid_from": SIGNED_AT - timedelta(hours=1)}, "not valid when it was made|not valid at validation time"),
        ({"valid_from": SIGNED_AT + timedelta(hours=1)}, "not valid when it was made|not valid at validation time"),
        ({"code_signing": False}, "not for signing code|code signing"),
        ({"promised": False}, "no certificate log|signed certificate timestamp"),
        ({"log_of_certificates": Log()}, "no certificate log of the trust root|SCT"),
        ({"subject": "https://example.com/evil"}, "another identity"),
    ],
    ids=["expired", "too-early", "other-use", "not-published", "other-certificate-log", "other-identity"],
)
def test_a_certificate_that_is_not_right_is_refused(
    sigstore: Sigstore, trust: keyless.KeylessTrust, options: dict[str, Any], reason: str
) -> None:
    signer = sigstore.signer(**options)
    data, annotations = signer.attached(BODY)
    for check in (
        lambda: trust.simple(simple(signer.simple(PAYLOAD))),
        lambda: trust.attached(Attached(data=data, material=material(annotations))),
        lambda: trust.bundled(bundled(signer.bundle(BODY)), DIGEST),
        lambda: trust.bundled(bundled(signer.message(b"{}"), b"{}"), signing.digest_of(b"{}")),
    ):
        with pytest.raises(Unverified, match=reason):
            check()


def test_another_authority_of_the_same_name_is_refused(sigstore: Sigstore, trust: keyless.KeylessTrust) -> None:
    """All its logs are the trusted ones, only its keys are not."""
    other = Sigstore()
    other.rekor, other.certificates = sigstore.rekor, sigstore.certificates
    signer = other.signer()
    with pytest.raises(Unverified, match="of no authority of the trust root"):
        trust.simple(simple(signer.simple(PAYLOAD)))
    with pytest.raises(Unverified, match="chain"):
        trust.bundled(bundled(signer.bundle(BODY)), DIGEST)


def test_an_authority_counts_only_while_it_was_in_use(sigstore: Sigstore) -> None:
    by = keyless.load(EXACT, sigstore.trusted_root(end="2025-01-01T00:00:00Z"), "Secret apps/root")
    with pytest.raises(Unverified, match="no authority of the trust root was in use at 2026-03-14"):
        by.simple(simple(sigstore.signer().simple(PAYLOAD)))


def test_an_entry_of_another_log_is_refused(sigstore: Sigstore, trust: keyless.KeylessTrust) -> None:
    signer = sigstore.signer()
    with pytest.raises(Unverified, match="of a log that the trust root does not have"):
        trust.simple(simple(signer.simple(PAYLOAD, log=Log())))
    with pytest.raises(Unverified, match="log"):
        trust.bundled(bundled(signer.bundle(BODY, log=Log())), DIGEST)


def test_a_log_that_signs_under_the_name_of_the_trusted_one_is_refused(
    sigstore: Sigstore, trust: keyless.KeylessTrust
) -> None:
    class Liar(Log):
        @property
        def id(self) -> bytes:
            return sigstore.rekor.id

    signer = sigstore.signer()
    with pytest.raises(Unverified, match="the promise of its log is wrong"):
        trust.simple(simple(signer.simple(PAYLOAD, log=Liar())))
    with pytest.raises(Unverified, match="invalid signature"):
        trust.bundled(bundled(signer.bundle(BODY, log=Liar())), DIGEST)


def test_without_the_logs_promise_there_is_no_time_of_signing(sigstore: Sigstore, trust: keyless.KeylessTrust) -> None:
    signer = sigstore.signer()
    good = simple(signer.simple(PAYLOAD))
    with pytest.raises(Unverified, match="stands in no log"):
        trust.simple(replace(good, material=replace(good.material, rekor=None)))
    with pytest.raises(Unverified, match="must contain an inclusion promise"):
        trust.bundled(bundled(signer.bundle(BODY, promise=False)), DIGEST)


def test_an_entry_of_another_signature_is_refused(sigstore: Sigstore, trust: keyless.KeylessTrust) -> None:
    """What CVE-2022-36056 was: a good entry, of something else."""
    signer, other = sigstore.signer(), sigstore.signer()
    good = simple(signer.simple(PAYLOAD))
    elsewhere = simple(signer.simple(PAYLOAD, logged=b"something else"))
    with pytest.raises(Unverified, match="of another signature"):
        trust.simple(elsewhere)
    with pytest.raises(Unverified, match="of another signature"):
        trust.simple(replace(good, material=simple(signer.simple(PAYLOAD)).material))
    stolen = simple(other.simple(PAYLOAD)).material
    with pytest.raises(Unverified, match="of another"):
        trust.simple(replace(good, material=replace(good.material, rekor=stolen.rekor)))
    bundle, foreign = signer.bundle(BODY), signer.bundle(signing.statement("sha256:" + "2" * 64))
    bundle["verificationMaterial"] = foreign["verificationMaterial"]
    with pytest.raises(Unverified, match="log entry payload hash does not match"):
        trust.bundled(bundled(bundle), DIGEST)


def test_what_was_changed_in_annotations_is_refused(sigstore: Sigstore, trust: keyless.KeylessTrust) -> None:
    signer = sigstore.signer()
    good = simple(signer.simple(PAYLOAD))
    entry = json.loads(good.material.rekor or "")

    def with_entry(**changes: Any) -> SimpleSigning:
        changed = {**entry, "Payload": {**entry["Payload"], **changes}}
        return replace(good, material=replace(good.material, rekor=json.dumps(changed)))

    def with_material(**changes: str | None) -> SimpleSigning:
        return replace(good, material=replace(good.material, **changes))

    cases: dict[str, tuple[SimpleSigning, str]] = {
        "payload": (replace(good, payload=PAYLOAD + b" "), "not over what is there"),
        "signature": (replace(good, signature=signing.b64(b"x" * 70)), "not over what is there"),
        "base64": (replace(good, signature="%"), "is not Base64"),
        "time": (with_entry(integratedTime=entry["Payload"]["integratedTime"] + 1), "the promise of its log is wrong"),
        "index": (with_entry(logIndex=3), "the promise of its log is wrong"),
        "far": (with_entry(integratedTime=1 << 60), "no time, index or log"),
        "true": (with_entry(integratedTime=True), "no time, index or log"),
        "text": (with_entry(integratedTime="1"), "no time, index or log"),
        "body": (with_entry(body=signing.b64(b"{}")), "the promise of its log is wrong"),
        "no-body": (with_entry(body=None), "is missing"),
        "promise": (
            with_material(rekor=json.dumps({**entry, "SignedEntryTimestamp": signing.b64(b"x")})),
            "the promise of its log is wrong",
        ),
        "no-json": (with_material(rekor="{"), "is not JSON"),
        "list": (with_material(rekor="[]"), "not a JSON object"),
        "deep": (with_material(rekor="[" * (MAX_TEXT - 1)), "is not JSON"),
        "long": (with_material(rekor=" " * (MAX_TEXT + 1)), "longer than"),
        "no-payload": (with_material(rekor="{}"), "has no Payload"),
        "no-certificate": (with_material(certificate=None), "signed with a key"),
        "two-certificates": (with_material(certificate=signer.pem * 2), "several certificates"),
        "long-certificate": (with_material(certificate="x" * (MAX_TEXT + 1)), "longer than"),
        "broken-certificate": (with_material(certificate="x"), "no PEM certificate"),
        "broken-chain": (with_material(chain="x"), "no PEM certificate"),
        "root-as-certificate": (with_material(certificate=sigstore.chain_pem), "several certificates"),
    }
    assert trust.simple(good) == WHO
    for name, (case, reason) in cases.items():
        with pytest.raises(Unverified, match=reason):
            pytest.fail(f"{name}: {trust.simple(case)}")


def test_what_was_changed_in_a_bundle_is_refused(sigstore: Sigstore, trust: keyless.KeylessTrust) -> None:
    good = json.dumps(sigstore.signer().bundle(BODY))

    def changed(*path: str | int, to: object) -> bytes:
        value = json.loads(good)
        inner = value
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = to
        return json.dumps(value).encode()

    entry = ("verificationMaterial", "tlogEntries", 0)
    proof = (*entry, "inclusionProof")
    other = signing.b64(signing.statement("sha256:" + "2" * 64))
    cases = {
        "payload": changed("dsseEnvelope", "payload", to=other),
        "signature": changed("dsseEnvelope", "signatures", 0, "sig", to=signing.b64(b"x" * 70)),
        "no-signature": changed("dsseEnvelope", "signatures", to=[]),
        "type": changed("dsseEnvelope", "payloadType", to="text/plain"),
        "hashes": changed(*proof, "hashes", to=[]),
        "hash": changed(*proof, "hashes", 0, to=signing.b64(bytes(32))),
        "root": changed(*proof, "rootHash", to=signing.b64(bytes(32))),
        "index": changed(*proof, "logIndex", to="3"),
        "size": changed(*proof, "treeSize", to="64"),
        "checkpoint": changed(*proof, "checkpoint", "envelope", to="x\n5\nAAAA\n\n\u2014 x AAAAAAAA\n"),
        "no-checkpoint": changed(*proof, "checkpoint", to=None),
        "no-proof": changed(*entry, "inclusionProof", to=None),
        "time": changed(*entry, "integratedTime", to="1773480414"),
        "far": changed(*entry, "integratedTime", to="9" * 18),
        "body": changed(*entry, "canonicalizedBody", to=signing.b64(b"{}")),
        "kind": changed(*entry, "kindVersion", "kind", to="intoto"),
        "no-entry": changed("verificationMaterial", "tlogEntries", to=[]),
        "certificate": changed("verificationMaterial", "certificate", "rawBytes", to=signing.b64(b"x")),
        "media-type": changed("mediaType", to="application/vnd.dev.sigstore.bundle+json;version=0.9"),
        "not-a-bundle": changed("mediaType", to="text/plain"),
        "cut": good[:-1].encode(),
        "empty": b"",
        "not-utf-8": b"\xff" + good.encode(),
        "list": b"[]",
        "deep": b"[" * 200_000,
        "deep-inside": good.encode().replace(
            b'"mediaType"', b'"x": ' + b"[" * 90_000 + b"]" * 90_000 + b', "mediaType"'
        ),
    }
    assert trust.bundled(Bundled(data=good.encode()), DIGEST)[0] == WHO
    for name, data in cases.items():
        with pytest.raises(Unverified) as caught:
            pytest.fail(f"{name}: {trust.bundled(Bundled(data=data), DIGEST)}")
        assert 0 < len(str(caught.value)) <= 250, name
        assert "\n" not in str(caught.value), name


def test_a_bundle_with_a_key_is_not_an_identitys(trust: keyless.KeylessTrust) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(Unverified, match="with a key, not with a certificate"):
        trust.bundled(bundled(signing.key_bundle(key, BODY)), DIGEST)


# ------------------------------------------------------------------------------------------------ trust roots


def test_the_public_trust_root_comes_with_the_library(sigstore: Sigstore) -> None:
    by = keyless.load(EXACT, None, "")
    assert len(by.root.authorities) >= 1
    assert any(log.id.hex().startswith("c0d23d6ad406973f") for log in by.root.rekor)
    with pytest.raises(Unverified, match="of a log that the trust root does not have"):
        by.simple(simple(sigstore.signer().simple(PAYLOAD)))


def _without(root: bytes, key: str) -> bytes:
    return json.dumps({**json.loads(root), key: []}).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: b"{", "no trust root"),
        (lambda root: b"[]", "no trust root"),
        (lambda root: b"{}", "no trust root"),
        (lambda root: b"[" * 100_000, "no trust root"),
        (lambda root: root + b" " * (4 << 20), "larger than 4 MiB"),
        (lambda root: root.replace(b'"rawBytes": "', b'"rawBytes": "*'), "no trust root"),
        (lambda root: root.replace(b"2020-01-01T00", b"yesterday"), "no trust root"),
        (lambda root: root.replace(b"version=0.1", b"version=9"), "is not accepted"),
        (lambda root: _without(root, "tlogs"), "no tlogs that can be used"),
        (lambda root: _without(root, "ctlogs"), "no ctlogs that can be used"),
        (lambda root: _without(root, "certificateAuthorities"), "no certificateAuthorities"),
    ],
    ids=[
        "cut",
        "list",
        "empty",
        "deep",
        "huge",
        "base64",
        "time",
        "version",
        "no-tlogs",
        "no-ctlogs",
        "no-authorities",
    ],
)
def test_a_trust_root_that_is_none_is_an_error(
    sigstore: Sigstore, change: Callable[[bytes], bytes], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        keyless.load(EXACT, change(sigstore.trusted_root()), "trusted_root.json of Secret apps/root")
    assert "trusted_root.json of Secret apps/root" in str(caught.value)
    assert caught.value.remedy


def test_without_the_extra_the_remedy_is_said(sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sigstore.models", None)
    with pytest.raises(SpecError, match="needs the optional package sigstore") as caught:
        keyless.load(EXACT, sigstore.trusted_root(), "Secret apps/root")
    assert caught.value.remedy == "pip install image-updater[keyless]"
