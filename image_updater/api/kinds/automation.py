"""ImageUpdateAutomation: which policies are written where, and how the commit looks."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from image_updater.api.decode import At
from image_updater.api.fields import (
    Choice,
    Duration,
    Field,
    Flag,
    ListOf,
    MapOf,
    Planned,
    Rule,
    Struct,
    Text,
    Values,
    check_label_key,
    check_label_value,
    check_namespace,
    reference,
)
from image_updater.api.kinds.gates import PROVEN_FILE, WINDOWS
from image_updater.api.kinds.kind import (
    BRANCH_HELP,
    PATH_HELP,
    Kind,
    check_branch,
    check_path,
    check_plain_path,
    clean_path,
    one_line,
)
from image_updater.api.model import (
    Author,
    Batch,
    Commit,
    ImageUpdateAutomation,
    LabelSelector,
    Meta,
    ObjectKey,
    ProofLevel,
    Update,
    UpdateStrategy,
)


class SourceKind(StrEnum):
    GIT_REPOSITORY = "GitRepository"


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


_EMAIL = re.compile(r"[^\s<>@]+@[^\s<>@]+\Z")


def _check_email(text: str) -> str | None:
    return None if _EMAIL.match(text) else f"{text[:120]!r} is not an e-mail address"


def _check_author(text: str) -> str | None:
    return one_line(text) or (
        "has < or > in it, which Git does not allow in a name" if "<" in text or ">" in text else None
    )


def _check_expression(values: Values, at: At) -> None:
    takes_values = values["operator"] in (Operator.IN, Operator.NOT_IN)
    if takes_values and not values["values"]:
        at.fail(f"{values['operator'].value} needs values", field="values", remedy="list them: values: [A, B]")
    if not takes_values and values["values"]:
        at.fail(f"{values['operator'].value} takes no values", field="values", remedy="remove them")


_LABEL_VALUE: Final = Text(name="label value", check=check_label_value, empty=True)

SELECTOR: Final = Struct(
    fields=(
        Field(
            name="matchLabels",
            type=MapOf(value=_LABEL_VALUE, key=Text(check=check_label_key)),
            default={},
            doc="labels that a policy must have",
        ),
        Field(
            name="matchExpressions",
            default=(),
            doc="conditions on labels",
            type=ListOf(
                item=Struct(
                    check=_check_expression,
                    rules=(
                        Rule(
                            cel="self.operator in ['In', 'NotIn'] == (has(self.values) && size(self.values) > 0)",
                            message="In and NotIn need values, Exists and DoesNotExist take none",
                        ),
                    ),
                    fields=(
                        Field(
                            name="key",
                            type=Text(name="label key", check=check_label_key),
                            required=True,
                            doc="the label",
                        ),
                        Field(name="operator", type=Choice(words=Operator), required=True, doc="the condition"),
                        Field(name="values", type=ListOf(item=_LABEL_VALUE), default=(), doc="values of In and NotIn"),
                    ),
                    build=lambda v: (v["key"], v["operator"].value, v["values"]),
                )
            ),
        ),
    ),
    build=lambda v: LabelSelector(match_labels=v["matchLabels"], match_expressions=v["matchExpressions"]),
)

SOURCE_REF: Final = reference(
    "the GitRepository",
    fields=(
        Field(name="kind", type=Choice(words=SourceKind), default=SourceKind.GIT_REPOSITORY, doc="kind of the source"),
        Field(
            name="namespace",
            type=Text(name="namespace", check=check_namespace),
            shown="that of the object",
            doc="namespace of the source",
        ),
        Field(name="apiVersion", type=Text(), doc="accepted as in Flux, not used"),
    ),
)


def source_key(meta: Meta, values: Values | None) -> ObjectKey | None:
    """The key that a `sourceRef` names; its namespace defaults to the object's."""
    if values is None:
        return None
    return ObjectKey(namespace=values["namespace"] or meta.key.namespace, name=values["name"])


def _paths(values: tuple[str, ...]) -> tuple[str, ...]:
    return () if "." in values else tuple(dict.fromkeys(values))


UPDATE: Final = Struct(
    hints={"path": "write paths: [FOLDER, …]"},
    fields=(
        Field(
            name="paths",
            type=ListOf(item=Text(name="path", check=check_plain_path, clean=clean_path, remedy=PATH_HELP)),
            default=(),
            shown="the whole repository",
            doc="folders and files that may be edited; roots outside them must render as before",
        ),
        Field(
            name="exclude",
            type=ListOf(item=Text(name="glob", check=check_path, remedy=PATH_HELP)),
            default=(),
            doc="files that are left alone, such as `**/vendor/**`",
        ),
        Field(
            name="strategy",
            type=Choice(words=UpdateStrategy),
            default=UpdateStrategy.AUTO,
            doc="`Auto`: Kustomize-aware, annotations and markers; `Setters`: only lines with a marker",
        ),
        Field(
            name="proof",
            type=Choice(words=ProofLevel),
            default=ProofLevel.PARSED,
            doc="the weakest proof that is enough where a root cannot be built",
        ),
        Field(
            name="followRefs",
            type=Flag(),
            default=True,
            doc="the `?ref=` of a remote base that equals the old tag moves with it",
        ),
        Field(name="patches", type=Flag(), default=False, doc="also edit images that a Kustomize patch sets"),
    ),
    build=lambda v: Update(
        paths=_paths(v["paths"]),
        exclude=v["exclude"],
        strategy=v["strategy"],
        proof=v["proof"],
        follow_refs=v["followRefs"],
        patches=v["patches"],
    ),
)

_AUTHOR: Final = Author()

