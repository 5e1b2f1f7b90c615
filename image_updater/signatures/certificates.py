"""Certificates of Fulcio: who they name, whose they are, and that they stand in a log (RFC 5280, RFC 6962 section 3.2;
Fulcio's `oid-info.md`).

The chain is built by `cryptography` at the moment of signing: a certificate of ten minutes has always expired since.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.certificate_transparency import LogEntryType, SignedCertificateTimestamp
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from image_updater.signatures.keys import verifies
from image_updater.signatures.model import MAX_TEXT, Unverified

if TYPE_CHECKING:
    from collections.abc import Sequence

    from image_updater.signatures.trustroot import TrustRoot

ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
"""A DER UTF8String."""
OLD_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
"""The same as bare text, which newer certificates still carry."""
OTHER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a certificate names: the OIDC issuer, and the subject (an address, a workflow's URL)."""

    issuer: str
    subject: str

    def __str__(self) -> str:
        return f"{self.subject} ({self.issuer})"


def pem(text: str | None, what: str) -> list[x509.Certificate]:
    """The certificates of an annotation. Raises Unverified."""
    if not text:
        return []
    if len(text) > MAX_TEXT:
        raise Unverified(f"{what} is longer than {MAX_TEXT:,} characters")
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise Unverified(f"{what} is no PEM certificate") from None


def identity(certificate: x509.Certificate) -> Identity:
    """Raises Unverified for a certificate that names nobody, or several."""
    extensions = certificate.extensions
    try:
        issuer = _utf8(_value(extensions, ISSUER))
    except x509.ExtensionNotFound:
        try:
            issuer = _text(_value(extensions, OLD_ISSUER))
        except x509.ExtensionNotFound:
            raise Unverified("its certificate names no OIDC issuer") from None
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise Unverified("its certificate names no subject") from None
    subjects = [_subject(name) for name in names]
    if len(subjects) != 1:
        raise Unverified(f"its certificate names {len(subjects)} subjects")
    return Identity(issuer=issuer, subject=subjects[0])


def chain(
    certificate: x509.Certificate, between: Sequence[x509.Certificate], root: TrustRoot, at: datetime
) -> list[x509.Certificate]:
    """From the certificate to an authority of the trust root, valid `at`. Raises Unverified."""
    anchors = [each for authority in root.authorities if at in authority.period for each in authority.certificates]
    if not anchors:
        raise Unverified(f"no authority of the trust root was in use at {at:%Y-%m-%dT%H:%M:%SZ}")
    # Code signing is what they are for; it is asked below, instead of the client authentication that is the default.
    found = (
        PolicyBuilder()
        .store(Store(anchors))
        .time(at)
        .extension_policies(
            ca_policy=ExtensionPolicy.webpki_defaults_ca().may_be_present(
                x509.ExtendedKeyUsage, Criticality.NON_CRITICAL, None
            ),
            ee_policy=ExtensionPolicy.webpki_defaults_ee().may_be_present(
                x509.ExtendedKeyUsage, Criticality.NON_CRITICAL, None
            ),
        )
        .build_client_verifier()
    )
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise Unverified(
            f"its certificate was not valid when it was made ({at:%Y-%m-%dT%H:%M:%SZ}, "
            f"the certificate: {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ} to "
            f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ})"
        )
    try:
        whole = found.verify(certificate, list(between)).chain
    except (VerificationError, x509.UnsupportedGeneralNameType) as error:
        raise Unverified(f"its certificate is of no authority of the trust root: {str(error)[:150]}") from None
    signs_code(certificate)
    return whole


def signs_code(certificate: x509.Certificate) -> None:
    """Raises Unverified when it is for something else."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        raise Unverified("its certificate does not say what it is for") from None
    if not usage.digital_signature or ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        raise Unverified("its certificate is not for signing code")


def logged(whole: Sequence[x509.Certificate], root: TrustRoot) -> None:
    """Has a certificate log of the trust root promised to publish the first of `whole`? Raises Unverified."""
    certificate, issuer = whole[0], whole[1]
    try:
        promises = certificate.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
    except x509.ExtensionNotFound:
        raise Unverified("its certificate stands in no certificate log") from None
    key = issuer.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    issuer_id = hashlib.sha256(key).digest()
    if not any(_promised(promise, certificate, issuer_id, root) for promise in promises):
        raise Unverified("its certificate stands in no certificate log of the trust root")


def _promised(
    promise: SignedCertificateTimestamp, certificate: x509.Certificate, issuer_id: bytes, root: TrustRoot
) -> bool:
    if promise.entry_type is not LogEntryType.PRE_CERTIFICATE or not isinstance(
        promise.signature_hash_algorithm, hashes.SHA256
    ):
        return False
    made = promise.timestamp.replace(tzinfo=UTC)
    body = certificate.tbs_precertificate_bytes
    signed = b"".join(
        (
            struct.pack("!BBQH", promise.version.value, 0, (made - _EPOCH) // timedelta(milliseconds=1), 1),
            issuer_id,
            len(body).to_bytes(3, "big"),
            body,
            struct.pack("!H", len(promise.extension_bytes)),
            promise.extension_bytes,
        )
    )
    return any(
        log.id == promise.log_id and made in log.period and verifies(log.key, signed, promise.signature)
        for log in root.certificate_logs
    )


def _subject(name: x509.GeneralName) -> str:
    if isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier | x509.DNSName):
        return name.value
    if isinstance(name, x509.OtherName) and name.type_id == OTHER_NAME:
        return _utf8(name.value)
    raise Unverified(f"its certificate names its subject in an unknown way ({type(name).__name__})")


def _value(extensions: x509.Extensions, oid: x509.ObjectIdentifier) -> bytes:
    value = extensions.get_extension_for_oid(oid).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


def _utf8(der: bytes) -> str:
    """A DER UTF8String of less than 64 KiB (X.690 section 8.1.3)."""
    kinds = {0x81: 1, 0x82: 2}
    if len(der) < 2 or der[0] != 0x0C:
        raise Unverified("its certificate has a name that is no UTF8String")
    more = kinds.get(der[1], 0)
    size = int.from_bytes(der[2 : 2 + more], "big") if more else der[1]
    body = der[2 + more :]
    if (not more and der[1] > 0x7F) or len(body) != size:
        raise Unverified("its certificate has a name that is cut")
    return _text(body)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Unverified("its certificate has a name that is not UTF-8") from None
