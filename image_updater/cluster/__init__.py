"""The API server of a cluster, as one account: discovery, requests, watches, Leases and Events."""

from __future__ import annotations

from image_updater.cluster.client import MANAGER, Cluster
from image_updater.cluster.config import ClusterConfig
from image_updater.cluster.lease import Lease
from image_updater.cluster.model import Body, Happened, Ref, Resource, WatchEvent
from image_updater.cluster.recorder import Recorder
from image_updater.cluster.watcher import Watcher

__all__ = [
    "MANAGER",
    "Body",
    "Cluster",
    "ClusterConfig",
    "Happened",
    "Lease",
    "Recorder",
    "Ref",
    "Resource",
    "WatchEvent",
    "Watcher",
]
