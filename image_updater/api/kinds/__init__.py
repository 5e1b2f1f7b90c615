"""One file a kind: its fields with their meaning (the reference pages are written from them), its rules, and how it
is built.
"""

from image_updater.api.kinds.automation import AUTOMATION
from image_updater.api.kinds.freeze import CLUSTER_FREEZE, FREEZE
from image_updater.api.kinds.kind import Kind
from image_updater.api.kinds.kustomization import KUSTOMIZATION
from image_updater.api.kinds.policy import POLICY
from image_updater.api.kinds.quarantine import CLUSTER_QUARANTINE, QUARANTINE
from image_updater.api.kinds.repository import REPOSITORY

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        POLICY,
        REPOSITORY,
        AUTOMATION,
        KUSTOMIZATION,
        FREEZE,
        CLUSTER_FREEZE,
        QUARANTINE,
        CLUSTER_QUARANTINE,
    )
}
"""The kinds of our group that are built, in the order of the reference page."""

LATER_KINDS = ("Alert", "Receiver")
"""Kinds of the design that are refused by name until they are built."""

__all__ = [
    "AUTOMATION",
    "CLUSTER_FREEZE",
    "CLUSTER_QUARANTINE",
    "FREEZE",
    "KINDS",
    "KUSTOMIZATION",
    "LATER_KINDS",
    "POLICY",
    "QUARANTINE",
    "REPOSITORY",
    "Kind",
]
