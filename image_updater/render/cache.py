"""Where renders are kept: a port, and the bounded memory that stands for it when nobody gives a better one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol


class RenderCache(Protocol):
    """Bytes by content key. Values never change for a key, so there is nothing to invalidate."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, data: bytes) -> None: ...


class MemoryCache:
    """The least recently used go first. Thread-safe. `limit` is in bytes of values."""

    def __init__(self, limit: int = 64 * 1024**2) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            data = self._entries.get(key)
            if data is not None:
                self._entries.move_to_end(key)
            return data

    def put(self, key: str, data: bytes) -> None:
        if len(data) > self._limit:
            return
        with self._lock:
            old = self._entries.pop(key, None)
            self._size += len(data) - (len(old) if old is not None else 0)
            self._entries[key] = data
            while self._size > self._limit:
                _, gone = self._entries.popitem(last=False)
                self._size -= len(gone)


class LayeredCache:
    """Memory in front of a slower cache (the store)."""

    def __init__(self, near: RenderCache, far: RenderCache) -> None:
        self._near = near
        self._far = far

    def get(self, key: str) -> bytes | None:
        data = self._near.get(key)
        if data is None:
            data = self._far.get(key)
            if data is not None:
                self._near.put(key, data)
        return data

    def put(self, key: str, data: bytes) -> None:
        self._near.put(key, data)
        self._far.put(key, data)