COMMIT: Final = Struct(
    fields=(
        Field(
            name="author",
            default=_AUTHOR,
            doc="author and committer",
            shown=f"`{_AUTHOR.name} <{_AUTHOR.email}>`",
            type=Struct(
                fields=(
                    Field(
                        name="name",
                        type=Text(
                            name="name", check=_check_author, remedy="write a name of one line, such as Image Bot"
                        ),
                        default=_AUTHOR.name,
                        doc="name",
                    ),
                    Field(
                        name="email",
                        type=Text(name="e-mail address", check=_check_email, remedy="such as bot@example.com"),
                        default=_AUTHOR.email,
                        doc="e-mail address",
                    ),
                ),
                build=lambda v: Author(name=v["name"], email=v["email"]),
            ),
        ),
        Field(
            name="messageTemplate",
            type=Text(name="Jinja2 template"),
            shown="subject and one line a change",
            doc="the message above the trailers",
        ),
        Field(
            name="messageTemplateValues",
            type=MapOf(value=Text(empty=True)),
            default={},
            doc="what the template sees as `Values`",
        ),
        Field(
            name="signingKey",
            doc="sign the commits",
            type=Struct(
                optional_empty=True,
                hints={"type": "the kind of key is seen from the Secret"},
                fields=(
                    Field(
                        name="secretRef",
                        type=reference("signing key"),
                        required=True,
                        doc="Secret with `git.asc` and `passphrase` (OpenPGP), or `identity` and `password` (SSH)",
                    ),
                ),
                build=lambda v: v["secretRef"],
            ),
        ),
    ),
    build=lambda v: Commit(
        author=v["author"],
        message_template=v["messageTemplate"],
        message_template_values=v["messageTemplateValues"],
        signing_key=v["signingKey"],
    ),
)

PUSH: Final = Struct(
    hints={"refspec": "only a branch can be pushed to", "options": "push options are not sent"},
    fields=(
        Field(
            name="branch",
            type=Text(name="branch", check=check_branch, remedy=BRANCH_HELP),
            shown="the branch that is read",
            doc="branch to push to; another one than the branch read is rebuilt from it each time",
        ),
        Field(name="pullRequest", type=Planned(), doc="open a pull request instead of pushing"),
    ),
    build=lambda v: v["branch"],
)

GIT: Final = Struct(
    hints={"checkout": "the branch comes from spec.ref of the GitRepository"},
    fields=(
        Field(name="commit", type=COMMIT, default=Commit(), shown="see below", doc="what the commits look like"),
        Field(name="push", type=PUSH, shown="the branch that is read", doc="where they go"),
        Field(
            name="provenFile",
            type=PROVEN_FILE,
            doc="file of the branch in which is kept what the policies have proven, for `after` of other controllers",
        ),
    ),
)

_BATCH: Final = Batch()


def _check_batch(values: Values, at: At) -> None:
    longest = values["max"]
    if longest is not None and longest < values["quiet"]:
        at.fail("is shorter than quiet, which would never end", field="max", remedy="raise max, or lower quiet")


BATCH: Final = Struct(
    check=_check_batch,
    fields=(
        Field(
            name="quiet",
            type=Duration(maximum=timedelta(hours=1)),
            default=_BATCH.quiet,
            doc="wait until nothing has changed for so long",
        ),
        Field(
            name="max",
            type=Duration(maximum=timedelta(hours=24)),
            shown="`5s`, or quiet where that is longer",
            doc="never wait longer than this",
        ),
    ),
    build=lambda v: Batch(quiet=v["quiet"], max=v["max"] if v["max"] is not None else max(_BATCH.max, v["quiet"])),
)

SPEC: Final = Struct(
    fields=(
        Field(
            name="sourceRef",
            type=SOURCE_REF,
            doc="the GitRepository that is written to; not contacted by `update PATH`",
        ),
        Field(
            name="policySelector",
            type=SELECTOR,
            default=LabelSelector(),
            shown="all policies of the namespace",
            doc="which policies are written",
        ),
        Field(
            name="interval",
            type=Duration(minimum=timedelta(seconds=1)),
            default=timedelta(minutes=1),
            doc="how often it is looked whether Git still says what the policies say",
        ),
        Field(name="update", type=UPDATE, default=Update(), shown="see below", doc="what may be edited, and how"),
        Field(name="git", type=GIT, shown="see below", doc="commit and push"),
        Field(
            name="batch", type=BATCH, default=_BATCH, shown="see below", doc="how changes are gathered into one push"
        ),
        Field(name="suspend", type=Flag(), default=False, doc="nothing is written"),
        Field(
            name="windows",
            type=WINDOWS,
            default=(),
            shown="always",
            doc="when it may write: in any of these, beside those of a policy",
        ),
    ),
)


def _build(meta: Meta, values: Values) -> Any:
    git: Values = values["git"] or {"commit": Commit(), "push": None, "provenFile": None}
    return ImageUpdateAutomation(
        meta=meta,
        source_ref=source_key(meta, values["sourceRef"]),
        policy_selector=values["policySelector"],
        interval=values["interval"],
        update=values["update"],
        commit=git["commit"],
        push_branch=git["push"],
        batch=values["batch"],
        windows=values["windows"],
        proven_file=git["provenFile"],
        suspend=values["suspend"],
    )


AUTOMATION: Final = Kind(
    name="ImageUpdateAutomation",
    doc="Which policies are written to which repository, where in it, and what the commits look like.",
    spec=SPEC,
    build=_build,
    plural="imageupdateautomations",
    short="iuauto",
    columns=(
        ("Repository", ".spec.sourceRef.name"),
        ("Commit", ".status.lastPushCommit"),
        ("Pushed", ".status.lastPushTime", "date"),
    ),
)
