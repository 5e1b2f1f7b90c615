"""From a rollout back to Git, on real parts: a bad tag goes back by a planned commit, good ones go on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.parts import gitservers
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.controlplane.components import CONTROLLERS
from tests.parts.loops import GROUP, Place, Workshop, deployment, kustomize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane, Object


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """For all tests that do no harm to it; it works on the whole cluster."""
    with controller(plane, tmp_path_factory.mktemp("controller"), environment=shop.environment) as running:
        running.await_leading()
        yield running


SEMVER: dict[str, Any] = {"semver": {"range": ">=1.0.0-0", "prereleases": True}}
"""`1.1.0-crash` is a tag whose pods crash (the simulated kubelet reads the end of the image), and below 1.1.0."""


def app(here: Place, name: str, tag: str) -> str:
    """With a short deadline: the failures that are known by nothing else come soon."""
    text = deployment(name, here.image(name, tag))
    return text.replace("  replicas: 2\n", "  replicas: 2\n  progressDeadlineSeconds: 8\n")


def files(here: Place, *names: str, tag: str = "1.0.0") -> dict[str, str]:
    """A Deployment each, with the tag in its own file."""
    made = {f"apps/{name}.yaml": app(here, name, tag) for name in names}
    return made | {"apps/kustomization.yaml": kustomize(*(f"{name}.yaml" for name in names))}


def begin(here: Place, *names: str, on_failure: str | None = "rollback", quiet: str = "0s") -> None:
    """All of them healthy with 1.0.0, which is proven."""
    for name in names:
        here.push(name, "1.0.0")
    here.commit(files(here, *names))
    here.apply(
        here.source(),
        *(here.policy(name, policy=SEMVER) for name in names),
        here.automation(batch={"quiet": quiet, "max": "30s"}),
        here.kustomization(rollback={"onFailure": on_failure} if on_failure else None),
    )
    for name in names:
        here.await_running(name, here.image(name, "1.0.0"))
        await_proven(here, name, "1.0.0")


def proven(here: Place, policy: str = "web") -> list[str]:
    """Tags that count as proven."""
    listed = here.status("ImagePolicy", policy).get("proven") or ()
    return [each["tag"] for each in listed if not each.get("withdrawn")]


def await_proven(here: Place, policy: str, tag: str, timeout: float = 60.0) -> None:
    def found() -> bool:
        tags = proven(here, policy)
        assert tag in tags, f"proven: {tags}"
        return True

    until(found, timeout, f"{policy} {tag} proven")


def rollback(here: Place, policy: str = "web") -> Object:
    return here.status("ImagePolicy", policy).get("rollback") or {}


def await_rollback(here: Place, state: str, policy: str = "web", timeout: float = 90.0) -> Object:
    def found() -> Object:
        known = rollback(here, policy)
        assert known.get("state") == state, f"{known} {here.subjects()[:3]}"
        return known

    return until(found, timeout, f"rollback of {policy}: {state}")


def trailers(here: Place, commit: str = "main") -> list[tuple[str, str]]:
    text = gitservers.git("log", "-1", "--format=%(trailers:only,unfold)", commit, cwd=here.repository)
    return [(key, value.strip()) for key, _, value in (line.partition(":") for line in text.splitlines()) if key]


def rollbacks(here: Place) -> list[str]:
    """Commits that took something back, newest first."""
    return [each for each in here.subjects() if each.startswith("Roll back")]


def quarantines(here: Place) -> list[Object]:
    return list(here.plane.list(f"Quarantine.{GROUP}", here.namespace))


def files_of(here: Place, commit: str) -> list[str]:
    return gitservers.git("show", "--format=", "--name-only", commit, cwd=here.repository).split()


def test_a_bad_tag_goes_back_alone_and_the_next_good_one_goes_out(here: Place, replica: Replica) -> None:
    begin(here, "web", "side", quiet="3s")
    here.push("side", "1.1.0")
    here.push("web", "1.1.0-crash")

    here.await_running("side", here.image("side", "1.1.0"))
    done = await_rollback(here, "Done")

    here.await_running("web", here.image("web", "1.0.0"))
    brought, back = done["commit"], rollbacks(here)
    assert back == [f"Roll back {here.image('web')} from 1.1.0-crash to 1.0.0 in {here.namespace}/apps"]
    assert files_of(here, brought) == ["apps/web.yaml"]
    assert here.file("apps/web.yaml") == files(here, "web")["apps/web.yaml"].strip()
    assert here.image("side", "1.1.0") in here.file("apps/side.yaml")
    assert sorted(here.moves())[:2] == sorted(
        [(here.image("side"), "1.0.0", "1.1.0"), (here.image("web"), "1.0.0", "1.1.0-crash")]
    )
    assert len([each for each in here.subjects() if each.startswith("Update")]) == 1, "one commit brought both"
    said = dict(trailers(here, brought))
    assert "exit code 1" in said["Rollback"]
    assert said["Quarantine"].startswith(f"{here.image('web', '1.1.0-crash')}@sha256:")
    (quarantine,) = until(lambda: quarantines(here) or None, 30, "a Quarantine")
    assert quarantine["spec"]["tag"] == "1.1.0-crash"
    assert quarantine["spec"]["source"] == f"commit {brought[:12]}"
    reasons = {each["reason"] for each in here.events("ImagePolicy", "web")}
    assert {"RollbackIntended", "RolledBack", "RolloutHealthy", "Quarantined"} <= reasons, reasons
    assert proven(here) == ["1.0.0"]

    here.push("web", "1.2.0")

    here.await_running("web", here.image("web", "1.2.0"))
    await_proven(here, "web", "1.2.0")
    assert len(rollbacks(here)) == 1
    lead = here.status("ImagePolicy", "web")["leadTime"]
    assert (lead["tag"], lead["environment"]) == ("1.2.0", f"{here.namespace}/apps")
    assert lead["committed"] <= lead["applied"] <= lead["healthy"]
    assert replica.metric("image_updater_lead_time_seconds_count") >= 1
    here.sound()


def test_without_rollback_a_bad_tag_is_held_in_status_until_a_newer_one(here: Place, replica: Replica) -> None:
    begin(here, "web", on_failure=None)
    here.push("web", "1.1.0-crash")

    def held() -> Object:
        hold: Object = here.status("ImagePolicy", "web").get("hold") or {}
        assert hold.get("tag") == "1.1.0-crash", hold
        return hold

    hold = until(held, 90, "a hold")
    assert hold["by"] == f"Kustomization {here.namespace}/apps"
    assert "exit code 1" in hold["reason"]
    assert here.moves() == [(here.image("web"), "1.0.0", "1.1.0-crash")], "no commit takes it back"
    assert quarantines(here) == []

    here.push("web", "1.2.0")

    here.await_running("web", here.image("web", "1.2.0"))
    await_proven(here, "web", "1.2.0")

    def over() -> bool:
        assert "hold" not in here.status("ImagePolicy", "web")
        return True

    until(over, 30, "the end of the hold")
    assert rollbacks(here) == []


def test_what_is_not_the_tags_fault_or_not_ours_is_only_told(here: Place, replica: Replica) -> None:
    begin(here, "web", "side")
    tip = here.tip
    here.push("web", "1.1.0-outage")

    def told(policy: str, contains: str) -> bool:
        notes = [each["note"] for each in here.events("ImagePolicy", policy) if each["reason"] == "RollbackRefused"]
        assert any(contains in each for each in notes), notes
        return True

    until(lambda: told("web", "the environment's fault"), 90, "an Event of the outage")
    here.commit({"apps/side.yaml": app(here, "side", "1.5.0-crash")}, "By hand")
    until(lambda: told("side", "no commit of ours brought it"), 90, "an Event of the person's tag")
    assert rollbacks(here) == []
    assert quarantines(here) == []
    assert gitservers.git("log", "--format=%s", f"{tip}..main", cwd=here.repository).splitlines() == [
        "By hand",
        f"Update {here.image('web')} to 1.1.0-outage",
    ]


def test_a_node_that_is_gone_takes_nothing_back(here: Place, replica: Replica, plane: ControlPlane) -> None:
    begin(here, "web")
    plane.parts["kwok"].kill()
    try:
        here.push("web", "1.1.0")

        def told() -> bool:
            notes = [each["note"] for each in here.events("ImagePolicy", "web") if each["reason"] == "RollbackRefused"]
            assert any("the environment's fault" in each and "the node has not made" in each for each in notes), notes
            return True

        until(told, 90, "an Event of the node")
        assert [new for _, _, new in here.moves()] == ["1.1.0"]
        assert (rollbacks(here), quarantines(here)) == ([], [])
    finally:
        plane.parts["kwok"] = CONTROLLERS["kwok"](plane.layout)
    await_proven(here, "web", "1.1.0")
    assert (rollbacks(here), quarantines(here)) == ([], [])


def test_a_person_asks_for_a_rollback_and_it_stays_back_until_something_newer(here: Place, replica: Replica) -> None:
    begin(here, "web")
    here.push("web", "1.1.0")
    here.await_running("web", here.image("web", "1.1.0"))
    await_proven(here, "web", "1.1.0")

    here.annotate("ImagePolicy", "web", rollback=wish(here, by="jo", reason="it is slow"))

    here.await_running("web", here.image("web", "1.0.0"))
    (subject,) = rollbacks(here)
    assert subject == f"Roll back {here.image('web')} from 1.1.0 to 1.0.0"
    assert dict(trailers(here))["Rollback"] == "asked for by jo: it is slow"
    assert "Quarantine" not in dict(trailers(here))
    here.annotate("ImagePolicy", "web", requestedAt="again")
    here.annotate("ImageUpdateAutomation", "all", requestedAt="again")
    here.push("web", "1.2.0")
    here.await_running("web", here.image("web", "1.2.0"))
    assert len(rollbacks(here)) == 1
    assert [new for _, _, new in here.moves()] == ["1.1.0", "1.0.0", "1.2.0"]


def test_a_quarantine_of_what_git_holds_takes_it_back_and_a_release_ends_a_derived_one(
    here: Place, replica: Replica
) -> None:
    begin(here, "web")
    here.push("web", "1.1.0")
    here.await_running("web", here.image("web", "1.1.0"))

    here.apply(here.object("Quarantine", "slow", image=here.image("web"), tag="1.1.0", reason="it is slow"))

    here.await_running("web", here.image("web", "1.0.0"))
    assert dict(trailers(here))["Rollback"] == f"Quarantine {here.namespace}/slow: it is slow"
    assert len(rollbacks(here)) == 1

    here.push("web", "1.2.0-crash")
    derived = until(lambda: [each for each in quarantines(here) if each["spec"].get("source")] or None, 120, "derived")
    name = derived[0]["metadata"]["name"]
    here.plane.delete(f"Quarantine.{GROUP}", name, here.namespace)
    until(lambda: [each for each in quarantines(here) if each["metadata"]["name"] == name] or None, 30, "made again")

    here.commit({"README.md": "# fine\n"}, f"Give it another try\n\nRelease: {here.image('web', '1.2.0-crash')}")

    def gone() -> bool:
        names = [each["metadata"]["name"] for each in quarantines(here)]
        assert names == ["slow"], names
        return True

    until(gone, 60, "the derived Quarantine is gone")


def wish(here: Place, **fields: str) -> str:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"at": now, **fields})
