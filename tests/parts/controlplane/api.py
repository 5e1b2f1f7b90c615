"""A small client of the Kubernetes API, for the tests: stdlib only, connections are kept open.

It is not what the product uses, so that a mistake there is not repeated here.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import yaml

from tests.parts.controlplane.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

Object = dict[str, Any]
"""A Kubernetes object as JSON has it."""

Objects = list[Object]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class ApiError(AssertionError):
    """The server answered 4xx or 5xx. `reason` is the Status' (`NotFound`, `Conflict`, …), or empty."""

    def __init__(self, method: str, path: str, code: int, headers: Mapping[str, str], body: Any) -> None:
        self.code = code
        self.headers = headers
        """By lower-case name."""
        self.body = body
        self.reason: str = body.get("reason", "") if isinstance(body, dict) else ""
        self.message: str = body.get("message", "") if isinstance(body, dict) else str(body)
        super().__init__(f"{method} {path}: {code} {self.reason}: {self.message}")


@dataclass(frozen=True, slots=True)
class Resource:
    """Where the objects of a kind are."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    names: frozenset[str]
    """What it may be called, lower case: plural, singular, kind, short names."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name))
        return "/" + "/".join(parts)


class Api:
    """One user's view of an API server. Threads may share it. `close` it in the end."""

    def __init__(self, url: str, ca: Path, token: str, *, user_agent: str = "tests") -> None:
        self.url = url
        self.token = token
        self.user_agent = user_agent
        self._address = urlsplit(url)
        self._context = ssl.create_default_context(cafile=str(ca))
        self._idle: deque[http.client.HTTPSConnection] = deque()
        self._resources: Sequence[Resource] = ()

    # ------------------------------------------------------------------------------------------- plain requests

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str | None = None,
        *,
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Any:
        """The parsed answer (text when it is not JSON). Raises ApiError, or OSError when nobody answers."""
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}", "Accept": accept, "User-Agent": self.user_agent}
        if data is not None:
            sent["Content-Type"] = content_type or (MERGE if method == "PATCH" else "application/json")
        answer, text = self._exchange(method, path, data, sent | dict(headers or {}), timeout)
        parsed: Any = text
        if answer.getheader("Content-Type", "").startswith("application/json"):
            parsed = json.loads(text)
        if answer.status >= 400:
            names = {name.lower(): value for name, value in answer.getheaders()}
            raise ApiError(method, path, answer.status, names, parsed)
        return parsed

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str], timeout: float
    ) -> tuple[http.client.HTTPResponse, str]:
        try:
            kept = self._idle.pop()
        except IndexError:
            kept = None
        connection = kept or self._connect(timeout)
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except BaseException as exc:
            connection.close()
            # The server may close a connection while nobody uses it: RFC 9112, 9.3.1.
            if kept is not None and isinstance(exc, (ConnectionError, ssl.SSLEOFError)):
                return self._exchange(method, path, data, headers, timeout)
            raise
        self._idle.append(connection)
        return answer, text

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self._address.hostname or "", self._address.port, timeout=timeout, context=self._context
        )

    def close(self) -> None:
        """Close the kept connections. The client may be used again."""
        while self._idle:
            self._idle.pop().close()

    def watch(self, path: str, *, seconds: int = 10, **parameters: str) -> Iterator[Object]:
        """The events of a watch (`resourceVersion="5"`, `labelSelector=…`), until the server ends it after `seconds`.

        On a connection of its own. An ERROR event comes as any other; an HTTP error raises ApiError.
        """
        connection = self._connect(seconds + 10)
        query = urlencode({"watch": "1", "timeoutSeconds": str(seconds), **parameters})
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": self.user_agent}
        try:
            connection.request("GET", f"{path}?{query}", headers=headers)
            with connection.getresponse() as answer:
                if answer.status >= 400:
                    names = {name.lower(): value for name, value in answer.getheaders()}
                    raise ApiError("WATCH", path, answer.status, names, json.loads(answer.read()))
                while line := answer.readline():
                    yield json.loads(line)
        finally:
            connection.close()

    # ------------------------------------------------------------------------------------------- objects by kind

    def resource(self, kind: str) -> Resource:
        """By kind, plural, singular or short name, alone or with its group (`deployments.apps`), any case."""
        wanted = kind.lower()
        for attempt in range(2):
            if attempt or not self._resources:
                self._resources = self._discover()
            for each in self._resources:
                name, _, group = wanted.partition(".")
                if wanted in each.names or (group and name in each.names and group == each.group):
                    return each
        raise AssertionError(f"the server knows no resource {kind!r}")

    def _discover(self) -> Sequence[Resource]:
        found = []
        for root in ("/api", "/apis"):
            for group in self.request("GET", root, accept=_DISCOVERY)["items"]:
                # The preferred version comes first.
                for version in group["versions"]:
                    for each in version.get("resources", ()):
                        kind = each["responseKind"]["kind"]
                        names = {each["resource"], each.get("singularResource", ""), kind, *each.get("shortNames", ())}
                        found.append(
                            Resource(
                                group=group.get("metadata", {}).get("name", ""),
                                version=version["version"],
                                plural=each["resource"],
                                kind=kind,
                                namespaced=each["scope"] == "Namespaced",
                                names=frozenset(name.lower() for name in names if name),
                            )
                        )
        return found

    def _resource_of(self, document: Object) -> Resource:
        group, _, version = document["apiVersion"].rpartition("/")
        for attempt in range(2):
            if attempt or not self._resources:
                self._resources = self._discover()
            for each in self._resources:
                if (each.group, each.version, each.kind) == (group, version, document["kind"]):
                    return each
        raise AssertionError(f"the server knows no {document['kind']} of {document['apiVersion']}")

    def path(self, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        """The path of a collection or of one object."""
        return self.resource(kind).path(namespace, name)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """None when there is no such object. Namespaced kinds without a namespace are those of `default`."""
        try:
            found: Object = self.request("GET", self.path(kind, namespace or "default", name))
        except ApiError as exc:
            if exc.code == 404:
                return None
            raise
        return found

    def list(self, kind: str, namespace: str | None = None, selector: str | None = None) -> Objects:
        """Those of all namespaces without one. Kind and apiVersion are filled in."""
        resource = self.resource(kind)
        query = "?" + urlencode({"labelSelector": selector}) if selector else ""
        items: Objects = self.request("GET", resource.path(namespace) + query)["items"]
        return [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in items]

    def apply(
        self,
        manifests: str | Object | Iterable[Object],
        namespace: str | None = None,
        *,
        manager: str = "tests",
        force: bool = True,
    ) -> Objects:
        """Server-side apply of YAML documents or objects, in order; returns what the server made of them.

        Documents without a namespace go to `namespace` (else `default`). A CustomResourceDefinition is waited for
        until it is served.
        """
        documents: Iterable[Object | None]
        if isinstance(manifests, str):
            documents = yaml.safe_load_all(manifests)
        else:
            documents = [manifests] if isinstance(manifests, dict) else manifests
        done = []
        for document in documents:
            if not document:
                continue
            resource = self._resource_of(document)
            space = document["metadata"].get("namespace") or namespace or "default"
            path = resource.path(space, document["metadata"]["name"])
            query = urlencode({"fieldManager": manager, "force": str(force).lower()})
            done.append(self.request("PATCH", f"{path}?{query}", document, APPLY))
            if resource.kind == "CustomResourceDefinition":
                self._await_served(document)
        return done

    def _await_served(self, definition: Object) -> None:
        spec = definition["spec"]
        versions = {each["name"] for each in spec["versions"] if each.get("served")}

        def served() -> bool:
            self._resources = self._discover()
            found = {each.version for each in self._resources if each.plural == spec["names"]["plural"]}
            return versions <= found

        until(served, 15, f"{spec['names']['plural']}.{spec['group']} served")

    def patch(
        self, kind: str, name: str, namespace: str | None, change: Object, *, subresource: str | None = None
    ) -> Object:
        """A merge patch."""
        path = self.path(kind, namespace or "default", name) + (f"/{subresource}" if subresource else "")
        patched: Object = self.request("PATCH", path, change, MERGE)
        return patched

    def delete(self, kind: str, name: str, namespace: str | None = None, *, propagation: str = "Background") -> bool:
        """Whether it was there. Does not wait for finalizers."""
        path = self.path(kind, namespace or "default", name)
        try:
            self.request("DELETE", path, {"propagationPolicy": propagation})
        except ApiError as exc:
            if exc.code == 404:
                return False
            raise
        return True

    def token_of(self, namespace: str, service_account: str, seconds: int = 86_400) -> str:
        """A bound token of a service account (TokenRequest)."""
        path = self.path("ServiceAccount", namespace, service_account) + "/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        made = self.request("POST", path, {**body, "spec": {"expirationSeconds": seconds}})
        return str(made["status"]["token"])


def write_kubeconfig(
    path: Path, *, url: str, ca: Path, token: str, namespace: str = "default", inline: bool = False
) -> Path:
    """A kubeconfig with a static token, readable by its owner only."""
    authority = {"certificate-authority": str(ca)}
    if inline:
        authority = {"certificate-authority-data": base64.b64encode(ca.read_bytes()).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "plane",
        "clusters": [{"name": "plane", "cluster": {"server": url, **authority}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user", "namespace": namespace}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
