"""What a sync meets beyond the answers of the API server (cluster/errors.py has those).

Transient
├── Contested                two Kustomizations render one object                    Contested
├── BeingDeleted             the object, or its namespace, is on its way out         BeingDeleted
├── NotEstablished           a definition or namespace did not become usable in time NotEstablished
└── HeldBack                 not applied: something it needs was not                 HeldBack

All are transient: each ends when something else in the cluster or in Git happens, and nothing of the object itself has
to change for it.
"""

from __future__ import annotations

from image_updater.errors import Transient


class SyncError(Transient):
    reason = "ReconciliationFailed"


class Contested(SyncError):
    reason = "Contested"


class BeingDeleted(SyncError):
    reason = "BeingDeleted"


class NotEstablished(SyncError):
    reason = "NotEstablished"


class HeldBack(SyncError):
    reason = "HeldBack"
