"""Which kinds a server serves, and under which paths.

Aggregated discovery (`apidiscovery.k8s.io/v2`, two requests) where the server has it, else the classic lists. What was
found is kept: an unknown kind asks again, but not more often than once every few seconds, whoever asks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from image_updater.cluster.errors import ClusterError, KindUnknown, ObjectNotFound
from image_updater.cluster.model import Resource
from image_updater.errors import Where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from image_updater.cluster.model import Body

    Get = Callable[[str, str], Awaitable[Body]]
    """`get(path, accept)`."""

AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,"
    "application/json"
)
CLASSIC = "application/json"

PAUSE = 2.0
"""Seconds between two looks for kinds that are not known."""

_AT_ONCE = 8


class Discovery:
    """Shared by all accounts of one server."""

    def __init__(self, get: Get, *, monotonic: Callable[[], float]) -> None:
        self._get = get
        self._monotonic = monotonic
        self._by_version: dict[tuple[str, str], Resource] = {}
        self._by_group: dict[tuple[str, str], Resource] = {}
        self._asked_at = float("-inf")
        self._stale = True
        self._lock = asyncio.Lock()

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Raises KindUnknown."""
        return await self._find(self._by_version, (api_version, kind), f"{kind} of {api_version}")

    async def serving(self, group: str, kind: str) -> Resource:
        """In the group's preferred version. Raises KindUnknown."""
        return await self._find(self._by_group, (group, kind), f"{kind}.{group}" if group else kind)

    def forget(self) -> None:
        """Ask again at the next question, at once."""
        self._stale = True
        self._asked_at = float("-inf")

    def doubt(self) -> None:
        """A path that was found here answers 404: ask again, but not for every object of a kind that went."""
        self._stale = True

    async def _find(self, among: Mapping[tuple[str, str], Resource], key: tuple[str, str], shown: str) -> Resource:
        # The mappings are filled anew in place, so that `among` is always the current one.
        found = among.get(key)
        if found is None or self._stale:
            await self._refresh()
            found = among.get(key)
        if found is None:
            raise KindUnknown(
                f"the server does not serve {shown}",
                where=Where(object=shown),
                remedy="apply its CustomResourceDefinition first",
            )
        return found

    async def _refresh(self) -> None:
        async with self._lock:
            # Taken before the request: a kind that is made while it runs may be missing from the answer.
            now = self._monotonic()
            if now - self._asked_at < PAUSE:
                return
            found = await self._ask()
            self._asked_at, self._stale = now, False
            self._by_version.clear()
            self._by_group.clear()
            for resource in found:
                self._by_version.setdefault((resource.api_version, resource.kind), resource)
                self._by_group.setdefault((resource.group, resource.kind), resource)

    async def _ask(self) -> list[Resource]:
        found: list[Resource] = []
        for root in ("/api", "/apis"):
            answer = await self._get(root, AGGREGATED)
            if answer.get("kind") == "APIGroupDiscoveryList":
                found += parse_aggregated(answer)
            else:
                found += await self._ask_classic(root, answer)
        return found

    async def _ask_classic(self, root: str, answer: Body) -> list[Resource]:
        """One list a group and version, preferred versions first."""
        versions = [str(each) for each in answer.get("versions") or ()] if root == "/api" else preferred_first(answer)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def ask(version: str) -> list[Resource]:
            async with limit:
                try:
                    return parse_classic(version, await self._get(f"{root}/{version}", CLASSIC))
                except (KindUnknown, ObjectNotFound):
                    return []  # it went between the two requests
                except ClusterError:
                    # An aggregated API whose own server is down must not hide all other kinds: its kinds stay unknown.
                    if root == "/api":
                        raise
                    return []

        lists = await asyncio.gather(*(ask(version) for version in versions))
        return [resource for each in lists for resource in each]


def parse_aggregated(answer: Body) -> Iterable[Resource]:
    """Of an APIGroupDiscoveryList: versions in the server's order, which is that of preference."""
    for item in answer.get("items") or ():
        group = str((item.get("metadata") or {}).get("name") or "")
        for version in item.get("versions") or ():
            for each in version.get("resources") or ():
                kind = (each.get("responseKind") or {}).get("kind")
                if kind:
                    yield _resource(
                        group, version["version"], kind, each["resource"], each.get("scope") == "Namespaced", each
                    )


def preferred_first(groups: Body) -> list[str]:
    """`apps/v1`, … of an APIGroupList."""
    found: list[str] = []
    for group in groups.get("groups") or ():
        preferred = (group.get("preferredVersion") or {}).get("groupVersion")
        others = [str(each["groupVersion"]) for each in group.get("versions") or ()]
        found += ([str(preferred)] if preferred else []) + [each for each in others if each != preferred]
    return found


def parse_classic(api_version: str, answer: Body) -> list[Resource]:
    """Of an APIResourceList, without subresources."""
    group, _, version = api_version.rpartition("/")
    return [
        _resource(group, version, each["kind"], each["name"], bool(each.get("namespaced")), each)
        for each in answer.get("resources") or ()
        if "/" not in each["name"]
    ]


def _resource(group: str, version: str, kind: str, plural: str, namespaced: bool, each: Mapping[str, Any]) -> Resource:
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        verbs=frozenset(each.get("verbs") or ()),
    )
