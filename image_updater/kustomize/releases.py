"""Where objects that install charts hold Helm values: as fields of their own, or as a text that is YAML itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.kustomize.model import Path

_ARGO = {"Application": ("spec",), "ApplicationSet": ("spec", "template", "spec")}


def places(kind: str, group: str, look: Callable[[Path], object]) -> list[Path]:
    """The fields of an object that hold values. `look`: what stands at a path of it, None for nothing.

    Argo CD reads `values` (a text) only where `valuesObject` is empty.
    """
    if kind == "HelmRelease":
        return [("spec", "values")]
    if group != "argoproj.io" or kind not in _ARGO:
        return []
    spec = _ARGO[kind]
    sources: list[Path] = [(*spec, "source")]
    several = look((*spec, "sources"))
    if isinstance(several, list):
        sources.extend((*spec, "sources", i) for i in range(len(several)))
    found: list[Path] = []
    for source in sources:
        key = next((k for k in ("valuesObject", "values") if look((*source, "helm", k))), None)
        if key is not None:
            found.append((*source, "helm", key))
    return found
