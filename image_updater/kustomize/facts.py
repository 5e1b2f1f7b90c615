"""What one blob holds, parsed once for ever: the facts that are kept by content id.

Most files of a repository can bear no image. A byte search sorts them out before any YAML is parsed, and inside a
file of many documents (a bundle of CRDs is megabytes) only the documents that can bear one are: the others are
blanked, which keeps every offset and line as it was.
"""

from __future__ import annotations

import itertools
import marshal
import re
import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from image_updater.documents import check, decode, parse
from image_updater.errors import DocumentError
from image_updater.kustomize import markers
from image_updater.kustomize.model import Marker
from image_updater.kustomize.values import pack

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION = b"iu5:%d.%d:" % sys.version_info[:2]
"""Facts of another version are made anew; marshal's format belongs to the interpreter's version."""

_BEARS = re.compile(rb"image|ontainers|Kustomization|kind:\s*[\"']?Application|image-updater\.dev")
_KIND = re.compile(rb"(?:^(?:- |\{)?|[{,])\s*[\"']?kind[\"']?\s*:", re.MULTILINE)
_API_VERSION = re.compile(rb"[\"']?apiVersion[\"']?\s*:")
_TEMPLATE = re.compile(rb"\{\{|\{%|<%")
"""What engines fill in: not YAML yet, and no mistake."""
_BOUNDARY = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_BEARS_TEXT = re.compile(_BEARS.pattern.decode())
_CONTENT = re.compile(r"^\ufeff?[ \t]*[^ \t\r\n#\ufeff][^\r\n]*", re.MULTILINE)
"""A line that is neither blank nor a comment."""
_END = re.compile(r"^\.\.\.(?=[ \t\r\n]|\Z)", re.MULTILINE)
_CRD = re.compile(r"^kind:\s*[\"']?CustomResourceDefinition[\"']?\s*$", re.MULTILINE)
_NOT_BREAK = re.compile(r"[^\r\n]")
_LFS = b"version https://git-lfs.github.com/spec/"
_BIG = 32 * 1024


class FactCache(Protocol):
    """Facts by content id; what it loses is made again."""

    def get(self, oid: str) -> bytes | None: ...

    def put(self, oid: str, data: bytes) -> None: ...


@runtime_checkable
class BulkCache(FactCache, Protocol):
    """One that reads many at once, and writes many at once when it is told to."""

    def prefetch(self, keys: Iterable[str]) -> None: ...

    def flush(self) -> None: ...


class MemoryCache:
    """A FactCache in this process; the least recently used go."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._facts: OrderedDict[str, bytes] = OrderedDict()

    def get(self, oid: str) -> bytes | None:
        data = self._facts.get(oid)
        if data is not None:
            self._facts.move_to_end(oid)
        return data

    def put(self, oid: str, data: bytes) -> None:
        self._facts[oid] = data
        while len(self._facts) > self._limit:
            self._facts.popitem(last=False)

    def clear(self) -> None:
        self._facts.clear()


@dataclass(frozen=True, slots=True)
class Facts:
    """`documents` are packed trees (None for an empty or blanked one). `error` says why there are none."""

    documents: tuple[object, ...] = ()
    manifest: bool = False
    """It looks as if it held objects (apiVersion and kind)."""
    error: tuple[str, int | None] | None = None
    marked: bool = False
    """It may hold setter markers."""


def read(data: bytes, *, full: bool) -> Facts:
    """The facts of a file. `full`: all documents, else only those that can bear an image or name a root."""
    if data.startswith(_LFS):
        return Facts(manifest=True, error=("a Git LFS pointer: the content is not in this repository", 1))
    manifest = holds_objects(data)
    if not full and not _BEARS.search(data):
        error = _invalid(data)
        return Facts(manifest=manifest or error is not None, error=error)
    try:
        text = decode(data)
        documents = parse(text if full else _blanked(text))
        packed = tuple(pack(document.root) for document in documents)
    except DocumentError as exc:
        telling = manifest or not _TEMPLATE.search(data)
        return Facts(manifest=telling, error=(exc.message, exc.where.line), marked=_mentions(data))
    return Facts(documents=packed, manifest=manifest, marked=_mentions(data))


def _invalid(data: bytes) -> tuple[str, int | None] | None:
    """Why a file without images cannot be read. A template is no mistake; what is large is taken as it is."""
    if len(data) > _BIG or _TEMPLATE.search(data):
        return None
    try:
        check(decode(data))
    except DocumentError as exc:
        return exc.message, exc.where.line
    return None


def holds_objects(data: bytes) -> bool:
    """Whether the bytes look like objects: apiVersion and kind are named somewhere."""
    return _KIND.search(data) is not None and _API_VERSION.search(data) is not None


def is_template(data: bytes) -> bool:
    """Whether an engine fills it in before it becomes YAML."""
    return _TEMPLATE.search(data) is not None


def _mentions(data: bytes) -> bool:
    return (b"imagepolicy" in data or b"image-policy" in data) and markers.mentions(data.decode("utf-8", "replace"))


def _blanked(text: str) -> str:
    """The text in which documents without interest are spaces. Each of them stays a document: their numbers count."""
    bounds = [match.start() for match in _BOUNDARY.finditer(text)]
    if not bounds:
        return text
    edges = [0, *bounds, len(text)]
    out = []
    for start, end in itertools.pairwise(edges):
        chunk = text[start:end]
        bears = _BEARS_TEXT.search(chunk) and not (len(chunk) > _BIG and _CRD.search(chunk))
        if bears or _END.search(chunk):
            out.append(chunk)
        elif chunk.startswith("---"):
            out.append("---" + _NOT_BREAK.sub(" ", chunk[3:]))
        else:
            out.append(_begun(chunk))
    return "".join(out)


def _begun(chunk: str) -> str:
    """What stands before the first `---`, as spaces: directives, comments, or a document without a beginning, which
    gets one in place of its first characters.
    """
    content = _CONTENT.search(chunk)
    if content is None:
        return _NOT_BREAK.sub(" ", chunk)
    begin, end = content.span()
    if "%" in content[0][:2] or "\ufeff" in content[0] or end - begin < 3:
        return chunk
    return _NOT_BREAK.sub(" ", chunk[:begin]) + "---" + _NOT_BREAK.sub(" ", chunk[begin + 3 :])


def load(data: bytes) -> Facts | None:
    """Facts from the cache; None when they are not ours or damaged."""
    if not data.startswith(VERSION):
        return None
    try:
        documents, manifest, error, marked = marshal.loads(data[len(VERSION) :])  # noqa: S302 - our own cache, beside our own state
    except (ValueError, EOFError, TypeError):
        return None
    return Facts(documents=documents, manifest=manifest, error=error, marked=marked)


def dump(facts: Facts) -> bytes:
    packed: Any = (facts.documents, facts.manifest, facts.error, facts.marked)
    return VERSION + marshal.dumps(packed)


def find_markers(data: bytes, file: str) -> list[Marker]:
    """The markers of a file; a file that does not parse has none (it is a problem already)."""
    try:
        text = decode(data)
        return markers.find(text, parse(text), file)
    except DocumentError:
        return []
