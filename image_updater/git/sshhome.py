"""Which host key algorithm libssh2 asks for.

libssh2 negotiates by its own preference unless libgit2 finds the host in the known_hosts of a *process-wide* home
folder. A repository that knows only a server's RSA key would then be shown its Ed25519 key and refuse a right host. So
the home folder is a private one, and its known_hosts names, for each host in use, the keys that the repository knows.
It decides the algorithm only, never trust: hostkeys.py does. Two repositories that know different keys of one host take
turns.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pygit2

from image_updater.git import hostkeys
from image_updater.git.errors import GitUnavailable

_condition = threading.Condition()
_known: dict[tuple[str, int], frozenset[bytes]] = {}
_users: dict[tuple[str, int], int] = {}
_home: Path | None = None
_owner: int | None = None


@contextlib.contextmanager
def preferring(known_hosts: bytes | None, host: str, port: int, *, timeout: float) -> Iterator[None]:
    """While inside, connections to `host` negotiate a key of `known_hosts`."""
    place = (host, port)
    keys = frozenset(line.key for line in hostkeys.allowed(known_hosts, host, port))
    with _condition:
        if not _condition.wait_for(lambda: not _users.get(place) or _known.get(place) == keys, timeout):
            raise GitUnavailable(
                f"another repository keeps the SSH connection to {host}:{port} busy", remedy="it is tried again"
            )
        if _known.get(place) != keys or not _is_whole():
            _known[place] = keys
            try:
                _write()
            except OSError as exc:
                _known.pop(place)
                raise GitUnavailable(
                    f"no temporary folder for SSH host keys: {exc.strerror}", remedy="make room, or set TMPDIR"
                ) from exc
        _users[place] = _users.get(place, 0) + 1
    try:
        yield
    finally:
        with _condition:
            _users[place] -= 1
            _condition.notify_all()


def _is_whole() -> bool:
    """The folder is this process's, and no cleaner of temporary folders took it away."""
    return _home is not None and _owner == os.getpid() and (_home / ".ssh" / "known_hosts").exists()


def _write() -> None:
    global _home, _owner
    if _home is None or _owner != os.getpid() or not (_home / ".ssh").is_dir():
        _home = Path(tempfile.mkdtemp(prefix="image-updater-ssh-"))
        _owner = os.getpid()
        (_home / ".ssh").mkdir(mode=0o700)
        _mirror_home(_home)
        atexit.register(_remove, _home, _owner)
        pygit2.settings.homedir = str(_home)
    lines = [
        f"{host if port == 22 else f'[{host}]:{port}'} {hostkeys.key_type(key)} {base64.b64encode(key).decode()}\n"
        for (host, port), keys in sorted(_known.items())
        for key in sorted(keys)
    ]
    target = _home / ".ssh" / "known_hosts"
    fresh = target.with_name("known_hosts.new")
    fresh.write_text("".join(lines))
    fresh.replace(target)


def _mirror_home(home: Path) -> None:
    """libgit2 expands `~` by this folder elsewhere too (core.excludesFile, includes): the person's own files stay
    reachable there.
    """
    with contextlib.suppress(OSError, RuntimeError):
        for entry in os.scandir(Path.home()):
            if entry.name != ".ssh":
                (home / entry.name).symlink_to(entry.path)


def _remove(home: Path, owner: int) -> None:
    if owner == os.getpid():
        shutil.rmtree(home, ignore_errors=True)
