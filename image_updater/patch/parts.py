"""From a selection to a site's scalars: which of them change, to what, and what is inserted or removed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from image_updater.api.model import DigestPolicy, DigestReflection
from image_updater.images import canonical, split
from image_updater.kustomize.model import Part, SiteKind
from image_updater.patch.model import Change, EditKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from image_updater.api.model import ImagePolicy
    from image_updater.kustomize.model import ScalarRef, Site, Use
    from image_updater.patch.claims import MarkerClaim
    from image_updater.patch.decisions import Choice
    from image_updater.policy.model import Selection


def rendered(value: str, choice: Choice) -> str:
    """What a reference becomes: its own name, the chosen tag, and the digest if digests are written."""
    selection = choice.selection
    assert selection is not None
    name, tag, _ = split(value)
    text = name
    if tag is not None or not isinstance(choice.policy.strategy, DigestPolicy):
        text += f":{selection.tag}"
    if selection.digest is not None:
        text += f"@{selection.digest}"
    return text


def set_parts(site: Site, selection: Selection, policy: str, choice: Choice) -> tuple[Change, ...] | str:
    """The changes on a site's scalars that make it hold `selection`, or why it cannot be done."""
    parts = site.parts
    digest_only = isinstance(choice.policy.strategy, DigestPolicy)
    changes: list[Change] = []

    def put(scalar: ScalarRef, value: str) -> None:
        if scalar.value != value or not scalar.string:
            changes.append(
                Change(
                    kind=EditKind.SCALAR,
                    file=scalar.file,
                    policy=policy,
                    site=site.id,
                    scalar=scalar,
                    value=value,
                    document=scalar.document,
                )
            )

    def add(*items: tuple[str, str]) -> None:
        assert site.holder is not None
        changes.append(
            Change(
                kind=EditKind.INSERT,
                file=site.holder.file,
                policy=policy,
                site=site.id,
                document=site.holder.document,
                parent=site.holder.path,
                items=items,
            )
        )

    image, tag, digest = parts.get(Part.IMAGE), parts.get(Part.TAG), parts.get(Part.DIGEST)
    if image is not None and tag is None and digest is None:
        name, old_tag, _ = split(image.value)
        if not name:
            return f"{image.value!r} is not an image reference"
        text = name if old_tag is None and digest_only else f"{name}:{selection.tag}"
        put(image, text + (f"@{selection.digest}" if selection.digest else ""))
        return tuple(changes)
    keeps_one_field = tag is not None and "@" in tag.value
    if tag is not None:
        both = keeps_one_field or (digest is None and site.kind is not SiteKind.ENTRY)
        put(tag, f"{selection.tag}@{selection.digest}" if selection.digest and both else selection.tag)
    if digest is not None:
        if tag is None and not digest_only:
            if site.holder is None:
                return "it holds only a digest, and there is no place for a tag"
            add(("newTag" if site.kind is SiteKind.ENTRY else "tag", selection.tag))
        if selection.digest and not keeps_one_field:
            put(digest, selection.digest)
        elif digest.value:  # charts ship `digest: ""`: it says nothing, and stays
            changes.append(
                Change(
                    kind=EditKind.REMOVE,
                    file=digest.file,
                    policy=policy,
                    site=site.id,
                    scalar=digest,
                    document=digest.document,
                )
            )
    elif selection.digest and tag is not None and not keeps_one_field and site.kind is SiteKind.ENTRY:
        add(("digest", selection.digest))
    if tag is None and digest is None:
        if site.holder is None:
            return "there is no scalar that holds its tag"
        if site.kind is SiteKind.ENTRY:
            items = [("newTag", selection.tag)]
            if selection.digest:
                items.append(("digest", selection.digest))
            add(*items)
        else:
            add(("tag", selection.tag + (f"@{selection.digest}" if selection.digest else "")))
    return tuple(changes)


def digest_beside(site: Site, markers: Sequence[MarkerClaim], choice: Choice) -> Change | None:
    """What a digest becomes that stands beside a marked tag without a marker of its own: it follows the policy's digest
    setting, for the old one would keep the old bytes.
    """
    digest = site.parts.get(Part.DIGEST)
    selection = choice.selection
    if digest is None or not digest.value or selection is None or digest.value == selection.digest:
        return None
    if any(each.marker.part is Part.DIGEST for each in markers):
        return None
    return Change(
        kind=EditKind.SCALAR if selection.digest else EditKind.REMOVE,
        file=digest.file,
        policy=str(choice.policy.key),
        site=site.id,
        scalar=digest,
        value=str(selection.digest) if selection.digest else None,
        document=digest.document,
    )


