"""What lets a work tree survive a kill: one writer at a time, and a note of what a commit is about to do to the files.

The lock is an flock on the folder itself: it leaves nothing behind, and the kernel takes it back from whoever died. The
note stands beside the index while files, index and branch change one after the other; whoever finds it later undoes
what came before the kill, so that the next run starts from what the person had.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2

from image_updater.git.errors import CheckoutError, FileTrouble
from image_updater.git.files import sweep, write_files

NAME = "image-updater.journal"
WAIT = 120.0
"""Seconds that a writer waits for another one on the same files."""
_LOOK_EVERY = 0.05


@contextlib.contextmanager
def writing(
    folder: Path, *, wait: float = WAIT, monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[None]:  # fmt: skip
    """Be the only writer of `folder` (of ours). Blocking. Raises CheckoutError when another one does not end."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise FileTrouble(f"{folder} cannot be opened: {exc.strerror}", remedy="check its rights") from exc
    try:
        end = monotonic() + wait
        while not _locked(descriptor):
            if monotonic() >= end:
                raise CheckoutError(
                    f"another image-updater has been writing in {folder} for {wait:g} s", remedy="wait for it to end"
                )
            sleep(_LOOK_EVERY)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing_folder(folder: Path) -> Iterator[None]:
    """`writing` for a folder without Git, without the temporary files of a killed process."""
    with writing(folder):
        sweep(folder)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF):
            raise
        # Some network file systems lock no folders: then two writers are told apart when they find changed files.
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A commit on `parent` that was begun: path → (bytes before, bytes after); None = no file."""

    parent: str | None
    files: Mapping[str, tuple[bytes | None, bytes | None]]


def begin(git: Path, note: Note) -> None:
    """Put the note down, on disk before anything else changes. Raises CheckoutError."""
    document = {
        "parent": note.parent,
        "files": {path: [_encode(data) for data in pair] for path, pair in note.files.items()},
    }
    fresh = git / f"{NAME}.new"
    try:
        with fresh.open("w") as out:
            json.dump(document, out)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(git / NAME)
    except OSError as exc:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise CheckoutError(f"{git} cannot be written: {exc.strerror}", remedy="check disk space and rights") from exc


def read(git: Path) -> Note | None:
    """The note that a killed process left; None when there is none (one that was cut is no note: nothing had begun)."""
    try:
        document = json.loads((git / NAME).read_text())
        files = {path: (_decode(old), _decode(new)) for path, (old, new) in document["files"].items()}
        return Note(parent=document["parent"], files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None


def end(git: Path) -> None:
    """Take the note away: what it announced is done, or undone."""
    for name in (NAME, f"{NAME}.new"):
        with contextlib.suppress(FileNotFoundError):
            (git / name).unlink()


def _encode(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _decode(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def undo(repository: pygit2.Repository, root: Path, files: Mapping[str, tuple[bytes | None, bytes | None]]) -> None:
    """Files (path → before, after) and index as they were before, but for what somebody else wrote over ours. Raises
    FileTrouble.
    """
    back = {
        path: old
        for path, (old, new) in files.items()
        if old != new and _on_disk(root, path) == new and (old is not None or os.path.lexists(root / path))
    }
    write_files(root, back, expected={path: files[path][1] for path in back})
    _unstage(repository, root, [path for path, (old, _) in files.items() if _on_disk(root, path) == old])


def _on_disk(root: Path, path: str) -> bytes | None:
    place = root / path
    return place.read_bytes() if place.is_file() and not place.is_symlink() else None


def _unstage(repository: pygit2.Repository, root: Path, paths: Sequence[str]) -> None:
    """Stage the files as they stand, where the index holds something else."""
    with contextlib.suppress(pygit2.GitError, OSError, KeyError):
        index = repository.index
        index.read(True)
        changed = False
        for path in paths:
            before = index[path].id if path in index else None
            if os.path.lexists(root / path):
                index.add(path)
            elif path in index:
                index.remove(path)
            changed |= before != (index[path].id if path in index else None)
        if changed:
            index.write()
