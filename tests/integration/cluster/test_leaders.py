"""Several processes, of which one works at a time: who takes over and how soon, and what one that has slept may do."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.parts import gitservers
from tests.parts.controllers import controller, installed
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, config, deployment, kustomize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.parts.controllers import Installed, Replica
    from tests.parts.controlplane import ControlPlane

TAKEN_OVER = 30.0
"""Seconds, with slack for a busy machine; what was measured is printed."""


@pytest.fixture
def account(plane: ControlPlane, here: Place) -> Iterator[Installed]:
    with installed(plane, watch_namespaces=[here.namespace]) as made:
        yield made


@pytest.fixture
def pair(plane: ControlPlane, shop: Workshop, account: Installed, tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    """The one that leads, and the one that waits."""
    with (
        controller(plane, tmp_path, account=account, name="first", environment=shop.environment) as first,
        controller(plane, tmp_path, account=account, name="second", environment=shop.environment) as second,
    ):
        until(lambda: first.leads() != second.leads(), 60, "one leads")
        yield (first, second) if first.leads() else (second, first)


def begin(here: Place) -> None:
    here.push("web", "1.0.0")
    here.commit(
        {
            "apps/web.yaml": deployment("web", here.image("web", "1.0.0"), replicas=1),
            "apps/a.yaml": config("a", x="1"),
            "apps/kustomization.yaml": kustomize("web.yaml", "a.yaml"),
        }
    )
    here.apply(here.source(), here.policy(), here.automation(), here.kustomization())
    here.await_running("web", here.image("web", "1.0.0"))
    here.await_ready(("ImageUpdateAutomation", "all"), ("Kustomization", "apps"), ("ImagePolicy", "web"))


def await_takeover(replica: Replica, since: float, what: str) -> None:
    until(replica.leads, 2 * TAKEN_OVER, f"{replica.name} leads")
    taken = time.monotonic() - since
    print(f"{what}: the other led after {taken:.1f} s")
    assert taken < TAKEN_OVER


def test_the_other_takes_over_when_the_leader_is_killed(here: Place, pair: tuple[Replica, Replica]) -> None:
    leader, other = pair
    begin(here)
    assert other.ready(), "who waits is ready, too: it knows the objects"
    assert other.metric("image_updater_leader") == 0
    leader.kill()
    since = time.monotonic()
    here.push("web", "1.1.0")
    await_takeover(other, since, "killed")
    here.await_running("web", here.image("web", "1.1.0"))
    # The killed one comes back, as another holder, and waits.
    leader.start()
    leader.await_ready()
    assert not leader.leads()
    here.push("web", "1.2.0")
    here.await_running("web", here.image("web", "1.2.0"))
    assert [new for _, _, new in here.moves()] == ["1.1.0", "1.2.0"]
    assert other.leads()


def test_a_leader_that_is_asked_to_end_hands_over_at_once(here: Place, pair: tuple[Replica, Replica]) -> None:
    leader, other = pair
    begin(here)
    since = time.monotonic()
    leader.terminate()
    await_takeover(other, since, "SIGTERM")
    assert leader.wait() == 0
    here.push("web", "1.1.0")
    here.await_running("web", here.image("web", "1.1.0"))


def test_an_old_leader_that_wakes_pushes_nothing_applies_nothing_and_ends(
    plane: ControlPlane, here: Place, account: Installed, pair: tuple[Replica, Replica]
) -> None:
    old, new = pair
    begin(here)
    old.pause()
    since = time.monotonic()
    await_takeover(new, since, "stopped")
    # Now the new one sleeps for a moment, so that there is something to do that nobody has done.
    new.pause()
    try:
        here.push("web", "1.1.0")
        tip = here.commit({"apps/a.yaml": config("a", x="2")})
        plane.delete("ConfigMap", "a", here.namespace)
        pushes = receives(here)
        mark = plane.mark()
        old.resume()
        code = old.wait(30)
        asked = account.requests(mark)
        assert receives(here) == pushes
    finally:
        new.resume()
    # Nobody else was awake.
    assert [each for each in asked if each.writes and each.resource != "events"] == []
    assert code != 0, "it does not pretend that nothing happened"
    assert "Lease ran out" in "".join(old.log().splitlines()[-3:])
    until(lambda: new.leads() or not new.running, 30, "the new one is awake")
    new.revive()
    here.await_running("web", here.image("web", "1.1.0"))
    until(lambda: here.get("ConfigMap", "a")["data"] == {"x": "2"}, 60, "what was to do is done")
    assert [each for _, _, each in here.moves()] == ["1.1.0"]
    assert receives(here) == pushes + 1
    assert tip in gitservers.git("rev-list", "main", cwd=here.repository)


def receives(here: Place) -> int:
    """Pushes that have reached the Git server."""
    return sum("POST" in line and "/git-receive-pack" in line for line in _log(here))


def _log(here: Place) -> list[str]:
    return [line for line in here.workshop.git.requests() if here.namespace in line]


GATE = """#!/bin/sh
# Who is inside when somebody else comes is seen.
cd "$GIT_DIR" || exit 1
mkdir inside 2>/dev/null || echo overlap >> overlaps
sleep 0.2
rmdir inside 2>/dev/null
while read -r old new ref; do
  git merge-base --is-ancestor "$old" "$new" || echo forced >> overlaps
