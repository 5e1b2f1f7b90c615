"""Stages: definitions before what they define, namespaces before what is in them, webhooks last; and whose rights."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.parts.syncing import Rig, actions, named, rigged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.parts.controlplane import ControlPlane

CONFIG = "\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"


@pytest.fixture
async def rig(plane: ControlPlane, namespace: str) -> AsyncIterator[Rig]:
    async with rigged(plane, namespace) as made:
        yield made


def definition(group: str) -> str:
    return f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: things.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Thing, plural: things}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"""


def thing(group: str, name: str) -> str:
    return f"\napiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: {name}}}\nspec: {{size: 1}}\n"


async def test_kinds_whose_definition_is_in_the_set_work_in_one_sync(rig: Rig) -> None:
    group = f"{rig.namespace}.example.com"
    text = "---".join((*(thing(group, f"t{n}") for n in range(5)), definition(group)))
    report = await rig.sync(text)
    assert report.ok, report.errors
    assert set(actions(report).values()) == {"created"}
    mark = rig.plane.mark()
    assert set(actions(await rig.sync(text)).values()) == {"equal"}
    assert rig.mine(mark) == []


async def test_a_definition_that_was_deleted_meanwhile_comes_back_with_its_objects(rig: Rig) -> None:
    group = f"{rig.namespace}.example.com"
    text = f"{definition(group)}---{thing(group, 'one')}"
    assert (await rig.sync(text)).ok
    assert (await rig.sync(text)).ok
    rig.plane.delete("CustomResourceDefinition", f"things.{group}")
    await rig.until(lambda: rig.plane.get("CustomResourceDefinition", f"things.{group}") is None)
    await rig.until(lambda: {ref.kind for ref, _ in rig.moved} >= {"CustomResourceDefinition", "Thing"})
    report = await rig.sync(text)
    assert report.ok, report.errors
    assert rig.plane.request("GET", f"/apis/{group}/v1/namespaces/{rig.namespace}/things/one")


async def test_a_definition_that_never_gets_usable_is_not_waited_for_when_a_commit_comes(rig: Rig) -> None:
    """Its names are those of another one: the server never establishes it."""
    group = f"{rig.namespace}.example.com"
    assert (await rig.sync(definition(group), "first")).ok
    twin = definition(group).replace("plural: things", "plural: others").replace("things.", "others.")
    calls = 0

    def commit() -> bool:
        nonlocal calls
        calls += 1
        return calls > 4

    report = await rig.sync(f"{twin}---{CONFIG}", preempted=commit)
    assert report.preempted
    assert actions(report) == {f"CustomResourceDefinition/others.{group}": "created"}
    assert {entry.ref.name for entry in report.inventory} == {f"others.{group}", "settings"}


async def test_a_kind_that_nobody_serves_fails_alone(rig: Rig) -> None:
    report = await rig.sync(f"{thing('nobody.example.com', 'one')}---{CONFIG}")
    assert actions(report) == {"Thing/one": "failed", "ConfigMap/settings": "created"}
    assert [type(error).__name__ for error in report.errors] == ["KindUnknown"]


async def test_a_namespace_and_what_is_in_it_come_in_one_sync(rig: Rig) -> None:
    name = f"{rig.namespace}-inner"
    space = f"\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"
    inner = f"\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: {name}}}\n"
    assert (await rig.sync(f"{inner}---{space}")).ok
    report = await rig.sync(CONFIG)
    assert named(report, name).action == "pruned"
    await rig.until(
        lambda: (rig.plane.get("Namespace", name) or {"status": {"phase": ""}})["status"]["phase"] != "Active"
    )
    report = await rig.sync(f"{CONFIG}---{inner}---{space}")
    if not report.ok:
        assert {type(error).__name__ for error in report.errors} <= {"BeingDeleted", "HeldBack"}
        await rig.until(lambda: rig.plane.get("Namespace", name) is None)
        report = await rig.sync(f"{CONFIG}---{inner}---{space}")
    assert report.ok, report.errors


async def test_when_a_namespace_fails_what_comes_later_is_held_back(rig: Rig) -> None:
    space = "\napiVersion: v1\nkind: Namespace\nmetadata: {name: kube-system}\nspec: {nonsense: 1}\n"
    report = await rig.sync(f"{CONFIG}---{space}")
    assert set(actions(report).values()) == {"failed"}
    assert [type(error).__name__ for error in report.errors] == ["InvalidObject", "HeldBack"]
    assert "1 more was not applied, because Namespace kube-system failed" in str(report.errors[1])


