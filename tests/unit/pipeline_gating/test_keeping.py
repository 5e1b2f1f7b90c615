"""Planned moves that are kept back: while a canary runs, and while an image cannot be looked for."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from image_updater.api.model import ObjectKey, Objects
from image_updater.images import Digest
from image_updater.patch.decisions import State
from image_updater.pipeline.keeping import Kept
from image_updater.pipeline.line import Line, Run, default_automation, run
from image_updater.registry.errors import RegistryUnavailable
from image_updater.registry.manifests import Descriptor, Manifest
from image_updater.render import Renderer
from image_updater.store import Store
from tests.parts.trees import MemoryTree
from tests.unit.pipeline_selection.fakes import START, Clock, FakeRegistry, digest, policy, selector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from image_updater.pipeline.rollback.placements import Placement

IMAGE = "registry.test/acme/web"
TREE = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec: {{template: {{spec: {{containers: [{{name: web, image: '{IMAGE}:1.0.0'}}]}}}}}}
"""


class Pullable(FakeRegistry):
    """Images of one layer, which is there unless `gone`."""

    gone = False

    async def manifest(self, image: object, reference: str, access: object) -> Manifest:
        self._call("manifest")
        layer = Descriptor(media_type="layer", digest=Digest(digest("layer")))
        return Manifest(digest=self.digests[reference], media_type="", layers=(layer,))

    async def has_blob(self, image: object, digest: str, access: object) -> bool:
        self._call("has_blob")
        return not self.gone


@contextmanager
def line(registry: FakeRegistry, **fields: object) -> Iterator[Line]:
    with Store.open(None) as store, Renderer.open({}) as renderer:
        chooser = selector(registry, store=store, clock=Clock())
        yield Line(selector=chooser, renderer=renderer, anywhere=True, **fields)  # type: ignore[arg-type]


async def plan(made: Line, registry: FakeRegistry) -> tuple[Run, str]:
    objects = Objects(policies=(policy(image=IMAGE),))
    tree = MemoryTree({"web.yaml": TREE.encode()})
    result = await run(made, default_automation(objects), objects, tree)
    (decision,) = (each for each in result.plan.decisions if each.policy == "default/web")
    assert (decision.state is State.UPDATED) == bool(result.files)
    return result, f"{decision.state}: {decision.reason}"


async def test_a_site_that_is_being_rolled_out_waits_and_the_newest_goes_out_when_it_ends() -> None:
    under_way: list[str] = ["canary apps/web is Progressing (weight 20): the newest is written when it ends"]

    def busy(placed: Sequence[Placement]) -> dict[str, str]:
        (each,) = placed
        assert (each.automation, each.policy) == (ObjectKey("default", "image-updater"), "default/web")
        assert (each.file, str(each.value), each.object.name) == ("web.yaml", "1.0.0", "web")
        return dict.fromkeys([each.site, "another"], under_way[0]) if under_way else {}

    registry = Pullable("1.0.0", "1.1.0")
    with line(registry, busy=busy) as made:
        _, said = await plan(made, registry)
        assert said == f"held: {under_way[0]}"
        assert registry.calls["manifest"] == 0
        under_way.clear()
        result, said = await plan(made, registry)
        assert said.startswith("updated: ")
        assert b"acme/web:1.1.0" in result.files["web.yaml"]


async def test_a_layer_that_is_missing_keeps_the_site_and_says_when_it_is_asked_again() -> None:
    registry = Pullable("1.0.0", "1.1.0")
    registry.gone = True
    with line(registry) as made:
        result, said = await plan(made, registry)
        assert said == f"held: layer {digest('layer')} answers 404; it is asked again at the next look"
        assert result.until == START + timedelta(minutes=1)
        assert result.failures == ()
        assert result.missing == {"default/web": ("1.1.0", f"layer {digest('layer')} answers 404")}
        registry.gone = False
        assert (await plan(made, registry))[1].startswith("updated: ")


async def test_a_registry_that_cannot_say_it_writes_nothing_and_is_a_failure() -> None:
    registry = Pullable("1.0.0", "1.1.0")
    registry.fail["has_blob"] = RegistryUnavailable("no route")
    with line(registry) as made:
        result, said = await plan(made, registry)
        assert "not decided now" in said
        assert "no route" in said
        assert [name for name, _ in result.failures] == ["default/web"]
        registry.fail.clear()
        assert (await plan(made, registry))[1].startswith("updated: ")


async def test_what_is_current_is_not_looked_for(tmp_path: Path) -> None:
    registry = Pullable("1.0.0")
    with line(registry) as made:
        assert (await plan(made, registry))[1] == "current: "
    assert registry.calls == {"tags": 1}


async def test_members_of_a_group_that_were_judged_apart_move_to_no_two_tags() -> None:
    members = tuple(policy(name=name, image=f"registry.test/acme/{name}", group="shop") for name in ("web", "api"))
    objects = Objects(policies=members)
    files = {f"{name}.yaml": TREE.replace("web", name).encode() for name in ("web", "api")}
    with line(Pullable("1.0.0", "1.1.0")) as made:
        made.selector.situations.adopt(objects)
        result = await run(made, default_automation(objects), objects, MemoryTree(files))
        assert result.files.keys() == files.keys()
        kept = Kept(selector=made.selector, automation=result.automation)
        assert not kept.learn(result.plan.decisions, result.choices)
        api = result.choices["default/api"]
        assert api.selection is not None
        later = replace(api, selection=replace(api.selection, tag="1.2.0"))
        assert kept.learn(result.plan.decisions, {**result.choices, "default/api": later})
    assert len(kept.sites) == 2
    assert set(kept.sites.values()) == {
        "group shop moves together, and its members have chosen apart: default/api 1.2.0, default/web 1.1.0"
    }
