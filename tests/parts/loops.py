"""What a whole loop needs: a registry and a Git server with TLS and logins, and places in a cluster that use them.

A `Workshop` is what outlives a test (the servers); a `Place` is one namespace with a repository of its own, an
account that may apply there, and the Secrets. Statuses are read through the API, as anybody would.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.parts import gitservers, registries
from tests.parts.controlplane import ApiError, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane, Object

API = "image-updater.dev/v1alpha1"
GROUP = "image-updater.dev"
GIT_USER, GIT_PASSWORD = "bot", "s3cret:of:git"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCTETS = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """The servers. `environment` makes a process trust the registry's CA, as a mounted bundle of CAs does."""

    registry: registries.RealRegistry
    authority: registries.Authority
    git: gitservers.HttpServer
    environment: Mapping[str, str]
    secrets: dict[str, bytes] = field(default_factory=dict)

    def image(self, name: str) -> str:
        return f"{self.registry.host}/{name}"

    def push(self, name: str, *tags: str) -> str:
        """A real image of its own for each tag, by the push protocol; the last digest."""
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        login = base64.b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {login}"}
        digest = ""
        for tag in tags:
            layer = hashlib.sha256(f"{name}:{tag}".encode()).digest() * 8
            config = json.dumps({"architecture": "amd64", "os": "linux", "created": "2026-05-01T00:00:00Z"}).encode()
            for blob in (layer, config):
                url = f"{self.registry.url}/v2/{name}/blobs/uploads/"
                status, answered, _ = registries.request("POST", url, b"", headers, context)
                assert status == 202, status
                place = answered["location"]
                url = place if place.startswith("http") else self.registry.url + place
                url += ("&" if "?" in url else "?") + f"digest={_digest(blob)}"
                status, _, body = registries.request("PUT", url, blob, {**headers, "Content-Type": OCTETS}, context)
                assert status == 201, body
            manifest = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST,
                    "config": _part("application/vnd.docker.container.image.v1+json", config),
                    "layers": [_part("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)],
                }
            ).encode()
            url = f"{self.registry.url}/v2/{name}/manifests/{tag}"
            status, _, body = registries.request("PUT", url, manifest, {**headers, "Content-Type": MANIFEST}, context)
            assert status == 201, body
            digest = _digest(manifest)
        return digest


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _part(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


@contextmanager
def workshop(folder: Path) -> Iterator[Workshop]:
    """A registry with TLS and a login, a Git server with TLS and a login."""
    authority = registries.Authority("registry of the tests")
    with (
        registries.running("debian", folder / "registry", login=True, tls=authority) as registry,
        gitservers.http_server(folder / "git", tls=True, user=GIT_USER, password=GIT_PASSWORD) as git,
    ):
        bundle = folder / "registry" / "ca.crt"
        yield Workshop(registry=registry, authority=authority, git=git, environment={"SSL_CERT_FILE": str(bundle)})


# ------------------------------------------------------------------------------------------------- one namespace


@dataclass(kw_only=True)
class Place:
    """One namespace: `default` is its administrator (or has what a test gives it), and applies."""

    plane: ControlPlane
    workshop: Workshop
    namespace: str
    repository: Path
    url: str

    # ---------------------------------------------------------------------------------------------- Git

    def commit(self, files: Mapping[str, str | None], message: str = "By hand") -> str:
        """A person's commit on the server; tries again where the controller came first."""
        for _ in range(20):
            try:
                return gitservers.commit(self.repository, files, message=message)
            except AssertionError as error:
                if "cannot lock ref" not in str(error):
                    raise
        raise AssertionError("the branch never stood still")

    @property
    def tip(self) -> str:
        return gitservers.git("rev-parse", "main", cwd=self.repository)

    def file(self, path: str, commit: str = "main") -> str:
        return gitservers.git("show", f"{commit}:{path}", cwd=self.repository)

    def sound(self) -> None:
        """Git itself finds nothing wrong, and nobody's commit was thrown away."""
        gitservers.git("fsck", "--full", "--strict", cwd=self.repository)

    def subjects(self) -> list[str]:
        """Newest first."""
        return gitservers.git("log", "--format=%s", "main", cwd=self.repository).splitlines()

    def moves(self) -> list[tuple[str, str, str]]:
        """(image, old, new) of every commit of ours, oldest first, as the trailers have them."""
        form = "%x00%(trailers:key=Image,valueonly)%x01%(trailers:key=Old,valueonly)%x01%(trailers:key=New,valueonly)"
        text = gitservers.git("log", "--reverse", f"--format={form}", "main", cwd=self.repository)
        found = []
        for commit in text.split("\0"):
            columns = [each.strip().splitlines() for each in commit.split("\1")]
            if len(columns) == 3:
                found += list(zip(*columns, strict=True))
        return found

    # ---------------------------------------------------------------------------------------------- our objects

    def object(self, kind: str, name: str, **spec: Any) -> Object:
        """Fields that are None are left out."""
        return {
            "apiVersion": API,
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {key: value for key, value in spec.items() if value is not None},
        }

    def source(self, name: str = "fleet", **spec: Any) -> Object:
        """The GitRepository of our repository."""
        known = {
            "url": self.url,
            "ref": {"branch": "main"},
            "secretRef": {"name": "git"},
            "certSecretRef": {"name": "git-ca"},
            "interval": "1s",
        }
        return self.object("GitRepository", name, **known | spec)

    def policy(self, name: str = "web", *, image: str | None = None, **spec: Any) -> Object:
        known = {
            "image": image or self.workshop.image(self.image_name(name)),
            "interval": "1s",
            "secretRef": {"name": "registry"},
            "certSecretRef": {"name": "registry-ca"},
            "policy": {"semver": {"range": ">=1.0"}},
        }
        return self.object("ImagePolicy", name, **known | spec)

    def automation(self, name: str = "all", **spec: Any) -> Object:
        return self.object("ImageUpdateAutomation", name, **{"sourceRef": {"name": "fleet"}, "interval": "5s"} | spec)

    def kustomization(self, name: str = "apps", **spec: Any) -> Object:
        known = {
            "sourceRef": {"name": "fleet"},
            "path": "apps",
            "interval": "10s",
            "retryInterval": "1s",
            "timeout": "60s",
            "prune": True,
            "targetNamespace": self.namespace,
        }
        return self.object("Kustomization", name, **known | spec)

    def image_name(self, name: str) -> str:
        """In the registry: nobody else's."""
        return f"{self.namespace}/{name}"

    def image(self, name: str = "web", tag: str = "") -> str:
        return self.workshop.image(self.image_name(name)) + (f":{tag}" if tag else "")

    def push(self, name: str, *tags: str) -> str:
        return self.workshop.push(self.image_name(name), *tags)

    def apply(self, *objects: Object) -> None:
        self.plane.apply(objects, self.namespace, manager="person")

    def annotate(self, kind: str, name: str, **annotations: str | None) -> None:
        """Ours: `requestedAt="1"`."""
        change = {"metadata": {"annotations": {f"{GROUP}/{key}": value for key, value in annotations.items()}}}
        self.plane.patch(f"{kind}.{GROUP}", name, self.namespace, change)

    # ---------------------------------------------------------------------------------------------- what is said

    def get(self, kind: str, name: str) -> Object:
        """An AssertionError when it is not there: not yet, for `until`."""
        group = f".{GROUP}" if kind in _OURS else ""
        found = self.plane.get(kind + group, name, self.namespace)
        assert found is not None, f"no {kind} {name}"
        return found

    def has(self, kind: str, name: str) -> bool:
        return self.plane.get(kind, name, self.namespace) is not None

    def status(self, kind: str, name: str) -> Object:
        found: Object = self.get(kind, name).get("status", {})
        return found

    def condition(self, kind: str, name: str, type_: str = "Ready") -> Object:
        """Of the object as it is now: one of an older generation is none."""
        found = self.get(kind, name)
        status = found.get("status", {})
        assert status.get("observedGeneration") == found["metadata"]["generation"], f"not observed yet: {status}"
        for each in status.get("conditions", ()):
            if each["type"] == type_:
                condition: Object = each
                return condition
        raise AssertionError(f"{kind} {name} has no condition {type_}: {status}")

    def is_ready(self, kind: str, name: str) -> bool:
        condition = self.condition(kind, name)
        assert condition["status"] == "True", f"{kind} {name}: {condition}"
        return True

    def await_ready(self, *names: tuple[str, str], timeout: float = 60.0) -> None:
        for kind, name in names:
            until(partial(self.is_ready, kind, name), timeout, f"{kind} {name} ready")

    def await_condition(
        self, kind: str, name: str, *, status: str, contains: str = "", reason: str = "", timeout: float = 60.0
    ) -> Object:
        def found() -> Object:
            condition = self.condition(kind, name)
            assert condition["status"] == status, condition
            assert contains in condition["message"], condition
            assert not reason or condition["reason"] == reason, condition
            return condition

        return until(found, timeout, f"{kind} {name}: Ready={status} {reason} {contains}")

    def running_image(self, name: str = "web") -> str:
        """Of the Deployment whose every pod is ready and new, in the cluster."""
        found = self.get("Deployment", name)
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        assert status.get("observedGeneration") == found["metadata"]["generation"], status
        counts = [status.get(each, 0) for each in ("replicas", "updatedReplicas", "readyReplicas")]
        assert counts == [wanted] * 3, status
        image: str = found["spec"]["template"]["spec"]["containers"][0]["image"]
        return image

    def await_running(self, name: str, image: str, timeout: float = 60.0) -> None:
        def running() -> bool:
            found = self.running_image(name)
            assert found == image, f"{found}, not {image}"
            return True

        until(running, timeout, f"Deployment {name} runs {image}")

    def applied(self, name: str = "apps") -> str:
        """lastAppliedRevision."""
        return str(self.status("Kustomization", name).get("lastAppliedRevision"))

    def await_applied(self, name: str = "apps", commit: str | None = None, timeout: float = 60.0) -> None:
        """Ready, and that commit (the tip) was applied."""
        wanted = f"main@sha1:{commit or self.tip}"

        def applied() -> bool:
            self.is_ready("Kustomization", name)
            assert self.applied(name) == wanted, self.applied(name)
            return True

        until(applied, timeout, f"Kustomization {name} at {wanted}")

    def inventory(self, name: str = "apps") -> set[str]:
        """`Kind/name` of every entry in status."""
        entries = (self.status("Kustomization", name).get("inventory") or {}).get("entries", ())
        return {"{3}/{1}".format(*each["id"].split("_")) for each in entries}

    def events(self, kind: str | None = None, name: str | None = None) -> list[Object]:
        """Events about our objects in this namespace."""
        return [
            each
            for each in self.plane.list("events.events.k8s.io", self.namespace)
            if each.get("reportingController", "").startswith("image-updater")
            and (kind is None or each["regarding"]["kind"] == kind)
            and (name is None or each["regarding"]["name"] == name)
        ]


_OURS = ("ImagePolicy", "GitRepository", "ImageUpdateAutomation", "Kustomization")


@contextmanager
def place(
    plane: ControlPlane, workshop: Workshop, files: Mapping[str, str], *, role: str | None = "admin"
) -> Iterator[Place]:
    """A namespace whose `default` account has `role` in it (None: no rights). Our objects in it are deleted at the
    end, and what they had applied with them; the namespace's own end is not waited for.
    """
    namespace = plane.namespace()
    name = f"{namespace}.git"
    made = Place(
        plane=plane,
        workshop=workshop,
        namespace=namespace,
        repository=gitservers.bare(workshop.git.root / name, files=dict(files)),
        url=workshop.git.url(name),
    )
    login = base64.b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()
    assert workshop.git.ca is not None
    made.apply(
        secret("git", {"username": GIT_USER, "password": GIT_PASSWORD}),
        secret("git-ca", {"ca.crt": workshop.git.ca.decode()}),
        secret("registry-ca", {"ca.crt": workshop.authority.certificate.decode()}),
        secret(
            "registry",
            {".dockerconfigjson": json.dumps({"auths": {workshop.registry.host: {"auth": login}}})},
            "kubernetes.io/dockerconfigjson",
        ),
    )
    if role is not None:
        made.apply(binding(namespace, "default", role))
    try:
        yield made
    finally:
        plane.mend()
        for kind in _OURS:
            for each in plane.list(f"{kind}.{GROUP}", namespace):
                plane.delete(f"{kind}.{GROUP}", each["metadata"]["name"], namespace)
                if each["metadata"].get("finalizers"):
                    # Its controller may be gone already; what was applied goes with the namespace.
                    with contextlib.suppress(ApiError):
                        plane.patch(
                            f"{kind}.{GROUP}", each["metadata"]["name"], namespace, {"metadata": {"finalizers": None}}
                        )
        plane.delete("Namespace", namespace)


def secret(name: str, data: Mapping[str, str], type_: str = "Opaque") -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": type_, "stringData": dict(data)}


def binding(namespace: str, account: str, role: str, *, kind: str = "ClusterRole") -> Object:
    """In `namespace`, for an account of the same namespace."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{account}-{role}", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


# ------------------------------------------------------------------------------------------------- manifests


def deployment(name: str, image: str, *, replicas: int = 2, annotations: Mapping[str, str] | None = None) -> str:
    """As people write it: comments, quotes and order are to stay."""
    lines = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in (annotations or {}).items())
    return (
        f"# {name}\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n"
        + (f"  annotations:\n{lines}" if lines else "")
        + f"spec:\n  replicas: {replicas}\n  selector:\n    matchLabels: {{app: {name}}}\n  template:\n"
        f"    metadata:\n      labels: {{app: {name}}}\n    spec:\n      containers:\n        - name: main\n"
        f"          image: {image}  # kept\n"
    )


def config(name: str, **data: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}) + "\n"


def kustomize(*resources: str, images: Mapping[str, str] | None = None) -> str:
    """kustomization.yaml; `images` by name their tags."""
    text = "resources:\n" + "".join(f"  - {each}\n" for each in resources)
    if images:
        text += "images:\n" + "".join(f'  - name: {name}\n    newTag: "{tag}"\n' for name, tag in images.items())
    return text


def await_end_of(replica: Replica, place: Place, name: str = "apps") -> None:
    """Delete a Kustomization and wait until it is gone."""
    place.plane.delete(f"Kustomization.{GROUP}", name, place.namespace)

    def gone() -> bool:
        assert replica.running, "the controller has ended"
        return place.plane.get(f"Kustomization.{GROUP}", name, place.namespace) is None

    until(gone, 60, f"the end of Kustomization {name}")


__all__ = [
    "API",
    "GROUP",
    "ApiError",
    "Place",
    "Workshop",
    "await_end_of",
    "binding",
    "config",
    "deployment",
    "kustomize",
    "place",
    "secret",
    "workshop",
]
