"""Freeze and ClusterFreeze: nothing is written for a while, and why."""

from __future__ import annotations

from typing import Any, Final

from image_updater.api.decode import At
from image_updater.api.fields import Field, Flag, ListOf, Rule, Struct, Text, Values, check_namespace
from image_updater.api.kinds.automation import SELECTOR
from image_updater.api.kinds.kind import Kind, one_line
from image_updater.api.model import Freeze, LabelSelector, Meta
from image_updater.api.scalars import Instant

REASON: Final = Text(name="reason", check=one_line, remedy="say in one line why")


def _check(values: Values, at: At) -> None:
    starts, expires = values["starts"], values["expires"]
    if starts is not None and expires is not None and expires <= starts:
        at.fail("is not after starts", field="expires", remedy="write a later time, or remove the object")


_HINTS: Final = {
    "until": "write expires",
    "from": "write starts",
    "start": "write starts",
    "end": "write expires",
    "policySelector": "write policies",
    "selector": "write policies",
    "except": "write exceptions",
}

_RULES: Final = (
    Rule(
        cel="!has(self.starts) || !has(self.expires) || self.expires > self.starts || [self.starts, self.expires]"
        ".exists(t, !t.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$'))",
        message="expires is not after starts",
    ),
)
"""Only for times as most people write them, `2024-05-01T12:00:00Z`: as text they compare as times do."""


def _fields(*more: Field) -> tuple[Field, ...]:
    return (
        Field(name="reason", type=REASON, required=True, doc="why, for everybody who asks why nothing moves"),
        Field(name="starts", type=Instant(), shown="at once", doc="from when"),
        Field(name="expires", type=Instant(), shown="when the object is deleted", doc="until when"),
        Field(
            name="allowRollback",
            type=Flag(),
            default=False,
            doc="a rollback after a failed rollout may be written all the same",
        ),
        Field(
            name="policies",
            type=SELECTOR,
            default=LabelSelector(),
            shown="all policies",
            doc="which policies it stops",
        ),
        Field(name="exceptions", type=SELECTOR, shown="none", doc="which of them it does not stop"),
        *more,
    )


def _build(meta: Meta, values: Values) -> Any:
    return Freeze(
        meta=meta,
        reason=values["reason"],
        starts=values["starts"],
        expires=values["expires"],
        allow_rollback=values["allowRollback"],
        policies=values["policies"],
        exceptions=values["exceptions"],
        namespaces=values.get("namespaces", ()),
    )


_COLUMNS: Final = (("Reason", ".spec.reason"), ("Starts", ".spec.starts"), ("Expires", ".spec.expires"))

FREEZE: Final = Kind(
    name="Freeze",
    doc="Nothing is written for policies of its namespace while it lasts.",
    spec=Struct(
        check=_check,
        rules=_RULES,
        hints={**_HINTS, "namespaces": "a Freeze is for its own namespace: write a ClusterFreeze"},
        fields=_fields(),
    ),
    build=_build,
    plural="freezes",
    short="iufreeze",
    columns=_COLUMNS,
)

CLUSTER_FREEZE: Final = Kind(
    name="ClusterFreeze",
    doc="Nothing is written for policies of any namespace while it lasts.",
    spec=Struct(
        check=_check,
        rules=_RULES,
        hints=_HINTS,
        fields=_fields(
            Field(
                name="namespaces",
                type=ListOf(item=Text(name="namespace", check=check_namespace)),
                default=(),
                shown="all",
                doc="whose policies it stops",
            )
        ),
    ),
    build=_build,
    plural="clusterfreezes",
    short="iucfreeze",
    columns=_COLUMNS,
    cluster=True,
)
