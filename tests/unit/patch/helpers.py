"""What the patch tests share: changes by path, applied and verified."""

from __future__ import annotations

from image_updater.documents import Document, Scalar, find, parse
from image_updater.kustomize.model import Path, ScalarRef
from image_updater.kustomize.refs import scalar_ref
from image_updater.patch.model import Change, Edit, EditKind
from image_updater.patch.splice import splice
from image_updater.patch.verify import verify_parse
from image_updater.patch.write import write

FILE = "a.yaml"


def ref(text: str, *path: str | int, document: int = 0) -> ScalarRef:
    documents: list[Document] = parse(text)
    node = find(documents[document].root, path)
    assert isinstance(node, Scalar), f"no scalar at {path}"
    return scalar_ref(node, file=FILE, document=document, path=path)


def put(text: str, value: str, *path: str | int, document: int = 0, policy: str = "p") -> Change:
    scalar = ref(text, *path, document=document)
    return Change(
        kind=EditKind.SCALAR, file=FILE, policy=policy, site="s", scalar=scalar, value=value, document=document
    )


def drop(text: str, *path: str | int, document: int = 0) -> Change:
    scalar = ref(text, *path, document=document)
    return Change(kind=EditKind.REMOVE, file=FILE, policy="p", site="s", scalar=scalar, document=document)


def add(parent: Path, *items: tuple[str, str], append: bool = False, document: int = 0, policy: str = "p") -> Change:
    return Change(
        kind=EditKind.INSERT,
        file=FILE,
        policy=policy,
        site="s",
        parent=parent,
        items=items,
        append=append,
        document=document,
    )


def apply(text: str, *changes: Change) -> str:
    edits = edits_of(text, *changes)
    new = splice(text, edits)
    verify_parse(text, new, edits, FILE)
    return new


def edits_of(text: str, *changes: Change) -> list[Edit]:
    return write({FILE: text}, changes)
