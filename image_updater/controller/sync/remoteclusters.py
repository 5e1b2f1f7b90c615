"""The clusters that Kustomizations apply to, as the accounts they apply as.

Our own cluster through the controller's connection, impersonating a service account of the Kustomization's namespace:
never with the controller's own rights. Another one through a kubeconfig out of a Secret, as the account that it holds
(or a service account of that cluster that this account may impersonate). One connection and one set of watches for
each cluster and login; what nobody uses any more is closed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from image_updater.api.model import ObjectKey
from image_updater.cluster import Cluster, ClusterConfig
from image_updater.errors import SecretNotFound, SpecError, Where
from image_updater.sync.syncer import Syncer
from image_updater.sync.watches import Watches

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.api.model import Kustomization
    from image_updater.cluster.model import Ref
    from image_updater.controller.context import Context

LOCAL: Final = "local"
MISSING: Final = 5.0
"""Seconds for which a Secret that is not there is believed not to be, when it is needed."""

_KEYS: Final = ("value", "value.yaml")
"""Where a kubeconfig stands in a Secret when `key` is not given, as in Flux."""


@dataclass(slots=True)
class Target:
    """One cluster and login. `name` is the same for all Kustomizations that apply to it."""

    name: str
    cluster: Cluster
    watches: Watches
    server: str = ""
    """The address of another cluster's API server: what an inventory is of, whoever logs in there."""
    syncers: dict[str | None, Syncer] = field(default_factory=dict)
    scopes: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Whether kinds are namespaced, as far as the server has said."""
    users: set[ObjectKey] = field(default_factory=set)


def secret_of(kustomization: Kustomization) -> ObjectKey | None:
    """The Secret with the kubeconfig."""
    reference = kustomization.kube_config
    return ObjectKey(kustomization.key.namespace, reference.name) if reference is not None else None


def target_name(kustomization: Kustomization) -> str:
    """Names the cluster before it is connected to."""
    reference = kustomization.kube_config
    if reference is None:
        return LOCAL
    return f"{kustomization.key.namespace}/{reference.name}/{reference.key or ''}"


class Clusters:
    """See the module. Used from one event loop."""

    def __init__(self, context: Context, *, on_moved: Callable[[Ref, ObjectKey], None]) -> None:
        self._context = context
        self._on_moved = on_moved
        self._targets: dict[str, Target] = {}
        self._by_user: dict[ObjectKey, Target] = {}
        self._lock = asyncio.Lock()

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(self._targets.values())

    def account(self, kustomization: Kustomization) -> str | None:
        """Who applies; None = the account of the kubeconfig."""
        name = kustomization.service_account_name
        if name is None and kustomization.kube_config is None:
            name = self._context.settings.default_service_account
        return f"system:serviceaccount:{kustomization.key.namespace}:{name}" if name else None

    async def open(self, kustomization: Kustomization) -> tuple[Target, Syncer]:
        """Raises SpecError (the Secret, the kubeconfig), AccessDenied, ClusterError. Connects to nothing yet."""
        if kustomization.kube_config is None:
            name, config = LOCAL, None
        else:
            config = await self._config(kustomization)
            name = config.identity
        async with self._lock:
            target = self._targets.get(name)
            if target is None:
                target = self._targets[name] = await self._connect(name, config)
            before = self._by_user.get(kustomization.key)
            if before is not target:
                self._by_user[kustomization.key] = target
                target.users.add(kustomization.key)
                if before is not None:
                    before.users.discard(kustomization.key)
        user = self.account(kustomization)
        syncer = target.syncers.get(user)
        if syncer is None:
            context = self._context
            syncer = target.syncers[user] = Syncer(
                target.cluster.impersonating(user) if user is not None else target.cluster,
                watches=target.watches,
                take_over=context.settings.take_over,
                clock=context.clock,
                monotonic=context.monotonic,
                sleep=context.sleep,
            )
        return target, syncer

    def release(self, key: ObjectKey) -> None:
        """That Kustomization is gone."""
        target = self._by_user.pop(key, None)
        if target is not None:
            target.users.discard(key)

    async def sweep(self) -> None:
        """Close what nobody uses."""
        async with self._lock:
            idle = [target for target in self._targets.values() if not target.users and target.name != LOCAL]
            for target in idle:
                del self._targets[target.name]
        for target in idle:
            await self._close(target)

    async def close(self) -> None:
        async with self._lock:
            targets = list(self._targets.values())
            self._targets.clear()
        for target in targets:
            await self._close(target)

    async def _close(self, target: Target) -> None:
        await target.watches.close()
        if target.name != LOCAL:
            await target.cluster.close()

    async def _connect(self, name: str, config: ClusterConfig | None) -> Target:
        context = self._context
        cluster = context.cluster
        if config is not None:
            cluster = (await Cluster.connect(config)).fenced(context.cluster.fence)
        watches = Watches(
            cluster,
            on_moved=self._on_moved,
            sleep=context.sleep,
            dice=context.dice,
            # Another cluster's login has whatever rights it has there; ours has those of these namespaces.
            namespaces=context.settings.watch_namespaces if config is None else (),
        )
        server = config.server if config is not None else ""
        return Target(name=name, cluster=cluster, watches=watches, server=server)

    async def _config(self, kustomization: Kustomization) -> ClusterConfig:
        reference, name = kustomization.kube_config, secret_of(kustomization)
        assert reference is not None
        assert name is not None
        where = Where(object=f"Kustomization {kustomization.key}", field="spec.kubeConfig.secretRef")
        await self._context.secrets.need([name])
        secret = self._context.secrets(name)
        if secret is None:
            await self._context.secrets.need([name], fresh=MISSING)
            secret = self._context.secrets(name)
        if secret is None:
            raise SecretNotFound(f"there is no Secret {name}", where=where, remedy="create it with a kubeconfig")
        keys = (reference.key,) if reference.key is not None else _KEYS
        data = next((secret.data[key] for key in keys if key in secret.data), None)
        if data is None:
            raise SpecError(
                f"Secret {name} has no {' and no '.join(keys)}", where=where, remedy="put a kubeconfig there"
            )
        return ClusterConfig.from_secret(data, where=where)