done
exit 0
"""


def test_two_shards_of_two_replicas_never_push_to_one_branch_at_once(
    plane: ControlPlane, shop: Workshop, here: Place, account: Installed, tmp_path: Path
) -> None:
    """Each shard has its own GitRepository of one and the same branch, and both have something to write at once."""
    shards, apps = ("a", "b"), 4
    names = {shard: [f"{shard}{number}" for number in range(apps)] for shard in shards}
    for shard in shards:
        for name in names[shard]:
            here.push(name, "1.0.0")
    here.commit(
        {
            f"{shard}/{name}.yaml": deployment(name, here.image(name, "1.0.0"), replicas=1)
            for shard in shards
            for name in names[shard]
        }
    )
    gitservers.set_hook(here.repository, GATE)
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(
                controller(
                    plane,
                    tmp_path,
                    account=account,
                    name=f"{shard}-{number}",
                    flags=["--selector", f"shard={shard}", "--roles=update"],
                    environment=shop.environment,
                )
            )
            for shard in shards
            for number in range(2)
        ]
        for shard in shards:
            made = [
                here.source(f"fleet-{shard}"),
                here.automation(
                    shard,
                    sourceRef={"name": f"fleet-{shard}"},
                    policySelector={"matchLabels": {"shard": shard}},
                    update={"paths": [shard]},
                    # Each tag by itself, for as many pushes as there are.
                    batch={"quiet": "0s", "max": "0s"},
                ),
                *(here.policy(name) for name in names[shard]),
            ]
            for each in made:
                each["metadata"]["labels"] = {"shard": shard}
            here.apply(*made)
        for shard in shards:
            here.await_ready(("ImageUpdateAutomation", shard), *(("ImagePolicy", name) for name in names[shard]))
        last = 4
        for version in range(1, last + 1):
            for number in range(apps):
                for shard in shards:
                    here.push(names[shard][number], f"1.{version}.0")

        def written() -> bool:
            for shard in shards:
                for name in names[shard]:
                    assert here.image(name, f"1.{last}.0") in here.file(f"{shard}/{name}.yaml"), name
            return True

        until(written, 90, "every last tag is in Git", pause=0.1)
        leaders = [each.name for each in replicas if "update" in each.health()["leads"]]
    assert sorted(name.partition("-")[0] for name in leaders) == ["a", "b"], leaders
    assert not (here.repository / "overlaps").exists(), (here.repository / "overlaps").read_text()
    for shard in shards:
        for name in names[shard]:
            moves = [(old, new) for image, old, new in here.moves() if image == here.image(name)]
            assert [old for old, _ in moves] == ["1.0.0", *(new for _, new in moves)][:-1], moves
    print(f"{receives(here)} pushes of {len(here.subjects()) - 2} commits")
    here.sound()
    # Who is done gives the branch back.
    until(lambda: _branch_leases(plane, account) == [], 30, "no Lease of a branch is held")


def _branch_leases(plane: ControlPlane, account: Installed) -> list[str]:
    return [
        each["metadata"]["name"]
        for each in plane.list("Lease", account.namespace)
        if "-branch-" in each["metadata"]["name"] and each["spec"].get("holderIdentity")
    ]
