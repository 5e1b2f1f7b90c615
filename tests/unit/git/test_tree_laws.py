"""Editing a tree is editing a mapping of paths: whatever the order and depth."""

from __future__ import annotations

import tempfile

import pygit2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_updater.git import trees
from image_updater.git.errors import TreeRefused
from image_updater.git.trees import GitTree, TreeCache
from image_updater.kustomize.model import blob_id

NAMES = st.sampled_from(["a", "b", "c-d", "c", "c.d", "ü"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
FILES = st.dictionaries(PATHS, st.binary(max_size=3), max_size=8)
FOLDER = tempfile.TemporaryDirectory(prefix="image-updater-laws-")
REPOSITORY = pygit2.init_repository(FOLDER.name, bare=True)
EMPTY = str(REPOSITORY.TreeBuilder().write())


def clean(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without files that are folders of others."""
    return {p: d for p, d in files.items() if not any(other.startswith(p + "/") for other in files)}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=FILES.map(clean), edits=st.dictionaries(PATHS, st.none() | st.binary(max_size=3), max_size=6))
def test_an_edited_tree_holds_what_the_edited_mapping_holds(
    before: dict[str, bytes], edits: dict[str, bytes | None]
) -> None:
    start = trees.edited(REPOSITORY, EMPTY, before)
    wanted = dict(before)
    for path, data in edits.items():
        if data is None:
            wanted.pop(path, None)
        else:
            wanted[path] = data
    possible = clean(wanted) == wanted and all(path in before for path, data in edits.items() if data is None)
    cache = TreeCache()
    try:
        made = trees.edited(REPOSITORY, start, edits)
    except TreeRefused:
        # Also refused: a file that becomes a folder, or the other way, in one step. Git could; an update of
        # images never should.
        assert not possible or any(
            path.startswith(old + "/") or old.startswith(path + "/")
            for path in edits
            for old in [*before, *edits]
            if old != path
        )
        return
    assert possible
    tree = GitTree(REPOSITORY, made, cache)
    assert {path: tree.read(path) for path in tree.files()} == wanted
    assert all(entry.oid == blob_id(wanted[path]) for path, entry in tree.files().items())
    assert (made == start) == (wanted == before)
    assert trees.edited(REPOSITORY, EMPTY, wanted) == made
