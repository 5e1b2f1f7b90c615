"""What must hold before a tag may be written: the fields of the gates, for the kinds that have them.

Checked here is what can be checked without a registry and a clock: patterns compile, a cron line has five fields, a
time zone is there. What the gates decide is in `policy/gates`.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final

import re2
from cronsim import CronSim, CronSimError

from image_updater.api.decode import At, suggest
from image_updater.api.fields import Choice, Duration, Field, ListOf, Rule, Struct, Text, Values, check_name, reference
from image_updater.api.kinds.kind import PATH_HELP, check_plain_path, clean_path
from image_updater.api.model import After, Keyless, Verify, Window
from image_updater.documents import Node

if TYPE_CHECKING:
    from image_updater.api.decode import Invalid

FROM_NODES: Final = "fromNodes"
"""In the list of platforms: also those of the cluster's nodes."""

MAX_PATTERN: Final = 1024
MAX_WINDOWS: Final = 20

# ------------------------------------------------------------------------------------------- platforms

_PLATFORM: Final = re2.compile(r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$")
_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "x64": "amd64",
    "i386": "386",
    "aarch64": "arm64",
    "armhf": "arm/v7",
    "armv7": "arm/v7",
    "armv6": "arm/v6",
}
"""What other programs call the architectures of images."""


def check_platform(text: str) -> str | None:
    """`os/arch[/variant]` in the words of Go, which images use, or `fromNodes`."""
    if text == FROM_NODES:
        return None
    if text.lower() == FROM_NODES.lower():
        return f"{text!r} is written {FROM_NODES}"
    if not _PLATFORM.search(text) or len(text) > 64:
        return f"{text[:80]!r} is neither os/arch[/variant] nor {FROM_NODES}"
    system, architecture, *_ = text.split("/")
    known = _ARCHITECTURES.get(architecture)
    return f"images call {architecture} {known}: write {system}/{known}" if known is not None else None


PLATFORMS: Final = ListOf(
    item=Text(name="platform", check=check_platform, remedy=f"such as linux/amd64, linux/arm/v7, or {FROM_NODES}"),
    maximum=50,
)

# ------------------------------------------------------------------------------------------- windows

_EARLIEST: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""From where it is looked whether a cron line ever names a moment: before a leap day."""


def check_cron(text: str) -> str | None:
    """Five fields, as Debian's cron reads them, that name at least one moment."""
    count = len(text.split())
    if len(text) > 200:
        return "is too long for a cron line"
    if count != 5:
        return f"{text!r} has {count} field{'' if count == 1 else 's'}, not five"
    try:
        next(CronSim(text, _EARLIEST))
    except CronSimError as exc:
        return f"{text!r} is not a cron line: {str(exc)[:1].lower()}{str(exc)[1:]}"
    except StopIteration:
        return f"{text!r} names no moment in fifty years"
    return None


def check_zone(text: str) -> str | None:
    """A name of the IANA time zone database."""
    return None if text in _zones() else f"{text[:80]!r} is not a time zone"


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - {"localtime", "Factory"})


def suggest_zone(text: str) -> str:
    """The remedy for a zone that is none: `berlin` is `Europe/Berlin`."""
    by_place = {name.rpartition("/")[2]: name for name in sorted(_zones(), reverse=True)}
    word = text.rpartition("/")[2].replace(" ", "_")
    place = suggest(word, by_place)
    if place is not None and place.lower() == word.lower():
        return f"did you mean {by_place[place]!r}?"
    close = suggest(text.replace(" ", "_"), _zones())
    if close is None and place is not None:
        close = by_place[place]
    return f"did you mean {close!r}?" if close is not None else "a name of the IANA database, such as Europe/Berlin"


class Zone(Text):
    """A time zone; a wrong one is answered with the one that was meant."""

    __slots__ = ()

    def read(self, node: Node, at: At) -> str | Invalid:
        before = at.count
        value = Text(name="time zone").read(node, at)
        if at.count > before or not isinstance(value, str):
            return value
        problem = check_zone(value)
        return value if problem is None else at.fail(problem, node=node, remedy=suggest_zone(value))


