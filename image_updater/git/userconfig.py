"""Git's own configuration files, where they may not be read: passed over, as git does.

A container that runs as a user of its own often keeps root's HOME; libgit2 then opens no repository at all.
"""

from __future__ import annotations

import functools
import os

import pygit2
from pygit2.enums import ConfigLevel

_FILES = {ConfigLevel.SYSTEM: "gitconfig", ConfigLevel.XDG: "config", ConfigLevel.GLOBAL: ".gitconfig"}


@functools.cache
def pass_over_unreadable() -> None:
    """Take the folders whose configuration is forbidden to us from libgit2's search, once a process."""
    for level, name in _FILES.items():
        folders = [folder for folder in pygit2.settings.search_path[level].split(os.pathsep) if folder]
        kept = [folder for folder in folders if not _is_forbidden(os.path.join(folder, name))]
        if kept != folders:
            pygit2.settings.search_path[level] = os.pathsep.join(kept)


def _is_forbidden(path: str) -> bool:
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(path, os.R_OK)
