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
from image_updater.cluster.discovery import Discovery
from image_updater.cluster.errors import ClusterError, Gone, InvalidObject
from image_updater.cluster.lines import Lines
from image_updater.cluster.model import Happened, Resource, WatchEvent
from image_updater.cluster.refusals import Subject, kind_is_gone, refusal
from image_updater.cluster.transport import Answer, AnswerTooLarge, Call, Metrics, Transport, dumps, open_transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    import aiohttp

    from image_updater.cluster.config import ClusterConfig
    from image_updater.cluster.model import Body

    Bodies: TypeAlias = list[Body]

MANAGER = "image-updater"
"""Our field manager (sync/model.py says the same of the objects that the sync applies)."""

JSON = "application/json"
_PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PATCHES = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}
_APPLY = "application/apply-patch+yaml"
_RESTARTS = 3
"""Of a list whose continue token expired between two pages."""

ACCESS_REVIEW = Resource(
    group="authorization.k8s.io",
    version="v1",
    kind="SelfSubjectAccessReview",
    plural="selfsubjectaccessreviews",
    namespaced=False,
)
SUBJECT_REVIEW = Resource(
    group="authorization.k8s.io",
    version="v1",
    kind="SubjectAccessReview",
    plural="subjectaccessreviews",
    namespaced=False,
)
SERVICE_ACCOUNTS = Resource(group="", version="v1", kind="ServiceAccount", plural="serviceaccounts", namespaced=True)


def _now() -> datetime:
    return datetime.now(UTC)


