"""`spec.verify`: is the image that a policy would take signed by whom it trusts? Always by digest, before the commit.

What is beside the digest is read in the order in which it is likely and cheap, and no further than needed: cosign's tag
`sha256-<hex>.sig`, then the bundles that refer to the digest, then `sha256-<hex>.att` where attestations are asked for.
How much is read is bounded (`signatures/model.py`). What the registry cannot answer is an error, never a verdict.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from image_updater.api.model import ObjectKey
from image_updater.errors import SecretNotFound, SpecError, Where
from image_updater.signatures import Attached, Bundled, Inquiry, Material, SimpleSigning, keyless, keys, model, payloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.api.model import Secret, Verify
    from image_updater.images import ImageName
    from image_updater.pipeline.answers.listing import Source
    from image_updater.pipeline.report import Secrets
    from image_updater.policy.model import Verified
    from image_updater.registry import Access, Descriptor
    from image_updater.registry.manifests import Manifest
    from image_updater.signatures import Found, Trust

_SIGNATURE = "dev.cosignproject.cosign/signature"
_CERTIFICATE, _CHAIN, _REKOR = (f"dev.sigstore.cosign/{name}" for name in ("certificate", "chain", "bundle"))
_PREDICATE = "dev.sigstore.bundle.predicateType"
_OLD_PREDICATE = "predicateType"
_MAYBE = (payloads.BUNDLE, "application/vnd.dev.cosign.", "application/vnd.oci.empty.")
"""How the artifact types begin of what may hold a signature; older tools gave the type of the (empty) config."""

TRUSTED = 64
"""Trusts (keys, trust roots) that are kept parsed."""


class Artifacts(Protocol):
    """What is needed of a registry client (`registry.RegistryClient`)."""

    async def manifest(self, image: ImageName, reference: str, access: Access) -> Manifest: ...
    async def referrers(self, image: ImageName, digest: str, access: Access) -> tuple[Descriptor, ...]: ...
    async def blob(self, image: ImageName, blob: Descriptor, access: Access, *, limit: int) -> bytes: ...
    async def content(self, image: ImageName, digest: str, access: Access) -> bytes: ...


class Verifying:
    """Verifies for all policies of a process. Keys are parsed once; verdicts are not kept here."""

    def __init__(self, registry: Artifacts) -> None:
        self._registry = registry
        self._trusted: OrderedDict[str, Trust] = OrderedDict()

    async def verify(
        self,
        source: Source,
        digest: str,
        verify: Verify,
        *,
        secrets: Secrets,
        namespace: str,
        where: Where | None = None,
    ) -> Verified:
        """Who signed `digest`, or why nobody counts. Secrets are of `namespace`; `where` is the policy's place.

        Raises SecretNotFound, SpecError (of `spec.verify`), RegistryError, AccessDenied.
        """
        trust = await self._trust(verify, secrets, namespace, where or Where())
        inquiry = Inquiry(digest=digest, trust=trust, attestations=verify.attestations)
        await _Reading(self._registry, source, inquiry).run()
        return inquiry.verdict()

    async def _trust(self, verify: Verify, secrets: Secrets, namespace: str, where: Where) -> Trust:
        def find(name: str | None, field: str) -> Secret | None:
            if name is None:
                return None
            key = ObjectKey(namespace, name)
            secret = secrets(key)
            if secret is None:
                raise SecretNotFound(
                    f"there is no Secret {key}",
                    where=_at(where, f"spec.verify.{field}"),
                    remedy="create it, or correct the name",
                )
            return secret

        public = find(verify.secret_ref, "secretRef")
        root = find(verify.trust_root, keyless.ROOT_FIELD)
        make: Callable[[], Trust]
        if verify.keyless is not None:
            who = verify.keyless
            name = f"trusted_root.json of Secret {root.meta.key}" if root is not None else keyless.PUBLIC
            data = root.data.get("trusted_root.json") if root is not None else None
            if root is not None and data is None:
                raise SpecError(
                    f"Secret {root.meta.key} has no trusted_root.json",
                    where=_at(where, f"spec.verify.{keyless.ROOT_FIELD}"),
                    remedy="put Sigstore's trusted_root.json there",
                )
            identity = _hash(repr(who).encode(), data or b"")

            def make() -> Trust:
                return keyless.load(who, data, name)

            field = "keyless"
        elif public is not None:
            files = public.data
            identity = _hash(*(part for file, each in sorted(files.items()) for part in (file.encode(), each)))

            def make() -> Trust:
                return keys.load(files, f"Secret {public.meta.key}")

            field = "secretRef"
        else:
            raise SpecError(
                "verify says neither secretRef nor keyless",
                where=_at(where, "spec.verify"),
                remedy="write secretRef with public keys, or keyless with issuer and subject",
            )
        found = self._trusted.get(identity)
        if found is None:
            try:
                # The sigstore library takes a second to import.
                found = await asyncio.to_thread(make)
            except SpecError as error:
                at = _at(where, f"spec.verify.{error.where.field or field}")
                raise SpecError(error.message, where=at, remedy=error.remedy) from error
            self._trusted[identity] = found
            if len(self._trusted) > TRUSTED:
                self._trusted.popitem(last=False)
        self._trusted.move_to_end(identity)
        return found


class _Reading:
    """Reads what is beside one digest into an inquiry, until that is complete."""

    def __init__(self, registry: Artifacts, source: Source, inquiry: Inquiry) -> None:
        self._registry = registry
        self._source = source
        self._inquiry = inquiry
        self._left = model.MAX_BYTES
        self._looked = 0
        self._seen: set[tuple[str, str]] = set()

    async def run(self) -> None:
        tag = self._inquiry.digest.replace(":", "-", 1)
        await self._artifact(f"{tag}.sig")
        if not self._inquiry.complete:
            await self._referring()
        if self._inquiry.missing:
            await self._artifact(f"{tag}.att")

    async def _referring(self) -> None:
        found = await self._registry.referrers(self._source.image, self._inquiry.digest, self._source.access)
        candidates = [each for each in found if each.artifact_type is None or each.artifact_type.startswith(_MAYBE)]
        for entry in _newest(candidates):
            if self._inquiry.complete:
                return
            if self._inquiry.wants(entry.annotations.get(_PREDICATE)):
                await self._artifact(entry.digest)
        self._dropped(len(candidates), "signatures refer to the digest")

    async def _artifact(self, reference: str) -> None:
        from image_updater.registry.errors import TagNotFound, UnsupportedManifest

        try:
            manifest = await self._registry.manifest(self._source.image, reference, self._source.access)
        except TagNotFound:
            return
        except UnsupportedManifest as error:
            self._inquiry.refuse(error.message)
            return
        predicate = manifest.annotations.get(_PREDICATE)
        for layer in _newest(manifest.layers):
            if self._inquiry.complete:
                return
            if self._inquiry.wants(predicate or layer.annotations.get(_OLD_PREDICATE)):
                await self._layer(layer)
        self._dropped(len(manifest.layers), f"signatures in {reference}")

    async def _layer(self, layer: Descriptor) -> None:
        """One signature: its blob, which is then judged beside the loop (RSA takes its time)."""
        from image_updater.registry.errors import TagNotFound

        simple = layer.media_type == payloads.SIMPLE_SIGNING
        if not simple and layer.media_type != payloads.DSSE and not layer.media_type.startswith(payloads.BUNDLE):
            return
        signature = layer.annotations.get(_SIGNATURE, "")
        if (layer.digest, signature) in self._seen:
            return
        self._seen.add((layer.digest, signature))
        limit = min(self._left, model.MAX_PAYLOAD if simple else model.MAX_ATTESTATION)
        if layer.size > limit or self._looked >= model.MAX_FOUND:
            why = "too many" if layer.size <= limit else f"{layer.size:,} bytes, of which at most {limit:,} are read"
            self._inquiry.skip(f"one was not read ({why})")
            return
        self._looked += 1
        try:
            data = await self._registry.blob(self._source.image, layer, self._source.access, limit=limit)
        except TagNotFound:
            self._inquiry.skip(f"one was not read (the registry has no blob {layer.digest[:19]}…)")
            return
        self._left -= len(data)
        await asyncio.to_thread(self._inquiry.add, await self._found(layer, data, signature))

    async def _found(self, layer: Descriptor, data: bytes, signature: str) -> Found:
        notes = layer.annotations
        material = Material(certificate=notes.get(_CERTIFICATE), chain=notes.get(_CHAIN), rekor=notes.get(_REKOR))
        if layer.media_type == payloads.SIMPLE_SIGNING:
            return SimpleSigning(payload=data, signature=signature, material=material)
        if layer.media_type == payloads.DSSE:
            return Attached(data=data, material=material)
        content = None
        if payloads.wants_content(data):
            content = await self._registry.content(self._source.image, self._inquiry.digest, self._source.access)
        return Bundled(data=data, content=content)

    def _dropped(self, count: int, what: str) -> None:
        if count > model.MAX_FOUND:
            self._inquiry.skip(f"{count} {what}, of which the last {model.MAX_FOUND} were looked at")


def _newest(found: list[Descriptor] | tuple[Descriptor, ...]) -> list[Descriptor]:
    """The last ones, last first: cosign appends."""
    return list(reversed(found[-model.MAX_FOUND :]))


def _hash(*parts: bytes) -> str:
    """Of the parts with their lengths: nothing can slip from one into the next."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _at(where: Where, field: str) -> Where:
    return Where(file=where.file, line=where.line, object=where.object, field=field)
