"""The controller's rights: the least, by role."""

from __future__ import annotations

import pytest

from image_updater.api.rbac import RULES, Place, chosen, rules, table
from image_updater.settings import Role

WRITING = {"create", "update", "patch", "delete", "deletecollection", "impersonate", "bind", "escalate", "*"}


def granted(*roles: str) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for place in Place
        for rule in chosen(roles, place)
        for group in rule.groups
        for resource in rule.resources
        for verb in rule.verbs
    }


def test_secrets_are_only_got_by_name() -> None:
    verbs = {verb for group, resource, verb in granted("update", "sync", "web") if (group, resource) == ("", "secrets")}
    assert verbs == {"get"}


def test_what_is_only_listed_is_only_listed() -> None:
    """Nodes for `fromNodes`, the Warnings of Flagger for a verdict."""
    assert {each for each in granted("update", "sync") if each[:2] == ("", "nodes")} == {("", "nodes", "list")}
    assert {each for each in granted("sync") if each[:2] == ("", "events")} == {("", "events", "list")}
    assert not {each for each in granted("sync") if each[1] == "nodes"}


def test_nobody_gets_a_wildcard() -> None:
    assert not [rule for rule in RULES if "*" in (*rule.groups, *rule.resources, *rule.verbs)]


def test_what_answers_the_internet_reads_our_objects_and_nothing_else() -> None:
    """And the Canary that calls a gate, by its name."""
    ours = {("image-updater.dev", verb) for verb in ("get", "list", "watch")}
    assert {(group, verb) for group, _, verb in granted("web")} == ours | {("flagger.app", "get")}


def test_only_the_sync_impersonates_and_only_service_accounts() -> None:
    assert not {verb for _, _, verb in granted("update", "web")} & {"impersonate"}
    assert {each for each in granted("sync") if each[2] == "impersonate"} == {("", "serviceaccounts", "impersonate")}


def test_what_is_written_is_ours_or_a_lease_an_event_an_inventory() -> None:
    written = {f"{group}/{resource}" for group, resource, verb in granted("update", "sync", "web") if verb in WRITING}
    assert written == {
        "image-updater.dev/imagepolicies/status",
        "image-updater.dev/imageupdateautomations/status",
        "image-updater.dev/gitrepositories/status",
        "image-updater.dev/kustomizations/status",
        "image-updater.dev/kustomizations",
        "image-updater.dev/quarantines",
        "/configmaps",
        "/serviceaccounts",
        "authorization.k8s.io/subjectaccessreviews",
        "coordination.k8s.io/leases",
        "events.k8s.io/events",
    }


def test_each_half_writes_what_it_says_itself() -> None:
    """Verdicts and quarantines are of who decides, revisions and inventories of who applies."""

    def ours(role: str) -> set[tuple[str, str]]:
        found = {(resource, verb) for group, resource, verb in granted(role) if group == "image-updater.dev"}
        return {(resource, verb) for resource, verb in found if verb in WRITING}

    assert ours("update") == {
        ("imagepolicies/status", "patch"),
        ("imageupdateautomations/status", "patch"),
        ("quarantines", "create"),
        ("quarantines", "delete"),
    }
    assert ours("sync") == {
        ("gitrepositories/status", "patch"),
        ("kustomizations/status", "patch"),
        ("kustomizations", "patch"),
    }


@pytest.mark.parametrize("role", Role)
def test_every_rule_has_a_reason_and_no_rule_stands_twice(role: Role) -> None:
    assert all(rule.why and rule.roles for rule in RULES)
    listed = [each for place in Place for each in rules([role], place)]
    assert all(listed.count(each) == 1 for each in listed)


def test_groups_that_are_asked_for_are_watched() -> None:
    (rule,) = [
        each for each in rules(["sync"], Place.WATCHED, watch_groups=["argoproj.io"]) if "*" in each["resources"]
    ]
    assert rule == {"apiGroups": ["argoproj.io"], "resources": ["*"], "verbs": ["get", "list", "watch"]}
    assert not [each for each in rules(["update"], Place.WATCHED, watch_groups=["a"]) if "*" in each["resources"]]


def test_the_table_for_the_chart_holds_all() -> None:
    assert [each["rule"] for each in table()["rules"]] == [rule.json() for rule in RULES]
    assert {each["place"] for each in table()["rules"]} == set(Place)
