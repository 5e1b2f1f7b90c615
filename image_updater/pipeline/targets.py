"""Is the argument of a command a folder or the address of a repository?"""

from __future__ import annotations

import re
from pathlib import Path

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCP = re.compile(r"(?:[^/@:\s]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!//)\S+\Z")


def is_url(target: str) -> bool:
    """`scheme://…` or scp's `user@host:path`; what exists here, or has a slash before its first colon, is a path."""
    if _SCHEME.match(target):
        return True
    return _SCP.match(target) is not None and not Path(target).exists()
