"""What a Kustomization has applied, as its status keeps it: Flux's `entries: [{id, v}]`, so that either can read both.

An id is `namespace_name_group_kind`, with `__` for each colon of a name (`system:node`). Where Flux's own form would
not read back (a name with `_`), the underscore is written `%5F`: no name may hold a percent sign.

A status must fit into one object of etcd (1.5 MB). Inventories beyond 700 KB of JSON go into ConfigMaps, named by
what they hold, and status lists their names and digests: pieces are written before the status that names them and
removed after it names them no more, so that a crash in between leaves a piece too many, never one too few.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from image_updater.cluster.model import Ref
from image_updater.errors import DocumentError, Where
from image_updater.sync.model import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from image_updater.api.model import ObjectKey
    from image_updater.sync.model import Manifest

MAX_BYTES: Final = 700_000
"""JSON of entries that one object holds at most."""

DATA_KEY: Final = "entries"
"""Of the ConfigMaps' `data`: the JSON list of entries."""

_UNDERSCORE: Final = "%5F"


def object_id(ref: Ref) -> str:
    """`apps_web_apps_Deployment`; `_prod__Namespace` for an object of the cluster and the core group."""
    name = ref.name.replace("_", _UNDERSCORE).replace(":", "__")
    return f"{ref.namespace}_{name}_{ref.group}_{ref.kind}"


def parse_id(text: str) -> Ref:
    """Ours and Flux's. Raises ValueError."""
    namespace, first, rest = text.partition("_")
    rest, second, kind = rest.rpartition("_")
    name, third, group = rest.rpartition("_")
    if not (first and second and third and name and kind):
        raise ValueError(f"{text!r} is not namespace_name_group_kind")
    return Ref(group, kind, namespace, name.replace("__", ":").replace(_UNDERSCORE, "_"))


def entries_of(manifests: Iterable[Manifest]) -> tuple[Entry, ...]:
    """What applying these puts into an inventory."""
    return _sorted({m.ref: Entry(ref=m.ref, version=m.api_version.rpartition("/")[2]) for m in manifests})


def union(old: Iterable[Entry], new: Iterable[Entry]) -> tuple[Entry, ...]:
    """Both; where both have an object, the new one's version."""
    return _sorted({**{entry.ref: entry for entry in old}, **{entry.ref: entry for entry in new}})


def difference(old: Iterable[Entry], new: Iterable[Entry]) -> tuple[Entry, ...]:
    """What the old one has and the new one has not, in whatever version: what is to be pruned."""
    kept = {entry.ref for entry in new}
    return _sorted({entry.ref: entry for entry in old if entry.ref not in kept})


def _sorted(entries: Mapping[Ref, Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries.values(), key=lambda entry: object_id(entry.ref)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One ConfigMap of a large inventory. `text` stands under DATA_KEY; `digest` is of it."""

    name: str
    digest: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """`status` is the value of `status.inventory`; `pieces` are the ConfigMaps it names."""

    status: Mapping[str, Any]
    pieces: tuple[Piece, ...] = ()


def store(entries: Iterable[Entry], key: ObjectKey, *, limit: int = MAX_BYTES) -> Stored:
    """How the inventory of this Kustomization is kept: the same for the same entries, whatever their order."""
    items = [_item(entry) for entry in _sorted({entry.ref: entry for entry in entries})]
    texts = _split(items, limit)
    if len(texts) <= 1:
        return Stored(status={"entries": items})
    pieces = tuple(_piece(text, key) for text in texts)
    listed = [{"name": piece.name, "digest": piece.digest} for piece in pieces]
    return Stored(status={"configMaps": listed, "count": len(items)}, pieces=pieces)


def pieces_of(status: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Names of the ConfigMaps that `load` needs, in the namespace of the Kustomization."""
    return tuple(str(piece.get("name")) for piece in (status or {}).get("configMaps") or ())


def load(
    status: Mapping[str, Any] | None, texts: Mapping[str, str | None] | None = None, *, where: Where | None = None
) -> tuple[Entry, ...]:
    """The entries of a `status.inventory`; `texts` are the pieces' by name.

    Raises DocumentError where anything is missing or damaged: a part of an inventory is none, since what it does not
    name would never be pruned.
    """
    where = where or Where(field="status.inventory")
    items: list[Any] = list((status or {}).get("entries") or ())
    for piece in (status or {}).get("configMaps") or ():
        name = str(piece.get("name"))
        text = (texts or {}).get(name)
        if text is None or _digest(text) != piece.get("digest"):
            state = "is not there" if text is None else "does not hold what status says"
            raise DocumentError(
                f"the inventory's ConfigMap {name} {state}",
                where=where,
                remedy="put it back from a backup, or delete status.inventory: "
                "then what left Git before the next sync has to be deleted by hand",
            )
        items.extend(json.loads(text))
    return _sorted({entry.ref: entry for entry in (_entry(item, where) for item in items)})


def _item(entry: Entry) -> dict[str, str]:
    return {"id": object_id(entry.ref), "v": entry.version}


def _entry(item: Any, where: Where) -> Entry:
    try:
        return Entry(ref=parse_id(str(item["id"])), version=str(item["v"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise DocumentError(f"an entry of the inventory cannot be read: {exc}", where=where) from exc


def _split(items: list[dict[str, str]], limit: int) -> list[str]:
    """JSON lists of at most `limit` bytes each (an entry that alone is larger stands alone)."""
    texts: list[str] = []
    open_: list[str] = []
    size = 2
    for item in items:
        text = json.dumps(item, separators=(",", ":"))
        if open_ and size + len(text) + 1 > limit:
            texts.append(f"[{','.join(open_)}]")
            open_, size = [], 2
        open_.append(text)
        size += len(text) + 1
    if open_:
        texts.append(f"[{','.join(open_)}]")
    return texts


def _piece(text: str, key: ObjectKey) -> Piece:
    digest = _digest(text)
    owner = hashlib.sha256(str(key).encode()).hexdigest()[:10]
    return Piece(name=f"image-updater-inventory-{owner}-{digest[:16]}", digest=digest, text=text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
