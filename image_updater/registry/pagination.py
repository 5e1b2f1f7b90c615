"""Where the next page of a tag list is, from the Link headers that registries really send (RFC 8288; distribution
spec, "Listing Tags").

Pure. Whatever a Link says, the next request goes to the registry's own origin: a Link can choose path and query, never
the host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

from image_updater.registry.errors import InvalidAnswer

_BRACKETED = re.compile(r"\s*<([^>]*)>")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]+))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Next:
    """The next page: path and query on the own origin; `foreign` is the other host that the Link named, for a
    warning.
    """

    target: str
    foreign: str | None = None


def next_page(headers: list[str], *, origin: str, target: str, artifactory: bool = False) -> Next | None:
    """The page after `target` (path and query at `origin`), None on the last one.

    A Link to another host is followed only where its path is the own one (Harbor and others behind a proxy write their
    inner host name), and then at the own origin. Any other foreign Link raises InvalidAnswer: the list cannot be
    completed, and a part of it is worth nothing.
    """
    link = _next_link(headers)
    if link is None:
        return None
    path = target.partition("?")[0]
    own = urlsplit(origin)
    try:
        absolute = urlsplit(urljoin(origin + target, link))
        place = (absolute.hostname, absolute.port or _port(absolute.scheme))
    except ValueError:
        raise InvalidAnswer(
            "the Link to the next page is no URL", remedy="the registry sends a broken header"
        ) from None
    if artifactory and absolute.path != path:
        # Artifactory drops the repository's prefix from the path (RTFACT-18971): only `last` can be believed.
        return Next(_with_last(target, absolute.query))
    found = f"{absolute.path}?{absolute.query}" if absolute.query else absolute.path
    if place == (own.hostname, own.port or _port(own.scheme)):
        return Next(found)
    if absolute.path != path:
        raise InvalidAnswer(
            f"the Link to the next page leads to another host ({absolute.hostname or absolute.scheme!r}), not followed",
            remedy="the registry, or a proxy before it, must send Links to itself",
        )
    return Next(found, foreign=absolute.hostname or absolute.scheme)


def _next_link(headers: list[str]) -> str | None:
    for header in headers:
        for part in _links(header):
            bracketed = _BRACKETED.match(part)
            url, rest = (bracketed[1], part[bracketed.end() :]) if bracketed else _bare(part)
            rel = _REL.search(rest)
            if url.strip() and rel and "next" in (rel[1] or rel[2]).lower().split():
                return url.strip()
    return None


def _links(header: str) -> list[str]:
    """Split at commas that are outside of `<…>` and of quotes."""
    parts: list[str] = []
    start, inside, quoted = 0, False, False
    for at, char in enumerate(header):
        if char == '"' and not inside:
            quoted = not quoted
        elif char == "<" and not quoted:
            inside = True
        elif char == ">":
            inside = False
        elif char == "," and not inside and not quoted:
            parts.append(header[start:at])
            start = at + 1
    parts.append(header[start:])
    return [part for part in parts if part.strip()]


def _bare(part: str) -> tuple[str, str]:
    """quay.io sends the URL without angle brackets."""
    url, semicolon, rest = part.partition(";")
    return url, semicolon + rest


def _with_last(target: str, query: str) -> str:
    path, _, own = target.partition("?")
    last = dict(parse_qsl(query)).get("last")
    if last is None:
        raise InvalidAnswer("the Link to the next page has no `last`", remedy="this Artifactory cannot be listed")
    kept = [f"{key}={quote(value, safe='')}" for key, value in parse_qsl(own) if key != "last"]
    kept.append(f"last={quote(last, safe='')}")
    return f"{path}?{'&'.join(kept)}"


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
