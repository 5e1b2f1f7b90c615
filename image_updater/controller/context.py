"""What the halves of the controller share: one value, made once by `app.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from image_updater.api.model import LabelSelector
    from image_updater.cluster import Cluster, Recorder
    from image_updater.controller.cache import Cache, Entry
    from image_updater.controller.secrets import ClusterSecrets
    from image_updater.controller.status import StatusWriter
    from image_updater.pipeline.daemon.metrics import Metrics
    from image_updater.pipeline.session import Session
    from image_updater.settings import Settings

_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def lease_namespace(settings: Settings, environment: Mapping[str, str], file: Path = _NAMESPACE_FILE) -> str:
    """Where the Leases of roles and branches are: where it was said, else the pod's own namespace."""
    if settings.lease_namespace is not None:
        return settings.lease_namespace
    if namespace := environment.get("POD_NAMESPACE"):
        return namespace
    return file.read_text().strip() if file.is_file() else "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """See the module. Clock and dice come from outside, so that tests have their own."""

    cluster: Cluster
    """As the controller's own account."""
    cache: Cache
    status: StatusWriter
    secrets: ClusterSecrets
    recorder: Recorder
    settings: Settings
    session: Session
    metrics: Metrics
    owned: LabelSelector
    """The shard: objects that this process writes status for and works on. Others may be read."""
    environment: Mapping[str, str] = field(repr=False)
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    dice: Callable[[], float]
    """A number in [0, 1)."""
    sleep: Callable[[float], Awaitable[None]]

    def owns(self, entry: Entry) -> bool:
        return self.owned.matches(entry.labels)
