"""Trees and roots to manifests, by the real Kustomize (and Helm through it). The only room that starts processes.

A build sees the files of its root's closure, no network, no environment of ours, and has limits on time, CPU, memory
and output. Renders are kept by the content that decides them (closures.py). It judges nothing: that is
`patch.compare`.
"""

from image_updater.render.binaries import Kustomize, find_binary, find_helm
from image_updater.render.cache import LayeredCache, MemoryCache, RenderCache
from image_updater.render.closures import Options, closure_id
from image_updater.render.errors import BuildFailed, LimitExceeded, RendererMissing, RendererTooOld, Unbuildable
from image_updater.render.renderer import Renderer, available_cpus
from image_updater.render.sandbox import Limits, network_closed
from image_updater.render.workspace import Workspace

__all__ = [
    "BuildFailed",
    "Kustomize",
    "LayeredCache",
    "LimitExceeded",
    "Limits",
    "MemoryCache",
    "Options",
    "RenderCache",
    "Renderer",
    "RendererMissing",
    "RendererTooOld",
    "Unbuildable",
    "Workspace",
    "available_cpus",
    "closure_id",
    "find_binary",
    "find_helm",
    "network_closed",
]