WINDOW: Final = Struct(
    fields=(
        Field(
            name="cron",
            type=Text(
                name="cron line", check=check_cron, remedy="minute hour day month weekday, such as '0 9 * * 1-5'"
            ),
            required=True,
            doc="when it opens: minute, hour, day of the month, month, day of the week, such as `0 9 * * 1-5`",
        ),
        Field(
            name="duration",
            type=Duration(minimum=timedelta(minutes=1), maximum=timedelta(days=31)),
            required=True,
            doc="how long it stays open",
        ),
        Field(
            name="timeZone",
            type=Zone(name="time zone"),
            default="UTC",
            doc="time zone of the cron line (IANA), such as `Europe/Berlin`",
        ),
    ),
    build=lambda v: Window(cron=" ".join(v["cron"].split()), duration=v["duration"], time_zone=v["timeZone"]),
)

WINDOWS: Final = ListOf(item=WINDOW, maximum=MAX_WINDOWS)

# ------------------------------------------------------------------------------------------- signatures


class VerifyProvider(StrEnum):
    COSIGN = "cosign"


def check_pattern(text: str) -> str | None:
    """An RE2 pattern that compiles."""
    if len(text) > MAX_PATTERN:
        return f"the pattern is longer than {MAX_PATTERN} characters"
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(text, options)
    except re2.error as exc:
        said = exc.args[0] if exc.args else exc
        why = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        return f"{text[:200]!r} is not a regular expression: {why}"
    return None


_PATTERN: Final = Text(
    name="RE2 pattern", check=check_pattern, remedy="RE2 syntax, as in Go; it must match the whole string"
)


def _check_predicate(text: str) -> str | None:
    if ":" in text and not any(c.isspace() for c in text):
        return None
    return f"{text[:120]!r} is not a predicate type, which is a URI"


def _check_keyless(values: Values, at: At) -> None:
    for name in ("issuer", "subject"):
        pattern = f"{name}RegExp"
        if values[name] is not None and values[pattern] is not None:
            at.fail(f"has {name} and {pattern}", field=pattern, remedy="keep one of the two")
        if values[name] is None and values[pattern] is None:
            at.fail(
                f"names no {name}: anybody's signature would do",
                field=name,
                remedy=f"write {name}, or {pattern} with an RE2 pattern",
            )


KEYLESS: Final = Struct(
    check=_check_keyless,
    rules=tuple(
        Rule(cel=f"has(self.{name}) != has(self.{name}RegExp)", message=f"write one of {name} and {name}RegExp")
        for name in ("issuer", "subject")
    ),
    hints={
        "identity": "write subject",
        "certificateIdentity": "write subject",
        "certificateOidcIssuer": "write issuer",
        "issuerRegex": "write issuerRegExp",
        "subjectRegex": "write subjectRegExp",
    },
    fields=(
        Field(
            name="issuer",
            type=Text(),
            doc="who vouched for the signer, such as `https://token.actions.githubusercontent.com`",
        ),
        Field(name="issuerRegExp", type=_PATTERN, doc="the same as an RE2 pattern for the whole string"),
        Field(
            name="subject",
            type=Text(),
            doc="who signed, such as `https://github.com/acme/web/.github/workflows/release.yml@refs/heads/main`",
        ),
        Field(name="subjectRegExp", type=_PATTERN, doc="the same as an RE2 pattern for the whole string"),
    ),
    build=lambda v: Keyless(
        issuer=v["issuer"],
        subject=v["subject"],
        issuer_pattern=v["issuerRegExp"],
        subject_pattern=v["subjectRegExp"],
    ),
)


