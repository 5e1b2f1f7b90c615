"""Who may set which image: markers, annotations and ImagePolicies laid over the sites of a tree.

The order is: marker, container annotation, workload annotation, ImagePolicy by image; a higher claim silences the
lower ones of the same use, a near-miss marker silences them too (the value is left alone and the miss is reported).
Two ImagePolicies of one automation that claim one image at the same rank are a conflict, never resolved by chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from image_updater.api.annotations import (
    FILTER,
    IGNORE,
    MIN_AGE,
    MIN_AGE_HELP,
    POLICY,
    PolicyName,
    misnamed,
    parse_annotation_policy,
    parse_ignore,
    parse_min_age,
)
from image_updater.api.durations import format_duration
from image_updater.api.model import (
    DigestPolicy,
    DigestReflection,
    FilterTags,
    ImagePolicy,
    Meta,
    ObjectKey,
    Strategy,
    UpdateStrategy,
)
from image_updater.errors import SpecError
from image_updater.images import canonical, split
from image_updater.kustomize.model import ObjectId, Part, Pulls, SiteKind, Use
from image_updater.policy import compile as compile_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from image_updater.kustomize.model import Marker, Provenance, Site

PREFIX = "image-updater.dev/"
UNSEEN = ObjectId(group="", kind="", namespace="", name="what a remote base renders")


class Rank(IntEnum):
    """The strength of a claim, strongest first."""

    MARKER = 0
    CONTAINER = 1
    WORKLOAD = 2
    IMAGE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is said about one use of a site. Exactly one of the fields is set, or none (unmanaged)."""

    policy: str | None = None
    refusal: str | None = None
    conflict: str | None = None
    ignored: str | None = None
    rank: Rank = Rank.IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerClaim:
    """A marker on one scalar: the policy that sets it, or why it is left alone."""

    marker: Marker
    policy: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteClaims:
    """The claims on a site: one for each of its uses, in order; with markers, those alone count."""

    site: Site
    uses: tuple[Claim, ...] = ()
    markers: tuple[MarkerClaim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """All claims of one automation. `policies` holds every policy that claims something, by key; annotations'
    implicit ones too.
    """

    sites: tuple[SiteClaims, ...] = ()
    policies: Mapping[str, ImagePolicy] = field(default_factory=dict)


_UNCLAIMED = Claim()


def with_unseen_uses(provenance: Provenance) -> Provenance:
    """Gives `images:` entries a use in each root that cannot be seen through (a remote base): what they say is all
    that is known.

    An entry that only renames and matches nothing declares no tag, and is left out.
    """
    sites = []
    for site in provenance.sites:
        if site.uses or site.markers or site.kind is not SiteKind.ENTRY:
            sites.append(site)
            continue
        if Part.TAG not in site.parts and Part.DIGEST not in site.parts:
            continue
        unseen = [
            root for root in site.files if root in provenance.roots and provenance.roots[root].unbuildable is not None
        ]
        uses = tuple(Use(root=root, object=UNSEEN, path=(), value=site.image, seen_by_images=False) for root in unseen)
        sites.append(replace(site, uses=uses))
    return replace(provenance, sites=tuple(sites))


def resolve(
    provenance: Provenance,
    *,
    namespace: str,
    policies: Sequence[ImagePolicy],
    known: Iterable[str] = (),
    strategy: UpdateStrategy = UpdateStrategy.AUTO,
    anywhere: bool = False,
) -> Claims:
    """The claims of one automation in `namespace` whose selector gave `policies`.

    `known` are the keys of all ImagePolicies (to tell an unknown policy from one that is not selected). `anywhere`:
    policies of every namespace may be named (no automation was given: one over everything stands in).
    """
    resolver = _Resolver(namespace, policies, frozenset(known), strategy, anywhere)
    sites = tuple(resolver.site(site) for site in provenance.sites)
    return Claims(sites=sites, policies=resolver.used)


def _idle(use: Use) -> str | None:
    """What is wrong with a `min-age` or a `filter` that no policy of its own takes up: somebody relies on it.

    An ImagePolicy, one behind `ref` as well, has its own.
    """
    said = [(key[len(PREFIX) :].partition(".")[0], text) for key, text in use.annotations.items()]
    if any(name == POLICY and text.split()[:1] != ["ref"] for name, text in said):
        return None
    field = {MIN_AGE: "minAge", FILTER: "filterTags"}
    lost = next((name for name, _ in said if name in field), None)
    if lost is None:
        return None
    return (
        f"{PREFIX}{lost} counts only beside {PREFIX}{POLICY} with a strategy: write that, or spec.{field[lost]} of the "
        "ImagePolicy"
    )


class _Resolver:
    def __init__(
        self,
        namespace: str,
        policies: Sequence[ImagePolicy],
        known: frozenset[str],
        strategy: UpdateStrategy,
        anywhere: bool,
    ) -> None:
        self.namespace = namespace
        self.anywhere = anywhere
        self.known = known
        self.auto = strategy is UpdateStrategy.AUTO
        self.by_key = {str(p.key): p for p in policies}
        self.by_image: dict[str, list[ImagePolicy]] = {}
        for policy in policies:
            name = canonical(policy.image)
            if name is not None:
                self.by_image.setdefault(name, []).append(policy)
        self.used: dict[str, ImagePolicy] = {}

    def site(self, site: Site) -> SiteClaims:
        markers = site.markers or ((site.marker,) if site.marker else ())
        if markers:
            return SiteClaims(site=site, markers=tuple(self.marker(m) for m in markers))
        if not self.auto:
            return SiteClaims(site=site, uses=(_UNCLAIMED,) * len(site.uses))
        return SiteClaims(site=site, uses=tuple(self.use(use) for use in site.uses))

    # ------------------------------------------------------------------ markers

    def marker(self, marker: Marker) -> MarkerClaim:
        if marker.problem is not None or marker.name is None:
            return MarkerClaim(marker=marker, refusal=f"marker: {marker.problem or 'it names no policy'}")
        key, refusal = self.named(marker.namespace, marker.name)
        if refusal is not None:
            return MarkerClaim(marker=marker, refusal=f"marker: {refusal}")
        return MarkerClaim(marker=marker, policy=key)

    def named(self, namespace: str | None, name: str) -> tuple[str | None, str | None]:
        """A policy named by a marker or an annotation: its key, or why it cannot be used."""
        if namespace is None and self.anywhere:
            spaces = [p.key.namespace for p in self.by_key.values() if p.key.name == name]
            if len(spaces) > 1:
                return (
                    None,
                    f"several namespaces have a policy {name}: {', '.join(sorted(spaces))}; write namespace:{name}",
                )
            namespace = spaces[0] if spaces else None
        key = f"{namespace or self.namespace}/{name}"
        if not self.anywhere and namespace is not None and namespace != self.namespace:
            return None, f"policy {key} is in another namespace than this automation ({self.namespace})"
        policy = self.by_key.get(key)
        if policy is None:
            if key in self.known:
                return None, f"policy {key} is not selected by this automation's policySelector"
            return None, f"there is no ImagePolicy {key}"
        self.used[key] = policy
        return key, None

    # ------------------------------------------------------------------ annotations and images

    def use(self, use: Use) -> Claim:
        if use.annotations:
            claim = self.annotated(use)
            if claim is not None:
                return claim
        name = canonical(split(use.value)[0])
        found = self.by_image.get(name, []) if name is not None else []
        if not found:
            return _UNCLAIMED
        if len(found) > 1:
            keys = ", ".join(sorted(str(p.key) for p in found))
            return Claim(conflict=f"{keys} claim {name} alike; narrow one automation's policySelector or paths")
        key = str(found[0].key)
        self.used[key] = found[0]
        return Claim(policy=key)

    def annotated(self, use: Use) -> Claim | None:
        said = use.annotations
        try:
            if PREFIX + IGNORE in said and parse_ignore(said[PREFIX + IGNORE]):
                return Claim(ignored=f"{use.object} has the annotation {PREFIX}{IGNORE}")
        except ValueError as exc:
            return Claim(refusal=f"{use.object}: {PREFIX}{IGNORE}: {exc}", rank=Rank.WORKLOAD)
        if (wrong := misnamed(said) or _idle(use)) is not None:
            return Claim(refusal=f"{use.object}: {wrong}", rank=Rank.WORKLOAD)
        text, rank, suffix = None, Rank.WORKLOAD, ""
        if use.container is not None:
            text = said.get(f"{PREFIX}policy.{use.container}")
            if text is not None:
                rank, suffix = Rank.CONTAINER, f".{use.container}"
        if text is None:
            text = said.get(f"{PREFIX}policy")
        if text is None:
            return None
        where = f"{use.object}: {PREFIX}policy{suffix}"
        try:
            parsed = parse_annotation_policy(text)
        except SpecError as exc:
            return Claim(refusal=f"{where}: {exc.message}" + (f" ({exc.remedy})" if exc.remedy else ""), rank=rank)
        image = split(use.value)[0]
        if isinstance(parsed, PolicyName):
            key, refusal = self.named(parsed.namespace, parsed.name)
            if refusal is None and key is not None and canonical(self.by_key[key].image) != canonical(image):
                if rank is Rank.WORKLOAD:
                    return _UNCLAIMED  # it speaks of the workload's container of that image
                refusal = f"policy {key} is for {self.by_key[key].image}, the container has {image}"
            return Claim(refusal=f"{where}: {refusal}", rank=rank) if refusal else Claim(policy=key, rank=rank)
        pattern = None
        if use.container is not None:
            pattern = use.annotations.get(f"{PREFIX}filter.{use.container}")
        if pattern is None:
            pattern = use.annotations.get(f"{PREFIX}filter")
        if pattern == "":
            remedy = "write a pattern, or remove the annotation"
            return Claim(refusal=f"{use.object}: {PREFIX}{FILTER} is empty ({remedy})", rank=rank)
        return self.implicit(where, use, text, parsed, pattern, rank)

    def implicit(self, where: str, use: Use, text: str, strategy: Strategy, pattern: str | None, rank: Rank) -> Claim:
        try:
            min_age = parse_min_age(use.annotations.get(PREFIX + MIN_AGE, ""))
        except ValueError as exc:
            return Claim(refusal=f"{use.object}: {PREFIX}{MIN_AGE}: {exc} ({MIN_AGE_HELP})", rank=rank)
        image = split(use.value)[0]
        name = canonical(image)
        if name is None:
            return Claim(refusal=f"{where}: {image!r} is not an image name", rank=rank)
        said = " ".join(text.split())
        if min_age:
            said += f" (min-age {format_duration(min_age)})"
        key = f"annotation:{name}:{said}" + (f":{pattern}" if pattern else "")
        if key not in self.used:
            base = self.by_image.get(name, [])
            policy = ImagePolicy(
                meta=Meta(key=ObjectKey(self.namespace, key)),
                image=image,
                strategy=strategy,
                reflection=DigestReflection.ALWAYS if isinstance(strategy, DigestPolicy) else DigestReflection.NEVER,
                filter_tags=FilterTags(pattern=pattern),
                min_age=min_age,
            )
            if len(base) == 1:  # an ImagePolicy for the image lends its way to the registry
                policy = replace(
                    policy,
                    secret_ref=base[0].secret_ref,
                    provider=base[0].provider,
                    cert_secret_ref=base[0].cert_secret_ref,
                    proxy_secret_ref=base[0].proxy_secret_ref,
                    insecure=base[0].insecure,
                )
            try:
                compile_policy(policy)
            except SpecError as exc:
                wrong = exc.message.removeprefix(f"ImagePolicy {policy.key}: ")
                return Claim(refusal=f"{where}: {wrong}" + (f" ({exc.remedy})" if exc.remedy else ""), rank=rank)
            self.used[key] = policy
        if len(self.by_image.get(name, ())) != 1:
            self.used[key] = self.pulling(self.used[key], use)
        return Claim(policy=key, rank=rank)

    def pulling(self, policy: ImagePolicy, use: Use) -> ImagePolicy:
        """The policy, with what the workload has for pulling its images: one policy serves all workloads that say the
        same, so it may ask as any of them.
        """
        namespace = use.object.namespace or self.namespace
        pulls = use.pulls or Pulls()
        secrets = (*policy.pull_secrets, *(ObjectKey(namespace, name) for name in pulls.secrets))
        accounts = (*policy.pull_accounts, ObjectKey(namespace, pulls.account or "default"))
        return replace(policy, pull_secrets=tuple(dict.fromkeys(secrets)), pull_accounts=tuple(dict.fromkeys(accounts)))
