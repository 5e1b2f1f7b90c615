"""Who set which field: the algebra of `metadata.managedFields` (`fieldsV1`, structured-merge-diff's path sets).

A set is a nested mapping. Its keys are `f:<field>`, `k:<key fields as JSON>` and `v:<value>` for items of lists,
`i:<n>` for positions, and `.` for the node itself where it has members too; `{}` is a member without members.

Taking over is how a field that left Git leaves the cluster even though another tool applied it: the server removes,
at our next apply, what our entry of the last apply holds and the manifest does not. So the other tool's entries are
merged into ours; what they hold of status, and entries of subresources, stay theirs.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from image_updater.sync.drift import LAST_APPLIED, difference
from image_updater.sync.model import MANAGER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from image_updater.cluster.model import Body

__all__ = ["APPLIERS", "EDITORS", "WRITERS", "covered", "difference", "own_fields", "subtract", "take_over", "union"]

Fields: TypeAlias = dict[str, Any]

APPLIERS: Final = frozenset({"argocd-controller", "kubectl", "kubectl-last-applied", "kustomize-controller"})
"""Managers of server-side applies whose objects come from Git, or from a hand that it replaces. kubectl keeps its
annotation under a name of its own when an object goes from one kind of apply to the other."""

WRITERS: Final = frozenset(
    {
        "argocd-controller",
        "before-first-apply",
        "kubectl",
        "kubectl-autoscale",
        "kubectl-client-side-apply",
        "kubectl-create",
        "kubectl-expose",
        "kubectl-replace",
        "kubectl-run",
        "kustomize-controller",
    }
)
"""Managers of plain writes that are taken over: tools that made the object before it came to us."""

EDITORS: Final = frozenset({"kubectl-edit", "kubectl-patch", "kubectl-set"})
"""Hands on the cluster: what they *add* is drift too. Left alone: kubectl-rollout (a restart is no drift),
kubectl-annotate and kubectl-label (how a person pauses us), kubectl-scale (a subresource)."""

REPLICAS: Final[Mapping[str, Any]] = {"f:spec": {"f:replicas": {}}}
"""What an autoscaler owns."""

HEIR: Final = f"{MANAGER}-released"
"""The manager that fields are left to which we set and no longer want to own."""

BEFORE: Final = "before-first-apply"
"""The server's own entry for an object that had none: everything in it, whoever set it. Only what kubectl's
last-applied annotation names is taken of it, else a bound volume's name or a controller's field would go."""

_SELF: Final = "."


def union(left: Fields, right: Fields) -> Fields:
    """Everything that is in either."""
    if not left or not right:
        return left or right
    merged = dict(left)
    for name, members in right.items():
        merged[name] = _joined(merged[name], members) if name in merged else members
    return merged


def _joined(left: Fields, right: Fields) -> Fields:
    """Of one node below the root, where `{}` is the node itself."""
    if left and right:
        return union(left, right)
    members = left or right
    return {_SELF: {}, **members} if members else {}


def subtract(left: Fields, right: Fields) -> Fields:
    """What is in `left` and not in `right`."""
    rest: Fields = {}
    for name, members in left.items():
        remaining = _minus(members, right[name]) if name in right else members
        if remaining is not None:
            rest[name] = remaining
    return rest


def _minus(left: Fields, right: Fields) -> Fields | None:
    """Of one node below the root; None when nothing is left of it."""
    stays = (not left or _SELF in left) and not (not right or _SELF in right)
    members = subtract({name: child for name, child in left.items() if name != _SELF}, right)
    return _node(members, itself=stays)


def _node(members: Fields, *, itself: bool) -> Fields | None:
    if members:
        return {_SELF: {}, **members} if itself else members
    return {} if itself else None


def covered(fields: Fields, value: Any) -> Fields:
    """The part of a set that an object (or a value in it) has."""
    kept: Fields = {}
    for name, members in fields.items():
        found, child = (False, None) if name == _SELF else _member(name, value)
        if found:
            node = _node(covered(members, child), itself=not members or _SELF in members)
            if node is not None:
                kept[name] = node
    return kept


def _member(name: str, value: Any) -> tuple[bool, Any]:
    kind, _, text = name.partition(":")
    if kind == "f" and isinstance(value, dict):
        return text in value, value.get(text)
    if not isinstance(value, list):
        return False, None
    if kind == "k":
        keys = json.loads(text)
        for item in value:
            # A key field that the object leaves out has been defaulted by the server (`protocol`).
            if isinstance(item, dict) and all(item.get(key, wanted) == wanted for key, wanted in keys.items()):
                return True, item
    if kind == "v":
        wanted = json.loads(text)
        return wanted in value, wanted
    if kind == "i":
        index = int(text)
        return index < len(value), value[index] if index < len(value) else None
    return False, None


def own_fields(body: Body, manager: str = MANAGER) -> str:
    """A hash of what our last apply set and still holds, "" when we never applied the object.

    It moves when, and only when, somebody changes or takes a field of ours, or we apply other fields: not with status,
    and not with the order of keys.
    """
    for entry in body.get("metadata", {}).get("managedFields") or ():
        if _is(entry, "Apply", (manager,)):
            text = json.dumps(entry.get("fieldsV1"), sort_keys=True, separators=(",", ":"))
            return hashlib.sha256(text.encode()).hexdigest()
    return ""


def take_over(
    managed_fields: Sequence[Mapping[str, Any]] | None,
    managers: Iterable[str] = (),
    *,
    resource_version: str | None = None,
    last_applied: str | None = None,
    leave: Mapping[str, Any] | None = None,
    editors: bool = True,
    manager: str = MANAGER,
) -> list[Body] | None:
    """The JSON patch that makes entries of other tools ours, or None when there is nothing to take.

    `managers` are taken besides the known ones, applies and plain writes alike; `editors` says whether what people
    added by hand counts as drift. `last_applied` is the text of kubectl's annotation. `leave` (REPLICAS) is never
    taken: what our next apply takes off an object falls back to its default. With `resource_version` the patch fails
    as a Conflict when the object has moved since. It changes no field: our next apply does.
    """
    named = frozenset(managers)
    appliers = (APPLIERS | named) - {manager}
    writers = WRITERS | named | (EDITORS if editors else frozenset())
    kept: list[Mapping[str, Any]] = []
    taken: Fields = {}
    ours: Mapping[str, Any] | None = None
    model: Mapping[str, Any] | None = None
    for entry in managed_fields or ():
        if _is(entry, "Apply", (manager,)):
            ours = entry
        elif _is(entry, "Apply", appliers) or _is(entry, "Update", writers):
            fields, rest = _takeable(entry, last_applied, leave or {})
            if fields:
                taken = union(taken, fields)
                model = model or entry
            if rest:
                kept.append({**entry, "fieldsV1": rest})
        else:
            kept.append(entry)
    if model is None:
        return None
    merged = {
        **{key: value for key, value in (ours or model).items() if key in ("apiVersion", "fieldsType", "time")},
        "manager": manager,
        "operation": "Apply",
        "fieldsV1": union(ours["fieldsV1"] if ours else {}, taken),
    }
    return _patch([merged, *kept], resource_version)


def hand_over(
    managed_fields: Sequence[Mapping[str, Any]] | None,
    fields: Mapping[str, Any],
    *,
    resource_version: str | None = None,
    manager: str = MANAGER,
    heir: str = HEIR,
) -> list[Body] | None:
    """The JSON patch that makes these fields (REPLICAS) another's before an apply without them; None when none is ours.

    A field whose only owner leaves it out falls back to its default: a Deployment that an autoscaler has just got would
    go to one replica. With an heir the value stays until somebody writes it.
    """
    entries = list(managed_fields or ())
    ours = next((entry for entry in entries if _is(entry, "Apply", (manager,))), None)
    if ours is None:
        return None
    rest = subtract(ours["fieldsV1"], dict(fields))
    given = subtract(ours["fieldsV1"], rest)
    if not given:
        return None
    old = next((entry for entry in entries if _is(entry, "Update", (heir,))), None)
    inherited = {
        **{key: value for key, value in ours.items() if key in ("apiVersion", "fieldsType", "time")},
        "manager": heir,
        "operation": "Update",
        "fieldsV1": union(old["fieldsV1"] if old else {}, given),
    }
    others = [entry for entry in entries if entry is not ours and entry is not old]
    return _patch([{**ours, "fieldsV1": rest}, inherited, *others], resource_version)


def _patch(entries: list[Any], resource_version: str | None) -> list[Body]:
    patch: list[Body] = [{"op": "replace", "path": "/metadata/managedFields", "value": entries}]
    if resource_version:
        # A `test` that fails is an invalid request (422); a stale resourceVersion is a Conflict, which says what it is.
        patch.append({"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version})
    return patch


def _is(entry: Mapping[str, Any], operation: str, managers: Collection[str]) -> bool:
    return (
        entry.get("operation") == operation
        and str(entry.get("manager")) in managers
        and not entry.get("subresource")
        and entry.get("fieldsType") == "FieldsV1"
    )


def _takeable(entry: Mapping[str, Any], last_applied: str | None, leave: Mapping[str, Any]) -> tuple[Fields, Fields]:
    """What of an entry becomes ours, and what stays the other's."""
    fields = dict(entry.get("fieldsV1") or {})
    taken = subtract({name: members for name, members in fields.items() if name != "f:status"}, dict(leave))
    if entry.get("manager") == BEFORE:
        applied = _applied(last_applied)
        taken = covered(taken, applied) if applied else {}
    return taken, subtract(fields, taken)


def _applied(text: str | None) -> Any:
    """What the annotation says was applied, with the annotation itself: it goes too. None when it is damaged."""
    try:
        body = json.loads(text or "")
        annotations = {**(body["metadata"].get("annotations") or {}), LAST_APPLIED: ""}
        return {**body, "metadata": {**body["metadata"], "annotations": annotations}}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