class Cluster:
    """Open with `await Cluster.connect(config)`; many accounts share one pool of connections and one discovery."""

    def __init__(self, transport: Transport, discovery: Discovery, user: str | None = None) -> None:
        self._transport = transport
        self._discovery = discovery
        self._user = user
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
        clock: Callable[[], datetime] = _now,
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
        return cls(transport, Discovery(_Asking(transport), monotonic=monotonic))

    async def close(self) -> None:
        """Closes the connections of all accounts."""
        await self._transport.close()

    def impersonating(self, user: str | None) -> Cluster:
        """The same server as another account (`system:serviceaccount:apps:deployer`); None is our own."""
        return Cluster(self._transport, self._discovery, user)

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
        call = Call(
            method="GET",
            path=_path(resource, namespace, name),
            subject=Subject(verb="get", resource=resource, namespace=namespace, name=name, user=self._user),
            verb="get",
            accept=_PARTIAL if metadata_only else JSON,
        )
        answer = await self._transport.send(call, user=self._user)
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
        chunk: int = 500,
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
        raise Gone("the list changed too fast to be read", where=Subject(verb="list", resource=resource).where)

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        chunk: int = 500,
        metadata_only: bool = False,
    ) -> AsyncIterator[tuple[Bodies, str]]:
        """The same page by page, for lists that need not be in memory at once. Raises Gone between two pages when the
        server has forgotten the state of the first: begin anew.
        """
        query = _selectors(labels, fields)
        following = ""
        while True:
            page_query = {**query, "limit": str(chunk)} | ({"continue": following} if following else {})
            call = Call(
                method="GET",
                path=_path(resource, namespace),
                subject=Subject(verb="list", resource=resource, namespace=namespace, user=self._user),
                verb="list",
                query=page_query,
                accept=_PARTIAL_LIST if metadata_only else JSON,
            )
            try:
                body = self._parsed(await self._transport.send(call, user=self._user), call)
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
        query = _selectors(labels, fields) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        call = Call(
            method="GET",
            path=_path(resource, namespace),
            subject=Subject(verb="watch", resource=resource, namespace=namespace, user=self._user),
            verb="watch",
            query=query,
            accept=_PARTIAL if metadata_only else JSON,
        )
        lines = Lines()
        async with self._transport.stream(call, user=self._user, seconds=seconds) as chunks:
            yield "OPENED", {}
            async for chunk in chunks:
                for line in lines.feed(chunk):
                    yield self._event(resource, line, call)

    def _event(self, resource: Resource, line: bytes, call: Call) -> tuple[str, Body]:
        try:
            event = json.loads(line)
            kind, body = event["type"], event["object"]
        except (ValueError, KeyError, TypeError):
            raise ClusterError("an event of the watch is no JSON", where=call.subject.where) from None
        if kind == "ERROR":
            raise refusal(int(body.get("code") or 500), dumps(body), call.subject)
        return str(kind), _named(resource, body)

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
        metadata = body["metadata"]
        query = {
            "fieldManager": manager,
            "force": "true" if force else "false",
            "fieldValidation": "Strict" if strict else "Ignore",
        }
        return await self._write(
            "PATCH",
            "apply",
            resource,
            metadata.get("namespace"),
            metadata["name"],
            body,
            subresource=subresource,
            query=query | ({"dryRun": "All"} if dry_run else {}),
            content_type=_APPLY,
        )

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
        """Raises ObjectNotFound, and Conflict where the patch names a resourceVersion that is not the current one."""
        query = {"fieldManager": manager or MANAGER} | ({"dryRun": "All"} if dry_run else {})
        return await self._write(
            "PATCH",
            "patch",
            resource,
            namespace,
            name,
            patch,
            subresource=subresource,
            query=query,
            content_type=_PATCHES[type],
            repeatable=type == "merge",
        )

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
        metadata = body.get("metadata") or {}
        query = {"fieldManager": manager or MANAGER} | ({"dryRun": "All"} if dry_run else {})
        return await self._write(
            "POST",
            "create",
            resource,
            namespace or metadata.get("namespace"),
            metadata.get("name") or "",
            body,
            subresource=subresource,
            query=query,
            repeatable=False,
        )

    async def replace(
        self,
        resource: Resource,
        body: Body,
        *,
        subresource: str | None = None,
        manager: str | None = None,
    ) -> Body:
        """Raises Conflict when `metadata.resourceVersion` is given and not the current one, ObjectNotFound."""
        metadata = body["metadata"]
        return await self._write(
            "PUT",
            "update",
            resource,
            metadata.get("namespace"),
            metadata["name"],
            body,
            subresource=subresource,
            query={"fieldManager": manager or MANAGER},
            repeatable=False,
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        dry_run: bool = False,
    ) -> bool:
        """False: it was gone. With `uid` (and resource_version) only that very object goes; Conflict for another."""
        options: Body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        conditions = {"uid": uid, "resourceVersion": resource_version}
        if any(conditions.values()):
            options["preconditions"] = {key: value for key, value in conditions.items() if value}
        call = Call(
            method="DELETE",
            path=_path(resource, namespace, name),
            subject=Subject(verb="delete", resource=resource, namespace=namespace, name=name, user=self._user),
            verb="delete",
            query={"dryRun": "All"} if dry_run else {},
            body=dumps(options),
        )
        answer = await self._transport.send(call, user=self._user)
        if answer.status == 404 and not kind_is_gone(answer.status, answer.body):
            return False
        self._parsed(answer, call)
        return True

    async def _write(
        self,
        method: str,
        verb: str,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Body | Bodies,
        *,
        query: Mapping[str, str],
        subresource: str | None = None,
        content_type: str = JSON,
        repeatable: bool = True,
    ) -> Body:
        # The collection, except for what is created under an object (`serviceaccounts/x/token`).
        target = name if method != "POST" or subresource else None
        call = Call(
            method=method,
            path=_path(resource, namespace, target, subresource),
            subject=Subject(
                verb="patch" if verb == "apply" else verb,
                resource=resource,
                namespace=namespace if resource.namespaced else None,
                name=name or None,
                subresource=subresource,
                user=self._user,
            ),
            verb=verb,
            query=query,
            body=dumps(body),
            content_type=content_type,
            repeatable=repeatable,
        )
        return self._parsed(await self._transport.send(call, user=self._user), call)

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
        attributes = {
            "verb": verb,
            "group": resource.group,
            "version": resource.version,
            "resource": resource.plural,
            "subresource": subresource,
            "namespace": namespace if resource.namespaced else None,
            "name": name,
        }
        spec: Body = {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
        review = ACCESS_REVIEW
        if user is not None:
            review = SUBJECT_REVIEW
            spec |= {"user": user, "groups": groups_of(user)}
        answer = await self._write(
            "POST",
            "create",
            review,
            None,
            "",
            {"apiVersion": review.api_version, "kind": review.kind, "spec": spec},
            query={},
        )
        return bool((answer.get("status") or {}).get("allowed"))

    async def service_account_token(
        self, namespace: str, name: str, *, audiences: Sequence[str] = (), seconds: int = 3600
    ) -> str:
        """A fresh token (TokenRequest), valid for about `seconds`. Raises ObjectNotFound, Forbidden."""
        spec: Body = {"expirationSeconds": seconds} | ({"audiences": list(audiences)} if audiences else {})
        answer = await self._write(
            "POST",
            "create",
            SERVICE_ACCOUNTS,
            namespace,
            name,
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
            query={},
            subresource="token",
        )
        return str(answer["status"]["token"])

    def _parsed(self, answer: Answer, call: Call) -> Body:
        if answer.status >= 400:
            if kind_is_gone(answer.status, answer.body):
                self._discovery.doubt()
            raise refusal(answer.status, answer.body, call.subject)
        return _parse(answer, call)


class _Asking:
    """`get(path, accept)` for discovery, as our own account."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def __call__(self, path: str, accept: str) -> Body:
        call = Call(method="GET", path=path, subject=Subject(verb="get", path=path), verb="discovery", accept=accept)
        answer = await self._transport.send(call)
        if answer.status >= 400:
            raise refusal(answer.status, answer.body, call.subject)
        return _parse(answer, call)


def _parse(answer: Answer, call: Call) -> Body:
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ClusterError("the answer is no JSON object: is this an API server?", where=call.subject.where)
    return body


def groups_of(user: str) -> list[str]:
    """The groups that the server itself gives to a user it knows by name only."""
    groups = ["system:authenticated"]
    parts = user.split(":")
    if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]:
        groups += ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"]
    return groups


def _path(resource: Resource, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
    """Raises InvalidObject for what would lead to another path (API server: `path.IsValidPathSegmentName`)."""
    for part in (namespace, name):
        if part is not None and (part in (".", "..") or "/" in part or "%" in part):
            raise InvalidObject(
                f"{part[:100]!r} is no name of an object", where=Subject(verb="", resource=resource).where
            )
    return resource.path(namespace, name, subresource)


def _selectors(labels: str | None, fields: str | None) -> dict[str, str]:
    given = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in given.items() if value}


def _named(resource: Resource, body: Body) -> Body:
    """Items of lists say no kind, and partial ones say that of the envelope."""
    body["apiVersion"], body["kind"] = resource.api_version, resource.kind
    return body
