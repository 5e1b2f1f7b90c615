"""Signatures without a key: a certificate of ten minutes, made for an identity, and a log that says when.

Bundles are judged by the `sigstore` library (extra `keyless`), with its public interface. What cosign keeps in
annotations instead has no proof of inclusion, which that library asks for; it is judged here (`certificates`, `rekor`)
by the same trust root. No network: the trust root is a Secret's, or the one that the library ships.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from image_updater.errors import SpecError, Where
from image_updater.policy.filters import FilterError, Pattern
from image_updater.signatures import certificates, payloads, rekor, trustroot
from image_updater.signatures.keys import usable, verifies
from image_updater.signatures.model import Attached, Bundled, Material, SimpleSigning, Statement, Unverified

if TYPE_CHECKING:
    from image_updater.api.model import Keyless
    from image_updater.signatures.certificates import Identity

_SHIPPED = "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
ROOT_FIELD = "trustRootSecretRef"
PUBLIC = "the public Sigstore's trust root"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A whole string, or a pattern that matches wholly."""

    text: str
    pattern: Pattern | None

    def __contains__(self, value: str) -> bool:
        return value == self.text if self.pattern is None else self.pattern.match(value.encode()) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who must have signed. A policy of the sigstore library as well (`verify`)."""

    issuer: _Wanted
    subject: _Wanted

    def check(self, certificate: x509.Certificate) -> Identity:
        """Raises Unverified for somebody else."""
        found = certificates.identity(certificate)
        if found.subject not in self.subject:
            raise Unverified(f"it is by another identity: {_short(str(found))}")
        if found.issuer not in self.issuer:
            raise Unverified(f"its identity is of another issuer: {_short(str(found))}")
        return found

    def verify(self, cert: x509.Certificate) -> None:
        self.check(cert)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeylessTrust:
    """A signature by an identity, under one trust root, counts."""

    signer: Signer
    root: trustroot.TrustRoot = field(repr=False)
    verifier: Any = field(repr=False)

    def simple(self, found: SimpleSigning) -> str:
        return self._annotated(
            found.payload, found.payload, payloads.unbase64(found.signature, "the signature"), found.material
        )

    def attached(self, found: Attached) -> tuple[str, Statement]:
        envelope = payloads.envelope(found.data)
        if len(envelope.signatures) != 1:
            raise Unverified("the envelope has more than one signature")
        who = self._annotated(envelope.pae, envelope.payload, envelope.signatures[0], found.material)
        return who, envelope.statement

    def bundled(self, found: Bundled, digest: str) -> tuple[str, Statement | None]:
        from sigstore.hashes import Hashed
        from sigstore.models import Bundle
        from sigstore_models.common.v1 import HashAlgorithm

        read = payloads.bundle(found.data)
        if not read.keyless:
            raise Unverified("it is signed with a key, not with a certificate")
        try:
            bundle = Bundle.from_json(found.data)
            certificate = bundle.signing_certificate
            if not isinstance(certificate.public_key(), ec.EllipticCurvePublicKey):
                raise Unverified("its certificate's key is not ECDSA, which is all that is known in bundles")
            if isinstance(read.content, payloads.Envelope):
                kind, payload = self.verifier.verify_dsse(bundle, self.signer)
                statement = Statement(payload_type=kind, payload=payload)
            else:
                algorithm, _, value = digest.partition(":")
                if algorithm != "sha256":
                    raise Unverified(f"the bundle signs a sha256, the image has a {algorithm}")
                hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(value))
                self.verifier.verify_artifact(hashed, bundle, self.signer)
                statement = None
        except Unverified:
            raise
        except Exception as error:
            # Its own errors, and those of all it is made of: whatever stops it, the bundle is not verified.
            raise Unverified(_short(str(error) or type(error).__name__)) from error
        return f"identity {certificates.identity(certificate)}", statement

    def _annotated(self, message: bytes, payload: bytes, signature: bytes, material: Material) -> str:
        found = certificates.pem(material.certificate, "its certificate")
        if len(found) != 1:
            raise Unverified(
                "it has no certificate: it is signed with a key" if not found else "it has several certificates"
            )
        certificate = found[0]
        made, body = rekor.promised(material.rekor, self.root)
        try:
            whole = certificates.chain(
                certificate, certificates.pem(material.chain, "its certificate chain"), self.root, made
            )
            certificates.logged(whole, self.root)
            who = self.signer.check(certificate)
            key = usable(certificate.public_key(), "its certificate")
        except SpecError as error:
            raise Unverified(error.message) from None
        except ValueError as error:
            # An extension that is not what its identifier says is only found when it is read.
            raise Unverified(f"its certificate cannot be read: {_short(str(error))}") from None
        if not verifies(key, message, signature):
            raise Unverified("its signature is not over what is there")
        rekor.is_of(body, certificate, payload, signature)
        return f"identity {who}"


def signer(spec: Keyless) -> Signer:
    """Raises SpecError for a pattern that is none, and where issuer or subject is open: anybody has some identity."""
    return Signer(
        issuer=_wanted(spec.issuer, spec.issuer_pattern, "issuer"),
        subject=_wanted(spec.subject, spec.subject_pattern, "subject"),
    )


def load(spec: Keyless, root: bytes | None, name: str) -> KeylessTrust:
    """`root` is a trusted_root.json (and `name` where it is from), None = the public Sigstore's. Raises SpecError, also
    when the library is not installed.
    """
    who = signer(spec)
    try:
        from sigstore.models import TrustedRoot
        from sigstore.verify import Verifier
    except ImportError as error:
        raise SpecError(
            f"keyless verification needs the optional package sigstore ({error.name} is not there)",
            remedy="pip install image-updater[keyless]",
        ) from None
    if root is None:
        name = PUBLIC
        root = (resources.files("sigstore") / "_store" / _SHIPPED / "trusted_root.json").read_bytes()
    try:
        read = trustroot.read(root, name)
    except SpecError as error:
        raise SpecError(error.message, where=Where(field=ROOT_FIELD), remedy=error.remedy) from error
    # The library reads a file, nothing else.
    handle, path = tempfile.mkstemp(suffix=".json")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(root)
        verifier = Verifier(trusted_root=TrustedRoot.from_file(path))
    except Exception as error:
        raise SpecError(
            f"{name} is not accepted: {_short(str(error))}",
            where=Where(field=ROOT_FIELD),
            remedy="take the trusted_root.json of a current Sigstore",
        ) from error
    finally:
        Path(path).unlink()
    return KeylessTrust(signer=who, root=read, verifier=verifier)


def _wanted(text: str | None, pattern: str | None, field_: str) -> _Wanted:
    if text is not None:
        return _Wanted(text, None)
    if not pattern:
        raise SpecError(
            f"keyless names no {field_}: anybody's signature would do", remedy=f"write {field_} or {field_}RegExp"
        )
    try:
        Pattern(pattern, f"{field_}RegExp")
        return _Wanted(pattern, Pattern(rf"\A(?:{pattern})\z", f"{field_}RegExp"))
    except FilterError as error:
        raise SpecError(f"{field_}RegExp: {error.message}", remedy=error.remedy) from None


def _short(text: str) -> str:
    """Somebody else's words on one line."""
    text = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    return text if len(text) <= 200 else text[:199] + "…"
