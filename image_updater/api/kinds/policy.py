"""ImagePolicy: one image, which tag wins, what must hold before it may be written."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from image_updater.api.decode import At
from image_updater.api.fields import (
    Choice,
    Duration,
    Field,
    Flag,
    ListOf,
    Rule,
    Struct,
    Text,
    Values,
    check_name,
    reference,
)
from image_updater.api.kinds.gates import AFTER, FROM_NODES, GROUP_NAME, PLATFORMS, VERIFY, WINDOWS
from image_updater.api.kinds.kind import Kind
from image_updater.api.model import (
    AlphabeticalPolicy,
    CalverPolicy,
    DigestPolicy,
    DigestReflection,
    FilterTags,
    HoldUntil,
    ImagePolicy,
    Meta,
    NewestBy,
    NewestPolicy,
    NumericalPolicy,
    Order,
    Provider,
    SemverPolicy,
    Start,
    Strategy,
)
from image_updater.api.scalars import Number
from image_updater.api.tags import check_denied, check_tag
from image_updater.api.wishes import check_wishes

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?/)?{_COMPONENT}(?:/{_COMPONENT})*\Z")


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


def _order(what: str) -> Field:
    return Field(
        name="order",
        type=Choice(words=Order),
        default=Order.ASC,
        doc=f"with `asc` the highest {what} wins, with `desc` the lowest",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    """`spec.policy`."""

    strategy: Strategy
    start: Start


STRATEGIES: Final = Struct(
    one_of="strategies",
    beside=("start",),
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
        Field(
            name="start",
            type=Choice(words=Start),
            default=Start.NEWEST,
            doc="what is taken where nothing is proven here yet (a rebuilt cluster): `newest`, what the strategy says; "
            "`proven`, the last tag that another environment has proven",
        ),
    ),
    build=lambda values: Chooser(
        strategy=next(value for name, value in values.items() if name != "start" and value is not None),
        start=values["start"],
    ),
)


def _check_filter(values: Values, at: At) -> None:
    if values["extract"] is not None and values["pattern"] is None:
        at.fail("needs a pattern to extract from", field="extract", remedy="add filterTags.pattern with a group")


def _check(values: Values, at: At) -> None:
    reflection = values["digestReflectionPolicy"]
    if isinstance(values["policy"].strategy, DigestPolicy) and reflection not in (None, DigestReflection.ALWAYS):
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
        Field(
            name="preflight",
            type=Flag(),
            default=True,
            doc="right before a tag is written, its manifest, its configuration and every layer of each platform must "
            "be there",
        ),
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
        Field(
            name="hold",
            type=Choice(words=HoldUntil),
            default=HoldUntil.NEWER,
            doc="what ends the hold of a tag that a person, or a rollback, has taken back in Git: a tag newer than "
            "that one (or a resume), or a resume alone",
        ),
        Field(
            name="minAge",
            type=Duration(maximum=timedelta(days=3650)),
            default=timedelta(0),
            doc="how long a tag with these bytes must have been there: since it was first seen here, or since the push "
            "that the registry itself records",
        ),
        Field(
            name="platforms",
            type=PLATFORMS,
            default=(),
            shown="any",
            doc="platforms that an image must have, such as `linux/amd64`; `fromNodes` in the list: also those of the "
            "cluster's nodes",
        ),
        Field(name="verify", type=VERIFY, doc="signature that an image must have"),
        Field(
            name="windows", type=WINDOWS, default=(), shown="always", doc="when a tag may be written: in any of these"
        ),
        Field(name="after", type=AFTER, doc="promotion: only what another policy has proven healthy"),
        Field(
            name="group",
            type=GROUP_NAME,
            doc="policies of this namespace with the same group move together, to the same tag, or not at all",
        ),
        Field(
            name="approvals",
            type=Number(maximum=20),
            default=0,
            doc="how many people must agree to a tag: `image-updater approve`",
        ),
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
        strategy=values["policy"].strategy,
        interval=values["interval"],
        timeout=values["timeout"],
        secret_ref=values["secretRef"],
        service_account_name=values["serviceAccountName"],
        provider=values["provider"],
        cert_secret_ref=values["certSecretRef"],
        proxy_secret_ref=values["proxySecretRef"],
        insecure=values["insecure"],
        filter_tags=values["filterTags"],
        reflection=reflection_of(values["policy"].strategy, values["digestReflectionPolicy"]),
        preflight=values["preflight"],
        allow_downgrade=values["allowDowngrade"],
        deny=values["deny"],
        min_age=values["minAge"],
        platforms=tuple(dict.fromkeys(each for each in values["platforms"] if each != FROM_NODES)),
        from_nodes=FROM_NODES in values["platforms"],
        verify=values["verify"],
        windows=values["windows"],
        after=values["after"],
        group=values["group"] or None,
        approvals=values["approvals"],
        hold=values["hold"],
        start=values["policy"].start,
        suspend=values["suspend"],
    )


def _check_whole(meta: Meta, values: Values, at: At) -> None:
    after = values["after"]
    if after is not None and after.name == meta.key.name and after.proven_file is None:
        _fail(
            meta,
            at,
            "spec.after.name",
            "waits for itself",
            "name another policy, or with provenFile the one of the same name elsewhere",
        )
    for error in check_wishes(meta):
        _fail(meta, at, error.where.field or "", error.message, error.remedy)


def _fail(meta: Meta, at: At, field: str, message: str, remedy: str | None) -> None:
    line = meta.source.where(field).line if meta.source.where is not None else at.line
    replace(at, line=line).fail(message, field=field, remedy=remedy)


POLICY: Final = Kind(
    name="ImagePolicy",
    doc="One object per image: where it is, which tag wins, and what must hold before that tag may be written.",
    spec=SPEC,
    build=_build,
    check=_check_whole,
    rules=(
        Rule(
            cel="!has(self.spec.after) || !has(self.spec.after.name) || has(self.spec.after.provenFile) "
            "|| self.spec.after.name != self.metadata.name",
            message="after.name is the policy itself",
        ),
    ),
    plural="imagepolicies",
    short="iupol",
    columns=(
        ("Image", ".spec.image"),
        ("Tag", ".status.latest.tag"),
        ("Since", ".status.latest.since", "date"),
    ),
    wide=(("Hold", ".status.hold.reason"),),
)
