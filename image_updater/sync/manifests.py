"""Rendered bytes to the objects that are applied: namespaces defaulted, owner labels and common metadata on, hashed.

What only a server may write is taken off (status, what `kubectl get -o yaml` leaves in metadata); what cannot be one
object of a cluster is an error that names file, line and object. Nothing here asks a server: whether a kind is
namespaced is a function argument, and where that does not know the kind, a CRD of the same set does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.decode import SpecErrors
from image_updater.cluster.model import Ref
from image_updater.documents import decode, get, parse
from image_updater.errors import DocumentError, SpecError, Where
from image_updater.sync.drift import LAST_APPLIED
from image_updater.sync.model import OWNER_NAME, OWNER_NAMESPACE, Manifest
from image_updater.sync.reading import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from image_updater.api.model import Kustomization, ObjectKey
    from image_updater.cluster.model import Body

ORIGIN: Final = "config.kubernetes.io/origin"
_LOCAL: Final = "config.kubernetes.io/local-config"
_SERVERS: Final = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)
"""Of metadata: only the server sets them, and an apply that has them is refused or means another thing."""

_LABEL_LENGTH: Final = 63
_MAX_ERRORS: Final = 20
_NAME: Final = re.compile(r"[^/%]+\Z")


class _Wrong(Exception):
    """What is wrong with the object at hand, and in which field; `prepare` knows where the object stands."""

    def __init__(self, message: str, *path: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message, self.path, self.remedy = message, path, remedy


@dataclass(frozen=True, slots=True)
class _Found:
    """One object of a source, and where its document begins."""

    body: Any
    file: str | None
    data: bytes
    line: int
    whole: bool
    """It is the document, and not an item of a list."""

    def line_of(self, path: tuple[str, ...]) -> int:
        """Of a field, or of the nearest thing above it. Read a second time, with positions: only errors ask."""
        if not self.whole:
            return self.line
        try:
            documents = parse(decode(self.data))
        except DocumentError:  # larger than what is read with positions
            return self.line
        root = next((each.root for each in documents if each.root is not None and each.root.line == self.line), None)
        nodes = (get(root, *path[:length]) for length in range(len(path), 0, -1))
        return next((node.line for node in nodes if node is not None), self.line)


def prepare(
    rendered: bytes | Iterable[tuple[str, bytes]],
    kustomization: Kustomization,
    *,
    namespaced: Callable[[str, str], bool | None],
) -> tuple[Manifest, ...]:
    """The objects of a render (one stream), or of plain files (pairs of name and content), in their order.

    `namespaced(group, kind)` is what the server says, None where it does not know the kind. Raises DocumentError for
    what is not YAML and SpecErrors for everything that is no object, or is there twice.
    """
    sources = [(None, rendered)] if isinstance(rendered, bytes) else list(rendered)
    found: list[_Found] = []
    for file, data in sources:
        for document in read(data, file=file):
            whole = document.value
            found.extend(_Found(body, file, data, document.line, body is whole) for body in _expand(whole))
    scopes = _scopes(each.body for each in found)
    labels = {**kustomization.common_labels, **owner_labels(kustomization.key)}
    annotations = kustomization.common_annotations
    default = kustomization.target_namespace or kustomization.key.namespace

    def scope(group: str, kind: str) -> bool | None:
        known = namespaced(group, kind)
        return scopes.get((group, kind)) if known is None else known

    manifests: dict[Ref, Manifest] = {}
    errors: list[SpecError] = []
    for each in found:
        try:
            if _is_local(each.body):
                continue
            object_ = _cleaned(each.body)
            origin = object_["metadata"].get("annotations", {}).get(ORIGIN)
            _place(object_, scope, default)
            _lay_over(object_["metadata"], labels, annotations)
            ref = Ref.of(object_)
            where = Where(
                file=each.file or _path_of(origin), line=each.line if each.file else None, object=_label(each.body)
            )
            if ref in manifests:
                other = manifests[ref].where
                raise _Wrong(f"{ref} is there twice" + (f": the other one is {other}" if other else ""))
        except _Wrong as wrong:
            place = Where(
                file=each.file or _rendered(kustomization),
                line=each.line_of(wrong.path),
                object=_label(each.body),
                field=".".join(wrong.path) or None,
            )
            errors.append(SpecError(wrong.message, where=place, remedy=wrong.remedy))
            if len(errors) == _MAX_ERRORS:
                break
            continue
        manifests[ref] = Manifest(
            ref=ref, api_version=object_["apiVersion"], body=object_, digest=digest(object_), where=where
        )
    if errors:
        raise SpecErrors(errors)
    return tuple(manifests.values())


def digest(body: Body) -> str:
    """SHA-256 over canonical JSON: equal for equal objects, whatever the order of their keys."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def owner_labels(key: ObjectKey) -> dict[str, str]:
    """The two labels of everything that a Kustomization applies."""
    return {OWNER_NAME: label_value(key.name), OWNER_NAMESPACE: label_value(key.namespace)}


