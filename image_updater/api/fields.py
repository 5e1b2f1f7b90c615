"""What a field may hold: small declarative types from which objects are read and the reference pages are written.

A type reads one node (`read`) and says in a few words what it takes (`describe`). It never raises for bad input: it
reports through the cursor and returns `INVALID`. Null is handled by `Struct`, once: an absent field and a null one are
the same.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.decode import INVALID, At, did_you_mean, is_null, is_text, kind_of, members
from image_updater.api.durations import format_duration, parse_duration
from image_updater.documents import Mapping as MappingNode
from image_updater.documents import Node, Scalar, Sequence, resolve
from image_updater.documents.values import implicit_tag

if TYPE_CHECKING:
    from image_updater.api.decode import Invalid

Values = Mapping[str, Any]
"""The fields of a struct by name; absent ones hold their default."""

Check = Callable[[str], "str | None"]
"""Looks at a string; returns what is wrong with it, or None."""

MAX_TEXT: Final = 1_048_576
"""Characters of one string field; etcd takes 1.5 MB for a whole object."""


class Type(ABC):
    """What one field takes."""

    @abstractmethod
    def read(self, node: Node, at: At) -> Any:
        """The value, or INVALID after reporting why."""

    @abstractmethod
    def describe(self) -> str:
        """In a few words, for the reference page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Type):
    """A string. `check` says what is wrong with one; `clean` brings it into its one form."""

    name: str = "string"
    check: Check | None = None
    remedy: str | None = None
    clean: Callable[[str], str] | None = None
    empty: bool = False

    def read(self, node: Node, at: At) -> str | Invalid:
        target = resolve(node)
        if not isinstance(target, Scalar):
            return at.fail(
                f"must be a string, not {kind_of(node)}", node=node, remedy=self.remedy or f"write one {self.name}"
            )
        if not is_text(target):
            tag = target.tag or ""
            written = f"{tag} {target.value}".strip() if tag.startswith("!") else target.value
            quoted = written.replace("'", "''")
            return at.fail(
                f"must be a string, but YAML reads {kind_of(node)}", node=node, remedy=f"quote it: '{quoted}'"
            )
        text = target.value
        if not text and not self.empty:
            return at.fail("is empty", node=node, remedy="give it a value, or remove the field")
        if len(text) > MAX_TEXT:
            return at.fail(
                f"has {len(text):,} characters, more than {MAX_TEXT:,}", node=node, remedy="shorten the value"
            )
        problem = self.check(text) if self.check is not None else None
        if problem is not None:
            return at.fail(problem, node=node, remedy=self.remedy or f"write a legal {self.name}")
        return self.clean(text) if self.clean is not None else text

    def describe(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Type):
    """true or false, in any of YAML 1.1's spellings."""

    def read(self, node: Node, at: At) -> bool | Invalid:
        target = resolve(node)
        if isinstance(target, Scalar):
            if not target.style and target.tag is None and implicit_tag(target.value) == "tag:yaml.org,2002:bool":
                return target.value.lower() in _TRUE
            if target.value.lower() in ("true", "false"):
                return at.fail(
                    f"must be true or false, not the string '{target.value}'", node=node, remedy="remove the quotes"
                )
            return at.fail(f"must be true or false, not {target.value!r}", node=node, remedy="write true or false")
        return at.fail(f"must be true or false, not {kind_of(node)}", node=node, remedy="write true or false")

    def describe(self) -> str:
        return "boolean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration(Type):
    """A Go duration within bounds."""

    minimum: timedelta = timedelta(0)
    maximum: timedelta | None = None

    def read(self, node: Node, at: At) -> timedelta | Invalid:
        target = resolve(node)
        if not isinstance(target, Scalar):
            return at.fail(
                f"must be a duration such as 5m, not {kind_of(node)}", node=node, remedy="write one: 30s, 5m, 1h30m"
            )
        try:
            value = parse_duration(target.value)
        except ValueError as exc:
            hint = "write a number and a unit (ms, s, m, h): 30s, 5m, 1h30m"
            if re.fullmatch(r"[0-9]+", target.value):
                hint = f"{target.value}s, {target.value}m or {target.value}h"
            return at.fail(f"{target.value!r} {exc}", node=node, remedy=hint)
        if value < self.minimum:
            least = format_duration(self.minimum)
            return at.fail(
                f"{target.value} is below the minimum of {least}", node=node, remedy=f"write {least} or more"
            )
        if self.maximum is not None and value > self.maximum:
            most = format_duration(self.maximum)
            return at.fail(f"{target.value} is above the maximum of {most}", node=node, remedy=f"write {most} or less")
        return value

    def describe(self) -> str:
        bounds = [f"{format_duration(self.minimum)} or more"] if self.minimum else []
        if self.maximum is not None:
            bounds.append(f"at most {format_duration(self.maximum)}")
        return ", ".join(["duration", *bounds])


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Type):
    """One word of an enum. What to write instead: `later` for words that are not built yet, `hints` for words from
    elsewhere.
    """

    words: type[StrEnum]
    later: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)

    def read(self, node: Node, at: At) -> StrEnum | Invalid:
        known = [word.value for word in self.words]
        target = resolve(node)
        if not isinstance(target, Scalar):
            return at.fail(
                f"must be one of {', '.join(known)}, not {kind_of(node)}", node=node, remedy=f"write {known[0]}, say"
            )
        text = target.value
        if text not in known and (word := self.boolean(target)) is not None:
            text = word
        if text not in known or (not target.style and not is_text(target) and not _plain_boolean(target)):
            message = f"{text[:80]!r} is not one of {', '.join(known)}"
            return at.fail(message, node=node, remedy=self.hints.get(text) or did_you_mean(text, known))
        if text in self.later:
            return at.fail(f"{text!r} is not built yet", node=node, remedy=self.later[text])
        return self.words(text)

    def boolean(self, node: Scalar) -> str | None:
        """The word that was written where a reader of YAML 1.1 has made a boolean of it: kubectl sends `drift: off` as
        `false`.
        """
        return self.means(node.value.lower() in _TRUE) if _plain_boolean(node) else None

    def means(self, value: bool) -> str | None:
        """The word that YAML 1.1 reads as this boolean, if there is one."""
        return next((word.value for word in self.words if _BOOLEANS.get(word.value) is value), None)

    def describe(self) -> str:
        return " \\| ".join(f"`{word.value}`" for word in self.words)


