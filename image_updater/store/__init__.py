"""What was seen (SQLite): a cache whose loss costs requests, never correctness."""

from image_updater.store.blobs import BlobCache
from image_updater.store.errors import StateError, StateFailed
from image_updater.store.model import Decision, Milestone, SeenTag, Stage, StoredTags, TagHistory
from image_updater.store.store import Store

__all__ = [
    "BlobCache",
    "Decision",
    "Milestone",
    "SeenTag",
    "Stage",
    "StateError",
    "StateFailed",
    "Store",
    "StoredTags",
    "TagHistory",
]
