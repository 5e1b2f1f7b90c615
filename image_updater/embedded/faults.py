"""How the embedded registry is told to misbehave: the faults that registries in the wild show, each one switch or one
script.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from image_updater.embedded.auth import Auth


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A canned answer. `cut` closes the connection after `body` although Content-Length promised more; `delay` is in
    seconds.
    """

    status: int = 200
    body: bytes | str = b""
    headers: Sequence[tuple[str, str]] = ()
    content_type: str = "application/json"
    delay: float = 0.0
    cut: bool = False


PASS: None = None
"""In a script: this request is served as usual."""


@dataclass(slots=True)
class Script:
    """Answers for the requests whose `METHOD /path?query` matches; used up in order, then the registry is itself
    again.
    """

    pattern: re.Pattern[str]
    replies: deque[Reply | None]
    for_ever: bool = False


@dataclass(slots=True, kw_only=True)
class Faults:
    """Everything is off by default."""

    auth: Auth | None = None
    page_size: int | None = None
    """The server's own page size, whatever `n` says."""
    max_n: int | None = None
    """`n` above this is answered by 405, as ECR does."""
    link: Callable[[str], str | None] | None = None
    """From the right next URL (path and query) to the Link header to be sent instead; None = no header. Called for
    every page.
    """
    list_headers: Sequence[tuple[str, str]] = ()
    headers: Sequence[tuple[str, str]] = ()
    """Sent with every answer, e.g. `ratelimit-remaining`."""
    page_delay: float = 0.0
    digest_header: bool = True
    head: bool = True
    """False: HEAD of a manifest is answered by 405."""
    blob_redirect: str | None = None
    """Prefix of the URL that blobs are redirected to (307), e.g. `http://127.0.0.2:80/storage`; `?sig=…` is added."""
    manifest_type: Callable[[str], str] | None = None
    """From the media type of a manifest to the Content-Type that is sent."""
    list_body: Callable[[bytes], bytes] | None = None
    referrers: bool = False
    api_base: int = 200
    """Status of `/v2/`; 404 = there is no registry here."""
    scripts: list[Script] = field(default_factory=list)

    def script(self, pattern: str, *replies: Reply | None) -> None:
        """Answer the next matching requests with `replies`, in order; None (PASS) = as usual."""
        self.scripts.append(Script(re.compile(pattern), deque(replies)))

    def always(self, pattern: str, reply: Reply) -> None:
        self.scripts.append(Script(re.compile(pattern), deque([reply]), for_ever=True))

    def clear(self) -> None:
        self.scripts.clear()

    def next_reply(self, request: str) -> Reply | None:
        for script in self.scripts:
            if script.replies and script.pattern.search(request):
                return script.replies[0] if script.for_ever else script.replies.popleft()
        return None
