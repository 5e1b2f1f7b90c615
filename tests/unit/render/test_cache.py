"""The memory of renders is bounded and forgets the oldest."""

from __future__ import annotations

from image_updater.render import LayeredCache, MemoryCache


def test_the_least_recently_used_go_first() -> None:
    cache = MemoryCache(limit=10)
    cache.put("a", b"12345")
    cache.put("b", b"12345")
    assert cache.get("a") == b"12345"
    cache.put("c", b"1")
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (b"12345", None, b"1")


def test_a_value_that_cannot_fit_pushes_nothing_out() -> None:
    cache = MemoryCache(limit=10)
    cache.put("a", b"12345")
    cache.put("big", b"x" * 11)
    assert (cache.get("a"), cache.get("big")) == (b"12345", None)


def test_a_value_put_again_counts_once() -> None:
    cache = MemoryCache(limit=10)
    for _ in range(5):
        cache.put("a", b"12345")
    cache.put("b", b"12345")
    assert cache.get("a") == b"12345"


def test_what_the_far_cache_knows_comes_near() -> None:
    near, far = MemoryCache(), MemoryCache()
    far.put("a", b"1")
    layered = LayeredCache(near, far)
    assert layered.get("a") == b"1"
    assert near.get("a") == b"1"
    layered.put("b", b"2")
    assert (near.get("b"), far.get("b"), layered.get("c")) == (b"2", b"2", None)
