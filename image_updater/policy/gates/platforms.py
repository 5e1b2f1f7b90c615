"""`platforms`: what an image must run on, with variants as container runtimes compare them.

Names are made canonical as containerd does (`aarch64` is arm64, `linux/arm64/v8` is `linux/arm64`, `linux/arm` is
`linux/arm/v7`, `amd64/v1` is `amd64`); of one architecture a machine runs its own variant and those below it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from image_updater.policy.gates.blocked import Blocked, GateName, asks, rejected, unknowable
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from collections.abc import Iterable

    from image_updater.policy.model import TagFacts

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
}
_OLDEST = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
"""The variant that is meant where none is written."""
_SHOWN = 10
_VARIANT = re.compile(r"v?(\d+)(?:\.(\d+))?")

Platform = tuple[str, str, str]
"""Canonical operating system, architecture and variant."""


def parse(text: str) -> Platform:
    """`os/arch[/variant]`; never raises."""
    system, _, rest = text.strip().lower().partition("/")
    architecture, _, variant = rest.partition("/")
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied or _OLDEST.get(architecture, "")
    number = _VARIANT.fullmatch(variant)
    return {"macos": "darwin"}.get(system, system), architecture, f"v{variant.lstrip('v')}" if number else variant


def runs(wanted: str, offered: str) -> bool:
    """Does a machine of the platform `wanted` run an image of the platform `offered`?"""
    ours, theirs = parse(wanted), parse(offered)
    if ours[:2] != theirs[:2]:
        return False
    machine, image = _VARIANT.fullmatch(ours[2]), _VARIANT.fullmatch(theirs[2])
    if machine is None or image is None:
        return ours[2] == theirs[2]
    return _number(image) <= _number(machine)


def check(wanted: Iterable[str], tag: str, known: TagFacts | None) -> Blocked | None:
    offered = None if known is None else known.platforms
    if offered is None:
        if unknowable(known, Need.PLATFORMS):
            return rejected(GateName.PLATFORMS, tag, "of unknown platforms, and nobody can tell them")
        return asks(GateName.PLATFORMS, tag, Need.PLATFORMS)
    missing = [platform for platform in wanted if not any(runs(platform, each) for each in offered)]
    if not missing:
        return None
    return rejected(GateName.PLATFORMS, tag, f"not for {', '.join(missing)}: it is for {_listed(offered)}")


def _number(match: re.Match[str]) -> tuple[int, int]:
    return int(match[1]), int(match[2] or 0)


def _listed(platforms: tuple[str, ...]) -> str:
    if not platforms:
        return "no platform at all"
    more = f" and {len(platforms) - _SHOWN:,} more" if len(platforms) > _SHOWN else ""
    return ", ".join(platforms[:_SHOWN]) + more