_TRUE: Final = ("true", "yes", "on")
_BOOLEANS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _plain_boolean(node: Scalar) -> bool:
    """`drift: off` is a boolean to YAML 1.1; as a word of an enum it can only mean itself."""
    return not node.style and node.tag is None and implicit_tag(node.value) == "tag:yaml.org,2002:bool"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf(Type):
    item: Type
    maximum: int = 10_000

    def read(self, node: Node, at: At) -> tuple[Any, ...] | Invalid:
        target = resolve(node)
        if not isinstance(target, Sequence):
            hint = f"write a list: [{target.value[:80]}]" if isinstance(target, Scalar) else "write a list: - …"
            return at.fail(f"must be a list, not {kind_of(node)}", node=node, remedy=hint)
        if (problem := foreign_tag(target)) is not None:
            return at.fail(problem, node=node, remedy="remove the tag")
        if len(target.items) > self.maximum:
            return at.fail(
                f"has {len(target.items):,} items, more than {self.maximum:,}", node=node, remedy="keep fewer"
            )
        items: list[Any] = []
        for i, item in enumerate(target.items):
            here = at.child(i, item)
            items.append(
                here.fail("is nothing", node=item, remedy="remove the item")
                if is_null(item)
                else self.item.read(item, here)
            )
        return INVALID if INVALID in items else tuple(items)

    def describe(self) -> str:
        return f"list of {self.item.describe()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOf(Type):
    """A mapping from free names to one type (labels, template values)."""

    value: Type
    key: Text = field(default_factory=Text)

    def read(self, node: Node, at: At) -> dict[str, Any] | Invalid:
        target = resolve(node)
        if not isinstance(target, MappingNode):
            return at.fail(f"must be a mapping, not {kind_of(node)}", node=node, remedy="write KEY: VALUE pairs")
        if (problem := foreign_tag(target)) is not None:
            return at.fail(problem, node=node, remedy="remove the tag")
        before = at.count
        result: dict[str, Any] = {}
        for name, (key, value) in members(target, at).items():
            here = at.child(name, value)
            if self.key.check is not None and (problem := self.key.check(name)) is not None:
                here.fail(problem, node=key, remedy=self.key.remedy or "correct the key")
            if not is_null(value):
                result[name] = self.value.read(value, here)
        return INVALID if at.count > before else result

    def describe(self) -> str:
        return f"map of {self.value.describe()}"


def foreign_tag(node: MappingNode | Sequence) -> str | None:
    """A list or mapping that says to be something else (`!!python/object:…`): nothing here would make it that."""
    if node.tag is None or node.tag in ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
        return None
    return f"has the YAML tag {node.tag[:80]}, which means nothing here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored(Type):
    """A field that others write and read (the server's metadata): not looked at."""

    def read(self, node: Node, at: At) -> None:
        return None

    def describe(self) -> str:
        return "any value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Type):
    """A field of the design that is not built yet.

    Refused by name, so that a gate is never silently dropped; inert values pass.
    """

    def read(self, node: Node, at: At) -> Invalid | None:
        if is_inert(node):
            return None
        return at.fail(
            "is not built yet: nothing would honour it",
            node=node,
            remedy="remove the field until a later version supports it",
        )

    def describe(self) -> str:
        return "not built yet; only inert values (`0`, `0s`, `[]`, `''`, `{}`, null) are accepted"


