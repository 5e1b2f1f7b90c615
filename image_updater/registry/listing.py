"""Reading a tag list to its last page, within caps on pages, bytes and time: all of it, or an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from image_updater.images import ImageName
from image_updater.registry import lists, pagination
from image_updater.registry.access import Access
from image_updater.registry.budgets import Operation
from image_updater.registry.errors import InvalidAnswer, ListIncomplete
from image_updater.registry.http import Answer
from image_updater.registry.lists import TagList
from image_updater.registry.refusals import refused
from image_updater.registry.requester import Requester, Site

log = logging.getLogger(__name__)

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip"}
_SMALL_PAGE = 1000
_MAX_PAGE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Bounds of one listing: tags asked for in a page, pages, bytes of all pages, seconds."""

    page_size: int = 10_000
    pages: int = 2_000
    size: int = 64 << 20
    seconds: float = 300.0


class Lister:
    """Reads lists for the client."""

    def __init__(self, requester: Requester, caps: Caps, monotonic: Callable[[], float]) -> None:
        self._requester, self._caps, self._monotonic = requester, caps, monotonic
        self._warned: set[tuple[str, str]] = set()

    async def read(
        self, site: Site, image: ImageName, access: Access, repository: str, previous: TagList | None
    ) -> TagList:
        size = site.page_size or min(self._caps.page_size, _SMALL_PAGE if _is_ecr(site.host) else self._caps.page_size)
        target = f"/v2/{repository}/tags/list?n={size}"
        operation = Operation()
        deadline = self._monotonic() + self._caps.seconds
        seen = {target}
        bodies: list[bytes] = []
        total = 0
        while True:
            answer = await self._requester.send(
                "GET",
                site,
                access,
                repository,
                target,
                operation=operation,
                limit=_MAX_PAGE_BYTES,
                headers=_HEADERS,
                timeout=min(access.timeout, max(deadline - self._monotonic(), 0.001)),
            )
            if not bodies and size > _SMALL_PAGE and _is_page_too_large(answer):
                # ECR and proxies before it; also seen on registries with a lower maximum of their own.
                site.page_size = size = _SMALL_PAGE
                target = f"/v2/{repository}/tags/list?n={size}"
                continue
            if answer.status != 200:
                raise refused(answer, image, None)
            bodies.append(answer.body)
            total += len(answer.body)
            following = self._next(site, answer, target)
            if following is None:
                break
            if following in seen:
                raise InvalidAnswer(
                    f"{answer.url}: the Link of page {len(bodies)} leads back to a page that was read: "
                    "the list cannot be known to be complete",
                    remedy="the registry, or a proxy before it, breaks the pages of lists",
                )
            self._within(image, len(bodies), total, deadline)
            seen.add(following)
            target = following
        mark = lists.fingerprint(bodies)
        if previous is not None and previous.fingerprint == mark:
            self._requester.http.metrics.unchanged += 1
            return previous
        return lists.read(bodies, mark=mark, shown=answer.url)

    def _next(self, site: Site, answer: Answer, target: str) -> str | None:
        headers = answer.headers.get_list("link") if "link" in answer.headers else []
        if not headers:
            return None
        artifactory = "x-jfrog-version" in answer.headers or "x-artifactory-id" in answer.headers
        found = pagination.next_page(headers, origin=site.origin, target=target, artifactory=artifactory)
        if found is None:
            return None
        if found.foreign is not None and (site.host, found.foreign) not in self._warned:
            self._warned.add((site.host, found.foreign))
            log.warning(
                "%s sends Links to %s; its pages are asked for at %s itself", site.host, found.foreign, site.host
            )
        return found.target

    def _within(self, image: ImageName, pages: int, total: int, deadline: float) -> None:
        """Raise ListIncomplete where another page would be beyond a cap: a part of a list is worth nothing."""
        if pages >= self._caps.pages:
            cap = f"the cap of {self._caps.pages:,} pages"
        elif total > self._caps.size:
            cap = f"the cap of {self._caps.size:,} bytes"
        elif self._monotonic() >= deadline:
            cap = f"the cap of {self._caps.seconds:g} s"
        else:
            return
        raise ListIncomplete(
            f"{image}: {cap} was hit after {pages:,} pages of the tag list; more would follow, so none of it is used",
            remedy="remove old tags from the repository, or raise the cap",
        )


def _is_page_too_large(answer: Answer) -> bool:
    """ECR says 405, others 400 PAGINATION_NUMBER_INVALID, or 400 in words of their own: all are worth one smaller
    page.
    """
    return answer.status in {400, 405}


def _is_ecr(host: str) -> bool:
    return host == "public.ecr.aws" or (".dkr.ecr" in host and ".amazonaws.com" in host)
