"""Objects files to `Objects`: texts, files and folders; every error of all of them at once."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from image_updater.api.decode import MAX_ERRORS, EnoughErrors, Report, SpecErrors
from image_updater.api.model import (
    Freeze,
    GitRepository,
    ImagePolicy,
    ImageUpdateAutomation,
    Kustomization,
    Objects,
    Quarantine,
    Secret,
)
from image_updater.api.objects import Encrypted, expand, read_object
from image_updater.documents import decode, parse
from image_updater.documents.parse import MAX_BYTES
from image_updater.errors import DocumentError, SpecError, Where

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from image_updater.api.model import ObjectKey
    from image_updater.api.objects import AnyObject

SUFFIXES: Final = (".yaml", ".yml")
"""Files of a folder that are read."""


def load_text(text: str, file: str | None = None) -> Objects:
    """The objects of one YAML text; `file` is how errors name it. Raises SpecErrors with all that is wrong."""
    report = Report(file=file)
    found = _read_text(text, report, folder=False)
    return _assemble(found, report.errors)


def load(paths: Sequence[pathlib.Path]) -> Objects:
    """The objects of files and folders (recursively, sorted, `*.yaml` and `*.yml`).

    Raises SpecErrors with all that is wrong.
    """
    found: list[AnyObject | Encrypted] = []
    errors: list[SpecError] = []
    read: set[str] = set()
    for path in paths:
        folder = path.is_dir()
        for file in _files(path) if folder else [path]:
            real = os.path.realpath(file)
            if real in read:
                continue  # a folder and a file of it are both named
            read.add(real)
            report = Report(file=str(file))
            text = _read_file(file, report)
            if text is not None:
                found.extend(_read_text(text, report, folder=folder))
            errors.extend(report.errors)
    return _assemble(found, errors)


def merge(*parts: Objects) -> Objects:
    """Several sets of objects as one. Raises SpecErrors for objects that two of them have."""
    found: list[AnyObject | Encrypted] = []
    for part in parts:
        found.extend((*part.policies, *part.repositories, *part.automations, *part.kustomizations))
        found.extend((*part.freezes, *part.quarantines, *part.secrets.values()))
        found.extend(Encrypted(key=key) for key in part.encrypted)
    return _assemble(found, [])


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Hidden files and folders are left out: mounted ConfigMaps keep their older versions there."""
    result: list[pathlib.Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = type(folder)(parent)
        result.extend(base / name for name in sorted(names) if name.endswith(SUFFIXES) and not name.startswith("."))
    return result


def _read_file(file: pathlib.Path, report: Report) -> str | None:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            report.add(f"has more than the limit of {MAX_BYTES:,} bytes", line=None, remedy="split it")
            return None
        return decode(data, file=str(file))
    except DocumentError as exc:
        report.add(exc.message, line=exc.where.line, remedy=exc.remedy)
    except OSError as exc:
        report.add(
            f"cannot be read: {exc.strerror or exc}", line=None, remedy="name a file or folder of YAML that is there"
        )
    return None


def _read_text(text: str, report: Report, *, folder: bool) -> list[AnyObject | Encrypted]:
    try:
        documents = parse(text, file=report.file)
    except DocumentError as exc:
        remedy = exc.remedy or _needs_quotes(text, exc.where.line) or "correct the YAML there, or just above"
        report.add(exc.message, line=exc.where.line, remedy=remedy)
        return []
    found: list[AnyObject | Encrypted] = []
    try:
        for document in documents:
            if document.root is None:
                continue
            if folder and not hasattr(document.root, "items"):
                continue  # a lone scalar in some file of a folder is no object
            for node in expand(document.root, report):
                result = read_object(node, report, folder=folder)
                if result is not None:
                    found.append(result)
    except EnoughErrors:
        line = report.errors[-1].where.line
        message = f"has {MAX_ERRORS} errors up to here: the rest of the file was not looked at"
        where = Where(file=report.file, line=line)
        report.errors.append(SpecError(message, where=where, remedy="correct these first"))
    return found


_INDICATOR: Final = re.compile(r"\s*(?:- +)*[\w.-]+: +([*&>|@%`!])")
"""A value that begins with a character that means something to YAML: `range: >=1.0` is the usual one."""


def _needs_quotes(text: str, line: int | None) -> str | None:
    lines = text.splitlines()
    match = _INDICATOR.match(lines[line - 1]) if line is not None and line <= len(lines) else None
    if match is None:
        return None
    return f"a value that begins with {match[1]} needs quotes"  # the value itself may be a secret


def _assemble(found: Sequence[AnyObject | Encrypted], errors: list[SpecError]) -> Objects:
    errors = [*errors, *_duplicates(found)]
    if errors:
        files = {error.where.file: i for i, error in reversed(list(enumerate(errors)))}
        raise SpecErrors(sorted(errors, key=lambda error: (files[error.where.file], error.where.line or 0)))
    return Objects(
        policies=tuple(item for item in found if isinstance(item, ImagePolicy)),
        repositories=tuple(item for item in found if isinstance(item, GitRepository)),
        automations=tuple(item for item in found if isinstance(item, ImageUpdateAutomation)),
        kustomizations=tuple(item for item in found if isinstance(item, Kustomization)),
        freezes=tuple(item for item in found if isinstance(item, Freeze)),
        quarantines=tuple(item for item in found if isinstance(item, Quarantine)),
        secrets={item.meta.key: item for item in found if isinstance(item, Secret)},
        encrypted=tuple(item.key for item in found if isinstance(item, Encrypted)),
    )


def _duplicates(found: Sequence[AnyObject | Encrypted]) -> list[SpecError]:
    seen: dict[tuple[str, ObjectKey], AnyObject] = {}
    errors = []
    for item in found:
        if isinstance(item, Encrypted):
            continue
        kind = type(item).__name__
        if isinstance(item, Freeze | Quarantine) and item.cluster:
            kind = f"Cluster{kind}"
        first = seen.get((kind, item.meta.key))
        if first is None:
            seen[kind, item.meta.key] = item
        else:
            there, here = first.meta.source, item.meta.source
            place = Where(file=here.file, line=here.line, field="metadata.name", object=f"{kind} {item.meta.key}")
            earlier = str(Where(file=there.file, line=there.line)) if there.file else f"line {there.line}"
            message = f"is defined twice: here (line {here.line}) and at {earlier}"
            errors.append(SpecError(message, where=place, remedy="remove or rename one of them"))
    return errors