def is_inert(node: Node) -> bool:
    """Does this value ask for nothing: `0`, `0s`, `[]`, `''`, `{}`, null, false?"""
    target = resolve(node)
    if not isinstance(target, Scalar):
        return not target.items
    if is_null(target) or target.value == "":
        return True
    if not target.style and target.value.lower() == "false":
        return True
    try:
        return not parse_duration(target.value)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a struct. `shown` replaces the default on the reference page where the value alone would mislead."""

    name: str
    type: Type
    doc: str
    default: Any = None
    required: bool = False
    shown: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a server checks across fields, in CEL; the struct's own `check` says the same, with a remedy."""

    cel: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Struct(Type):
    """A mapping with named fields.

    `one_of`: exactly one field may be set, those in `beside` apart. `optional_empty`: `{}` means absent. `check` looks
    across fields once all of them are sound, `rules` are its part that a server can check too; `hints` says of names
    from elsewhere (Flux's, mostly) what to write instead; `build` makes the value.
    """

    fields: tuple[Field, ...]
    doc: str = ""
    one_of: str | None = None
    beside: tuple[str, ...] = ()
    optional_empty: bool = False
    check: Callable[[Values, At], None] | None = None
    rules: tuple[Rule, ...] = ()
    build: Callable[[Values], Any] | None = None
    hints: Mapping[str, str] = field(default_factory=dict)

    def read(self, node: Node, at: At) -> Any:
        target = resolve(node)
        if not isinstance(target, MappingNode):
            fields = ", ".join(f.name for f in self.fields)
            remedy = f"write {{{self.fields[0].name}: …}}" if len(self.fields) == 1 else f"its fields are {fields}"
            return at.fail(f"must be a mapping, not {kind_of(node)}", node=node, remedy=remedy)
        if (problem := foreign_tag(target)) is not None:
            return at.fail(problem, node=node, remedy="remove the tag")
        if self.optional_empty and not target.items:
            return None
        before = at.count
        values = self._read_fields(target, at)
        if at.count > before:
            return INVALID
        if self.check is not None:
            self.check(values, at)
            if at.count > before:
                return INVALID
        return values if self.build is None else self.build(values)

    def _read_fields(self, node: MappingNode, at: At) -> dict[str, Any]:
        given = members(node, at)
        known = {f.name: f for f in self.fields}
        for name, (key, _) in given.items():
            if name not in known:
                hint = self.hints.get(name) or did_you_mean(name, known, what="known fields")
                at.child(name, key).fail("unknown field", node=key, remedy=hint)
        values: dict[str, Any] = {}
        chosen: list[str] = []
        for f in self.fields:
            pair = given.get(f.name)
            if pair is None or is_null(pair[1]):
                if f.required:
                    at.fail("is required", node=pair[0] if pair else None, field=f.name, remedy=f.doc)
                values[f.name] = f.default
                continue
            if f.name not in self.beside:
                chosen.append(f.name)
            value = f.type.read(pair[1], at.child(f.name, pair[1]))
            values[f.name] = f.default if value is None else value
        if self.one_of is not None and len(chosen) != 1:
            self._one_of(chosen, given, at)
        return values

    def _one_of(self, chosen: list[str], given: Mapping[str, tuple[Node, Node]], at: At) -> None:
        names = ", ".join(f.name for f in self.fields if f.name not in self.beside)
        if chosen:
            listed = " and ".join(f"{name} (line {given[name][0].line})" for name in chosen)
            at.fail(f"has {len(chosen)} {self.one_of}: {listed}", node=given[chosen[1]][0], remedy="keep exactly one")
            return
        empty = [name for name in given if name in {f.name for f in self.fields} - set(self.beside)]
        remedy = f"write {empty[0]}: {{}} for its defaults" if empty else f"set exactly one of {names}"
        at.fail(f"has no {self.one_of}", remedy=remedy)

    def describe(self) -> str:
        return "object"


def reference(doc: str, *, fields: tuple[Field, ...] = ()) -> Struct:
    """A reference by name (`secretRef: {name: ghcr}`); `{}` is no reference.

    Reads as the name, or as all values with more fields.
    """
    name = Field(name="name", type=Text(name="object name", check=check_name), doc="name of the object", required=True)
    return Struct(
        fields=(name, *fields), doc=doc, optional_empty=True, build=None if fields else lambda values: values["name"]
    )


# ------------------------------------------------------------------------------------------- names (RFC 1123)

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_PART = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\Z")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")


def check_name(text: str) -> str | None:
    """A DNS subdomain (RFC 1123): how Kubernetes names objects. Only the whole has a limit there, not its parts."""
    if len(text) <= 253 and all(_PART.match(part) for part in text.split(".")):
        return None
    return f"{text[:80]!r} is not a name: lower case letters, digits, '-' and '.', at most 253 characters"


def check_namespace(text: str) -> str | None:
    """A DNS label (RFC 1123)."""
    return (
        None
        if _LABEL.match(text)
        else f"{text[:80]!r} is not a namespace: lower case letters, digits and '-', at most 63 characters"
    )


def check_label_key(text: str) -> str | None:
    prefix, slash, name = text.rpartition("/")
    if (not slash or check_name(prefix) is None) and _QUALIFIED.match(name):
        return None
    return f"{text[:80]!r} is not a label key ([prefix/]name of letters, digits, '-', '_', '.')"


def check_label_value(text: str) -> str | None:
    return (
        None
        if not text or _QUALIFIED.match(text)
        else f"{text[:80]!r} is not a label value (at most 63 letters, digits, '-', '_', '.')"
    )
