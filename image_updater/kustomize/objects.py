"""An object on its way through a build: its tree, its names so far, and where images can stand in it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import re2

from image_updater.kustomize.model import Path
from image_updater.kustomize.values import Leaf, Map, Text, Value, assign, at, list_at, map_at, plain, text_at

if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTER_SCOPED = frozenset(
    {
        "Namespace",
        "Node",
        "PersistentVolume",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "APIService",
        "ComponentStatus",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "PriorityClass",
        "StorageClass",
        "VolumeAttachment",
        "CSIDriver",
        "CSINode",
        "IngressClass",
        "RuntimeClass",
        "CertificateSigningRequest",
        "FlowSchema",
        "PriorityLevelConfiguration",
        "PodSecurityPolicy",
        "TokenReview",
        "SubjectAccessReview",
        "SelfSubjectAccessReview",
        "SelfSubjectRulesReview",
    }
)
NOT_PREFIXED = frozenset({"CustomResourceDefinition", "APIService", "Namespace"})
_LISTS = ("containers", "initContainers")
OUR_ANNOTATIONS = "image-updater.dev/"


class Slot(NamedTuple):
    """A field that holds an image. `runs`: how often one `images:` entry is applied to it (0: never)."""

    path: Path
    runs: int


class FieldSpec(NamedTuple):
    """A field that `configurations:` names: `spec/runner/image`, for a kind or for all."""

    steps: tuple[str, ...]
    group: str
    version: str
    kind: str


class Mark(NamedTuple):
    """What the `images:` of the level that ran last did to a field."""

    before: Leaf | Text
    entry: Any
    after: Leaf | Text


class Obj:
    """One object. Immutable: every change is a new one that shares what did not change."""

    __slots__ = (
        "_slots",
        "document",
        "file",
        "group",
        "kind",
        "marks",
        "name",
        "namespace",
        "previous",
        "tree",
        "version",
    )

    def __init__(self, tree: Map, file: str, document: int) -> None:
        self.tree = tree
        api_version = text_at(tree, "apiVersion") or ""
        group, slash, version = api_version.rpartition("/")
        self.group, self.version = (group, version) if slash else ("", api_version)
        self.kind = text_at(tree, "kind") or ""
        self.name = text_at(tree, "metadata", "name") or ""
        self.namespace = text_at(tree, "metadata", "namespace") or ""
        self.previous: tuple[tuple[str, str, str], ...] = ()
        self.file = file
        self.document = document
        self.marks: dict[Path, Mark] | None = None
        self._slots: tuple[Slot, ...] | None = None

    def _copy(self) -> Obj:
        other = object.__new__(Obj)
        for name in Obj.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    def with_tree(self, tree: Map, *, remember: bool = False) -> Obj:
        """The object with another tree, whose kind, names and images are read anew."""
        other = Obj(tree, self.file, self.document)
        other.previous = self.previous
        if remember:
            other.previous = (*self.previous, (self.namespace, self.name, self.kind))
        other.marks = self.marks
        return other

    def with_image(self, path: Path, value: Leaf | Text) -> Obj:
        other = self._copy()
        tree = assign(self.tree, path, value)
        assert isinstance(tree, Map)
        other.tree = tree
        return other

    def with_marks(self, marks: dict[Path, Mark]) -> Obj:
        other = self._copy()
        other.marks = marks
        return other

    def renamed(self, *, name: str | None = None, namespace: str | None = None) -> Obj:
        """Another name or namespace; the old one stays known, patches may use it."""
        other = self._copy()
        other.previous = (*self.previous, (self.namespace, self.name, self.kind))
        other.name = self.name if name is None else name
        other.namespace = self.namespace if namespace is None else namespace
        return other

    def moved(self, namespace: str) -> Obj:
        """In another namespace, if the kind has one."""
        return self if self.kind in CLUSTER_SCOPED else self.renamed(namespace=namespace)

    def prefixed(self, prefix: str, suffix: str) -> Obj:
        if self.kind in NOT_PREFIXED or not (prefix or suffix):
            return self
        return self.renamed(name=prefix + self.name + suffix)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def slots(self) -> tuple[Slot, ...]:
        if self._slots is None:
            found: list[Slot] = []
            if self.kind != "CustomResourceDefinition":
                _find(self.tree, (), found)
            self._slots = tuple(found)
        return self._slots

    def ids(self) -> tuple[tuple[str, str, str], ...]:
        return (*self.previous, (self.namespace, self.name, self.kind))

    def is_called(self, api_version: str, kind: str, name: str, namespace: str) -> bool:
        """Does it have this identity now, or had it before?"""
        if self.api_version != api_version:
            return False
        wanted = _effective(namespace, kind)
        return any(k == kind and n == name and _effective(ns, k) == wanted for ns, n, k in self.ids())

    @property
    def labels(self) -> dict[str, str]:
        return plain(map_at(self.tree, "metadata", "labels"))

    @property
    def annotations(self) -> dict[str, str]:
        return plain(map_at(self.tree, "metadata", "annotations"))

    def is_selected(self, target: Map) -> bool:
        """A patch's `target`: regular expressions over the whole of group, version, kind, name, namespace; label and
        annotation selectors."""
        for key, value in (("group", self.group), ("version", self.version), ("kind", self.kind)):
            pattern = text_at(target, key)
            if pattern and not matches(pattern, value):
                return False
        ids = (self.ids()[0], self.ids()[-1])
        pattern = text_at(target, "namespace")
        if pattern and not any(matches(pattern, _effective(ns, kind)) for ns, _, kind in ids):
            return False
        pattern = text_at(target, "name")
        if pattern and not any(matches(pattern, name) for _, name, _ in ids):
            return False
        selector = text_at(target, "labelSelector")
        if selector and not selects(selector, self.labels):
            return False
        selector = text_at(target, "annotationSelector")
        return not selector or selects(selector, self.annotations)


def _effective(namespace: str, kind: str) -> str:
    if kind in CLUSTER_SCOPED:
        return "_non_namespaceable_"
    return namespace or "default"


@lru_cache(maxsize=4096)
def _anchored(pattern: str) -> Callable[[str], object] | None:
    """Go's expressions in linear time: a repository's patterns are not ours to trust."""
    try:
        return re2.compile(f"^(?:{pattern})$").search  # type: ignore[no-any-return]
    except re2.error:
        return None


def matches(pattern: str, text: str) -> bool:
    """A selector's anchored expression."""
    if pattern == text:
        return True
    compiled = _anchored(pattern)
    return compiled is not None and compiled(text) is not None


