"""Trees of values, the two binaries, and the comparison of what they render with what `locate` says."""

from __future__ import annotations

import hashlib
import pathlib
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from image_updater.kustomize import Entry, Part, Provenance, SiteKind, Use, locate
from tests.parts.tools import binary

Image = tuple[str, str, str, str, str]
"""kind, namespace, name, field, reference"""


class MemoryTree:
    """A Tree of texts."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self.data = {path: text if isinstance(text, bytes) else text.encode() for path, text in files.items()}
        self._entries = {path: Entry(hashlib.sha1(data).hexdigest()) for path, data in self.data.items()}

    @property
    def id(self) -> str:
        return hashlib.sha1(
            repr(sorted((path, entry.oid) for path, entry in self._entries.items())).encode()
        ).hexdigest()

    def files(self) -> Mapping[str, Entry]:
        return self._entries

    def read(self, path: str) -> bytes:
        return self.data[path]


def commands() -> dict[str, list[str]]:
    """Both dialects; a missing one fails the suite, it never skips."""
    return {"5.5": [binary("kustomize-5.5"), "build"], "5.8": [binary("kustomize"), "build"]}


def build(files: Mapping[str, str], root: str, command: list[str]) -> list[Any] | None:
    """The objects that the binary renders; None when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            file = pathlib.Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        done = subprocess.run([*command, str(pathlib.Path(folder, root))], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    return [doc for doc in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if doc]


def images(objects: list[Any]) -> Counter[Image]:
    """Every image of every `containers` list, image volume and ephemeral container."""
    found: Counter[Image] = Counter()
    for obj in objects:
        if obj["kind"] != "CustomResourceDefinition":
            meta = obj["metadata"]
            for path, value in _walk(obj, ()):
                found[obj["kind"], meta.get("namespace", ""), meta["name"], ".".join(map(str, path)), value] += 1
    return found


def _walk(value: Any, path: tuple[Any, ...]) -> Any:
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _walk(item, (*path, i))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, (*path, key))
            if key in ("containers", "initContainers", "ephemeralContainers") and isinstance(item, list):
                for i, container in enumerate(item):
                    if isinstance(container, dict) and container.get("image"):
                        yield (*path, key, i, "image"), str(container["image"])
            elif key == "volumes" and isinstance(item, list):
                for i, volume in enumerate(item):
                    if (
                        isinstance(volume, dict)
                        and isinstance(volume.get("image"), dict)
                        and volume["image"].get("reference")
                    ):
                        yield (*path, key, i, "image", "reference"), volume["image"]["reference"]


def said(provenance: Provenance, root: str) -> Counter[Image]:
    """The same from the static answer."""
    found: Counter[Image] = Counter()
    for site, use in provenance.by_root(root):
        if site.kind is not SiteKind.HELM:
            found[as_image(use)] += 1
    return found


def as_image(use: Use) -> Image:
    return use.object.kind, use.object.namespace, use.object.name, ".".join(map(str, use.path)), use.value


def check_edits(files: dict[str, str], provenance: Provenance, root: str, command: list[str], limit: int = 100) -> None:
    """Another tag at a site changes exactly the uses that the site lists for this root."""
    before = build(files, root, command)
    assert before is not None
    if any("put together" in (site.frozen or "") for site, _ in provenance.by_root(root)):
        return  # one scalar is a piece of several references there: no site can promise what else changes
    for site in provenance.sites:
        mine = [use for use in site.uses if use.root == root]
        if not mine or site.frozen or limit <= 0:
            continue
        if site.kind is SiteKind.ENTRY and Part.TAG not in site.parts and Part.DIGEST not in site.parts:
            continue  # it has no tag yet: a newTag would be inserted, which says more than these uses
        limit -= 1
        edited = {**files, site.file: edit(files[site.file], site)}
        after = build(edited, root, command)
        assert after is not None, site.id
        old, new = images(before), images(after)
        gone = old - new
        assert gone == Counter(as_image(use) for use in mine), site.id
        assert all("edited" in image[4] for image in (new - old)), site.id


def edit(text: str, site: Any) -> str:
    """The file with the tag `edited` at the site."""
    parts = {part.value: ref for part, ref in site.parts.items()}
    ref = parts.get("tag") or parts.get("image") or parts.get("digest") or parts.get("name")
    if "tag" in parts:
        value = "edited"
    elif "image" in parts:
        base = ref.value.split("@")[0]
        head, _, tail = base.rpartition(":")
        value = f"{head if head and '/' not in tail else base}:edited"
    elif "digest" in parts:
        value = "sha256:" + "edited" + "0" * 58
    else:
        value = f"{ref.value}-edited"
    return (
        text[: ref.start] + (value if ref.partial or (ref.inline and not ref.style) else f'"{value}"') + text[ref.end :]
    )


def provenance(files: Mapping[str, str]) -> Provenance:
    return locate(MemoryTree(files))


def check_before(files: dict[str, str], answer: Provenance, root: str, command: list[str]) -> None:
    """`Use.before` is what is rendered without the root's own images and without what runs after them."""
    path = f"{root}/kustomization.yaml"
    tree = yaml.safe_load(files[path])
    cut = {key: value for key, value in tree.items() if key not in ("images", "replacements", "transformers")}
    objects = build({**files, path: yaml.safe_dump(cut)}, root, command) if cut else None
    if objects is None:
        return
    rendered = images(objects)
    for _, use in answer.by_root(root):
        key = (use.object.kind, use.object.namespace, use.object.name, ".".join(map(str, use.path)), use.before or "")
        assert rendered[key] == 1, key