def label_value(name: str) -> str:
    """A name as a label's value: itself up to 63 characters, else its first 52, `-` and 10 hex digits of its SHA-256.

    Names of objects may have 253 characters. What the cut leaves at the end (`-`, `.`) goes, so that the value stays
    a legal one and still reads as the name.
    """
    if len(name) <= _LABEL_LENGTH:
        return name
    return f"{name[:52].rstrip('-._')}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def _rendered(kustomization: Kustomization) -> str:
    """A line of a render is no line of a file, and says so."""
    return f"{kustomization.path} (rendered)"


def _label(body: Any) -> str | None:
    """`Deployment apps/web`, as far as the object says it."""
    if not isinstance(body, dict):
        return None
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    kind, name, namespace = body.get("kind"), metadata.get("name"), metadata.get("namespace")
    if not isinstance(kind, str):
        return None
    name = name if isinstance(name, str) else ""
    return f"{kind} {namespace}/{name}" if isinstance(namespace, str) and namespace else f"{kind} {name}".rstrip()


def _path_of(origin: Any) -> str | None:
    """The file that Kustomize's origin annotation names (`buildMetadata: [originAnnotations]`), of this repository."""
    if not isinstance(origin, str) or "repo:" in origin:
        return None
    match = re.search(r"^path: (.+)$", origin, re.MULTILINE)
    return match[1] if match else None


def _expand(value: Any) -> Iterator[Any]:
    """The objects of a document: those of a List (or DeploymentList, …), or of a plain sequence, one by one."""
    if isinstance(value, list):
        for item in value:
            yield from _expand(item)
        return
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list):
        inherited = {} if kind == "List" else {"apiVersion": value.get("apiVersion"), "kind": kind[: -len("List")]}
        for item in value["items"]:
            yield from _expand({**inherited, **item} if isinstance(item, dict) else item)
        return
    yield value


def _scopes(bodies: Iterable[Any]) -> dict[tuple[str, str], bool]:
    """Whether the kinds that CRDs of the set define are namespaced, by group and kind."""
    scopes: dict[tuple[str, str], bool] = {}
    for body in bodies:
        if isinstance(body, dict) and body.get("kind") == "CustomResourceDefinition":
            spec = body.get("spec")
            names = spec.get("names") if isinstance(spec, dict) else None
            if isinstance(spec, dict) and isinstance(names, dict):
                scopes[str(spec.get("group")), str(names.get("kind"))] = spec.get("scope") == "Namespaced"
    return scopes


def _is_local(body: Any) -> bool:
    """Is it only for tools, as Kustomize understands it, and never applied?"""
    metadata = body.get("metadata") if isinstance(body, dict) else None
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return isinstance(annotations, dict) and annotations.get(_LOCAL) == "true"


