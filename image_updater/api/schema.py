"""CustomResourceDefinitions from the fields: `apiextensions.k8s.io/v1`, structural schemas.

The schema never refuses what our parser accepts; what it admits and the parser refuses becomes Stalled/InvalidSpec. So
every object of spec keeps its unknown fields: a mistyped gate reaches us and is named, instead of being dropped by the
server. Fields that are not built yet stand in no schema, for the same end.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import singledispatch
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.durations import format_duration
from image_updater.api.fields import (
    Choice,
    Duration,
    Field,
    Flag,
    Ignored,
    ListOf,
    MapOf,
    Planned,
    Struct,
    Text,
    Type,
    check_label_key,
    check_label_value,
    check_name,
    check_namespace,
)
from image_updater.api.kinds import KINDS
from image_updater.api.kinds.gates import check_file, check_group, check_platform
from image_updater.api.kinds.kind import check_path, check_plain_path
from image_updater.api.kinds.policy import check_image
from image_updater.api.kinds.repository import check_commit, check_url
from image_updater.api.model import GROUP
from image_updater.api.scalars import Instant, Number
from image_updater.api.status import STATUS
from image_updater.api.tags import check_denied, check_digest, check_tag

if TYPE_CHECKING:
    from image_updater.api.fields import Check
    from image_updater.api.kinds import Kind

Schema = dict[str, Any]

VERSION: Final = "v1alpha1"
CATEGORY: Final = "image-updater"

_LABEL: Final = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED: Final = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_TAG: Final = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_PART: Final = "[a-z0-9]+((\\.|_{1,2}|-+)[a-z0-9]+)*"
_HOST: Final = "([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:]+\\])(:[0-9]{1,5})?/"

PATTERNS: Final[dict[Check, tuple[str, int | None]]] = {
    check_name: (f"^{_DNS}(\\.{_DNS})*$", 253),
    check_namespace: (f"^{_LABEL}$", 63),
    check_label_key: (f"^({_DNS}(\\.{_DNS})*/)?{_QUALIFIED}$", 317),
    check_label_value: (f"^({_QUALIFIED})?$", 63),
    check_tag: (f"^{_TAG}$", 128),
    check_denied: (f"^({_TAG}|sha256:[0-9a-f]{{64}}|sha512:[0-9a-f]{{128}})$", 135),
    check_digest: ("^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$", 135),
    check_platform: ("^(fromNodes|[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?)$", 64),
    check_group: (f"^({_DNS}(\\.{_DNS})*)?$", 253),
    check_image: (f"^({_HOST})?{_PART}(/{_PART})*$", 512),
    check_commit: ("^[0-9a-f]{40}([0-9a-f]{24})?$", 64),
    check_url: ("^[^ \\t\\r\\n]+$", None),
    check_path: ("^[^/\\\\]", None),
    check_plain_path: ("^[^/\\\\*?]", None),
    check_file: ("^[^/\\\\*?]", None),
}
"""Checks that a pattern can stand for, and the most characters they let pass. A pattern may let more pass than its
check, never less.
"""

DURATION: Final = "^[+-]?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"
"""Go's `time.ParseDuration`."""

_ROUNDING: Final = "0.5us"
"""Our durations have whole microseconds: what rounds to a bound is within it."""


@singledispatch
def schema(kind: Type) -> Schema:
    """The structural schema of a type."""
    raise TypeError(f"{type(kind).__name__} has no schema")


@schema.register
def _(kind: Text) -> Schema:
    result: Schema = {"type": "string"}
    pattern, longest = PATTERNS.get(kind.check, (None, None)) if kind.check is not None else (None, None)
    if pattern is not None:
        result["pattern"] = pattern
    if longest is not None:
        result["maxLength"] = longest
    if not kind.empty:
        result["minLength"] = 1
    return result


@schema.register
def _(_: Flag) -> Schema:
    return {"type": "boolean"}


@schema.register
def _(kind: Duration) -> Schema:
    result: Schema = {"pattern": DURATION, "maxLength": 64}
    if not kind.minimum:  # `quiet: 0` is a number to everybody but Go
        return {"x-kubernetes-int-or-string": True, **result}
    least = format_duration(kind.minimum)
    rules = [
        {
            "rule": f"duration(self) + duration('{_ROUNDING}') >= duration('{least}')",
            "message": f"must be {least} or more",
        }
    ]
    if kind.maximum is not None:
        most = format_duration(kind.maximum)
        rules.append(
            {
                "rule": f"duration(self) - duration('{_ROUNDING}') <= duration('{most}')",
                "message": f"must be {most} or less",
            }
        )
    return {"type": "string", **result, "x-kubernetes-validations": rules}


