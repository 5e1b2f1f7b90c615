"""GitRepository: where Git is, and how we are known there."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from image_updater.api.decode import At
from image_updater.api.fields import Choice, Duration, Field, Flag, Rule, Struct, Text, Values, reference
from image_updater.api.kinds.kind import BRANCH_HELP, Kind, check_branch
from image_updater.api.model import GitRef, GitRepository, GitVerification, Meta, VerifyMode

_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9._-]+:(?!//)[^\s]+\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")


def check_url(text: str) -> str | None:
    """https, http, ssh (also `git@host:path`) or file; never a password in it, and never echoed when there is one."""
    if any(c.isspace() or ord(c) < 32 for c in text):
        return "the URL has white space in it"
    scheme, sep, _ = text.partition("://")
    if not sep:
        return None if _SCP.match(text) else f"{text!r} is not a Git URL"
    if scheme not in ("https", "http", "ssh", "file"):
        return f"{scheme}:// is not supported"
    try:
        parts = urlsplit(text)
        host, password = parts.hostname, parts.password
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if password is not None:
        return "the URL has a password in it"
    if scheme == "file":
        return (
            None
            if not host and parts.path.startswith("/")
            else f"{text!r} needs an absolute path: file:///srv/fleet.git"
        )
    return None if host and parts.path.strip("/") else f"{text!r} names no host or no repository"


def check_commit(text: str) -> str | None:
    return None if _COMMIT.match(text) else f"{text[:80]!r} is not a full commit id (40 or 64 hex digits)"


def _check_ref(values: Values, at: At) -> None:
    given = [name for name in ("branch", "tag", "commit") if values[name] is not None]
    if len(given) > 1:
        at.fail(f"has {' and '.join(given)}", remedy="keep exactly one of branch, tag, commit")


SPEC: Final = Struct(
    hints={
        "provider": "logins come from spec.secretRef (a GitHub App is one of its forms)",
        "ignore": "use update.paths and update.exclude of the ImageUpdateAutomation",
        "include": "other repositories are not included",
        "recurseSubmodules": "submodules are reported, never followed",
        "sparseCheckout": "nothing is checked out: commits are made on Git's own objects",
        "branch": "write ref: {branch: …}",
    },
    fields=(
        Field(
            name="url",
            type=Text(
                name="Git URL",
                check=check_url,
                remedy="https://host/path, ssh://git@host/path or git@host:path; logins go into spec.secretRef",
            ),
            required=True,
            doc="https, http, ssh (also `git@host:path`) or file URL, without a password",
        ),
        Field(
            name="ref",
            default=GitRef(),
            shown="the remote's default branch",
            doc="what is read: one of branch, tag, commit; only branches can be written to",
            type=Struct(
                check=_check_ref,
                rules=(
                    Rule(
                        cel="(has(self.branch) ? 1 : 0) + (has(self.tag) ? 1 : 0) + (has(self.commit) ? 1 : 0) <= 1",
                        message="keep one of branch, tag, commit",
                    ),
                ),
                optional_empty=True,
                hints={"semver": "write the tag", "name": "write branch, tag or commit"},
                fields=(
                    Field(
                        name="branch",
                        type=Text(name="branch", check=check_branch, remedy=BRANCH_HELP),
                        doc="branch name",
                    ),
                    Field(name="tag", type=Text(name="tag", check=check_branch, remedy=BRANCH_HELP), doc="tag name"),
                    Field(
                        name="commit",
                        type=Text(name="commit id", check=check_commit, remedy="git rev-parse HEAD prints one"),
                        doc="full commit id",
                    ),
                ),
                build=lambda v: GitRef(branch=v["branch"], tag=v["tag"], commit=v["commit"]),
            ),
        ),
        Field(
            name="secretRef",
            type=reference("Git login"),
            doc="Secret with the login: `username` and `password`, `bearerToken`, "
            "`identity` and `known_hosts`, or a GitHub App's `githubApp…` keys",
        ),
        Field(name="certSecretRef", type=reference("CA"), doc="Secret with `ca.crt`: trusted for this repository only"),
        Field(
            name="proxySecretRef", type=reference("proxy"), doc="Secret with `address`, and `username` with `password`"
        ),
        Field(
            name="interval",
            type=Duration(minimum=timedelta(seconds=1)),
            default=timedelta(minutes=1),
            doc="how often the branch is looked at",
        ),
        Field(
            name="timeout",
            type=Duration(minimum=timedelta(seconds=1), maximum=timedelta(hours=1)),
            default=timedelta(seconds=60),
            doc="the longest one fetch or push may take",
        ),
        Field(
            name="verify",
            doc="only commits signed by these keys are read",
            type=Struct(
                optional_empty=True,
                fields=(
                    Field(
                        name="mode",
                        type=Choice(words=VerifyMode),
                        default=VerifyMode.HEAD,
                        doc="what must be signed: the commit, the tag, or both",
                    ),
                    Field(
                        name="secretRef",
                        type=reference("keys"),
                        required=True,
                        doc="Secret with the keys: `*.asc` OpenPGP, `*.sshpub` or `*.pub` SSH",
                    ),
                ),
                build=lambda v: GitVerification(secret_ref=v["secretRef"], mode=v["mode"]),
            ),
        ),
        Field(name="suspend", type=Flag(), default=False, doc="nothing is fetched from it or pushed to it"),
    ),
)


def _build(meta: Meta, values: Values) -> Any:
    return GitRepository(
        meta=meta,
        url=values["url"],
        ref=values["ref"],
        interval=values["interval"],
        timeout=values["timeout"],
        secret_ref=values["secretRef"],
        cert_secret_ref=values["certSecretRef"],
        proxy_secret_ref=values["proxySecretRef"],
        verify=values["verify"],
        suspend=values["suspend"],
    )


REPOSITORY: Final = Kind(
    name="GitRepository",
    doc="A Git repository and how we are known there.",
    spec=SPEC,
    build=_build,
    plural="gitrepositories",
    short="iurepo",
    columns=(("URL", ".spec.url"), ("Revision", ".status.revision")),
)
