"""Writing files of a work tree so that nobody ever sees half of one: a temporary file beside it, synced, then renamed
over it.

Every folder on the way is opened without following symlinks (`openat`), so no path leaves the root, whoever swaps
folders meanwhile.
All new contents are on disk before the first rename: what can fail (space, rights) fails while nothing has changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from image_updater.git.errors import FilesChanged, FileTrouble, TreeRefused
from image_updater.git.trees import check_path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{12}\.image-updater\Z", re.DOTALL)


@dataclass(slots=True, kw_only=True)
class _Ready:
    """One file about to be renamed (or removed, without `temporary`) in its open folder."""

    path: str
    folder: int
    name: str
    temporary: str | None = None


def write_files(
    root: Path, files: Mapping[str, bytes | None], *, expected: Mapping[str, bytes | None] | None = None
) -> None:
    """Write (None: remove) files below `root`; modes stay, new ones follow the umask. Raises TreeRefused, FileTrouble.

    `expected`: what each file must hold still, else FilesChanged. On an error before the renames nothing has changed;
    one in between (a failing disk) names what is written already.
    """
    written: list[str] = []
    with contextlib.ExitStack() as stack:
        ready = [_prepare(root, path, data, stack) for path, data in files.items()]
        if expected is not None:
            # As late as can be: a person's editor may have saved while the new contents were on their way to the disk.
            changed = [item.path for item in ready if _content(item) != expected.get(item.path)]
            if changed:
                raise FilesChanged(f"{', '.join(changed)} changed while this run planned", remedy="run again")
        for item in ready:
            try:
                if item.temporary is None:
                    os.unlink(item.name, dir_fd=item.folder)
                else:
                    os.rename(item.temporary, item.name, src_dir_fd=item.folder, dst_dir_fd=item.folder)
                    item.temporary = None
                os.fsync(item.folder)
            except OSError as exc:
                done = f"; already written: {', '.join(written)}" if written else ""
                raise FileTrouble(
                    f"{item.path} cannot be written: {exc.strerror}{done}", remedy="check disk and rights"
                ) from exc
            written.append(item.path)


def _prepare(root: Path, path: str, data: bytes | None, stack: contextlib.ExitStack) -> _Ready:
    *parents, name = check_path(path)
    try:
        folder = _open_folder(root, parents, path, create=data is not None)
        stack.callback(os.close, folder)
        mode = _mode(folder, name, path)
        if data is None:
            if mode is None:
                raise TreeRefused(
                    f"{path} cannot be removed: it is not there", remedy="plan again on the files as they stand"
                )
            return _Ready(path=path, folder=folder, name=name)
        item = _Ready(path=path, folder=folder, name=name, temporary=_temporary(name))
        stack.callback(_discard, item)
        assert item.temporary is not None
        file = os.open(
            item.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder
        )
        with open(file, "wb") as out:
            if mode is not None:
                os.fchmod(file, mode)
            out.write(data)
            out.flush()
            os.fsync(file)
    except OSError as exc:
        raise FileTrouble(f"{path} cannot be written: {exc.strerror}", remedy="check disk space and rights") from exc
    return item


def _temporary(name: str) -> str:
    """A name beside `name` that `sweep` knows; names are at most 255 bytes long."""
    return f".{os.fsdecode(os.fsencode(name)[:200])}.{secrets.token_hex(6)}.image-updater"


def sweep(root: Path) -> None:
    """Remove the temporary files of a killed process. Only for who is alone here (`journal.writing`)."""
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name.lower() != ".git"]
        for name in names:
            if _TEMPORARY.match(name):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, name))


def _content(item: _Ready) -> bytes | None:
    """What the file holds now; None when it is not there (or no file any more)."""
    try:
        descriptor = os.open(item.name, _FILE, dir_fd=item.folder)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        return file.read()


def _open_folder(root: Path, parents: list[str], path: str, *, create: bool) -> int:
    current = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parents:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=current)
            try:
                deeper = os.open(part, _FOLDER, dir_fd=current)
            except NotADirectoryError as exc:
                # O_DIRECTORY with O_NOFOLLOW says the same for a symlink and for a file.
                raise TreeRefused(
                    f"{path} leads through {part}, which is no folder", remedy="symlinks are not followed"
                ) from exc
            os.close(current)
            current = deeper
    except BaseException:
        os.close(current)
        raise
    return current


def _mode(folder: int, name: str, path: str) -> int | None:
    """Permission bits of the file that is there, None when there is none."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        what = "a symlink" if stat.S_ISLNK(found.st_mode) else "no file"
        raise TreeRefused(f"{path} is {what}", remedy="name the file itself")
    return stat.S_IMODE(found.st_mode)


def _discard(item: _Ready) -> None:
    if item.temporary is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(item.temporary, dir_fd=item.folder)


def walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file and symlink below `root` with its path, sorted; Git's own folders and files are passed over."""
    stack = [("", str(root))]
    while stack:
        prefix, folder = stack.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda e: e.name)
        except OSError as exc:
            raise FileTrouble(f"{prefix or root} cannot be listed: {exc.strerror}", remedy="check its rights") from exc
        below = []
        for entry in entries:
            if entry.name.lower() == ".git":
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append((f"{prefix}{entry.name}/", entry.path))
            elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                yield prefix + entry.name, entry
        stack.extend(reversed(below))
