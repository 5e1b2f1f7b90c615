"""The client of the OCI distribution API: complete tag lists, digests, and what is true of an image.

A listing is all pages or an error. Requests for the same image by the same identity are shared. Nothing is decided
here.
"""

from __future__ import annotations

import asyncio
import logging
import random as random_module
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar

from image_updater.errors import RegistryError
from image_updater.images import Digest, ImageName
from image_updater.images.names import is_digest
from image_updater.registry import manifests
from image_updater.registry.access import Access
from image_updater.registry.budgets import Budgets, Limits, Operation, Timing
from image_updater.registry.errors import (
    AuthenticationFailed,
    InvalidAnswer,
    NotARegistry,
    RegistryUnavailable,
    RepositoryNotFound,
    TagNotFound,
    UnsupportedManifest,
)
from image_updater.registry.http import Answer, Http, Metrics
from image_updater.registry.listing import Caps, Lister
from image_updater.registry.lists import TagList
from image_updater.registry.manifests import Descriptor, ImageFacts, Manifest
from image_updater.registry.pagination import next_page
from image_updater.registry.refusals import named, refused
from image_updater.registry.requester import Requester, Site

log = logging.getLogger(__name__)
T = TypeVar("T")

_MANIFEST_HEADERS = {"Accept": manifests.ACCEPT, "Accept-Encoding": "identity"}
_BLOB_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity"}
_MAX_MANIFEST = 4 << 20
_MAX_CONFIG = 8 << 20
_MAX_PAGES = 20
"""Of referrers."""


@dataclass(frozen=True, slots=True)
class _Call:
    """Where the requests of one question go, and the operation that they are counted under."""

    site: Site
    image: ImageName
    access: Access
    repository: str
    operation: Operation


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[TagList]
    waiting: int = 0