def _check_verify(values: Values, at: At) -> None:
    key, keyless = values["secretRef"] is not None, values["keyless"] is not None
    if key and keyless:
        at.fail("has secretRef and keyless", field="keyless", remedy="keep one: public keys, or keyless")
    if not key and not keyless:
        at.fail(
            "says neither secretRef nor keyless: anybody's signature would do",
            remedy="write secretRef with public keys, or keyless with issuer and subject",
        )
    if values["trustRootSecretRef"] is not None and not keyless:
        at.fail(
            "is for keyless signatures only",
            field="trustRootSecretRef",
            remedy="remove it, or write keyless with issuer and subject",
        )


VERIFY: Final = Struct(
    optional_empty=True,
    check=_check_verify,
    rules=(
        Rule(
            # `{}`, of the whole and of a reference, is nothing.
            cel="(has(self.secretRef) && has(self.secretRef.name)) != has(self.keyless) || !(has(self.secretRef) "
            "|| has(self.keyless) || has(self.provider) || has(self.trustRootSecretRef) || has(self.attestations))",
            message="write one of secretRef and keyless",
        ),
        Rule(
            cel="!has(self.trustRootSecretRef) || !has(self.trustRootSecretRef.name) || has(self.keyless)",
            message="trustRootSecretRef needs keyless",
        ),
    ),
    hints={
        "matchOIDCIdentity": "write keyless: {issuer: …, subject: …}",
        "key": "put the public key into a Secret: secretRef",
        "attestation": "write attestations: [PREDICATE TYPE]",
    },
    fields=(
        Field(
            name="provider",
            type=Choice(words=VerifyProvider, hints={"notation": "write cosign: no other is verified"}),
            default=VerifyProvider.COSIGN,
            doc="how images are signed",
        ),
        Field(
            name="secretRef",
            type=reference("public keys"),
            doc="Secret with public keys (`*.pub`, `*.pem`): one of them must have signed",
        ),
        Field(
            name="keyless",
            type=KEYLESS,
            doc="who must have signed, as the certificate says: needs the extra `keyless`",
        ),
        Field(
            name="trustRootSecretRef",
            type=reference("trust root"),
            shown="Sigstore's own, as it came with the package",
            doc="Secret with `trusted_root.json` of a private Sigstore",
        ),
        Field(
            name="attestations",
            type=ListOf(
                item=Text(
                    name="predicate type",
                    check=_check_predicate,
                    remedy="such as https://slsa.dev/provenance/v1 or https://spdx.dev/Document",
                ),
                maximum=20,
            ),
            default=(),
            doc="predicate types of attestations that must be there too, signed alike",
        ),
    ),
    build=lambda v: Verify(
        secret_ref=v["secretRef"],
        keyless=v["keyless"],
        trust_root=v["trustRootSecretRef"],
        attestations=tuple(dict.fromkeys(v["attestations"])),
    ),
)

# ------------------------------------------------------------------------------------------- promotion


def check_file(text: str) -> str | None:
    """A file below the top of the repository."""
    if text.endswith("/") or clean_path(text) == ".":
        return f"{text!r} names a folder"
    if text.split("/")[0] == ".git":
        return f"{text!r} is Git's own"
    return check_plain_path(text)


PROVEN_FILE: Final = Text(name="path", check=check_file, clean=clean_path, remedy=PATH_HELP)

AFTER: Final = Struct(
    optional_empty=True,
    fields=(
        Field(
            name="name",
            type=Text(name="object name", check=check_name),
            required=True,
            doc="ImagePolicy of the same namespace that must have proven the tag",
        ),
        Field(
            name="soak",
            type=Duration(maximum=timedelta(days=365)),
            default=timedelta(0),
            doc="how long it must have been healthy there",
        ),
        Field(
            name="provenFile",
            type=PROVEN_FILE,
            doc="where that policy is another controller's: the file of the branch in which it says what it has proven",
        ),
    ),
    build=lambda v: After(name=v["name"], soak=v["soak"], proven_file=v["provenFile"]),
)


def check_group(text: str) -> str | None:
    """A word; empty is none."""
    return check_name(text) if text else None


GROUP_NAME: Final = Text(name="name", check=check_group, empty=True, remedy="a name such as checkout")
