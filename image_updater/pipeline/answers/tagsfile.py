"""`--tags FILE`: the complete answer of this moment, instead of a registry (design section 10).

One tag a line; or, when the first character is `[` or `{`, JSON: a list of tags (`"1.2"` or `{"tag", "created",
"digest", "platforms"}`) that stands for every image, or `{image: list}` whose keys match as images do. Nothing is
asked again: what the file does not say is not known, and never will be. Anything else is an error that names the file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn

from image_updater import documents
from image_updater.api.decode import did_you_mean
from image_updater.api.moments import parse_rfc3339
from image_updater.errors import DocumentError, SpecError, Where
from image_updater.images import Digest, ImageName, parse_name
from image_updater.images.names import is_digest
from image_updater.policy.model import TagFacts
from image_updater.policy.situation import Need

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_BYTES = 256 << 20
"""A million tags with all facts are about 150 MB of JSON."""

_KEYS = frozenset({"tag", "created", "digest", "platforms"})
_TIME_HELP = "write a time such as 2024-05-01T12:00:00Z, or null where it is not known"
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_NOTHING = TagFacts(created_known=True, unknowable=frozenset(Need))
"""Only a name: no date and no digest, and nobody will be asked for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsAnswer:
    """The tags of one image, in the file's order, without repeats; facts only where the file says something."""

    tags: tuple[str, ...] = ()
    facts: Mapping[str, TagFacts] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsFile:
    """A parsed tags file. `everywhere`: a bare list, that stands for every image; else `images` by name."""

    file: str
    everywhere: TagsAnswer | None = None
    images: Mapping[ImageName, TagsAnswer] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> TagsFile:
        """Raises SpecError naming the file."""
        name = str(path)
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                _fail(name, "the file is larger than 256 MiB", remedy="name fewer images, or leave their facts out")
        except OSError as error:
            raise SpecError(
                f"cannot read the tags: {error.strerror or error}",
                where=Where(file=name),
                remedy="--tags takes a file with one tag a line, or JSON",
            ) from error
        try:
            return cls.parse(data.decode("utf-8-sig"), file=name)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise SpecError(
                f"the tags are not UTF-8: {error.reason}",
                where=Where(file=name, line=line),
                remedy="save the file as UTF-8",
            ) from error

    @classmethod
    def parse(cls, text: str, *, file: str) -> TagsFile:
        """Raises SpecError naming the file, and the line where the JSON or the list has one."""
        if text.lstrip()[:1] not in {"[", "{"}:
            # Not `splitlines`: a form feed or U+2028 in a bad tag would leave a legal one behind it.
            lines = (line.strip(" \t") for line in _LINE_BREAK.split(text))
            facts = {tag: _NOTHING for tag in lines if tag}
            return cls(file=file, everywhere=TagsAnswer(tags=tuple(facts), facts=facts))
        try:
            document = json.loads(text, object_pairs_hook=_unique)
        except json.JSONDecodeError as error:
            remedy = "a file that begins with [ or { is JSON; else write one tag a line"
            raise SpecError(
                f"the tags are not JSON: {error.msg}", where=Where(file=file, line=error.lineno), remedy=remedy
            ) from error
        except RecursionError as error:
            raise SpecError(
                "the tags are nested too deeply", where=Where(file=file), remedy="write a list, or {image: list}"
            ) from error
        except ValueError as error:
            message = str(error) if isinstance(error, _Repeated) else "a number is too long to be read"
            raise SpecError(message, where=Where(file=file), remedy="correct the JSON") from error
        try:
            return cls._of(document, file)
        except SpecError as error:
            where = replace(error.where, line=_line(text, error.where.field))
            raise SpecError(error.message, where=where, remedy=error.remedy) from error

    @classmethod
    def _of(cls, document: object, file: str) -> TagsFile:
        if isinstance(document, list):
            return cls(file=file, everywhere=_answer(document, file, ""))
        assert isinstance(document, dict)
        images: dict[ImageName, TagsAnswer] = {}
        for key, value in document.items():
            try:
                image = parse_name(key)
            except SpecError as error:
                raise SpecError(error.message, where=Where(file=file, field=key), remedy=error.remedy) from error
            if image in images:
                _fail(file, f"{key!r} is the same image as another key", field=key, remedy="put its tags into one list")
            images[image] = TagsAnswer() if value is None else _answer(value, file, key)
        return cls(file=file, images=images)

    def answer(self, image: ImageName) -> TagsAnswer:
        """All tags of the image; none for an image that the file does not name."""
        if self.everywhere is not None:
            return self.everywhere
        return self.images.get(image, TagsAnswer())


