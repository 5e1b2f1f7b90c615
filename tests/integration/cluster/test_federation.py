"""Two clusters, each with a controller of its own, and one repository between them."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, deployment, kustomize, place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module")
def replicas(
    plane: ControlPlane, second_plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Replica, Replica]]:
    """One in each cluster, for the whole cluster."""
    with ExitStack() as stack:
        near, far = (
            stack.enter_context(
                controller(each, tmp_path_factory.mktemp(name), name=name, environment=shop.environment)
            )
            for name, each in (("near", plane), ("far", second_plane))
        )
        near.await_leading()
        far.await_leading()
        yield near, far


@pytest.fixture
def there(here: Place, second_plane: ControlPlane, shop: Workshop) -> Iterator[Place]:
    """A namespace of the other cluster, with the repository of the first."""
    with place(second_plane, shop, {"README.md": "# fleet\n"}) as made:
        yield replace(made, repository=here.repository, url=here.url)


def fleet(here: Place, tag: str) -> dict[str, str]:
    """One base, and a path for each cluster; the base has the tag."""
    return {
        "base/kustomization.yaml": kustomize("web.yaml", images={here.image("web"): tag}),
        "base/web.yaml": deployment("web", here.image("web"), replicas=1),
        "near/kustomization.yaml": kustomize("../base"),
        "far/kustomization.yaml": kustomize("../base"),
    }


def test_one_commit_reaches_both_clusters_each_on_its_own_path(
    here: Place, there: Place, replicas: tuple[Replica, Replica]
) -> None:
    here.push("web", "1.0.0")
    here.commit(fleet(here, "1.0.0"))
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization(path="near", wait=True))
    there.apply(there.source(), there.kustomization(path="far", wait=True))
    for each in (here, there):
        each.await_running("web", here.image("web", "1.0.0"))
    here.push("web", "1.1.0")
    for each in (here, there):
        each.await_running("web", here.image("web", "1.1.0"))
        each.await_applied()
    assert here.moves() == [(here.image("web"), "1.0.0", "1.1.0")]


def test_where_both_may_write_there_is_one_commit_between_them(
    here: Place, there: Place, replicas: tuple[Replica, Replica]
) -> None:
    here.push("web", "1.0.0")
    here.commit(fleet(here, "1.0.0"))
    policy = there.policy(image=here.image("web"))
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization(path="near"))
    there.apply(there.source(), policy, there.automation(), there.kustomization(path="far"))
    for each in (here, there):
        each.await_running("web", here.image("web", "1.0.0"))
    tags = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]
    for tag in tags[1:]:
        here.push("web", tag)
        for each in (here, there):
            each.await_running("web", here.image("web", tag))
            each.await_applied()
    image = here.image("web")
    assert here.moves() == [(image, old, new) for old, new in itertools.pairwise(tags)]
    for each in (here, there):
        each.await_ready(("ImagePolicy", "web"), ("ImageUpdateAutomation", "all"), ("GitRepository", "fleet"))


def test_policies_of_two_clusters_that_fight_over_one_line_stop_and_say_so(
    here: Place, there: Place, replicas: tuple[Replica, Replica]
) -> None:
    """Each may go down, and each wants what the other one has just replaced."""
    here.push("web", "1.0.0", "1.1.0", "2.0.0")
    here.commit(fleet(here, "1.0.0"))
    image = here.image("web")
    here.apply(
        here.source(),
        here.policy("old", image=image, allowDowngrade=True, policy={"semver": {"range": "^1"}}),
        here.automation(),
    )
    until(lambda: here.moves() == [(image, "1.0.0", "1.1.0")], 60, "the one's move")
    there.apply(
        there.source(),
        there.policy("new", image=image, allowDowngrade=True, policy={"semver": {"range": "^2"}}),
        there.automation(),
    )
    until(lambda: here.moves()[1:] == [(image, "1.1.0", "2.0.0")], 60, "the other one's move")

    def told() -> bool:
        sites = here.status("ImageUpdateAutomation", "all").get("sites") or []
        assert len(sites) == 1, sites
        site = sites[0]
        assert site["state"] == "refused", site
        assert f"policy {there.namespace}/new" in site["reason"], site
        assert "let only one policy claim it" in site["reason"], site
        return True

    until(told, 60, "who gives way says to whom")
    reasons = [each["reason"] for each in here.events("ImageUpdateAutomation", "all")]
    assert "SitesRefused" in reasons
    assert [new for _, _, new in here.moves()] == ["1.1.0", "2.0.0"]
    # The next one of its own is a new proposal; the other one then holds still in turn.
    here.push("web", "1.2.0")
    until(lambda: [new for _, _, new in here.moves()] == ["1.1.0", "2.0.0", "1.2.0"], 60, "a newer tag goes on")
    until(
        lambda: there.status("ImageUpdateAutomation", "all").get("siteCounts") == {"refused": 1}, 60, "and no further"
    )
    assert [new for _, _, new in here.moves()] == ["1.1.0", "2.0.0", "1.2.0"]
