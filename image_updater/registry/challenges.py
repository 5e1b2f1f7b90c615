"""`WWW-Authenticate` as it is sent in the wild: several challenges in one header or in several (RFC 9110, 11.3 and
11.6.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from image_updater.registry.errors import InvalidAnswer

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|\Z))")
_SPACE = re.compile(r"[ \t]*")
_SEPARATOR = re.compile(r"[ \t,]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_PLACEHOLDER = "repository:user/image:"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: scheme in lower case, parameters by lower-case name (the first of a repeated one counts)."""

    scheme: str
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def realm(self) -> str:
        return self.params.get("realm", "")

    @property
    def service(self) -> str | None:
        return self.params.get("service")


def parse(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """All challenges of all header lines, in order. Raises InvalidAnswer for an unterminated quote or text that is no
    challenge.
    """
    found: list[Challenge] = []
    for header in headers:
        found.extend(_parse_line(header))
    return tuple(found)


def _parse_line(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    scheme: str | None = None
    params: dict[str, str] = {}
    at = _end(_SEPARATOR, text, 0)
    while at < len(text):
        word = _TOKEN.match(text, at)
        if word is None:
            raise _broken(text, f"unexpected {text[at]!r} at position {at}")
        after = _end(_SPACE, text, word.end())
        if scheme is not None and text[after : after + 1] == "=":
            value, at = _value(text, _end(_SPACE, text, after + 1))
            params.setdefault(word[0].lower(), value)
        else:
            if scheme is not None:
                found.append(Challenge(scheme, params))
            scheme, params = word[0].lower(), {}
            at = after
            if after > word.end() and (blob := _TOKEN68.match(text, after)) and not _is_scheme(text, blob):
                params["token68"], at = blob[0], blob.end()
        at = _end(_SEPARATOR, text, at)
    if scheme is not None:
        found.append(Challenge(scheme, params))
    return found


def _is_scheme(text: str, blob: re.Match[str]) -> bool:
    """`Negotiate , Basic` never gets here (the comma ends the challenge); a lone word that is a known scheme is one."""
    return blob[0].lower() in {"basic", "bearer", "negotiate"}


def _value(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] == '"':
        quoted = _QUOTED.match(text, at)
        if quoted is None:
            raise _broken(text, "a quote is not closed")
        return _PAIR.sub(r"\1", quoted[1]), quoted.end()
    # A bare value should be a token; real servers put URLs and scopes there, so all up to the next comma or space is
    # taken.
    end = at
    while end < len(text) and text[end] not in ", \t":
        end += 1
    return text[at:end], end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _broken(text: str, why: str) -> InvalidAnswer:
    return InvalidAnswer(
        f"the WWW-Authenticate header cannot be read: {why}: {text[:200]!r}",
        remedy="the registry, or a proxy before it, sends a broken header",
    )


def scope_for(host: str, repository: str, offered: str | None) -> str:
    """The scope to ask a token for.

    A challenge that names our own repository is repeated as it stands (it may ask for more actions than pull). The
    made-up name of `/v2/` (`repository:user/image:pull`), an empty scope, `*` and other people's repositories are
    replaced by our own name. Azure's registries list and describe only with their own two actions beside `pull`.
    """
    if host.endswith((".azurecr.io", ".azurecr.cn", ".azurecr.us")):
        return f"repository:{repository}:pull,metadata_read,content_read"
    if offered and offered.startswith("repository:") and not offered.startswith(_PLACEHOLDER) and " " not in offered:
        name, _, actions = offered.removeprefix("repository:").rpartition(":")
        if (
            actions
            and set(actions.split(",")) <= {"pull", "metadata_read", "content_read"}
            and name.endswith(repository)
        ):
            return offered
    return f"repository:{repository}:pull"