_REQUIREMENT = re.compile(r"\s*(!?)\s*([^\s!=,()]+)\s*(?:(==|=|!=)\s*([^\s,]*)|\s(in|notin)\s*\(([^)]*)\))?\s*(?:,|\Z)")


def selects(selector: str, labels: dict[str, str]) -> bool:
    """A Kubernetes label selector: `a=b, c!=d, e in (f, g), h, !i`."""
    at_ = 0
    while at_ < len(selector):
        match = _REQUIREMENT.match(selector, at_)
        if match is None or match.end() == at_:
            return False
        negated, key, operator, value, word, members = match.groups()
        have = labels.get(key)
        if operator in ("=", "=="):
            good = have == value
        elif operator == "!=":
            good = have != value
        elif word:
            listed = have is not None and have in [m.strip() for m in members.split(",")]
            good = listed if word == "in" else not listed
        else:
            good = (have is None) if negated else have is not None
        if not good:
            return False
        at_ = match.end()
    return True


def _find(value: Value, path: Path, found: list[Slot]) -> None:
    """Images of `containers` lists anywhere, and of the volumes that stand beside them."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            if isinstance(item, Map | list):
                _find(item, (*path, i), found)
        return
    if not isinstance(value, Map):
        return
    for key, item in value.items():
        if isinstance(item, Leaf):
            continue
        _find(item, (*path, key), found)
        if not isinstance(item, list):
            continue
        if key in _LISTS:
            standard = path in _POD_SPECS
            for i, container in enumerate(item):
                if isinstance(container, Map) and text_at(container, "image") is not None:
                    found.append(Slot((*path, key, i, "image"), 2 if standard else 1))
        elif key == "ephemeralContainers":
            for i, container in enumerate(item):
                if isinstance(container, Map) and text_at(container, "image") is not None:
                    found.append(Slot((*path, key, i, "image"), 0))
        elif key == "volumes" and (path in _POD_SPECS or "containers" in value):
            for i, volume in enumerate(item):
                if text_at(volume, "image", "reference") is not None:
                    found.append(Slot((*path, key, i, "image", "reference"), 1 if path in _POD_SPECS else 0))


_POD_SPECS = {("spec",), ("spec", "template", "spec"), ("spec", "jobTemplate", "spec", "template", "spec")}


def spec_matches(obj: Obj, spec: FieldSpec, path: Path) -> bool:
    """Is `path` of this object one that the field spec names?"""
    if spec.kind not in ("", obj.kind) or spec.group not in ("", obj.group) or spec.version not in ("", obj.version):
        return False
    return tuple(step for step in path if isinstance(step, str)) == spec.steps


def spec_slots(obj: Obj, specs: tuple[FieldSpec, ...]) -> list[Slot]:
    """The fields of this object that `configurations:` names."""
    found: list[Slot] = []
    known = {slot.path for slot in obj.slots}
    for spec in specs:
        if (
            spec.kind not in ("", obj.kind)
            or spec.group not in ("", obj.group)
            or spec.version not in ("", obj.version)
        ):
            continue
        for path in _expand(obj.tree, spec.steps, ()):
            if path not in known:
                known.add(path)
                found.append(Slot(path, 1))
    return found


def _expand(value: Value | None, steps: tuple[str, ...], path: Path) -> list[Path]:
    if isinstance(value, list):
        return [p for i, item in enumerate(value) for p in _expand(item, steps, (*path, i))]
    if not steps:
        return [path] if isinstance(value, Leaf | Text) and value.value else []
    if isinstance(value, Map) and steps[0] in value:
        return _expand(value[steps[0]], steps[1:], (*path, steps[0]))
    return []


def field_spec(value: Value) -> FieldSpec | None:
    """An entry of a configuration's `images:` list."""
    path = text_at(value, "path")
    if not path:
        return None
    steps = tuple(step.replace("\0", "/").removesuffix("[]") for step in path.replace("\\/", "\0").split("/") if step)
    return FieldSpec(
        steps, text_at(value, "group") or "", text_at(value, "version") or "", text_at(value, "kind") or ""
    )


def objects_of(tree: Value | None, file: str, document: int) -> list[Obj]:
    """The objects of a document: itself, or the items of a list kind."""
    if not isinstance(tree, Map):
        return []
    kind = text_at(tree, "kind") or ""
    if kind.endswith("List") and isinstance(tree.get("items"), list):
        return [obj for item in list_at(tree, "items") for obj in objects_of(item, file, document)]
    if not kind or "apiVersion" not in tree:
        return []
    return [Obj(tree, file, document)]


def container_name(tree: Value, path: Path) -> str | None:
    """The `name` beside an image field."""
    for depth in range(len(path) - 1, max(len(path) - 4, 0), -1):
        if isinstance(path[depth - 1], int):
            return text_at(at(tree, *path[:depth]), "name")
    return None
