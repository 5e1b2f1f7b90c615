"""What no single object can know: whether the objects it names are there, and fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.decode import suggest
from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from image_updater.api.model import Meta, ObjectKey, Objects, Secret

    SecretLookup = Callable[[ObjectKey], Secret | None]


def check_references(
    objects: Objects, secrets: SecretLookup | None = None, *, registry: bool = True, git: bool = True
) -> tuple[SpecError, ...]:
    """Every reference that leads nowhere, and every branch that cannot be pushed to.

    `secrets` is what `--secrets DIR` holds (`SecretsFolder`). `registry=False`: no registry will be asked (`--tags`),
    so a login for it must be there, as any name that an object gives, but may be encrypted; `git=False`: no
    GitRepository will be contacted (`update PATH`, `explain`), so what only that needs is not looked for.
    """
    errors = list(_policies(objects, secrets, used=registry))
    errors.extend(_automations(objects, secrets, git=git))
    if git:
        errors.extend(_repositories(objects, secrets))
    return tuple(errors)


def find_secret(objects: Objects, secrets: SecretLookup | None = None) -> SecretLookup:
    """One lookup over both sources; a Secret of the objects file wins over the folder's."""

    def lookup(key: ObjectKey) -> Secret | None:
        found = objects.secrets.get(key)
        return found if found is not None or secrets is None else secrets(key)

    return lookup


def _policies(objects: Objects, secrets: SecretLookup | None, *, used: bool) -> Iterator[SpecError]:
    for policy in objects.policies:
        for field, name in (
            ("spec.secretRef.name", policy.secret_ref),
            ("spec.certSecretRef.name", policy.cert_secret_ref),
            ("spec.proxySecretRef.name", policy.proxy_secret_ref),
            ("spec.verify.secretRef.name", policy.verify.secret_ref if policy.verify else None),
            ("spec.verify.trustRootSecretRef.name", policy.verify.trust_root if policy.verify else None),
        ):
            yield from _secret(objects, secrets, policy.meta, "ImagePolicy", field, name, used=used)


def _repositories(objects: Objects, secrets: SecretLookup | None) -> Iterator[SpecError]:
    for repository in objects.repositories:
        for field, name in (
            ("spec.secretRef.name", repository.secret_ref),
            ("spec.certSecretRef.name", repository.cert_secret_ref),
            ("spec.proxySecretRef.name", repository.proxy_secret_ref),
            ("spec.verify.secretRef.name", repository.verify.secret_ref if repository.verify else None),
        ):
            yield from _secret(objects, secrets, repository.meta, "GitRepository", field, name)


def _automations(objects: Objects, secrets: SecretLookup | None, *, git: bool) -> Iterator[SpecError]:
    repositories = {repository.key: repository for repository in objects.repositories}
    for automation in objects.automations:
        meta, kind = automation.meta, "ImageUpdateAutomation"
        signing = automation.commit.signing_key
        yield from _secret(objects, secrets, meta, kind, "spec.git.commit.signingKey.secretRef.name", signing)
        if not git or automation.source_ref is None:
            continue
        repository = repositories.get(automation.source_ref)
        place = _where(meta, kind, "spec.sourceRef.name")
        if repository is None:
            known = [str(key) for key in repositories]
            close = suggest(str(automation.source_ref), known)
            remedy = f"did you mean {close!r}?" if close else "add that GitRepository, or correct the name"
            yield SpecError(f"there is no GitRepository {automation.source_ref}", where=place, remedy=remedy)
        elif repository.ref.tag is not None or repository.ref.commit is not None:
            what = "tag" if repository.ref.tag is not None else "commit"
            message = f"GitRepository {repository.key} reads a {what}, and a {what} cannot be pushed to"
            yield SpecError(message, where=place, remedy="give the repository ref.branch")


def _secret(
    objects: Objects,
    secrets: SecretLookup | None,
    meta: Meta,
    kind: str,
    field: str,
    name: str | None,
    *,
    used: bool = True,
) -> Iterator[SpecError]:
    if name is None:
        return
    key = type(meta.key)(namespace=meta.key.namespace, name=name)
    if key in objects.secrets:
        return
    try:
        if secrets is not None and secrets(key) is not None:
            return
    except SpecError as exc:
        yield exc
        return
    place = _where(meta, kind, field)
    if key in objects.encrypted:
        if not used:
            return
        yield SpecError(f"Secret {key} is encrypted with SOPS", where=place, remedy="decrypt it, or use --secrets DIR")
        return
    close = suggest(name, [known.name for known in objects.secrets if known.namespace == key.namespace])
    remedy = (
        f"did you mean {close!r}?"
        if close
        else f"add that Secret to the objects, or --secrets DIR with DIR/{name}/<key>"
    )
    yield SpecError(f"there is no Secret {key}", where=place, remedy=remedy)


def _where(meta: Meta, kind: str, field: str) -> Where:
    if meta.source.where is not None:
        return meta.source.where(field)
    return Where(file=meta.source.file, line=meta.source.line, field=field, object=f"{kind} {meta.key}")
