"""Which objects run images, and which: the pod templates of the kinds that Kubernetes has, and what custom kinds name.

Pure. What a template is changes with nothing but Git: labels, replicas and strategies of a workload are no part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from image_updater.api.model import GROUP
from image_updater.sync.health.reading import items, mapping, text
from image_updater.sync.manifests import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from image_updater.cluster.model import Body, Ref

_TEMPLATE: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
    ("batch", "Job"): ("spec", "template"),
}
"""Where a pod template stands, by group and kind."""

_CONTAINERS: Final = ("initContainers", "containers")
_DEEPEST: Final = 12
"""Levels of a custom object that are looked through."""

Images = tuple[tuple[str, str], ...]


def known_kind(ref: Ref) -> bool:
    """One whose pods' fate can be read."""
    return (ref.group, ref.kind) in _TEMPLATE


def template_of(ref: Ref, body: Body) -> Mapping[str, Any]:
    """The pod template; of a custom kind its spec; empty where there is none."""
    path = _TEMPLATE.get((ref.group, ref.kind))
    if path is not None:
        return mapping(body, *path)
    return mapping(body, "spec") if _custom(ref) else {}


def is_in_template(group: str, kind: str, path: Sequence[str | int]) -> bool:
    """Does a rollout begin when this field moves? Of kinds that nobody knows: when anything of `spec` does."""
    prefix = _TEMPLATE.get((group, kind)) or ("spec",)
    return tuple(path[: len(prefix)]) == prefix


def images_of(ref: Ref, body: Body) -> Images:
    """(container, image), init containers first, as Git has them; of custom kinds (path, image). Empty: none."""
    template = template_of(ref, body)
    if known_kind(ref):
        return tuple(_of_pod(mapping(template, "spec")))
    nested = mapping(template, "template", "spec")
    return tuple(_of_pod(nested)) or tuple(_named(template, "spec", 0))


def container_names(ref: Ref, body: Body) -> frozenset[str]:
    """Those of the template: what else a pod has was injected."""
    spec = mapping(template_of(ref, body), "spec")
    return frozenset(text(each, "name") for name in _CONTAINERS for each in items(spec, name))


def template_digest(ref: Ref, body: Body) -> str:
    """Equal for equal templates: a rollout begins when, and only when, it moves."""
    template = template_of(ref, body)
    return digest(dict(mapping(template, "spec") if (ref.group, ref.kind) == ("", "Pod") else template))


def _custom(ref: Ref) -> bool:
    """Kinds of others: the API server's own groups have no dot, or end in k8s.io."""
    group = ref.group
    return "." in group and not group.endswith(".k8s.io") and group != GROUP and (group, ref.kind) != _CANARY


_CANARY: Final = ("flagger.app", "Canary")
"""No workload: its target is one."""


def _of_pod(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _CONTAINERS:
        for container in items(spec, name):
            if image := text(container, "image"):
                yield text(container, "name"), image


def _named(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """`image: name:tag`, and `repository` beside `tag`, as charts and custom kinds have them."""
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        if (repository := text(value, "repository")) and "tag" in value:
            yield path, f"{repository}:{value['tag']}"
        for key, each in value.items():
            if key == "image" and isinstance(each, str) and each:
                yield f"{path}.{key}", each
            else:
                yield from _named(each, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _named(each, f"{path}[{number}]", depth + 1)
