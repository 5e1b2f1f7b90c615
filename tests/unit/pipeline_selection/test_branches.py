"""Branches are brought up to date by what changed, and are the same as if everything had been looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.api.model import (
    GitRef,
    GitRepository,
    ImagePolicy,
    ImageUpdateAutomation,
    Kustomization,
    LabelSelector,
    Meta,
    ObjectKey,
    Objects,
    Secret,
    SemverPolicy,
)
from image_updater.pipeline.daemon.branches import Branches, SourceNotFound

NAMES = st.sampled_from(["a", "b", "c"])
SPACES = st.sampled_from(["x", "y"])


def key(namespace: str, name: str) -> ObjectKey:
    return ObjectKey(namespace, name)


def policy(namespace: str, name: str, team: str, version_range: str = "*") -> ImagePolicy:
    meta = Meta(key=key(namespace, name), labels={"team": team})
    return ImagePolicy(meta=meta, image=f"r.test/{name}", strategy=SemverPolicy(range=version_range))


def repository(name: str, *, branch: str = "main", suspend: bool = False, **fields: Any) -> GitRepository:
    meta = Meta(key=key("x", name))
    return GitRepository(
        meta=meta, url=f"https://git.test/{name}.git", ref=GitRef(branch=branch), suspend=suspend, **fields
    )


def automation(namespace: str, name: str, team: str, source: str, *, suspend: bool = False) -> ImageUpdateAutomation:
    return ImageUpdateAutomation(
        meta=Meta(key=key(namespace, name)),
        source_ref=key("x", source),
        policy_selector=LabelSelector(match_labels={"team": team}),
        suspend=suspend,
    )


OBJECTS = st.builds(
    lambda policies, automations, repositories: Objects(
        policies=tuple({each.key: each for each in policies}.values()),
        automations=tuple({each.key: each for each in automations}.values()),
        repositories=tuple({each.key: each for each in repositories}.values()),
    ),
    st.lists(st.builds(policy, SPACES, NAMES, NAMES, st.sampled_from(["*", "^1"])), max_size=5),
    st.lists(st.builds(automation, SPACES, NAMES, NAMES, NAMES, suspend=st.booleans()), max_size=5),
    st.lists(st.builds(repository, NAMES, suspend=st.booleans()), max_size=3),
)


def differing(before: Objects, after: Objects) -> dict[ObjectKey, ImagePolicy | None]:
    old, new = ({each.key: each for each in known.policies} for known in (before, after))
    return {each: new.get(each) for each in old.keys() | new.keys() if old.get(each) != new.get(each)}


def seen(branches: Branches) -> dict[str, Any]:
    return {
        branch.key: (branch.repository, branch.automations, branch.policies, branch.names, branch.interval)
        for branch in branches
    }


@given(steps=st.lists(OBJECTS, min_size=1, max_size=6))
def test_step_by_step_is_as_good_as_all_at_once(steps: list[Objects]) -> None:
    walked, before = Branches(), Objects()
    for objects in steps:
        old = seen(walked)
        changed = differing(before, objects)
        moved = walked.adopt(objects, changed)
        fresh = Branches()
        fresh.adopt(objects, differing(Objects(), objects))
        assert seen(walked) == seen(fresh)
        assert walked.invalid.keys() == fresh.invalid.keys()
        assert {branch.key for branch in moved.gone} == old.keys() - seen(walked).keys()
        # What is another one is touched, and nothing else but members that were edited.
        different = {name for name, branch in seen(walked).items() if old.get(name) != branch}
        assert different <= moved.touched
        edited = {str(each) for each in changed}
        assert all(name in different or edited & walked.by_key[name].policies for name in moved.touched)
        before = objects


def test_a_branch_is_touched_by_what_concerns_it_alone() -> None:
    objects = Objects(
        policies=(policy("x", "a", "red"), policy("x", "b", "blue")),
        repositories=(repository("a"), repository("b")),
        automations=(automation("x", "a", "red", "a"), automation("x", "b", "blue", "b")),
    )
    branches = Branches()
    assert len(branches.adopt(objects, differing(Objects(), objects)).touched) == 2
    edited = replace(objects, policies=(policy("x", "a", "red", "^1"), objects.policies[1]))
    (touched,) = branches.adopt(edited, differing(objects, edited)).touched
    assert touched == "git.test/a#main#x/a"
    assert branches.of(key("x", "a")) is branches.by_key[touched]
    assert not branches.adopt(edited, {}).touched


def test_kustomizations_concern_their_repository_and_nothing_is_urgent() -> None:
    objects = Objects(
        repositories=(repository("a"), repository("b")),
        automations=(automation("x", "a", "red", "a"), automation("x", "b", "blue", "b")),
    )
    branches = Branches()
    branches.adopt(objects, {})
    named = Kustomization(meta=Meta(key=key("x", "k")), source_ref=key("x", "b"), path="apps")
    moved = branches.adopt(replace(objects, kustomizations=(named,)), {})
    assert (moved.touched, moved.around) == (frozenset(), {"git.test/b#main#x/b"})
    secret = Secret(meta=Meta(key=key("x", "s")))
    moved = branches.adopt(replace(objects, secrets={secret.meta.key: secret}), {})
    assert moved.touched == branches.by_key.keys(), "a login may have changed"


@pytest.mark.parametrize(
    ("repositories", "reason"),
    [
        ((), "SourceNotFound"),
        ((replace(repository("a"), ref=GitRef(tag="v1")),), "InvalidSpec"),
        ((replace(repository("a"), ref=GitRef(commit="c" * 40)),), "InvalidSpec"),
    ],
    ids=["none", "a tag", "a commit"],
)
def test_an_automation_without_a_branch_says_why(repositories: tuple[GitRepository, ...], reason: str) -> None:
    branches = Branches()
    objects = Objects(repositories=repositories, automations=(automation("x", "a", "red", "a"),))
    branches.adopt(objects, {})
    assert branches.invalid[key("x", "a")].reason == reason
    assert branches.of(key("x", "a")) is None
    if reason == "SourceNotFound":
        assert isinstance(branches.invalid[key("x", "a")], SourceNotFound)


def test_the_shortest_interval_counts() -> None:
    branches = Branches()
    objects = Objects(
        repositories=(repository("a", interval=timedelta(minutes=5)),),
        automations=(
            replace(automation("x", "a", "red", "a"), interval=timedelta(minutes=2)),
            replace(automation("x", "b", "red", "a"), interval=timedelta(minutes=3)),
        ),
    )
    branches.adopt(objects, {})
    (branch,) = branches
    assert branch.interval == 120
