"""What calls a Syncer in tests: it keeps inventories and what is known between syncs, as a status does."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from image_updater.api.model import Kustomization, Meta, ObjectKey
from image_updater.cluster import Cluster, ClusterConfig
from image_updater.sync.manifests import prepare
from image_updater.sync.model import Elsewhere, SyncRequest
from image_updater.sync.syncer import Syncer
from image_updater.sync.watches import Watches
from tests.parts.controlplane import ApiError, ControlPlane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from image_updater.cluster.model import Ref
    from image_updater.sync.model import Applied, Done, Entry, Manifest, SyncReport

T = TypeVar("T")


class Stopped(Exception):
    """A stand-in for the kill of the process."""


@dataclass
class Rig:
    """One controller: an own account that reads everything, and accounts that it applies as."""

    plane: ControlPlane
    namespace: str
    own: Cluster
    watches: Watches
    moved: list[tuple[Ref, ObjectKey]] = field(default_factory=list)
    inventories: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    known: dict[str, dict[Ref, Applied]] = field(default_factory=dict)
    saved: list[tuple[Entry, ...]] = field(default_factory=list)
    renders: dict[str, frozenset[Ref]] = field(default_factory=dict)
    """By name of the Kustomization: its newest build. `elsewhere` answers from here."""
    unsettled: set[str] = field(default_factory=set)

    def kustomization(self, name: str = "app", **settings: Any) -> Kustomization:
        key = ObjectKey(self.namespace, name)
        return Kustomization(meta=Meta(key=key), source_ref=None, path=".", **{"prune": True, **settings})

    def prepared(self, text: str, kustomization: Kustomization) -> tuple[Manifest, ...]:
        return prepare(text.encode(), kustomization, namespaced=self._namespaced)

    def _namespaced(self, group: str, kind: str) -> bool | None:
        try:
            return self.plane.resource(f"{kind}.{group}" if group else kind).namespaced
        except AssertionError:
            return None

    def build(self, text: str, name: str = "app", **settings: Any) -> SyncRequest:
        """The request for a Kustomization at this text, which is its newest build from now on."""
        kustomization = self.kustomization(name, **settings)
        manifests = self.prepared(text, kustomization)
        self.renders[name] = frozenset(m.ref for m in manifests)
        return SyncRequest(
            kustomization=kustomization,
            revision="main@sha1:0",
            manifests=manifests,
            inventory=self.inventories.get(name, ()),
            known=self.known.get(name, {}),
            elsewhere=lambda ref: self._elsewhere(name, ref),
        )

    def _elsewhere(self, name: str, ref: Ref) -> Elsewhere:
        others = [other for other in self.renders if other != name]
        renders = next((other for other in others if ref in self.renders[other]), None)
        unsettled = next((other for other in sorted(self.unsettled) if other != name), None)
        key = ObjectKey
        return Elsewhere(
            renders=key(self.namespace, renders) if renders else None,
            unsettled=key(self.namespace, unsettled) if unsettled else None,
        )

    def syncer(
        self, account: str | None = "deployer", *, watched: bool = True, take_over: Sequence[str] = ()
    ) -> Syncer:
        user = f"system:serviceaccount:{self.namespace}:{account}" if account else None
        return Syncer(
            self.own.impersonating(user),
            watches=self.watches if watched else None,
            take_over=take_over,
            clock=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            sleep=asyncio.sleep,
        )

    async def sync(
        self,
        text: str,
        name: str = "app",
        *,
        syncer: Syncer | None = None,
        preempted: Callable[[], bool] = lambda: False,
        force_all: bool = False,
        **settings: Any,
    ) -> SyncReport:
        """One sync whose report is written down."""
        request = self.build(text, name, **settings)
        if force_all:
            request = SyncRequest(**{each: getattr(request, each) for each in request.__slots__} | {"force_all": True})
        return await self.run(request, syncer=syncer, preempted=preempted)

    async def run(
        self, request: SyncRequest, *, syncer: Syncer | None = None, preempted: Callable[[], bool] = lambda: False
    ) -> SyncReport:
        name = request.kustomization.key.name

        async def save(entries: Sequence[Entry]) -> None:
            self.inventories[name] = tuple(entries)
            self.saved.append(tuple(entries))

        report = await (syncer or self.syncer()).sync(request, save_inventory=save, preempted=preempted)
        self.inventories[name] = report.inventory
        self.known[name] = dict(report.known)
        return report

    async def until(self, condition: Callable[[], T | None], timeout: float = 30.0, what: str = "") -> T:
        """As the plane's, without stopping our own loop."""
        end = time.monotonic() + timeout
        while True:
            try:
                found = await asyncio.to_thread(condition)
            except (ApiError, AssertionError) as error:
                found, what = None, what or str(error)
            if found:
                return found
            assert time.monotonic() < end, f"not within {timeout} s: {what}"
            await asyncio.sleep(0.02)

    def mine(self, since: int) -> list[str]:
        """`verb resource/name` of each request of ours since a mark, without watches and discovery."""
        return [
            f"{each.verb} {each.resource}/{each.name}"
            for each in self.plane.audit(since)
            if each.user_agent.startswith("image-updater") and each.verb != "watch" and each.resource
        ]


@asynccontextmanager
async def rigged(plane: ControlPlane, namespace: str) -> AsyncIterator[Rig]:
    """A Rig with the accounts `controller` (reads all, impersonates accounts) and `deployer` (administrator of all)."""
    prepare_accounts(plane, namespace)
    config = ClusterConfig.load(kubeconfig=plane.kubeconfig_of(namespace, "controller"), environment={})
    own = await Cluster.connect(config)
    moved: list[tuple[Ref, ObjectKey]] = []

    def on_moved(ref: Ref, owner: ObjectKey) -> None:
        if owner.namespace == namespace:  # other tests' objects carry owner labels too
            moved.append((ref, owner))

    watches = Watches(own, on_moved=on_moved)
    try:
        yield Rig(plane=plane, namespace=namespace, own=own, watches=watches, moved=moved)
    finally:
        await watches.close()
        await own.close()
        # TLS connections say goodbye in later turns of the loop: docs.aiohttp.org, "Graceful shutdown".
        await asyncio.sleep(0.1)


def prepare_accounts(plane: ControlPlane, namespace: str) -> None:
    def bind(account: str, role: str) -> dict[str, Any]:
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{namespace}-{account}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": account}],
        }

    def account(name: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}

    reads = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"{namespace}-controller"},
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
        ],
    }
    plane.apply(
        [
            account("controller"),
            account("deployer"),
            reads,
            bind("controller", f"{namespace}-controller"),
            bind("deployer", "cluster-admin"),
        ]
    )


def actions(report: SyncReport) -> dict[str, str]:
    """`Kind/name` → what happened."""
    return {f"{each.ref.kind}/{each.ref.name}": each.action.value for each in report.done}


def named(report: SyncReport, name: str) -> Done:
    return next(each for each in report.done if each.ref.name == name)
