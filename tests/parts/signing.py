"""Signatures for the tests, made here: by keys as cosign writes them, and by a Sigstore of its own.

That has an authority, a log of certificates and a log of signatures; a test trusts its `trusted_root.json`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.parts import registries

SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"
ISSUER = "https://token.actions.example.com"
SUBJECT = "https://example.com/acme/app/.github/workflows/release.yml@refs/tags/v1"
SIGNED_AT = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
EMPTY = b"{}"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data)}"


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_der(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(key: PrivateKey, data: bytes, *, algorithm: hashes.HashAlgorithm | None = None, pss: bool = False) -> bytes:
    """As cosign signs: SHA-256 unless another hash is said."""
    algorithm = algorithm or hashes.SHA256()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(algorithm))
    if pss:
        return key.sign(data, padding.PSS(padding.MGF1(algorithm), padding.PSS.MAX_LENGTH), algorithm)
    return key.sign(data, padding.PKCS1v15(), algorithm)


# ------------------------------------------------------------------------------------------------ what is signed


def payload(digest: str, *, kind: str = "cosign container image signature") -> bytes:
    """cosign's simple signing payload."""
    critical = {
        "identity": {"docker-reference": "registry.example.com/acme/app"},
        "image": {"docker-manifest-digest": digest},
        "type": kind,
    }
    return json.dumps({"critical": critical, "optional": None}).encode()


def statement(digest: str, predicate: str = SIGN) -> bytes:
    """An in-toto statement about a digest."""
    algorithm, _, value = digest.partition(":")
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {algorithm: value}}],
            "predicateType": predicate,
            "predicate": {},
        }
    ).encode()


def pae(body: bytes, kind: str = "application/vnd.in-toto+json") -> bytes:
    return f"DSSEv1 {len(kind)} {kind} {len(body)} ".encode() + body


def envelope(body: bytes, *signatures: bytes, kind: str = "application/vnd.in-toto+json") -> dict[str, Any]:
    return {
        "payloadType": kind,
        "payload": b64(body),
        "signatures": [{"sig": b64(each), "keyid": ""} for each in signatures],
    }


def enveloped(key: PrivateKey, body: bytes) -> dict[str, Any]:
    return envelope(body, sign(key, pae(body)))


def key_bundle(key: PrivateKey, body: bytes) -> dict[str, Any]:
    """A bundle as cosign makes it with a key and without a log."""
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
        "dsseEnvelope": enveloped(key, body),
    }


def message_bundle(key: PrivateKey, content: bytes) -> dict[str, Any]:
    """A bundle over the manifest itself."""
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(content).digest())},
            "signature": b64(sign(key, content)),
        },
    }


# ------------------------------------------------------------------------------------------------ a Sigstore


