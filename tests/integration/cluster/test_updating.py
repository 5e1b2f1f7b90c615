"""The image half on a real plane: registry access as the workload has it, shards on one branch, what people read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.settings import Role
from tests.parts import registries
from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, binding, deployment, place, secret, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane

WRONG = "not-the-password-of-the-registry"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with workshop(tmp_path_factory.mktemp("shop")) as servers:
        yield servers


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("controller")
    with controller(plane, folder, roles=[Role.UPDATE], environment=shop.environment) as running:
        running.await_leading()
        yield running


@pytest.fixture
def here(plane: ControlPlane, shop: Workshop) -> Iterator[Place]:
    with place(plane, shop, {"README.md": "# fleet\n"}) as made:
        yield made


def docker_secret(here: Place, name: str, password: str = registries.PASSWORD) -> dict[str, Any]:
    config = {"auths": {here.workshop.registry.host: {"username": registries.USER, "password": password}}}
    return secret(name, {".dockerconfigjson": json.dumps(config)}, "kubernetes.io/dockerconfigjson")


def account(name: str, *pull: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name},
        "imagePullSecrets": [{"name": each} for each in pull],
    }


def plain(here: Place, tag: str = "1.0.0", annotations: Mapping[str, str] | None = None) -> dict[str, str]:
    return {"apps/web.yaml": deployment("web", here.image("web", tag), annotations=annotations)}


def without_login(here: Place, **spec: Any) -> dict[str, Any]:
    document = here.policy(**spec)
    del document["spec"]["secretRef"]
    return document


def test_a_policy_asks_as_its_service_account_and_notices_what_that_gets(here: Place, replica: Replica) -> None:
    here.push("web", "1.0.0", "1.1.0")
    here.commit(plain(here))
    here.apply(account("puller"), docker_secret(here, "login", WRONG))
    here.apply(here.source(), here.automation(), without_login(here, serviceAccountName="puller"))
    here.await_condition("ImagePolicy", "web", status="False", reason="AuthenticationFailed")
    here.await_condition("ImageUpdateAutomation", "all", status="True", contains="1 held")

    here.apply(account("puller", "gone", "login"))
    here.await_condition("ImagePolicy", "web", status="False", contains="there is no Secret")

    # A rotated login is tried as soon as the old one is refused: no restart, no minute.
    here.apply(docker_secret(here, "login"))
    here.await_ready(("ImagePolicy", "web"))
    until(lambda: here.moves() == [(here.image("web"), "1.0.0", "1.1.0")], 30, "the commit")
    assert WRONG not in replica.log()


def test_the_default_account_of_the_namespace_is_asked_without_a_word(here: Place, replica: Replica) -> None:
    here.push("web", "1.0.0", "1.1.0")
    here.commit(plain(here))
    here.plane.patch("ServiceAccount", "default", here.namespace, {"imagePullSecrets": [{"name": "registry"}]})
    here.apply(here.source(), here.automation(), without_login(here))
    here.await_ready(("ImagePolicy", "web"))
    until(lambda: here.moves() == [(here.image("web"), "1.0.0", "1.1.0")], 30, "the commit")


def test_a_workload_of_another_namespace_lends_its_login_only_to_who_may_read_it(
    plane: ControlPlane, shop: Workshop, here: Place, replica: Replica
) -> None:
    """The automation and its repository are here; the workload is rendered for a namespace of somebody else."""
    with place(plane, shop, {"README.md": "# theirs\n"}) as there:
        here.push("web", "1.0.0", "1.1.0")
        text = deployment("web", here.image("web"), annotations={"image-updater.dev/policy": "semver ^1"})
        text = text.replace("  name: web\n", f"  name: web\n  namespace: {there.namespace}\n", 1)
        text = text.replace("      containers:\n", "      imagePullSecrets: [{name: registry}]\n      containers:\n")
        here.commit({"apps/web.yaml": text.replace("/web  #", "/web:1.0.0  #")})
        here.apply(here.source(), here.automation())

        def policy() -> dict[str, Any]:
            found = here.status("ImageUpdateAutomation", "all").get("policies")
            assert found, "not looked at yet"
            return found[0]  # type: ignore[no-any-return]

        def refused() -> bool:
            return "may not get it" in policy()["reason"] and "tag" not in policy()

        until(refused, 30, "the refusal in the automation's status")
        assert f"pull secret {there.namespace}/registry is not used" in policy()["reason"]
        assert here.moves() == []

        def warnings() -> list[str]:
            events = here.events("ImageUpdateAutomation", "all")
            return [each["reason"] for each in events if each["type"] == "Warning"]

        until(lambda: warnings() == ["AuthenticationFailed"], 15, "one Event of it")

        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "reader"},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["registry"], "verbs": ["get"]}],
        }
        bound = binding(here.namespace, "default", "reader", kind="Role")
        bound["metadata"]["namespace"] = there.namespace
        there.apply(role, bound)
        here.annotate("ImageUpdateAutomation", "all", requestedAt="now")
        # The registry's certificate is not one that annotations can name: it is trusted by the process here.
        until(lambda: here.moves() == [(here.image("web"), "1.0.0", "1.1.0")], 60, "the commit")
        until(lambda: policy().get("tag") == "1.1.0", 30, "the tag in the automation's status")


def test_what_is_wrong_with_one_object_is_said_there_and_nowhere_else(here: Place, replica: Replica) -> None:
    here.push("web", "1.0.0", "1.1.0")
    here.commit(plain(here))
    here.apply(
        here.source(),
        here.policy(),
        here.policy("range", policy={"semver": {"range": "no range at all"}}),
        here.policy("missing", secretRef={"name": "gone"}),
        here.policy("nothing", image=here.workshop.image(here.image_name("web")), policy={"semver": {"range": "^9"}}),
        here.automation(policySelector={"matchLabels": {"none": "of-them"}}, update={"paths": ["elsewhere"]}),
        here.automation("lost", sourceRef={"name": "gone"}),
        here.automation("theirs", sourceRef={"name": "fleet", "namespace": "default"}),
    )
    here.await_ready(("ImagePolicy", "web"), ("ImageUpdateAutomation", "all"))
    here.await_condition("ImagePolicy", "range", status="False", reason="InvalidSpec", contains="no range at all")
    here.await_condition("ImagePolicy", "missing", status="False", reason="SecretNotFound")
    here.await_condition("ImagePolicy", "nothing", status="False", reason="NothingEligible")
    here.await_condition("ImageUpdateAutomation", "lost", status="False", reason="SourceNotFound")
    here.await_condition("ImageUpdateAutomation", "theirs", status="False", reason="AccessDenied")
    assert here.condition("ImagePolicy", "range", "Stalled")["status"] == "True"
    assert here.condition("ImageUpdateAutomation", "theirs", "Stalled")["status"] == "True"
    with pytest.raises(AssertionError, match="no condition Stalled"):
        here.condition("ImagePolicy", "missing", "Stalled")
    here.plane.patch("imagepolicies.image-updater.dev", "range", here.namespace, {"spec": {"suspend": True}})
    here.plane.patch("imagepolicies.image-updater.dev", "web", here.namespace, {"spec": {"suspend": True}})
    here.await_condition("ImagePolicy", "web", status="True", reason="Suspended")
    assert here.status("ImagePolicy", "web")["latest"]["tag"] == "1.1.0"
