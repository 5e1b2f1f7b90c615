"""Requests as values: which method, path, query and body does what (Kubernetes API concepts). Pure.

`user` is whom the request impersonates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from image_updater.cluster.errors import InvalidObject
from image_updater.cluster.model import Resource
from image_updater.cluster.refusals import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from image_updater.cluster.model import Body

Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]

TRIES = 4

_JSON = "application/json"
_PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_APPLY = "application/apply-patch+yaml"
_PATCHES = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}

_REVIEWS = "authorization.k8s.io"
SELF_REVIEW = Resource(
    group=_REVIEWS, version="v1", kind="SelfSubjectAccessReview", plural="selfsubjectaccessreviews", namespaced=False
)
REVIEW = Resource(
    group=_REVIEWS, version="v1", kind="SubjectAccessReview", plural="subjectaccessreviews", namespaced=False
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. `repeatable`: sending it twice does what sending it once does."""

    method: str
    path: str
    subject: Subject
    verb: str
    """Of the metrics: as `subject.verb`, and `apply`, `discovery`."""
    query: Mapping[str, str] = field(default_factory=dict)
    accept: str = _JSON
    body: bytes | None = None
    content_type: str = _JSON
    repeatable: bool = True
    tries: int = TRIES


def dumps(body: object) -> bytes:
    """Compact JSON."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def discovery(path: str, accept: str) -> Call:
    return Call(method="GET", path=path, subject=Subject(verb="get", path=path), verb="discovery", accept=accept)


def get(resource: Resource, namespace: str | None, name: str, *, user: str | None, metadata_only: bool) -> Call:
    return Call(
        method="GET",
        path=_path(resource, namespace, name),
        subject=Subject(verb="get", resource=resource, namespace=namespace, name=name, user=user),
        verb="get",
        accept=_PARTIAL if metadata_only else _JSON,
    )


def page(
    resource: Resource,
    namespace: str | None,
    selectors: Mapping[str, str | None],
    *,
    limit: int,
    following: str,
    user: str | None,
    metadata_only: bool,
) -> Call:
    """A page of a list; `following` is the token that the page before it gave."""
    return Call(
        method="GET",
        path=_path(resource, namespace),
        subject=Subject(verb="list", resource=resource, namespace=namespace, user=user),
        verb="list",
        query=_given({**selectors, "limit": str(limit), "continue": following}),
        accept=_PARTIAL_LIST if metadata_only else _JSON,
    )


def watch(
    resource: Resource,
    namespace: str | None,
    selectors: Mapping[str, str | None],
    *,
    resource_version: str,
    seconds: float,
    user: str | None,
    metadata_only: bool,
) -> Call:
    query = {
        **selectors,
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": resource_version,
        "timeoutSeconds": str(max(1, round(seconds))),
    }
    return Call(
        method="GET",
        path=_path(resource, namespace),
        subject=Subject(verb="watch", resource=resource, namespace=namespace, user=user),
        verb="watch",
        query=_given(query),
        accept=_PARTIAL if metadata_only else _JSON,
    )


def apply(
    resource: Resource,
    body: Body,
    *,
    manager: str,
    force: bool,
    strict: bool,
    dry_run: bool,
    subresource: str | None,
    user: str | None,
) -> Call:
    """JSON is YAML: a body of the apply patch type may be either."""
    metadata = body["metadata"]
    query = {
        "fieldManager": manager,
        "force": "true" if force else "false",
        "fieldValidation": "Strict" if strict else "Ignore",
        "dryRun": "All" if dry_run else None,
    }
    target = _Target(resource, metadata.get("namespace"), metadata["name"], subresource, user)
    return _write("PATCH", "apply", target, body, query, content_type=_APPLY)


def patch(
    resource: Resource,
    namespace: str | None,
    name: str,
    change: Body | list[Body],
    *,
    kind: Literal["merge", "json"],
    manager: str,
    dry_run: bool,
    subresource: str | None,
    user: str | None,
) -> Call:
    """A merge patch may be sent twice; a JSON patch whose answer was lost may not."""
    target = _Target(resource, namespace, name, subresource, user)
    query = {"fieldManager": manager, "dryRun": "All" if dry_run else None}
    return _write("PATCH", "patch", target, change, query, content_type=_PATCHES[kind], repeatable=kind == "merge")


def create(
    resource: Resource,
    body: Body,
    *,
    namespace: str | None = None,
    name: str = "",
    subresource: str | None = None,
    manager: str | None = None,
    dry_run: bool = False,
    repeatable: bool = False,
    user: str | None = None,
) -> Call:
    """In the collection; with a subresource, under the object `name`."""
    metadata = body.get("metadata") or {}
    target = _Target(
        resource, namespace or metadata.get("namespace"), name or metadata.get("name") or "", subresource, user
    )
    query = {"fieldManager": manager, "dryRun": "All" if dry_run else None}
    return _write("POST", "create", target, body, query, repeatable=repeatable)


def replace(resource: Resource, body: Body, *, manager: str, subresource: str | None, user: str | None) -> Call:
    metadata = body["metadata"]
    target = _Target(resource, metadata.get("namespace"), metadata["name"], subresource, user)
    return _write("PUT", "update", target, body, {"fieldManager": manager}, repeatable=False)


def delete(
    resource: Resource,
    namespace: str | None,
    name: str,
    *,
    uid: str | None,
    resource_version: str | None,
    propagation: Propagation,
    dry_run: bool,
    user: str | None,
) -> Call:
    options: Body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
    if conditions := _given({"uid": uid, "resourceVersion": resource_version}):
        options["preconditions"] = conditions
    if dry_run:
        options["dryRun"] = ["All"]  # beside a body, the server does not look at the query
    return _write("DELETE", "delete", _Target(resource, namespace, name, None, user), options, {})


def review(
    verb: str,
    resource: Resource,
    namespace: str | None,
    name: str | None,
    subresource: str | None,
    *,
    of: str | None,
    user: str | None,
) -> Call:
    """May `of` do that? None: may we?"""
    attributes = {
        "verb": verb,
        "group": resource.group,
        "version": resource.version,
        "resource": resource.plural,
        "subresource": subresource,
        "namespace": namespace if resource.namespaced else None,
        "name": name,
    }
    spec: Body = {"resourceAttributes": _given(attributes)}
    kind = SELF_REVIEW
    if of is not None:
        kind = REVIEW
        spec |= {"user": of, "groups": groups_of(of)}
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "spec": spec}
    return create(kind, body, repeatable=True, user=user)


def groups_of(user: str) -> list[str]:
    """The groups that the server itself gives to a user it knows by name only."""
    groups = ["system:authenticated"]
    parts = user.split(":")
    if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        groups += ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"]
    return groups


@dataclass(frozen=True, slots=True)
class _Target:
    resource: Resource
    namespace: str | None
    name: str
    subresource: str | None
    user: str | None


def _write(
    method: str,
    verb: str,
    target: _Target,
    body: Body | list[Body],
    query: Mapping[str, str | None],
    *,
    content_type: str = _JSON,
    repeatable: bool = True,
) -> Call:
    in_collection = method == "POST" and target.subresource is None
    return Call(
        method=method,
        path=_path(target.resource, target.namespace, None if in_collection else target.name, target.subresource),
        subject=Subject(
            verb="patch" if verb == "apply" else verb,
            resource=target.resource,
            namespace=target.namespace if target.resource.namespaced else None,
            name=target.name or None,
            subresource=target.subresource,
            user=target.user,
        ),
        verb=verb,
        query=_given(query),
        body=dumps(body),
        content_type=content_type,
        repeatable=repeatable,
    )


def _given(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _path(resource: Resource, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
    """Raises InvalidObject for what would lead to another path (API server: `path.IsValidPathSegmentName`)."""
    for part in (namespace, name):
        if part is not None and (part in (".", "..") or "/" in part or "%" in part):
            where = Subject(verb="", resource=resource).where
            raise InvalidObject(f"{part[:100]!r} is no name of an object", where=where)
    if name == "":
        raise InvalidObject("an object has a name", where=Subject(verb="", resource=resource).where)
    return resource.path(namespace, name, subresource)
