"""Everything that flags and environment decide, as one frozen value.

Each field's metadata names its flag, its variable and what it means: `--help` and the reference page are made from it.
Values arrive parsed; nothing here reads a file or the process's environment by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "IMAGE_UPDATER_"


def _setting(flag: str, variable: str, text: str) -> dict[str, str]:
    return {"flag": flag, "variable": PREFIX + variable, "help": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process works; what it works on comes from objects and arguments."""

    state: Path | None = field(
        default=None,
        metadata=_setting(
            "--state", "STATE", "SQLite file that keeps tag lists, first-seen times and facts between runs."
        ),
    )
    cache: Path | None = field(
        default=None,
        metadata=_setting(
            "--cache", "CACHE", "Folder for bare mirrors and renders (default: the user's cache folder)."
        ),
    )
    secrets: Path | None = field(
        default=None,
        metadata=_setting("--secrets", "SECRETS", "Folder of secrets: DIR/<name>/<key>, one file a value."),
    )
    allow_remote_bases: bool = field(
        default=False,
        metadata=_setting(
            "--allow-remote-bases",
            "ALLOW_REMOTE_BASES",
            "Let kustomize fetch remote bases; without it such roots are not built.",
        ),
    )
    kustomize: str | None = field(
        default=None,
        metadata=_setting(
            "--kustomize", "KUSTOMIZE", "The kustomize or kubectl binary (default: kustomize, then kubectl, on PATH)."
        ),
    )
    helm: str | None = field(
        default=None,
        metadata=_setting("--helm", "HELM", "The helm binary for helmCharts (default: helm on PATH)."),
    )


def cache_folder(settings: Settings, environment: Mapping[str, str]) -> Path:
    """`--cache`, else `$XDG_CACHE_HOME/image-updater`, else `~/.cache/image-updater`."""
    if settings.cache is not None:
        return settings.cache
    base = environment.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / "image-updater"
    return Path(environment.get("HOME") or Path.home()) / ".cache" / "image-updater"
