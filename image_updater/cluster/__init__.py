"""The API server of a cluster, as one account: discovery, requests, watches, Leases and Events."""

from __future__ import annotations

from image_updater.cluster.client import MANAGER, Cluster
from image_updater.cluster.config import ClusterConfig
from image_updater.cluster.model import Body, Happened, Ref, Resource, WatchEvent

__all__ = ["MANAGER", "Body", "Cluster", "ClusterConfig", "Happened", "Ref", "Resource", "WatchEvent"]
