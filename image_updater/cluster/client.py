"""One API server as one account. Bodies are plain dicts; every failure is a leaf of errors.py.

Lists, and bodies read with `metadata_only`, carry the apiVersion and kind of their resource, so that `Ref.of` works on
all of them alike.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from image_updater import __version__
from image_updater.cluster import calls
from image_updater.cluster.discovery import Discovery
from image_updater.cluster.errors import ClusterError, Gone, KindUnknown
from image_updater.cluster.lines import Lines
from image_updater.cluster.model import Happened, WatchEvent
from image_updater.cluster.refusals import kind_is_gone, refusal
from image_updater.cluster.transport import Answer, AnswerTooLarge, Metrics, Transport, open_transport
from image_updater.errors import Where

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import aiohttp

    from image_updater.cluster.config import ClusterConfig
    from image_updater.cluster.model import Body, Resource

    Bodies: TypeAlias = list[Body]

MANAGER = "image-updater"
"""Our field manager (sync/model.py says the same of the objects that the sync applies)."""

CHUNK = 500
"""Objects of one page of a list."""
_RESTARTS = 3
"""Of a list whose continue token expired between two pages."""


class Cluster:
    """Open with `await Cluster.connect(config)`; many accounts share one pool of connections and one discovery."""

    def __init__(
        self,
        transport: Transport,
        discovery: Discovery,
        user: str | None = None,
        *,
        queued: bool = True,
        fence: Callable[[], None] | None = None,
    ) -> None:
        self._transport = transport
        self._discovery = discovery
        self._user = user
        self._queued = queued
        self.fence = fence
        identity = transport.config.identity
        self.identity = f"{identity} as {user}" if user is not None else identity
        """Server and account: a key for caches."""

    @classmethod
    async def connect(
        cls,
        config: ClusterConfig,
        *,
        user_agent: str = f"image-updater/{__version__}",
        concurrency: int = 32,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        dice: Callable[[], float] = random.random,
    ) -> Cluster:
        """At most `concurrency` requests are under way at once, watches apart. Asks the server nothing yet.

        Raises SpecError for bad certificates, AccessDenied when there is no login to be had.
        """
        transport = await open_transport(
            config,
            user_agent=user_agent,
            concurrency=concurrency,
            clock=clock,
            monotonic=monotonic,
            sleep=sleep,
            dice=dice,
        )

        async def ask(path: str, accept: str) -> Body:
            # As our own account, whoever wants to know: it is the same for all.
            call = calls.discovery(path, accept)
            answer = await transport.send(call)
            if answer.status >= 300:
                raise refusal(answer.status, answer.body, call.subject)
            return _parse(answer, call)

        return cls(transport, Discovery(ask, monotonic=monotonic))

    async def close(self) -> None:
        """Closes the connections of all accounts."""
        await self._transport.close()

    def impersonating(self, user: str | None) -> Cluster:
        """The same server as another account (`system:serviceaccount:apps:deployer`); None is our own."""
        return Cluster(self._transport, self._discovery, user, queued=self._queued, fence=self.fence)

    def unqueued(self) -> Cluster:
        """The same for what must not wait behind a thousand others, such as the renewal of a Lease."""
        return Cluster(self._transport, self._discovery, self._user, queued=False, fence=self.fence)

    def fenced(self, fence: Callable[[], None] | None) -> Cluster:
        """The same for somebody who may not write at all times: `fence` is called right before each request that is no
        read is sent, first tries and later ones, and raises what forbids it.
        """
        return Cluster(self._transport, self._discovery, self._user, queued=self._queued, fence=fence)

    def open_session(self, traces: Sequence[aiohttp.TraceConfig] = ()) -> aiohttp.ClientSession:
        """For a library that makes its own requests to `server`: our trust and login, also when it is renewed.

        The caller closes it.
        """
        return self._transport.session(traces)

    @property
    def server(self) -> str:
        return self._transport.config.server

    @property
    def metrics(self) -> Metrics:
        """Counters of all accounts of this server."""
        return self._transport.metrics

    # ------------------------------------------------------------------------------------------- discovery

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Raises KindUnknown. An unknown kind asks the server again, at most once every few seconds."""
        return await self._discovery.resource(api_version, kind)

    async def serving(self, group: str, kind: str) -> Resource:
        """In the group's preferred version. Raises KindUnknown."""
        return await self._discovery.serving(group, kind)

    def forget_discovery(self) -> None:
        """The next question asks the server at once: a CRD was established, or went."""
        self._discovery.forget()

    # ------------------------------------------------------------------------------------------- reading

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False
    ) -> Body | None:
        """None: there is no such object. Raises KindUnknown when no server serves the kind any more."""
        call = calls.get(resource, namespace, name, user=self._user, metadata_only=metadata_only)
        answer = await self._send(call)
        if answer.status == 404 and not kind_is_gone(answer.status, answer.body):
            return None
        return _named(resource, self._parsed(answer, call))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        chunk: int = CHUNK,
        metadata_only: bool = False,
    ) -> tuple[Bodies, str]:
        """All objects, as they were at the returned resourceVersion. `labels` and `fields` are selectors."""
        for _ in range(_RESTARTS):
            found: Bodies = []
            version = ""
            try:
                async for items, at in self.pages(
                    resource, namespace, labels=labels, fields=fields, chunk=chunk, metadata_only=metadata_only
                ):
                    found += items
                    version = at
            except Gone:
                continue
            return found, version
        raise Gone("the list changed too fast to be read", where=Where(object=resource.plural))

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        chunk: int = CHUNK,
        metadata_only: bool = False,
    ) -> AsyncIterator[tuple[Bodies, str]]:
        """The same page by page, for lists that need not be in memory at once. Raises Gone between two pages when the
        server has forgotten the state of the first: begin anew.
        """
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        following = ""
        while True:
            call = calls.page(
                resource,
                namespace,
                selectors,
                limit=chunk,
                following=following,
                user=self._user,
                metadata_only=metadata_only,
            )
            try:
                body = self._parsed(await self._send(call), call)
            except AnswerTooLarge:
                if chunk <= 1:
                    raise
                chunk = max(1, chunk // 8)
                continue
            metadata = body.get("metadata") or {}
            following = metadata.get("continue") or ""
            yield [_named(resource, item) for item in body.get("items") or ()], str(metadata.get("resourceVersion", ""))
            if not following:
                return

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        resource_version: str,
        metadata_only: bool = False,
        timeout: float = 240,  # noqa: ASYNC109 - the server's own limit of the watch
    ) -> AsyncIterator[WatchEvent]:
        """What happened after `resource_version`, until the server ends the watch after `timeout` seconds.

        Raises Gone when that version is too old: list again. Watcher does all that.
        """
        async for kind, body in self.events(
            resource,
            namespace,
            labels=labels,
            fields=fields,
            resource_version=resource_version,
            metadata_only=metadata_only,
            seconds=timeout,
        ):
            if kind not in ("OPENED", "BOOKMARK"):
                yield WatchEvent(Happened(kind), body)

    async def events(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        resource_version: str,
        metadata_only: bool = False,
        seconds: float = 240,
    ) -> AsyncIterator[tuple[str, Body]]:
        """As `watch`, with all that the server says: (type, object), bookmarks too, and first of all `OPENED`, which
        means that it has accepted the watch.
        """
        call = calls.watch(
            resource,
            namespace,
            {"labelSelector": labels, "fieldSelector": fields},
            resource_version=resource_version,
            seconds=seconds,
            user=self._user,
            metadata_only=metadata_only,
        )
        lines = Lines()
        try:
            async with self._transport.stream(call, seconds=seconds) as chunks:
                yield "OPENED", {}
                async for chunk in chunks:
                    for line in lines.feed(chunk):
                        yield self._event(resource, line, call)
        except KindUnknown:
            self._discovery.doubt()
            raise

    def _event(self, resource: Resource, line: bytes, call: calls.Call) -> tuple[str, Body]:
        try:
            event = json.loads(line)
            kind, body = str(event["type"]), event["object"]
        except (ValueError, KeyError, TypeError):
            raise ClusterError("an event of the watch is no JSON", where=call.subject.where) from None
        if kind == "ERROR":
            raise refusal(int(body.get("code") or 500), calls.dumps(body), call.subject)
        return kind, _named(resource, body)

    # ------------------------------------------------------------------------------------------- writing

    async def apply(
        self,
        resource: Resource,
        body: Body,
        *,
        manager: str = MANAGER,
        force: bool = True,
        dry_run: bool = False,
        strict: bool = True,
        subresource: str | None = None,
    ) -> Body:
        """Server-side apply: what the server made of it. `strict` refuses unknown and duplicate fields.

        Raises InvalidObject or Immutable with the field, Conflict (only without `force`) with the other managers,
        NamespaceMissing, Forbidden, KindUnknown.
        """
        call = calls.apply(
            resource,
            body,
            manager=manager,
            force=force,
            strict=strict,
            dry_run=dry_run,
            subresource=subresource,
            user=self._user,
        )
        return self._parsed(await self._send(call), call)

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        patch: Body | Bodies,
        *,
        type: Literal["merge", "json"] = "merge",  # noqa: A002 - the word of the field
        subresource: str | None = None,
        manager: str | None = None,
        dry_run: bool = False,
    ) -> Body:
        """Raises ObjectNotFound; Conflict where a resourceVersion in it, or a `test` of a JSON patch, does not hold."""
        call = calls.patch(
            resource,
            namespace,
            name,
            patch,
            kind=type,
            manager=manager or MANAGER,
            dry_run=dry_run,
            subresource=subresource,
            user=self._user,
        )
        return self._parsed(await self._send(call), call)

    async def create(
        self,
        resource: Resource,
        body: Body,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        manager: str | None = None,
        dry_run: bool = False,
    ) -> Body:
        """Raises Conflict when it is there already. With a subresource, `body.metadata.name` names the object."""
        call = calls.create(
            resource,
            body,
            namespace=namespace,
            subresource=subresource,
            manager=manager or MANAGER,
            dry_run=dry_run,
            user=self._user,
        )
        return self._parsed(await self._send(call), call)

    async def replace(
        self, resource: Resource, body: Body, *, subresource: str | None = None, manager: str | None = None
    ) -> Body:
        """Raises Conflict when `metadata.resourceVersion` is given and not the current one, ObjectNotFound."""
        call = calls.replace(resource, body, manager=manager or MANAGER, subresource=subresource, user=self._user)
        return self._parsed(await self._send(call), call)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: calls.Propagation = "Background",
        dry_run: bool = False,
    ) -> bool:
        """False: it was gone. With `uid` (and resource_version) only that very object goes; Conflict for another."""
        call = calls.delete(
            resource,
            namespace,
            name,
            uid=uid,
            resource_version=resource_version,
            propagation=propagation,
            dry_run=dry_run,
            user=self._user,
        )
        answer = await self._send(call)
        if answer.status == 404 and not kind_is_gone(answer.status, answer.body):
            return False
        self._parsed(answer, call)
        return True

    # ------------------------------------------------------------------------------------------- accounts

    async def may(
        self,
        verb: str,
        resource: Resource,
        namespace: str | None = None,
        name: str | None = None,
        *,
        subresource: str | None = None,
        user: str | None = None,
    ) -> bool:
        """Whether this account (or `user`, which needs rights on SubjectAccessReviews) may do that."""
        call = calls.review(verb, resource, namespace, name, subresource, of=user, user=self._user)
        answer = self._parsed(await self._send(call), call)
        return bool((answer.get("status") or {}).get("allowed"))

    async def _send(self, call: calls.Call) -> Answer:
        return await self._transport.send(call, queued=self._queued, fence=self.fence)

    def _parsed(self, answer: Answer, call: calls.Call) -> Body:
        if answer.status >= 300:
            if kind_is_gone(answer.status, answer.body):
                self._discovery.doubt()
            raise refusal(answer.status, answer.body, call.subject)
        return _parse(answer, call)


def _parse(answer: Answer, call: calls.Call) -> Body:
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ClusterError("the answer is no JSON object: is this an API server?", where=call.subject.where)
    return body


def _named(resource: Resource, body: Body) -> Body:
    """Items of lists say no kind, and partial ones say that of the envelope."""
    body["apiVersion"], body["kind"] = resource.api_version, resource.kind
    return body