def written(site: Site) -> list[ScalarRef]:
    """The scalars that an update of the site sets; a name stays, and may be another site's too."""
    return [site.parts[part] for part in (Part.IMAGE, Part.TAG, Part.DIGEST) if part in site.parts]


def keeps(choice: Choice, value: str) -> bool:
    """With IfNotPresent a digest that is there stays as it is."""
    return choice.policy.reflection is DigestReflection.IF_NOT_PRESENT and "@" in value


def marker_current(site: Site, part: Part, scalar: ScalarRef) -> tuple[str | None, str | None]:
    """Tag and digest that a marked scalar holds now; a name or a digest alone borrows the tag beside it."""
    if part is Part.TAG:
        tag, _, digest = scalar.value.partition("@")
        beside = site.parts.get(Part.DIGEST)
        return tag or None, digest or (beside.value if beside is not None else None)
    if part is Part.IMAGE:
        _, tag_, digest_ = split(scalar.value)
        return tag_, digest_
    tag_ref = site.parts.get(Part.TAG) or site.parts.get(Part.IMAGE)
    if tag_ref is not None and tag_ref is not scalar and tag_ref.start != scalar.start:
        text = tag_ref.value
        tag_ = split(text)[1] if tag_ref is site.parts.get(Part.IMAGE) else text.partition("@")[0]
        return tag_, scalar.value if part is Part.DIGEST else None
    return None, scalar.value if part is Part.DIGEST else None


def marked_site(site: Site, claim: MarkerClaim, policies: Mapping[str, ImagePolicy]) -> Site:
    """The site as one of its markers shows it. A lone tag or digest names no image: the marker's policy does."""
    marker = claim.marker
    scalar, image = marker.scalar, site.image
    policy = policies.get(claim.policy or "")
    if not image and scalar is not None:
        if marker.part in (Part.NAME, Part.IMAGE):
            image = scalar.value
        elif policy is not None:
            joint = "@" if marker.part is Part.DIGEST else ":"
            image = policy.image + (joint + scalar.value if scalar.value else "")
    return replace(site, line=marker.line, field=scalar.field if scalar else site.field, image=image)


_VARIABLE = re.compile(r"\$\{.*\}|\$\([^()]*\)|\{\{.*\}\}")


def variable(tag: str | None) -> str | None:
    """The variable in a tag (`${TAG:=1.0}` of Flux's postBuild, `$(TAG)` of `vars`, `{{ tag }}`): no tag, and not ours
    to overwrite.
    """
    found = _VARIABLE.search(tag) if tag else None
    return found.group() if found else None


_ASSIGNMENT = re.compile(r"(-{0,2}[A-Za-z_][\w.-]*=)([^\"'\s]*)")


def assignment(value: str) -> tuple[str, str]:
    """`TAG=1.0.0` of a literal, `--image=web:1.0.0` of arguments: the key, which stays, and what it holds."""
    match = _ASSIGNMENT.fullmatch(value)
    return (match.group(1), match.group(2)) if match else ("", value)


def marker_value(part: Part, current: str, choice: Choice) -> str:
    """What the marker's scalar becomes. A name that means the same image keeps its own spelling."""
    selection = choice.selection
    assert selection is not None
    name = selection.name
    if part is Part.TAG:
        keeps = "@" in current and selection.digest is not None
        return f"{selection.tag}@{selection.digest}" if keeps else selection.tag
    if part is Part.DIGEST:
        return selection.digest or current
    written = split(current)[0] if part is Part.IMAGE else current
    if canonical(written) is not None and canonical(written) == canonical(name):
        name = written
    if part is Part.NAME:
        return name
    return f"{name}:{selection.tag}" + (f"@{selection.digest}" if selection.digest else "")


def composed(site: Site, use: Use, values: Mapping[Part, str]) -> str:
    """What a use renders after its marked scalars got `values`."""
    name, tag, digest = split(use.value)
    if Part.IMAGE in values:
        return values[Part.IMAGE]
    if Part.NAME in values:
        name = values[Part.NAME]
    if Part.TAG in values:
        tag, _, beside = values[Part.TAG].partition("@")
        digest = beside or (digest if site.parts.get(Part.DIGEST) is not None else None)
    if Part.DIGEST in values:
        digest = values[Part.DIGEST]
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
