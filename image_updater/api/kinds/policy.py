"""ImagePolicy: one image, which tag wins, what must hold before it may be written."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

from image_updater.api.decode import At
from image_updater.api.fields import (
    Choice,
    Duration,
    Field,
    Flag,
    ListOf,
    Planned,
    Rule,
    Struct,
    Text,
    Values,
    check_name,
    reference,
)
from image_updater.api.kinds.kind import Kind
from image_updater.api.model import (
    AlphabeticalPolicy,
    CalverPolicy,
    DigestPolicy,
    DigestReflection,
    FilterTags,
    ImagePolicy,
    Meta,
    NewestBy,
    NewestPolicy,
    NumericalPolicy,
    Order,
    Provider,
    SemverPolicy,
    Strategy,
)

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z|sha512:[0-9a-f]{128}\Z")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?/)?{_COMPONENT}(?:/{_COMPONENT})*\Z")


def check_tag(text: str) -> str | None:
    """A legal tag (distribution specification, `<reference>`)."""
    return None if _TAG.match(text) else f"{text[:140]!r} is not a tag (letters, digits, '_', '.', '-'; at most 128)"


def check_image(text: str) -> str | None:
    """An image name without scheme, tag and digest (their grammar in full is `images/names.py`)."""
    if "://" in text:
        return f"{text!r} has a scheme: write the name alone, and `insecure: true` for plain HTTP"
    if "@" in text:
        return f"{text!r} has a digest: the policy chooses it"
    head, colon, tail = text.rpartition(":")
    if colon and "/" not in tail and not (head.startswith("[") and "/" not in head):
        return f"{text!r} has a tag: name the image alone, the policy chooses the tag"
    if not _NAME.match(text) or len(text) > 512:
        upper = text != text.lower() and _NAME.match(text.lower())
        return f"{text[:200]!r} is not an image name" + (": repositories are lower case" if upper else "")
    return None


def check_denied(text: str) -> str | None:
    return (
        None
        if _TAG.match(text) or _DIGEST.match(text)
        else f"{text[:140]!r} is neither a tag nor a digest (sha256:<64 hex digits>)"
    )


def _order(what: str) -> Field:
    return Field(
        name="order",
        type=Choice(words=Order),
        default=Order.ASC,
        doc=f"with `asc` the highest {what} wins, with `desc` the lowest",
    )


STRATEGIES: Final = Struct(
    one_of="strategies",
    doc="Exactly one strategy.",
    hints={
        "regex": "filter with spec.filterTags",
        "latest": "use newest, or digest: {tag: latest}",
        "name": "use alphabetical",
    },
    fields=(
        Field(
            name="semver",
            doc="the highest version in a range",
            type=Struct(
                fields=(
                    Field(
                        name="range",
                        required=True,
                        type=Text(),
                        doc="Masterminds range such as `^1.2` or `>=1.0 <2`; a pre-release in it lets pre-releases in",
                    ),
                    Field(
                        name="prereleases",
                        type=Flag(),
                        default=False,
                        doc="let pre-releases in whatever the range says",
                    ),
                    Field(
                        name="loose",
                        type=Flag(),
                        default=False,
                        doc="take tags with one or two numeric parts as versions too",
                    ),
                ),
                build=lambda v: SemverPolicy(range=v["range"], prereleases=v["prereleases"], loose=v["loose"]),
            ),
        ),
        Field(
            name="numerical",
            doc="the highest number",
            type=Struct(fields=(_order("number"),), build=lambda v: NumericalPolicy(order=v["order"])),
        ),
        Field(
            name="alphabetical",
            doc="the last in byte order",
            type=Struct(fields=(_order("in byte order"),), build=lambda v: AlphabeticalPolicy(order=v["order"])),
        ),
        Field(
            name="calver",
            doc="the latest calendar version",
            type=Struct(
                fields=(
                    Field(name="format", type=Text(), required=True, doc="calver.org format such as `YYYY.0M.MICRO`"),
                ),
                build=lambda v: CalverPolicy(format=v["format"]),
            ),
        ),
        Field(
            name="newest",
            doc="the image with the latest date",
            type=Struct(
                fields=(
                    Field(
                        name="by",
                        type=Choice(words=NewestBy),
                        default=NewestBy.CREATED,
                        doc="of the build, of the push (if the registry records it), or when we first saw the tag",
                    ),
                ),
                build=lambda v: NewestPolicy(by=v["by"]),
            ),
        ),
        Field(
            name="digest",
            doc="follow a mutable tag by its digest",
            type=Struct(
                fields=(
                    Field(
                        name="tag",
                        type=Text(name="tag", check=check_tag),
                        required=True,
                        doc="the tag to follow, such as `latest`",
                    ),
                ),
                build=lambda v: DigestPolicy(tag=v["tag"]),
            ),
        ),
    ),
    build=lambda values: next(value for value in values.values() if value is not None),
)


def _check_filter(values: Values, at: At) -> None:
    if values["extract"] is not None and values["pattern"] is None:
        at.fail("needs a pattern to extract from", field="extract", remedy="add filterTags.pattern with a group")


def _check(values: Values, at: At) -> None:
    reflection = values["digestReflectionPolicy"]
    if isinstance(values["policy"], DigestPolicy) and reflection not in (None, DigestReflection.ALWAYS):
        at.fail(
            f"{reflection.value} contradicts policy.digest, which follows a tag by writing its digest",
            field="digestReflectionPolicy",
            remedy="remove the field, or write Always",
        )


SPEC: Final = Struct(
    check=_check,
    rules=(
        Rule(
            cel="!has(self.policy.digest) || !has(self.digestReflectionPolicy) "
            "|| self.digestReflectionPolicy == 'Always'",
            message="policy.digest implies digestReflectionPolicy: Always",
        ),
    ),
    hints={
        "imageRepositoryRef": "there is no ImageRepository here: name the image in spec.image",
        "exclusionList": "use filterTags.exclude",
        "accessFrom": "policies are used in their own namespace",
        "tag": "the policy chooses the tag: see spec.policy",
    },
    fields=(
        Field(
            name="image",
            type=Text(name="image name", check=check_image, remedy="such as ghcr.io/acme/web"),
            required=True,
            doc="where the image is, without scheme, tag and digest",
        ),
        Field(name="policy", type=STRATEGIES, required=True, doc="which tag wins: exactly one strategy"),
        Field(
            name="filterTags",
            doc="which tags take part",
            default=FilterTags(),
            shown="all tags; cosign's own are always out",
            type=Struct(
                check=_check_filter,
                rules=(Rule(cel="!has(self.extract) || has(self.pattern)", message="extract needs a pattern"),),
                fields=(
                    Field(
                        name="pattern",
                        type=Text(name="RE2 pattern"),
                        doc="a tag takes part when this is found in it (not anchored)",
                    ),
                    Field(
                        name="extract",
                        type=Text(name="template"),
                        doc="what the strategy sees instead of the tag: `$1`, `$name`, `${name}`",
                    ),
                    Field(
                        name="exclude",
                        type=ListOf(item=Text(name="RE2 pattern"), maximum=100),
                        default=(),
                        doc="tags in which one of these is found are out",
                    ),
                ),
                build=lambda v: FilterTags(pattern=v["pattern"], extract=v["extract"], exclude=v["exclude"]),
            ),
        ),
        Field(
            name="interval",
            type=Duration(minimum=timedelta(seconds=1)),
            default=timedelta(minutes=5),
            doc="how often the tags are listed, give or take a tenth",
        ),
        Field(
            name="timeout",
            type=Duration(minimum=timedelta(seconds=1), maximum=timedelta(hours=1)),
            default=timedelta(seconds=30),
            doc="the longest one request to the registry may take",
        ),
        Field(
            name="secretRef",
            type=reference("registry login"),
            doc="Secret with the registry login (`.dockerconfigjson`, or `username` and `password`)",
        ),
        Field(
            name="serviceAccountName",
            type=Text(name="object name", check=check_name),
            shown="`default`",
            doc="service account whose pull secrets are used where there is no secretRef; ignored without a cluster",
        ),
        Field(
            name="provider",
            type=Choice(words=Provider),
            default=Provider.GENERIC,
            doc="cloud whose identity logs in to its registry",
        ),
        Field(
            name="certSecretRef",
            type=reference("CA"),
            doc="Secret with `ca.crt`, and `tls.crt` with `tls.key` for mTLS",
        ),
        Field(
            name="proxySecretRef", type=reference("proxy"), doc="Secret with `address`, and `username` with `password`"
        ),
        Field(name="insecure", type=Flag(), default=False, doc="the registry speaks plain HTTP"),
        Field(
            name="digestReflectionPolicy",
            type=Choice(words=DigestReflection),
            shown="`Never`; `Always` with policy.digest",
            doc="also write the digest: never, when the tag is first chosen, or whenever it moves",
        ),
        Field(name="preflight", type=Flag(), default=True, doc="accepted in either value; nothing is checked yet"),
        Field(name="allowDowngrade", type=Flag(), default=False, doc="an older tag than the one in Git may be written"),
        Field(
            name="deny",
            type=ListOf(
                item=Text(name="tag or digest", check=check_denied, remedy="name one whole tag or digest an item")
            ),
            default=(),
            doc="tags and digests that nobody may choose",
        ),
        Field(name="suspend", type=Flag(), default=False, doc="the policy is not evaluated and writes nothing"),
        Field(name="minAge", type=Planned(), doc="how long a tag must have been there"),
        Field(name="platforms", type=Planned(), doc="platforms that an image must have"),
        Field(name="verify", type=Planned(), doc="signature that an image must have"),
        Field(name="windows", type=Planned(), doc="when a tag may be written"),
        Field(name="after", type=Planned(), doc="policy that must have proven the tag first"),
        Field(name="group", type=Planned(), doc="policies that move together"),
        Field(name="approvals", type=Planned(), doc="people who must agree"),
    ),
)


def reflection_of(strategy: Strategy, stated: DigestReflection | None) -> DigestReflection:
    """The digest setting in force: following a mutable tag implies Always."""
    if isinstance(strategy, DigestPolicy):
        return DigestReflection.ALWAYS
    return stated or DigestReflection.NEVER


def _build(meta: Meta, values: Values) -> Any:
    return ImagePolicy(
        meta=meta,
        image=values["image"],
        strategy=values["policy"],
        interval=values["interval"],
        timeout=values["timeout"],
        secret_ref=values["secretRef"],
        service_account_name=values["serviceAccountName"],
        provider=values["provider"],
        cert_secret_ref=values["certSecretRef"],
        proxy_secret_ref=values["proxySecretRef"],
        insecure=values["insecure"],
        filter_tags=values["filterTags"],
        reflection=reflection_of(values["policy"], values["digestReflectionPolicy"]),
        preflight=values["preflight"],
        allow_downgrade=values["allowDowngrade"],
        deny=values["deny"],
        suspend=values["suspend"],
    )


POLICY: Final = Kind(
    name="ImagePolicy",
    doc="One object per image: where it is, which tag wins, and what must hold before that tag may be written.",
    spec=SPEC,
    build=_build,
    plural="imagepolicies",
    short="iupol",
    columns=(
        ("Image", ".spec.image"),
        ("Tag", ".status.latest.tag"),
        ("Since", ".status.latest.since", "date"),
    ),
)