@dataclass
class Log:
    """A log with a key of its own; `id` is what it is known by."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def id(self) -> bytes:
        return hashlib.sha256(public_der(self.key)).digest()

    def instance(self) -> dict[str, Any]:
        return {
            "baseUrl": "https://log.example.com",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": b64(public_der(self.key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": "2020-01-01T00:00:00Z"},
            },
            "logId": {"keyId": b64(self.id)},
        }


class Sigstore:
    """An authority (root and the one that issues), a log of certificates and a log of signatures."""

    def __init__(self) -> None:
        self.root_key = ec.generate_private_key(ec.SECP384R1())
        self.root = _authority("sigstore root", self.root_key, "sigstore root", self.root_key, path=1)
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.issuing = _authority("sigstore", self.key, "sigstore root", self.root_key, path=0)
        self.certificates = Log()
        self.rekor = Log()

    def trusted_root(self, *, intermediate: bool = True, end: str | None = None) -> bytes:
        chain = [self.issuing, self.root] if intermediate else [self.root]
        certificates = [{"rawBytes": b64(each.public_bytes(serialization.Encoding.DER))} for each in chain]
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [self.rekor.instance()],
                "certificateAuthorities": [
                    {
                        "subject": {"organization": "example", "commonName": "sigstore"},
                        "uri": "https://fulcio.example.com",
                        "certChain": {"certificates": certificates},
                        "validFor": {"start": "2020-01-01T00:00:00Z", **({"end": end} if end else {})},
                    }
                ],
                "ctlogs": [self.certificates.instance()],
                "timestampAuthorities": [],
            }
        ).encode()

    @property
    def chain_pem(self) -> str:
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (self.issuing, self.root)).decode()

    def signer(self, **options: Any) -> Signer:
        return Signer(sigstore=self, **options)


@dataclass(kw_only=True)
class Signer:
    """Somebody with an identity and a certificate of ten minutes around SIGNED_AT."""

    sigstore: Sigstore
    issuer: str = ISSUER
    subject: str = SUBJECT
    email: bool = False
    old_issuer: bool = False
    signed_at: datetime = SIGNED_AT
    valid_from: datetime = SIGNED_AT - timedelta(minutes=1)
    code_signing: bool = True
    log_of_certificates: Log | None = None
    """Another log than the one that is trusted."""
    promised: bool = True
    """Does the certificate carry a log's promise?"""
    key: PrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        builder = self._builder()
        first = builder.sign(self.sigstore.key, hashes.SHA384())
        if self.promised:
            log = self.log_of_certificates or self.sigstore.certificates
            issuer = hashlib.sha256(public_der(self.sigstore.key)).digest()
            promise = _promise(log, issuer, first.tbs_certificate_bytes, self.valid_from)
            oid = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, promise), critical=False)
            first = builder.sign(self.sigstore.key, hashes.SHA384())
        self.certificate = first

    def _builder(self) -> x509.CertificateBuilder:
        name = x509.RFC822Name(self.subject) if self.email else x509.UniformResourceIdentifier(self.subject)
        use = ExtendedKeyUsageOID.CODE_SIGNING if self.code_signing else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.sigstore.issuing.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.valid_from)
            .not_valid_after(self.valid_from + timedelta(minutes=10))
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.sigstore.key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        )
        old = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), self.issuer.encode())
        builder = builder.add_extension(old, critical=False)
        if not self.old_issuer:
            text = self.issuer.encode()
            new = x509.UnrecognizedExtension(
                x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), bytes([0x0C, len(text)]) + text
            )
            builder = builder.add_extension(new, critical=False)
        return builder

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    # -------------------------------------------------------------------------------------------- bundles

    def bundle(self, body: bytes, *, log: Log | None = None, promise: bool = True) -> dict[str, Any]:
        """A keyless bundle over a statement: `log` is another log than the trusted one."""
        signed = enveloped(self.key, body)
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": sha256(json.dumps(signed).encode())},
            "payloadHash": {"algorithm": "sha256", "value": sha256(body)},
            "signatures": [{"signature": signed["signatures"][0]["sig"], "verifier": b64(self.pem.encode())}],
        }
        made = self._material("dsse", spec, log or self.sigstore.rekor, promise=promise)
        return {"mediaType": BUNDLE, "verificationMaterial": made, "dsseEnvelope": signed}

    def message(self, content: bytes) -> dict[str, Any]:
        """A keyless bundle over the manifest itself."""
        signature = sign(self.key, content)
        made = self._material("hashedrekord", self._hashed(content, signature), self.sigstore.rekor)
        digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(content).digest())}
        return {
            "mediaType": BUNDLE,
            "verificationMaterial": made,
            "messageSignature": {"messageDigest": digest, "signature": b64(signature)},
        }

    def _hashed(self, content: bytes, signature: bytes) -> dict[str, Any]:
        return {
            "signature": {"content": b64(signature), "publicKey": {"content": b64(self.pem.encode())}},
            "data": {"hash": {"algorithm": "sha256", "value": sha256(content)}},
        }

    def _material(self, kind: str, spec: dict[str, Any], log: Log, *, promise: bool = True) -> dict[str, Any]:
        body = json.dumps({"apiVersion": "0.0.1", "kind": kind, "spec": spec}, separators=(",", ":")).encode()
        # Among others: a proof of more than one step, from the left and from the right.
        leaves = [b"one", b"two", body, b"four", b"five"]
        root, path = _tree(leaves), _path(leaves, 2)
        note = f"rekor.example.com - 1\n{len(leaves)}\n{b64(root)}\n"
        signed = b64(log.id[:4] + sign(log.key, note.encode()))
        entry: dict[str, Any] = {
            "logIndex": "2",
            "logId": {"keyId": b64(log.id)},
            "kindVersion": {"kind": kind, "version": "0.0.1"},
            "integratedTime": str(int(self.signed_at.timestamp())),
            "inclusionProof": {
                "logIndex": "2",
                "rootHash": b64(root),
                "treeSize": str(len(leaves)),
                "hashes": [b64(each) for each in path],
                "checkpoint": {"envelope": f"{note}\n\u2014 rekor.example.com {signed}\n"},
            },
            "canonicalizedBody": b64(body),
        }
        if promise:
            entry["inclusionPromise"] = {"signedEntryTimestamp": b64(self._set(body, log))}
        certificate = {"rawBytes": b64(self.certificate.public_bytes(serialization.Encoding.DER))}
        return {"certificate": certificate, "tlogEntries": [entry]}

    def _set(self, body: bytes, log: Log) -> bytes:
        return sign(log.key, json.dumps(self._logged(body, log), sort_keys=True, separators=(",", ":")).encode())

    def _logged(self, body: bytes, log: Log) -> dict[str, Any]:
        return {
            "body": b64(body),
            "integratedTime": int(self.signed_at.timestamp()),
            "logIndex": 2,
            "logID": log.id.hex(),
        }

    # -------------------------------------------------------------------------------------------- annotations

    def simple(self, data: bytes, *, log: Log | None = None, logged: bytes | None = None) -> dict[str, str]:
        """cosign's annotations of a keyless signature of a payload; `logged` is another content that the log has."""
        signature = sign(self.key, data)
        return {
            "dev.cosignproject.cosign/signature": b64(signature),
            **self._annotations("hashedrekord", "0.0.1", self._hashed(logged or data, signature), log),
        }

    def attached(self, body: bytes, kind: str = "dsse", version: str = "0.0.1") -> tuple[bytes, dict[str, str]]:
        """cosign's layer of a keyless attestation, and its annotations."""
        signed = enveloped(self.key, body)
        signature = signed["signatures"][0]["sig"]
        pem = b64(self.pem.encode())
        hashed = {"algorithm": "sha256", "value": sha256(body)}
        spec: dict[str, Any] = {
            ("dsse", "0.0.1"): {
                "payloadHash": hashed,
                "signatures": [{"signature": signature, "verifier": pem}],
            },
            ("intoto", "0.0.1"): {"content": {"payloadHash": hashed}, "publicKey": pem},
            ("intoto", "0.0.2"): {
                "content": {
                    "payloadHash": hashed,
                    "envelope": {"signatures": [{"sig": b64(signature.encode()), "publicKey": pem}]},
                }
            },
        }[kind, version]
        annotations = {
            "dev.cosignproject.cosign/signature": "",
            "predicateType": json.loads(body)["predicateType"],
            **self._annotations(kind, version, spec, None),
        }
        return json.dumps(signed).encode(), annotations

    def _annotations(self, kind: str, version: str, spec: dict[str, Any], log: Log | None) -> dict[str, str]:
        log = log or self.sigstore.rekor
        body = json.dumps({"apiVersion": version, "kind": kind, "spec": spec}, separators=(",", ":")).encode()
        entry = {"SignedEntryTimestamp": b64(self._set(body, log)), "Payload": self._logged(body, log)}
        return {
            "dev.sigstore.cosign/certificate": self.pem,
            "dev.sigstore.cosign/chain": self.sigstore.chain_pem,
            "dev.sigstore.cosign/bundle": json.dumps(entry),
        }