class RegistryClient:
    """`async with RegistryClient() as client:`; one for the whole process. Clock, sleep and dice are arguments.

    `max_pages`, `max_list_bytes` and `max_list_seconds` bound one listing; `attempts` counts tries after faults (5xx,
    cut or refused connections). Answers to 429 have their own count, in `limits`.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
        limits: Limits | None = None,
        limits_by_host: Mapping[str, Limits] | None = None,
        page_size: int = 10_000,
        max_pages: int = 2_000,
        max_list_bytes: int = 64 << 20,
        max_list_seconds: float = 300.0,
        attempts: int = 3,
    ) -> None:
        timing = Timing(now=clock, monotonic=monotonic, sleep=sleep, random=random)
        self.budgets = Budgets(timing, limits or Limits(), limits_by_host or {})
        self._http = Http(monotonic=monotonic, per_host=(limits or Limits()).concurrency)
        self._requester = Requester(self._http, self.budgets, timing, attempts=attempts)
        caps = Caps(page_size=page_size, pages=max_pages, size=max_list_bytes, seconds=max_list_seconds)
        self._lister = Lister(self._requester, caps, monotonic)
        self._flights: dict[tuple[ImageName, str], _Flight] = {}

    @property
    def metrics(self) -> Metrics:
        return self._http.metrics

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is under way and close all connections."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    # ------------------------------------------------------------------------------------------ tags

    async def tags(
        self,
        image: ImageName,
        access: Access,
        *,
        previous: TagList | None = None,
        fresh: bool = False,
    ) -> TagList:
        """All tags, or an error. Equal bodies give `previous` itself, unparsed.

        A listing under way is shared, unless `fresh` asks for one that began after this call (a hint says that
        something has changed just now).
        """
        key = (image, access.identity)
        flight = self._flights.get(key)
        if flight is not None and fresh:
            await asyncio.wait([flight.task])
            flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._list(image, access, previous)))
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        else:
            self.metrics.shared += 1
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Nobody is left who wants it; who comes now must not join a flight that is ending.
                del self._flights[key]
                flight.task.cancel()

    def _landed(self, key: tuple[ImageName, str], task: asyncio.Task[TagList]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
        if not task.cancelled():
            # Retrieved, should nobody be left to see it.
            task.exception()

    async def _list(self, image: ImageName, access: Access, previous: TagList | None) -> TagList:
        site = self._requester.site(image, access)

        async def pages(repository: str) -> TagList:
            return await self._lister.read(site, image, access, repository, previous)

        return await self._anywhere(site, image, access, pages)

    # ------------------------------------------------------------------------------------------ manifests

    async def head(self, image: ImageName, reference: str, access: Access) -> Digest:
        """The digest of a tag (or digest), by HEAD, which no registry counts as a pull; GET and sha256 where that
        says none.
        """
        site = self._requester.site(image, access)

        async def ask(repository: str) -> Digest:
            call = _Call(site, image, access, repository, Operation())
            answer = await self._send(call, f"manifests/{reference}", method="HEAD")
            if answer.status == 200:
                digest = answer.headers.get("docker-content-digest", "").strip()
                if is_digest(digest):
                    return Digest(digest)
            elif answer.status not in {405, 501}:
                raise refused(answer, image, reference)
            return (await self._manifest(call, reference)).digest

        return await self._anywhere(site, image, access, ask)

    async def describe(self, image: ImageName, reference: str, access: Access) -> ImageFacts:
        """What is true of an image: up to three GETs (index, manifest, config). Ask once per digest, and keep the
        answer.
        """
        site = self._requester.site(image, access)

        async def ask(repository: str) -> ImageFacts:
            call = _Call(site, image, access, repository, Operation())
            outer = await self._manifest(call, reference)
            inner = outer
            if outer.is_index:
                inner = await self._manifest(call, manifests.representative(outer).digest)
                if inner.is_index:
                    raise UnsupportedManifest(f"{named(image, reference)}: an index in an index is not supported")
            config: bytes | None = None
            if manifests.has_config(inner) and inner.config is not None:
                config = await self._blob(call, inner.config)
            return manifests.facts(outer, inner, config)

        facts = await self._anywhere(site, image, access, ask)
        for warning in facts.warnings:
            log.warning("%s@%s: %s", image, facts.digest, warning)
        return facts

    async def manifest(self, image: ImageName, reference: str, access: Access) -> Manifest:
        """The manifest or index behind a tag or digest, of any artifact: one GET."""
        site = self._requester.site(image, access)

        async def ask(repository: str) -> Manifest:
            return await self._manifest(_Call(site, image, access, repository, Operation()), reference)

        return await self._anywhere(site, image, access, ask)

    async def has_blob(self, image: ImageName, digest: str, access: Access) -> bool:
        """Is a blob there to be pulled? HEAD, and where that says nothing (a registry, or the store that it redirects
        to, that knows only GET) a GET of its first byte. Raises PermissionDenied, AuthenticationFailed, RegistryError.
        """
        site = self._requester.site(image, access)
        repository = site.library.get(image.repository, image.repository)
        operation = Operation()
        for method, headers in (("HEAD", _BLOB_HEADERS), ("GET", {**_BLOB_HEADERS, "Range": "bytes=0-0"})):
            answer = await self._requester.send(
                method,
                site,
                access,
                repository,
                f"/v2/{repository}/blobs/{digest}",
                operation=operation,
                limit=1 << 12,
                headers=headers,
                clip=True,
                foreign=True,
            )
            status = answer.status
            if status < 300 or status == 416:
                return True
            if status == 404:
                return False
            # A store signs its URLs for one method: what it refuses to HEAD it may well hand out.
            if answer.foreign is None and not (method == "HEAD" and status in {400, 405, 501}):
                raise refused(answer, image, digest)
        raise RegistryUnavailable(
            f"{answer.foreign}, where {site.host} redirects to, answers {status} for blob {digest}"
        )

    async def referrers(self, image: ImageName, digest: str, access: Access) -> tuple[Descriptor, ...]:
        """What refers to a digest (signatures, attestations), by the referrers API, else by the tag `sha256-<hex>` that
        stands for it (distribution spec 1.1, "Listing Referrers"); () where nothing does.
        """
        site = self._requester.site(image, access)

        async def ask(repository: str) -> tuple[Descriptor, ...]:
            call = _Call(site, image, access, repository, Operation())
            found = await self._referring(call, f"referrers/{digest}", digest)
            if found is None:
                answer = await self._send(call, f"manifests/{digest.replace(':', '-', 1)}", counted=True)
                if answer.status not in {200, 404}:
                    raise refused(answer, image, digest)
                found = _entries(answer) if answer.status == 200 else ()
            return found

        return await self._anywhere(site, image, access, ask)

    async def _referring(self, call: _Call, path: str, digest: str) -> tuple[Descriptor, ...] | None:
        """All pages (up to a cap) of the referrers API; None where the registry has none."""
        found: tuple[Descriptor, ...] = ()
        for page in range(_MAX_PAGES):
            answer = await self._send(call, path)
            if answer.status == 200:
                if manifests.media_type(answer.headers.get("content-type")) != manifests.OCI_INDEX:
                    return None
                found += _entries(answer)
            elif page == 0 and answer.status in {400, 404, 405}:
                return None
            else:
                raise refused(answer, call.image, digest)
            target = f"/v2/{call.repository}/{path}"
            following = next_page(answer.headers.get_list("link"), origin=call.site.origin, target=target)
            if following is None:
                return found
            path = following.target.removeprefix(f"/v2/{call.repository}/")
            if path == following.target:
                raise InvalidAnswer(f"{answer.url}: the Link to the next page leads to another repository")
        raise InvalidAnswer(
            f"{named(call.image, digest)}: more than {_MAX_PAGES} pages refer to it", remedy="delete referrers of it"
        )

    async def content(self, image: ImageName, digest: str, access: Access) -> bytes:
        """The bytes of the manifest `digest`, which are checked to have it."""
        site = self._requester.site(image, access)

        async def ask(repository: str) -> bytes:
            call = _Call(site, image, access, repository, Operation())
            answer = await self._send(call, f"manifests/{digest}", counted=True)
            if answer.status != 200:
                raise refused(answer, image, digest)
            manifests.check_digest(answer.body, digest)
            return answer.body

        return await self._anywhere(site, image, access, ask)

    async def blob(self, image: ImageName, blob: Descriptor, access: Access, *, limit: int = _MAX_CONFIG) -> bytes:
        """The bytes of a blob, which are checked to have its digest. Raises InvalidAnswer beyond `limit` bytes,
        TagNotFound when it is not there.
        """
        site = self._requester.site(image, access)

        async def ask(repository: str) -> bytes:
            return await self._blob(_Call(site, image, access, repository, Operation()), blob, limit)

        return await self._anywhere(site, image, access, ask)

    async def _manifest(self, call: _Call, reference: str) -> Manifest:
        answer = await self._send(call, f"manifests/{reference}", counted=True)
        if answer.status != 200:
            raise refused(answer, call.image, reference)
        said = answer.headers.get("docker-content-digest", "").strip()
        kind = answer.headers.get("content-type")
        if ":" in reference:
            digest = manifests.check_digest(answer.body, reference)
        else:
            digest = manifests.digest_of(answer.body)
            # A signed schema 1 manifest is not hashed as it is sent; parse() refuses it below with better words.
            if is_digest(said) and said != digest and "+prettyjws" not in (kind or ""):
                digest = manifests.check_digest(answer.body, said)
        try:
            return manifests.parse(answer.body, content_type=kind, digest=digest)
        except UnsupportedManifest as error:
            raise UnsupportedManifest(f"{named(call.image, reference)}: {error.message}", remedy=error.remedy) from None

    async def _blob(self, call: _Call, blob: Descriptor, limit: int = _MAX_CONFIG) -> bytes:
        answer = await self._send(call, f"blobs/{blob.digest}", headers=_BLOB_HEADERS, limit=limit)
        if answer.status != 200:
            raise refused(answer, call.image, blob.digest)
        manifests.check_digest(answer.body, blob.digest)
        return answer.body

    async def _send(
        self,
        call: _Call,
        path: str,
        *,
        method: str = "GET",
        counted: bool = False,
        headers: Mapping[str, str] = _MANIFEST_HEADERS,
        limit: int = _MAX_MANIFEST,
    ) -> Answer:
        return await self._requester.send(
            method,
            call.site,
            call.access,
            call.repository,
            f"/v2/{call.repository}/{path}",
            operation=call.operation,
            limit=limit,
            headers=headers,
            counted=counted,
        )

    async def _anywhere(self, site: Site, image: ImageName, access: Access, ask: Callable[[str], Awaitable[T]]) -> T:
        """Ask under the repository's name; a one-part name that is not found is tried under `library/` once.

        Proxy caches of Docker Hub want that. Where neither is found the first error counts, and `/v2/` tells whether
        there is a registry at all.
        """
        repository = site.library.get(image.repository, image.repository)
        try:
            return await ask(repository)
        except (RepositoryNotFound, TagNotFound) as error:
            if isinstance(error, RepositoryNotFound):
                # What was found under library/ once has gone: the next call starts with the plain name again.
                site.library.pop(image.repository, None)
            if "/" not in repository:
                try:
                    answer = await ask(f"library/{repository}")
                except (RepositoryNotFound, TagNotFound):
                    pass
                else:
                    site.library[repository] = f"library/{repository}"
                    return answer
            if isinstance(error, RepositoryNotFound) and not await self._is_registry(site, access, repository):
                raise NotARegistry(
                    f"{site.host} does not speak the registry protocol: it answers 404 for /v2/",
                    remedy="check the host and port of spec.image",
                ) from None
            raise

    async def _is_registry(self, site: Site, access: Access, repository: str) -> bool:
        try:
            answer = await self._requester.send(
                "GET", site, access, repository, "/v2/", operation=Operation(), limit=1 << 16, headers=_BLOB_HEADERS
            )
        except (AuthenticationFailed, RegistryError):
            return True
        return answer.status != 404


def _entries(answer: Answer) -> tuple[Descriptor, ...]:
    kind = answer.headers.get("content-type")
    digest = manifests.digest_of(answer.body)
    try:
        return manifests.parse(answer.body, content_type=kind, digest=digest).entries
    except UnsupportedManifest as error:
        if b'"manifests"' in answer.body:
            return ()
        raise InvalidAnswer(f"{answer.url}: {error.message}") from None