@schema.register
def _(kind: Number) -> Schema:
    return {"type": "integer", "format": "int64", "minimum": kind.minimum, "maximum": kind.maximum}


@schema.register
def _(_: Instant) -> Schema:
    # Not `format: date-time`, which is stricter than RFC 3339.
    return {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}", "maxLength": 64}


@schema.register
def _(kind: Choice) -> Schema:
    words: list[str | bool] = [word.value for word in kind.words]
    if not any(kind.means(value) for value in (True, False)):
        return {"type": "string", "enum": words}
    # A word that YAML 1.1 reads as a boolean arrives as one.
    words += [value for value in (False, True) if kind.means(value)]
    return {"x-kubernetes-preserve-unknown-fields": True, "enum": words}


@schema.register
def _(kind: ListOf) -> Schema:
    return {
        "type": "array",
        "items": schema(kind.item),
        "maxItems": kind.maximum,
        "x-kubernetes-list-type": "atomic",
    }


@schema.register
def _(kind: MapOf) -> Schema:
    return {"type": "object", "additionalProperties": schema(kind.value)}


@schema.register
def _(kind: Struct) -> Schema:
    built = [each for each in kind.fields if not isinstance(each.type, Planned | Ignored)]
    result: Schema = {
        "type": "object",
        # Where `{}` means absent, a default inside would make something of it.
        "properties": {each.name: _property(each, defaults=not kind.optional_empty) for each in built},
        "x-kubernetes-preserve-unknown-fields": True,
    }
    required = [each.name for each in built if each.required]
    if required and not kind.optional_empty:
        result["required"] = required
    rules = [{"rule": rule.cel, "message": rule.message} for rule in kind.rules]
    if kind.one_of is not None:
        counted = [each.name for each in built if each.name not in kind.beside]
        given = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in counted)
        names = ", ".join(counted)
        rules.insert(0, {"rule": f"{given} == 1", "message": f"set exactly one of {names}"})
    if rules:
        result["x-kubernetes-validations"] = rules
    return result


def _property(each: Field, *, defaults: bool) -> Schema:
    result = schema(each.type)
    text = each.doc.replace("\\|", "|")
    result["description"] = text[:1].upper() + text[1:] + "."
    default = _default(each.default)
    if defaults and default is not None and each.shown is None and not each.required:
        result["default"] = default
    return result


def _default(value: Any) -> str | None:
    """Defaults that the server writes into objects: words and durations. What is off or empty stays absent."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, timedelta):
        return format_duration(value)
    return value if isinstance(value, str) and value else None


# ------------------------------------------------------------------------------------------- the definitions


def crd(kind: Kind) -> Schema:
    """One CustomResourceDefinition."""
    plural = kind.plural
    spec = schema(kind.spec)
    spec["description"] = "What is wanted."
    properties: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": spec,
    }
    whole: Schema = {"type": "object", "description": kind.doc, "required": ["spec"], "properties": properties}
    if kind.rules:
        whole["x-kubernetes-validations"] = [{"rule": rule.cel, "message": rule.message} for rule in kind.rules]
    version: Schema = {"name": VERSION, "served": True, "storage": True}
    columns = [*(_column(*each) for each in kind.columns), _column("Age", ".metadata.creationTimestamp", "date")]
    if kind.name in STATUS:
        properties["status"] = {**STATUS[kind.name].schema(), "description": "What was decided, done and found."}
        version["subresources"] = {"status": {}}
        columns += [
            _column("Ready", _ready("status")),
            _column("Why", _ready("message")),
            {**_column("Reason", _ready("reason")), "priority": 1},
        ]
    columns += [{**_column(*each), "priority": 1} for each in kind.wide]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "image-updater", "app.kubernetes.io/part-of": "image-updater"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": [CATEGORY],
            },
            "scope": "Cluster" if kind.cluster else "Namespaced",
            "versions": [
                {**version, "additionalPrinterColumns": columns, "schema": {"openAPIV3Schema": whole}},
            ],
        },
    }


def crds() -> list[Schema]:
    """All definitions, in the order of the reference pages. Fresh values: a caller may change them."""
    return [crd(kind) for kind in KINDS.values()]


def _ready(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


def _column(name: str, path: str, kind: str = "string") -> Schema:
    return {"name": name, "type": kind, "jsonPath": path}
