"""`spec.filterTags` and `spec.deny`: which tags a policy looks at, and which value of a tag it orders.

Patterns run on RE2, with Go's syntax and linear time, and match anywhere in the tag, as in Flux. `extract` is a
template of Go's `Regexp.Expand`: `$1`, `$name`, `${name}`, `$$`; a name that the pattern does not have, which Go
would expand to nothing, is an error here. What cosign stores beside images (signatures, attestations, SBOMs) is never
an image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import re2

from image_updater.images import is_digest, is_tag

if TYPE_CHECKING:
    from image_updater.api.model import FilterTags

_COSIGN_SUFFIXES = (".sig", ".att", ".sbom")
_COSIGN = re.compile(r"sha(?:256|512)-[0-9a-f]+(?:\.[a-z]+)?")
_TEMPLATE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>\w+)\}|(?P<bare>\w+)|)")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,7}", re.ASCII)
MAX_PATTERN = 4096
MAX_GROUPS = 100
"""RE2 keeps its linear time, but what it does for each character grows with the groups."""


class FilterError(ValueError):
    """A pattern, a template or a denied entry is wrong; `field` is relative to `spec`."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.remedy = remedy


class Pattern:
    """One RE2 expression."""

    __slots__ = ("_regexp", "text")

    def __init__(self, text: str, field: str) -> None:
        options = re2.Options()
        options.log_errors = False
        if len(text) > MAX_PATTERN:
            raise FilterError(field, f"the pattern is longer than {MAX_PATTERN} characters", "shorten it")
        try:
            self._regexp = re2.compile(text.encode(), options)
        except re2.error as error:
            said = error.args[0] if error.args else error
            why = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
            raise FilterError(
                field, f"{text!r} is not a regular expression: {why}", "RE2 syntax, as in Go: no look-around, no \\1"
            ) from error
        if self.groups > MAX_GROUPS:
            raise FilterError(
                field, f"the pattern has {self.groups} groups, more than {MAX_GROUPS}", "write (?:…) for most of them"
            )
        self.text = text

    def match(self, data: bytes) -> Any:
        """RE2's match, or None."""
        return self._regexp.search(data)

    @property
    def groups(self) -> int:
        return int(self._regexp.groups)

    @property
    def names(self) -> dict[str, int]:
        return {name.decode() if isinstance(name, bytes) else name: n for name, n in self._regexp.groupindex.items()}


Expand = Callable[[Any], str]


def compile_template(template: str, pattern: Pattern, field: str) -> Expand:
    """A function from a match to the extracted value. Raises FilterError for what Go would silently make empty."""
    names = pattern.names
    pieces: list[bytes | int] = []
    end = 0
    for found in _TEMPLATE.finditer(template):
        pieces.append(template[end : found.start()].encode())
        end = found.end()
        name = found["braced"] or found["bare"]
        if found["dollar"]:
            pieces.append(b"$")
        elif name is None:
            raise FilterError(
                field, f"{template!r}: '$' is followed by no group", "write $name, ${name} or $1; $$ is a dollar sign"
            )
        elif name in names:
            pieces.append(names[name])
        elif _NUMBER.fullmatch(name) and int(name) <= pattern.groups:
            pieces.append(int(name))
        else:
            known = ", ".join([*names, *(str(n) for n in range(pattern.groups + 1))])
            raise FilterError(
                field,
                f"{template!r}: the pattern has no group {name!r}",
                f"it has {known}; ${{name}} keeps a group apart from letters behind it",
            )
    pieces.append(template[end:].encode())
    parts = tuple(piece for piece in pieces if piece != b"")
    if len(parts) == 1 and isinstance(parts[0], int):
        index = parts[0]
        return lambda match: (match.group(index) or b"").decode()

    def expand(match: Any) -> str:
        return b"".join((match.group(part) or b"") if isinstance(part, int) else part for part in parts).decode()

    return expand


@dataclass(frozen=True, slots=True)
class Filters:
    """What `filterTags` and `deny` say, compiled."""

    pattern: Pattern | None
    expand: Expand | None
    exclude: tuple[Pattern, ...]
    denied_tags: frozenset[str]
    denied_digests: frozenset[str]

    @classmethod
    def compile(cls, spec: FilterTags, deny: tuple[str, ...]) -> Filters:
        """Raises FilterError."""
        pattern = None if spec.pattern is None else Pattern(spec.pattern, "filterTags.pattern")
        expand = None
        if spec.extract:
            if pattern is None:
                raise FilterError(
                    "filterTags.extract", "there is nothing to extract from", "add filterTags.pattern with a group"
                )
            expand = compile_template(spec.extract, pattern, "filterTags.extract")
        exclude = tuple(Pattern(text, f"filterTags.exclude[{n}]") for n, text in enumerate(spec.exclude))
        for n, entry in enumerate(deny):
            if not is_tag(entry) and not is_digest(entry):
                raise FilterError(
                    f"deny[{n}]",
                    f"{entry!r} is neither a tag nor a digest",
                    "name whole tags, or sha256:<64 hex digits>",
                )
        digests = frozenset(entry for entry in deny if is_digest(entry))
        return cls(pattern, expand, exclude, frozenset(deny) - digests, digests)

    def refusal(self, tag: str) -> str | None:
        """Why the policy does not look at this tag; None when it does."""
        return self.read(tag)[1]

    def passes(self, tag: str) -> bool:
        return self.read(tag)[1] is None

    def read(self, tag: str) -> tuple[str, str | None]:
        """The value that is ordered and, when the tag is out, why (then the value means nothing)."""
        if not is_tag(tag):
            return tag, "not a legal tag: at most 128 letters, digits, '_', '.' and '-'"
        if tag.endswith(_COSIGN_SUFFIXES) or (tag.startswith("sha") and _COSIGN.fullmatch(tag)):
            return tag, "a signature or attestation of cosign, not an image"
        if tag in self.denied_tags:
            return tag, "denied by spec.deny"
        if self.pattern is None and not self.exclude:
            return tag, None
        data = tag.encode()
        value = tag
        if self.pattern is not None:
            match = self.pattern.match(data)
            if match is None:
                return tag, f"does not match filterTags.pattern '{self.pattern.text}'"
            if self.expand is not None:
                value = self.expand(match)
        for pattern in self.exclude:
            if pattern.match(data) is not None:
                return tag, f"excluded by filterTags.exclude '{pattern.text}'"
        return value, None

    def greatest_by_value(self, tags: Iterable[str]) -> dict[str, str]:
        """Every extracted value with the greatest tag (in byte order) that has it."""
        best: dict[str, str] = {}
        read = self.read
        for tag in tags:
            value, refusal = read(tag)
            if refusal is None and best.setdefault(value, tag) < tag:
                best[value] = tag
        return best
