"""What leaves the cluster and what never does: prune, moves from one Kustomization to another, kills, the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import DeletionPolicy
from tests.parts.syncing import Rig, Stopped, actions, named, rigged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from image_updater.sync.model import Entry, SyncReport
    from tests.parts.controlplane import ControlPlane


def config(*names: str, value: str = "1") -> str:
    return "---".join(
        f"\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: '{value}'}}\n" for name in names
    )


@pytest.fixture
async def rig(plane: ControlPlane, namespace: str) -> AsyncIterator[Rig]:
    async with rigged(plane, namespace) as made:
        yield made


def names(entries: Sequence[Entry]) -> set[str]:
    return {entry.ref.name for entry in entries}


def owner(rig: Rig, name: str) -> str | None:
    live = rig.plane.get("ConfigMap", name, rig.namespace)
    return None if live is None else live["metadata"]["labels"].get("kustomize.image-updater.dev/name")


def uid(rig: Rig, name: str) -> Any:
    live = rig.plane.get("ConfigMap", name, rig.namespace)
    return live and live["metadata"]["uid"]


async def test_what_left_git_is_deleted_and_nobody_is_told(rig: Rig) -> None:
    await rig.sync(config("a", "b"))
    report = await rig.sync(config("a"))
    assert actions(report) == {"ConfigMap/a": "equal", "ConfigMap/b": "pruned"}
    assert names(report.inventory) == {"a"}
    assert uid(rig, "b") is None
    await rig.sync(config("a", value="2"))
    assert rig.moved == []


async def test_a_rename_makes_the_new_one_and_removes_the_old_one(rig: Rig) -> None:
    await rig.sync(config("before"))
    assert actions(await rig.sync(config("after"))) == {"ConfigMap/after": "created", "ConfigMap/before": "pruned"}


async def test_without_prune_it_stays_and_leaves_the_inventory(rig: Rig) -> None:
    await rig.sync(config("a", "b"), prune=False)
    report = await rig.sync(config("a"), prune=False)
    assert named(report, "b").action == "orphaned"
    assert names(report.inventory) == {"a"}
    assert uid(rig, "b") is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"annotations": {"image-updater.dev/prune": "disabled"}}, "image-updater.dev/prune: disabled"),
        ({"annotations": {"kustomize.toolkit.fluxcd.io/prune": "Disabled"}}, "fluxcd.io/prune: Disabled"),
        ({"labels": {"kustomize.image-updater.dev/name": None}}, "no owner labels"),
        ({"labels": {"kustomize.image-updater.dev/name": "other"}}, "belongs to Kustomization"),
    ],
    ids=["ours", "flux", "no-label", "another-label"],
)
async def test_the_object_in_the_cluster_can_veto(rig: Rig, change: dict[str, Any], why: str) -> None:
    await rig.sync(config("a", "b"))
    rig.plane.patch("ConfigMap", "b", rig.namespace, {"metadata": change})
    report = await rig.sync(config("a"))
    assert named(report, "b").action == "orphaned"
    assert why in named(report, "b").reason
    assert names(report.inventory) == {"a"}
    assert uid(rig, "b") is not None


async def test_what_was_there_before_and_never_became_ours_is_not_deleted(rig: Rig) -> None:
    """Killed between the inventory and the apply, and then the commit is taken back."""
    rig.plane.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}}, rig.namespace)
    await rig.sync(config("a"))
    request = rig.build(config("a", "theirs"))

    async def save_and_die(entries: Sequence[Entry]) -> None:
        rig.inventories["app"] = tuple(entries)
        raise Stopped

    with pytest.raises(Stopped):
        await rig.syncer().sync(request, save_inventory=save_and_die, preempted=lambda: False)
    report = await rig.sync(config("a"))
    assert named(report, "theirs").action == "orphaned"
    assert uid(rig, "theirs") is not None


async def test_killed_between_apply_and_status_nothing_leaks(rig: Rig) -> None:
    await rig.sync(config("a"))
    request = rig.build(config("a", "b", "c"))
    calls = 0

    async def save(entries: Sequence[Entry]) -> None:
        rig.inventories["app"] = tuple(entries)

    def die() -> bool:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise Stopped
        return False

    with pytest.raises(ExceptionGroup):
        await rig.syncer().sync(request, save_inventory=save, preempted=die)
    assert names(rig.inventories["app"]) == {"a", "b", "c"}
    report = await rig.sync(config("a"))
    assert report.ok
    assert (uid(rig, "b"), uid(rig, "c")) == (None, None)
    assert names(report.inventory) == {"a"}


async def test_the_inventory_is_not_written_when_it_holds_everything_already(rig: Rig) -> None:
    await rig.sync(config("a", "b"))
    rig.saved.clear()
    await rig.sync(config("a", value="2"))
    assert rig.saved == []


async def test_a_failed_delete_stays_in_the_inventory(rig: Rig) -> None:
    rig.plane.apply(restricted(rig.namespace, ["get", "patch", "create"]))
    syncer = rig.syncer("restricted")
    await rig.sync(config("a", "b", "c"), syncer=syncer)
    report = await rig.sync(config("a"), syncer=syncer)
    assert {name: action for name, action in actions(report).items() if action != "equal"} == {
        "ConfigMap/b": "failed",
        "ConfigMap/c": "failed",
    }
    assert names(report.inventory) == {"a", "b", "c"}
    assert [type(error).__name__ for error in report.errors] == ["Forbidden", "Forbidden"]
    assert "allow delete on configmaps" in str(report.errors[0])
    rig.plane.apply(restricted(rig.namespace, ["get", "patch", "create", "delete"]))
    report = await until_ok(lambda: rig.sync(config("a"), syncer=syncer))
    assert names(report.inventory) == {"a"}


def restricted(namespace: str, verbs: list[str]) -> list[dict[str, Any]]:
    """An account that may do this with ConfigMaps of its namespace, and nothing else."""
    meta = {"name": "restricted", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": meta,
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "restricted"},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": "restricted"}],
        },
    ]


async def until_ok(sync: Callable[[], Any]) -> SyncReport:
    """Rights reach the authorizer a moment later."""
    for _ in range(100):
        report: SyncReport = await sync()
        if report.ok:
            return report
        await asyncio.sleep(0.05)
    raise AssertionError(str(report.errors))


# ------------------------------------------------------------------------------------------- moves


@pytest.mark.parametrize("first", ["giver", "taker"])
async def test_an_object_that_moves_survives_whoever_is_synced_first(rig: Rig, first: str) -> None:
    await rig.sync(config("moves", "stays"), "giver")
    await rig.sync(config("mine"), "taker")
    before = uid(rig, "moves")
    texts = {"giver": config("stays"), "taker": config("mine", "moves")}
    for name, text in texts.items():
        rig.build(text, name)
    second = "taker" if first == "giver" else "giver"
    for name in (first, second, "giver"):
        report = await rig.sync(texts[name], name)
        assert report.ok, report.errors
        assert uid(rig, "moves") == before
    assert owner(rig, "moves") == "taker"
    assert names(rig.inventories["giver"]) == {"stays"}
    assert names(rig.inventories["taker"]) == {"mine", "moves"}


async def test_the_giver_waits_for_the_taker_and_is_told_when_it_took(rig: Rig) -> None:
    await rig.sync(config("moves", "stays"), "giver")
    rig.build(config("moves"), "taker")
    report = await rig.sync(config("stays"), "giver")
    assert named(report, "moves").action == "held"
    assert [ref.name for ref in report.held] == ["moves"]
    assert report.ok
    assert not report.changed
    assert names(report.inventory) == {"moves", "stays"}
    await rig.sync(config("moves"), "taker")
    await rig.until(lambda: rig.moved)
    assert [(ref.name, key.name) for ref, key in rig.moved] == [("moves", "giver")]
    report = await rig.sync(config("stays"), "giver")
    assert named(report, "moves").action == "orphaned"
    assert names(report.inventory) == {"stays"}


async def test_what_the_taker_gives_up_before_it_took_it_is_pruned_by_the_giver(rig: Rig) -> None:
    await rig.sync(config("moves", "stays"), "giver")
    rig.build(config("moves"), "taker")
    await rig.sync(config("stays"), "giver")
    rig.build(config("else"), "taker")
    assert named(await rig.sync(config("stays"), "giver"), "moves").action == "pruned"


async def test_nothing_is_pruned_while_another_build_may_hold_it(rig: Rig) -> None:
    await rig.sync(config("moves", "stays"), "giver")
    rig.unsettled.add("taker")
    report = await rig.sync(config("stays"), "giver")
    assert named(report, "moves").action == "held"
    assert uid(rig, "moves") is not None
    rig.unsettled.clear()
    assert named(await rig.sync(config("stays"), "giver"), "moves").action == "pruned"


async def test_a_taker_that_applies_between_our_look_and_our_delete_keeps_it(rig: Rig) -> None:
    """Nothing is known of others here: the labels alone decide, and they change in the last moment."""
    await rig.sync(config("moves", "stays"), "giver")
    syncer = rig.syncer()
    cluster = syncer._means.cluster
    delete = cluster.delete
    raced = False

    async def late(*args: Any, **options: Any) -> bool:
        nonlocal raced
        if not raced:
            raced = True
            await rig.run(replace(rig.build(config("moves"), "taker"), elsewhere=None))
        return await delete(*args, **options)

    cluster.delete = late  # type: ignore[method-assign]
    report = await rig.run(replace(rig.build(config("stays"), "giver"), elsewhere=None), syncer=syncer)
    assert raced
    assert named(report, "moves").action == "orphaned"
    assert owner(rig, "moves") == "taker"


async def test_two_that_render_one_object_do_not_write_it_in_turns(rig: Rig) -> None:
    await rig.sync(config("shared"), "first")
    report = await rig.sync(config("shared", value="2"), "second")
    assert [type(error).__name__ for error in report.errors] == ["Contested"]
    assert "/first, which renders it too" in str(report.errors[0])
    assert owner(rig, "shared") == "first"
    assert (await rig.sync(config("shared"), "first")).ok
    rig.build(config("other"), "first")
    assert (await rig.sync(config("shared", value="2"), "second")).ok
    assert owner(rig, "shared") == "second"


async def test_what_another_one_took_without_telling_is_seen_as_moved(rig: Rig) -> None:
    """The same fields with other values, by the same manager: only labels and times tell."""
    await rig.sync(config("shared"), "first")
    await rig.run(replace(rig.build(config("shared", value="2"), "second"), elsewhere=None))
    await rig.until(lambda: rig.moved)
    report = await rig.run(replace(rig.build(config("shared"), "first"), elsewhere=None))
    assert named(report, "shared").action == "configured"


# ------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize(
    ("policy", "prune", "goes"),
    [
        (DeletionPolicy.MIRROR_PRUNE, True, True),
        (DeletionPolicy.MIRROR_PRUNE, False, False),
        (DeletionPolicy.DELETE, False, True),
        (DeletionPolicy.ORPHAN, True, False),
    ],
)
async def test_the_deletion_policy_says_what_goes(rig: Rig, policy: DeletionPolicy, prune: bool, goes: bool) -> None:
    await rig.sync(config("a", "b"))
    request = rig.build("", deletion_policy=policy, prune=prune)
    report = await rig.syncer().teardown(request)
    assert report.ok
    assert set(actions(report).values()) == {"pruned" if goes else "orphaned"}
    assert report.inventory == ()
    assert (uid(rig, "a") is None) is goes


async def test_a_teardown_leaves_what_others_took_or_take(rig: Rig) -> None:
    await rig.sync(config("taken", "wanted", "mine"), "giver")
    await rig.run(replace(rig.build(config("taken"), "taker"), elsewhere=None))
    rig.build(config("taken", "wanted"), "taker")
    report = await rig.syncer().teardown(rig.build("", "giver"))
    assert actions(report) == {
        "ConfigMap/taken": "orphaned",
        "ConfigMap/wanted": "held",
        "ConfigMap/mine": "pruned",
    }
    assert names(report.inventory) == {"wanted"}


async def test_the_account_keeps_its_rights_until_all_else_is_gone(rig: Rig) -> None:
    """The Kustomization brought the rights of the account that it is applied as."""
    text = "\n---\n".join(
        [
            *(config(f"c{number}") for number in range(20)),
            *(str(each).replace("'", '"') for each in restricted(rig.namespace, ["*"])),
        ]
    )
    await rig.sync(text)
    rig.plane.kubectl(
        "-n",
        rig.namespace,
        "create",
        "rolebinding",
        "more",
        "--clusterrole=admin",
        f"--serviceaccount={rig.namespace}:x",
    )
    request = rig.build("", prune=True)
    wide = {"apiGroups": ["", "rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["*"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}
    rig.plane.apply({**role, "metadata": {"name": "restricted", "namespace": rig.namespace}, "rules": [wide]})
    report = await rig.syncer("restricted").teardown(request)
    left = names(report.inventory)
    assert not {name for name in left if name.startswith("c")}, report.errors
    assert left <= {"restricted"}


async def test_objects_of_custom_kinds_are_finalized_before_their_definition_goes(rig: Rig) -> None:
    group = f"{rig.namespace}.example.com"
    definition = f"""
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
    thing = f"\napiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: one}}\n"
    controller = config("controller")
    report = await rig.sync(f"{definition}---{thing}---{controller}")
    assert report.ok, report.errors
    path = f"/apis/{group}/v1/namespaces/{rig.namespace}/things/one"
    rig.plane.request("PATCH", path, {"metadata": {"finalizers": ["example.com/clean"]}})
    removal = asyncio.create_task(rig.sync(""))
    await rig.until(lambda: rig.plane.request("GET", path)["metadata"].get("deletionTimestamp"))
    assert uid(rig, "controller") is not None
    rig.plane.request("PATCH", path, {"metadata": {"finalizers": None}})
    report = await removal
    assert report.ok, report.errors
    assert set(actions(report).values()) == {"pruned"}
    # The kind is not served any more: what an inventory still names of it is gone.
    rig.inventories["app"] = tuple(each for each in rig.saved[-1] if each.ref.kind == "Thing")
    await rig.until(lambda: rig.plane.get("CustomResourceDefinition", f"things.{group}") is None)
    rig.own.forget_discovery()
    report = await rig.sync("")
    assert report.ok
    assert report.inventory == ()