def _usage(**said: bool) -> x509.KeyUsage:
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    names += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: said.get(name, False) for name in names})


def _authority(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signing: ec.EllipticCurvePrivateKey, *, path: int
) -> x509.Certificate:
    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    if key is not signing:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    return builder.sign(signing, hashes.SHA384())


def _promise(log: Log, issuer: bytes, body: bytes, at: datetime) -> bytes:
    """The extension's value: a list with one SCT (RFC 6962 sections 3.2, 3.3)."""
    moment = int(at.timestamp() * 1000)
    signed = struct.pack("!BBQH", 0, 0, moment, 1) + issuer + len(body).to_bytes(3, "big") + body + b"\0\0"
    signature = sign(log.key, signed)
    sct = b"\0" + log.id + struct.pack("!Q", moment) + b"\0\0" + b"\4\3" + len(signature).to_bytes(2, "big") + signature
    listed = (len(sct) + 2).to_bytes(2, "big") + len(sct).to_bytes(2, "big") + sct
    return bytes([0x04, 0x81, len(listed)] if len(listed) > 0x7F else [0x04, len(listed)]) + listed


def _tree(leaves: list[bytes]) -> bytes:
    """The root of a Merkle tree (RFC 6962 section 2.1)."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + _tree(leaves[:half]) + _tree(leaves[half:])).digest()


def _path(leaves: list[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if index < half:
        return [*_path(leaves[:half], index), _tree(leaves[half:])]
    return [*_path(leaves[half:], index - half), _tree(leaves[:half])]


# ------------------------------------------------------------------------------------------------ pushing


@dataclass(frozen=True)
class Layer:
    media_type: str
    data: bytes
    annotations: dict[str, str] = field(default_factory=dict)


def simple_layer(key: PrivateKey, data: bytes, **how: Any) -> Layer:
    """A layer of `sha256-<hex>.sig`, by a key."""
    return Layer(SIMPLE, data, {"dev.cosignproject.cosign/signature": b64(sign(key, data, **how))})


def attached_layer(key: PrivateKey, body: bytes) -> Layer:
    """A layer of `sha256-<hex>.att`, by a key."""
    annotations = {"dev.cosignproject.cosign/signature": "", "predicateType": json.loads(body)["predicateType"]}
    return Layer(DSSE, json.dumps(enveloped(key, body)).encode(), annotations)


def bundle_layer(bundle: dict[str, Any]) -> Layer:
    return Layer(BUNDLE, json.dumps(bundle).encode())


def tag_of(digest: str, suffix: str = "") -> str:
    return digest.replace(":", "-") + suffix


def push(
    url: str,
    repository: str,
    reference: str | None,
    layers: list[Layer],
    *,
    subject: str | None = None,
    artifact_type: str | None = None,
    annotations: dict[str, str] | None = None,
) -> str:
    """Push an artifact as any tool does; by its digest without a `reference`. Its digest."""
    for data in (EMPTY, *(layer.data for layer in layers)):
        status, headers, body = registries.request("POST", f"{url}/v2/{repository}/blobs/uploads/", b"")
        assert status == 202, body
        location = headers["location"]
        place = location if location.startswith("http") else f"{url}{location}"
        mark = "&" if "?" in place else "?"
        kind = {"Content-Type": "application/octet-stream"}
        status, _, body = registries.request("PUT", f"{place}{mark}digest={digest_of(data)}", data, kind)
        assert status == 201, body
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(EMPTY), "size": len(EMPTY)},
        "layers": [
            {
                "mediaType": each.media_type,
                "digest": digest_of(each.data),
                "size": len(each.data),
                "annotations": each.annotations,
            }
            for each in layers
        ],
        "annotations": annotations or {},
    }
    if artifact_type is not None:
        manifest["artifactType"] = artifact_type
    if subject is not None:
        manifest["subject"] = {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": subject,
            "size": 1,
        }
    return put(url, repository, reference, manifest)


def put(url: str, repository: str, reference: str | None, manifest: dict[str, Any]) -> str:
    data = json.dumps(manifest).encode()
    place = f"{url}/v2/{repository}/manifests/{reference or digest_of(data)}"
    status, _, body = registries.request("PUT", place, data, {"Content-Type": manifest["mediaType"]})
    assert status == 201, body
    return digest_of(data)


def refer(url: str, repository: str, digest: str, referrers: list[tuple[str, str | None]]) -> None:
    """The tag that stands for the referrers API where a registry has none (digest and artifact type of each)."""
    entries = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": each,
            "size": 1,
            **({"artifactType": kind} if kind else {}),
        }
        for each, kind in referrers
    ]
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    put(url, repository, tag_of(digest), index)
