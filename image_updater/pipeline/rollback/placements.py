"""Which policy has its hand on which image of which rendered object: what a run knows, kept for those who see a rollout
fail. Pure.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from image_updater.images.names import split
from image_updater.kustomize.model import Part
from image_updater.patch.scope import Scope
from image_updater.pipeline.answers.outcome import policy_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from image_updater.api.model import ImageUpdateAutomation, Kustomization, ObjectKey
    from image_updater.kustomize.model import ObjectId, Path, Provenance
    from image_updater.patch.claims import Claims, SiteClaims
    from image_updater.pipeline.line import Run


@dataclass(frozen=True, slots=True, order=True)
class Value:
    """What a site holds of an image beside its name."""

    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        return (self.tag or "") + (f"@{self.digest}" if self.digest else "")

    def is_of(self, other: Value) -> bool:
        """Does this value mean those bytes: the same tag where both have one, the same digest where both have one?"""
        if self.digest is not None and other.digest is not None:
            return self.digest == other.digest and (self.tag == other.tag or None in (self.tag, other.tag))
        return self.tag is not None and self.tag == other.tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One image of one container of one object of one root, as Git holds it after the run."""

    automation: ObjectKey
    policy: str
    """As claims name it: `namespace/name`, or `annotation:…`."""
    name: str
    """As answers name it: for an annotation's policy with its automation."""
    root: str
    folder: str
    object: ObjectId
    container: str | None
    path: Path
    image: str
    """Its name as rendered."""
    value: Value
    site: str
    file: str

    @property
    def key(self) -> tuple[str, ObjectId, Path]:
        return (self.root, self.object, self.path)


def placements(run: Run) -> tuple[Placement, ...]:
    """Those of a run, as its commit leaves them; with no files, as its tree has them."""
    after: dict[tuple[str, ObjectId, Path], str] = {}
    if run.files:
        for name, items in run.plan.intended.items():
            after |= {(name, item.object, item.path): item.new for item in items}
    return tuple(placed(run.automation, run.provenance, run.claims, after))


def placed(
    automation: ImageUpdateAutomation,
    provenance: Provenance,
    claims: Claims,
    after: Mapping[tuple[str, ObjectId, Path], str] | None = None,
) -> Iterator[Placement]:
    """What the policies of an automation claim, and it may move: what stands elsewhere is another one's to bring and to
    take back. `after`: what uses will render.
    """
    scope = Scope.of(automation.update)
    names = {key: policy_name(policy) for key, policy in claims.policies.items()}
    for claimed in claims.sites:
        policies = _policies(claimed)
        file = claimed.site.file
        for use, policy in zip(claimed.site.uses, policies, strict=True):
            root = provenance.roots.get(use.root)
            if policy is None or root is None or not use.path:
                continue
            # A marker moves its line for all roots.
            if not (scope.holds(file) if claimed.markers else scope.covers(root, file)):
                continue
            value = (after or {}).get((use.root, use.object, use.path), use.value)
            image, tag, digest = split(value)
            yield Placement(
                automation=automation.key,
                policy=policy,
                name=names.get(policy, policy),
                root=use.root,
                folder=root.path,
                object=use.object,
                container=use.container,
                path=use.path,
                image=image,
                value=Value(tag, digest),
                site=claimed.site.id,
                file=file,
            )


def _policies(claimed: SiteClaims) -> Iterator[str | None]:
    """By use the policy that sets its tag."""
    if not claimed.markers:
        return (claim.policy for claim in claimed.uses)
    setting = [each for each in claimed.markers if each.marker.part in (Part.IMAGE, Part.TAG, Part.DIGEST)]
    policy = next((each.policy for each in setting if each.policy is not None), None)
    return (policy for _ in claimed.site.uses)


# ------------------------------------------------------------------------------------------------- whose root


def is_root_of(kustomization: Kustomization, root: str, folder: str) -> bool:
    """Is this root what the Kustomization applies? Where something is laid over its path, the root names it."""
    if folder != folder_of(kustomization):
        return False
    return root == folder or root.removeprefix(f"{folder} (").partition(" in ")[0].rstrip(")") == (
        f"Kustomization {kustomization.key}"
    )


def folder_of(kustomization: Kustomization) -> str:
    """Its path as provenance writes it."""
    return posixpath.normpath(kustomization.path.lstrip("/") or ".")


def of_object(
    placed: Iterable[Placement], *, group: str, kind: str, namespace: str, name: str
) -> tuple[Placement, ...]:
    """Those of one object of the cluster. What is rendered without a namespace is applied in the Kustomization's."""
    return tuple(
        each
        for each in placed
        if (each.object.group, each.object.kind, each.object.name) == (group, kind, name)
        and each.object.namespace in ("", namespace)
    )


def of_kustomization(placed: Iterable[Placement], kustomization: Kustomization) -> tuple[Placement, ...]:
    """Those that this Kustomization applies: of the root that names it where there is one, else of the plain folder."""
    found = [each for each in placed if is_root_of(kustomization, each.root, each.folder)]
    named = [each for each in found if each.root != each.folder]
    return tuple(named or found)


def images_at(provenance: Provenance, root: str) -> dict[tuple[ObjectId, Path], str]:
    """All images that a root renders, by their places."""
    return {(use.object, use.path): use.value for _, use in provenance.by_root(root)}


def by_policy(placed: Iterable[Placement]) -> dict[str, list[Placement]]:
    found: dict[str, list[Placement]] = {}
    for each in placed:
        found.setdefault(each.name, []).append(each)
    return found