async def test_a_webhook_is_not_put_up_before_what_it_needs(rig: Rig) -> None:
    webhook = f"""
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: {rig.namespace}}}
webhooks:
- name: check.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  clientConfig: {{service: {{name: nobody, namespace: {rig.namespace}}}}}
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {rig.namespace}}}}}
  rules: [{{apiGroups: [""], apiVersions: [v1], resources: [secrets], operations: [CREATE, UPDATE], scope: "*"}}]
"""
    broken = CONFIG.replace("kind: ConfigMap", "kind: ConfigMap\nnonsense: 1")
    report = await rig.sync(f"{webhook}---{broken}")
    assert set(actions(report).values()) == {"failed"}
    assert rig.plane.get("ValidatingWebhookConfiguration", rig.namespace) is None
    assert (await rig.sync(f"{webhook}---{CONFIG}")).ok
    # Nobody answers it: what it is asked about fails in its own words, the rest goes on.
    secret = "\napiVersion: v1\nkind: Secret\nmetadata: {name: login}\n"

    async def refused() -> bool:
        report = await rig.sync(f"{webhook}---{CONFIG}---{secret}")
        return not report.ok and "check.example.com" in str(report.errors[0])

    try:
        for _ in range(50):
            if await refused():
                break
            rig.plane.delete("Secret", "login", rig.namespace)
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("the webhook never refused")
    finally:
        rig.plane.delete("ValidatingWebhookConfiguration", rig.namespace)


# ------------------------------------------------------------------------------------------- rights


def account(namespace: str, name: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    meta = {"name": name, "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
        },
    ]


ALL_HERE = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


async def test_an_account_cannot_touch_another_namespace(rig: Rig) -> None:
    rig.plane.apply(account(rig.namespace, "restricted", ALL_HERE))
    other = rig.plane.namespace("other")
    elsewhere = f"\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: intruder, namespace: {other}}}\n"
    report = await rig.sync(f"{CONFIG}---{elsewhere}", syncer=rig.syncer("restricted"))
    assert named(report, "settings").action == "created"
    assert named(report, "intruder").action == "failed"
    (error,) = report.errors
    assert type(error).__name__ == "Forbidden"
    assert f"system:serviceaccount:{rig.namespace}:restricted" in str(error)
    assert f"allow patch on configmaps in namespace {other}" in str(error)
    assert rig.plane.get("ConfigMap", "intruder", other) is None
    rig.plane.delete("Namespace", other)


async def test_an_account_without_rights_does_nothing_and_says_which_it_needs(rig: Rig) -> None:
    report = await rig.sync(CONFIG, syncer=rig.syncer("default"))
    assert actions(report) == {"ConfigMap/settings": "failed"}
    assert "configmaps" in str(report.errors[0])


async def test_an_account_that_does_not_exist_is_told(rig: Rig) -> None:
    report = await rig.sync(CONFIG, syncer=rig.syncer("nobody"))
    assert "system:serviceaccount" in str(report.errors[0])
    assert not report.ok


async def test_an_account_that_may_not_read_still_takes_over(rig: Rig) -> None:
    """The controller's own read rights tell what is there."""
    writes = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]}]
    rig.plane.apply(account(rig.namespace, "writer", writes))
    old = CONFIG + "data: {old: gone}\n"
    rig.plane.kubectl("-n", rig.namespace, "apply", "-f", "-", stdin=old)
    report = await rig.sync(CONFIG + "data: {new: here}\n", syncer=rig.syncer("writer"))
    assert report.ok, report.errors
    live = rig.plane.get("ConfigMap", "settings", rig.namespace)
    assert live is not None
    assert live["data"] == {"new": "here"}


async def test_a_server_that_is_away_stops_the_sync_and_all_of_it_stays_in_the_inventory(rig: Rig) -> None:
    many = "---".join(CONFIG.replace("settings", f"c{number}") for number in range(40))
    await rig.sync("", "other")
    rig.plane.kill_apiserver()
    try:
        report = await rig.sync(many)
    finally:
        rig.plane.start_apiserver()
    assert not report.ok
    kinds = [type(error).__name__ for error in report.errors]
    assert kinds[-1] == "HeldBack"
    assert set(kinds[:-1]) == {"ClusterUnavailable"}
    assert len(report.inventory) == 40
    report = await rig.sync(many)
    assert report.ok, report.errors