def _cleaned(body: Any) -> Body:
    """A copy without what only the server writes. Raises _Wrong for what is no object."""
    if not isinstance(body, dict):
        raise _Wrong("not an object of Kubernetes: a mapping with apiVersion, kind and metadata is wanted")
    for field in ("apiVersion", "kind"):
        value = body.get(field)
        if value in (None, ""):
            raise _Wrong(
                f"not an object of Kubernetes: {field} is missing",
                field,
                remedy="a file that is no manifest does not belong into this folder: exclude or move it",
            )
        if not isinstance(value, str):
            raise _Wrong(f"{value!r} is not a string", field, remedy="put it in quotes")
    if body["apiVersion"].count("/") > 1:
        raise _Wrong(f"{body['apiVersion']!r} is no API version (group/version)", "apiVersion")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        raise _Wrong("metadata.name is missing", "metadata")
    clean = {name: value for name, value in metadata.items() if name not in _SERVERS}
    name = clean.get("name")
    if not name and clean.get("generateName"):
        raise _Wrong(
            "an object with generateName is a new one each time it is applied",
            "metadata",
            "generateName",
            remedy="give it a name",
        )
    if not isinstance(name, str) or not name:
        if name in (None, ""):
            raise _Wrong("metadata.name is missing", "metadata", "name", remedy="give it a name")
        raise _Wrong(f"the name {name!r} is not a string", "metadata", "name", remedy="put it in quotes")
    if not _NAME.match(name) or name in (".", ".."):
        raise _Wrong(f"{name!r} cannot be a name", "metadata", "name")
    namespace = clean.get("namespace")
    if namespace is not None and not isinstance(namespace, str):
        message = f"the namespace {namespace!r} is not a string"
        raise _Wrong(message, "metadata", "namespace", remedy="put it in quotes")
    if namespace and (not _NAME.match(namespace) or namespace in (".", "..")):
        raise _Wrong(f"{namespace!r} cannot be a namespace", "metadata", "namespace")
    for field in ("labels", "annotations"):
        _strings(clean, field)
    clean.get("annotations", {}).pop(LAST_APPLIED, None)
    clean.pop("generateName", None)
    object_ = {key: value for key, value in body.items() if key != "status"}
    object_["metadata"] = clean
    if object_["kind"] == "Secret" and object_["apiVersion"] == "v1":
        _encode(object_)
    if object_["kind"] in ("Secret", "ConfigMap") and object_["apiVersion"] == "v1":
        _check_data(object_)
    return object_


def _strings(metadata: dict[str, Any], field: str) -> None:
    """Makes `metadata.labels` or `.annotations` a copy with only strings in it, or takes an empty one off."""
    values = metadata.get(field)
    if values is None:
        metadata.pop(field, None)
        return
    if not isinstance(values, dict):
        raise _Wrong("a mapping is wanted", "metadata", field)
    for key, value in values.items():
        if not isinstance(value, str) and value is not None:
            raise _Wrong(f"{json.dumps(value)} is not a string", "metadata", field, key, remedy="put it in quotes")
    metadata[field] = {key: "" if value is None else value for key, value in values.items()}


def _encode(secret: Body) -> None:
    """`stringData` becomes `data`, as the server would do it.

    It must not reach the server: a key that leaves `stringData` would stay in `data`, which nobody then owns.
    """
    texts = secret.pop("stringData", None)
    if texts is None:
        return
    data = secret.get("data") or {}
    if not isinstance(texts, dict) or not isinstance(data, dict):
        raise _Wrong("a mapping is wanted", "stringData")
    for key, value in texts.items():
        if not isinstance(value, str) and value is not None:
            raise _Wrong("the value is not a string", "stringData", key, remedy="put it in quotes")
    encoded = {key: base64.b64encode((value or "").encode()).decode() for key, value in texts.items()}
    secret["data"] = {**data, **encoded}


def _check_data(body: Body) -> None:
    """The server's own words for this are of Go, and hold the value."""
    for field in ("data", "binaryData"):
        values = body.get(field)
        if values is None:
            continue
        if not isinstance(values, dict):
            raise _Wrong("a mapping is wanted", field)
        for key, value in values.items():
            if not isinstance(value, str) and value is not None:
                raise _Wrong("the value is not a string", field, key, remedy="put it in quotes")


def _place(body: Body, scope: Callable[[str, str], bool | None], default: str) -> None:
    """Sets or removes the namespace.

    Flux refuses a namespaced object without a namespace ("namespace not specified"), which stops many a first try;
    here it goes where `kubectl apply -n` would put it: into `spec.targetNamespace` (the build has laid that over all
    kinds that it knows), else into the Kustomization's own namespace. A namespace on an object of the cluster, which
    Kustomize leaves on kinds that it does not know, is taken off, as the server does it. A kind that neither the
    server nor a CRD of the set knows stays as it is: applying it says so.
    """
    group, _, _ = body["apiVersion"].rpartition("/")
    metadata = body["metadata"]
    match scope(group, body["kind"]):
        case True:
            metadata["namespace"] = metadata.get("namespace") or default
        case False:
            metadata.pop("namespace", None)
        case None:
            if not metadata.get("namespace"):
                metadata.pop("namespace", None)


def _lay_over(metadata: dict[str, Any], labels: Mapping[str, str], annotations: Mapping[str, str]) -> None:
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    if annotations:
        metadata["annotations"] = {**metadata.get("annotations", {}), **annotations}
    elif not metadata.get("annotations"):
        metadata.pop("annotations", None)
