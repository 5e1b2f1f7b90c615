"""Values of the API server's world: which object, which resource serves its kind, what a watch tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

Body: TypeAlias = dict[str, Any]
"""An object as JSON."""


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One object, whatever version it is read in; `namespace` is "" for objects of the cluster."""

    group: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, body: Body) -> Ref:
        """Of a body with apiVersion, kind and metadata.name. Raises KeyError where one is missing."""
        group, _, _ = str(body["apiVersion"]).rpartition("/")
        metadata = body["metadata"]
        return cls(group, str(body["kind"]), str(metadata.get("namespace") or ""), str(metadata["name"]))

    def __str__(self) -> str:
        """`Deployment.apps apps/web`, `Namespace prod`."""
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What discovery says of a kind: `plural` is its name in paths."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str] = frozenset()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path. `namespace` is left out for kinds of the cluster, and None = all namespaces."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


class Happened(StrEnum):
    """Types of watch events. SYNCED is ours: the list behind the watch has been delivered whole."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    happened: Happened
    body: Body
