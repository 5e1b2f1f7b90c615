"""What was seen (SQLite): a cache whose loss costs requests, never correctness."""

from image_updater.store.blobs import BlobCache
from image_updater.store.errors import StateError, StateFailed
from image_updater.store.model import Decision, StoredTags
from image_updater.store.store import Store

__all__ = ["BlobCache", "Decision", "StateError", "StateFailed", "Store", "StoredTags"]