class _Repeated(ValueError):
    """A key that stands twice in one JSON object."""


def _line(text: str, field: str | None) -> int | None:
    """The line of `field` (`image[3].created`) in the JSON; None where it is too long to be read a second time."""
    try:
        root = documents.parse(text.removeprefix("\ufeff"))[0].root
    except DocumentError:
        return None
    name, *steps = re.split(r"(?=\[\d+\](?:\.\w+)?\Z)", field or "", maxsplit=1)
    path: list[str | int] = [name] if name else []
    for step in steps:
        index, _, key = step.removeprefix("[").partition("]")
        path += [int(index), *([key[1:]] if key else [])]
    while (node := documents.get(root, *path)) is None and path:
        path.pop()
    return node.line if node is not None else None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Repeated(f"the key {key!r} stands twice in one object")
            seen.add(key)
    return document


def _answer(value: object, file: str, field: str) -> TagsAnswer:
    if not isinstance(value, list):
        _fail(file, f"expected a list of tags, got {_kind(value)}", field=field, remedy='write ["1.0.0", …]')
    facts: dict[str, TagFacts] = {}
    for index, item in enumerate(value):
        place = f"{field}[{index}]"
        if isinstance(item, str):
            tag, known = item, _NOTHING
        elif isinstance(item, dict):
            tag, known = _entry(item, file, place)
        else:
            _fail(
                file,
                f"expected a tag or an object with the key 'tag', got {_kind(item)}",
                field=place,
                remedy='write "1.0.0", quotes and all, or {"tag": "1.0.0", …}',
            )
        if not tag:
            _fail(file, "a tag is empty", field=place, remedy="remove it")
        if facts.setdefault(tag, known) != known:
            _fail(file, f"the tag {tag!r} stands twice, with different facts", field=place, remedy="remove one of them")
    return TagsAnswer(tags=tuple(facts), facts=facts)


def _entry(item: Mapping[str, object], file: str, place: str) -> tuple[str, TagFacts]:
    unknown = sorted(set(item) - _KEYS)
    if unknown:
        _fail(file, f"unknown key {unknown[0]!r}", field=place, remedy=did_you_mean(unknown[0], _KEYS))
    tag = item.get("tag")
    if not isinstance(tag, str):
        _fail(file, f"'tag' must be a string, got {_kind(tag)}", field=place, remedy='write {"tag": "1.0.0"}')
    created, digest, platforms = item.get("created"), item.get("digest"), item.get("platforms")
    moment = None
    if created is not None:
        if not isinstance(created, str):
            _fail(
                file,
                f"'created' must be an RFC 3339 time or null, got {_kind(created)}",
                field=f"{place}.created",
                remedy=_TIME_HELP,
            )
        try:
            moment = parse_rfc3339(created)
        except ValueError as error:
            raise SpecError(str(error), where=Where(file=file, field=f"{place}.created"), remedy=_TIME_HELP) from error
    if digest is not None and not (isinstance(digest, str) and is_digest(digest)):
        _fail(file, f"{digest!r} is not a digest", field=f"{place}.digest", remedy="expected sha256:<64 hex digits>")
    names: tuple[str, ...] | None = None
    if platforms is not None:
        if not isinstance(platforms, list) or not all(isinstance(name, str) for name in platforms):
            _fail(
                file,
                f"'platforms' must be a list of strings, got {_kind(platforms)}",
                field=f"{place}.platforms",
                remedy='write ["linux/amd64"], or null',
            )
        names = tuple(platforms)
    said = {Need.DIGEST: digest, Need.PLATFORMS: names, Need.SIGNATURE: None}
    return tag, TagFacts(
        digest=Digest(digest) if isinstance(digest, str) else None,
        created=moment,
        created_known=True,
        platforms=names,
        unknowable=frozenset(need for need, value in said.items() if value is None),
    )


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def _fail(file: str, message: str, *, field: str | None = None, remedy: str | None = None) -> NoReturn:
    raise SpecError(message, where=Where(file=file, field=field or None), remedy=remedy)
