"""`crds` and `install`: what they print, and what they refuse."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner

from image_updater import __version__
from image_updater.api.schema import crds
from image_updater.cli.crds import command as print_crds
from image_updater.cli.install import command as install


def run(command: object, *arguments: str) -> str:
    done = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
    assert done.exit_code == 0, done.output
    return done.stdout


def test_definitions_are_printed_as_yaml_documents_or_a_list() -> None:
    assert list(yaml.safe_load_all(run(print_crds))) == crds()
    assert json.loads(run(print_crds, "-o", "json")) == {"apiVersion": "v1", "kind": "List", "items": crds()}
    assert run(print_crds) == run(print_crds)
    assert "&id" not in run(install)


def test_an_installation_has_all_it_needs_in_an_order_that_can_be_applied() -> None:
    kinds = [each["kind"] for each in yaml.safe_load_all(run(install))]
    assert kinds == [
        *["CustomResourceDefinition"] * 8,
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRole",
        "Service",
        "NetworkPolicy",
        "Deployment",
    ]


def test_choices_are_honoured() -> None:
    made = list(
        yaml.safe_load_all(
            run(
                install,
                *("--namespace", "ops", "--image", "r.example.com:5000/iu:2", "--roles", "sync"),
                *("--watch-namespaces", "a,b", "--replicas", "2", "--persistent", "--no-crds"),
            )
        )
    )
    kinds = [each["kind"] for each in made]
    assert kinds.count("Role") == kinds.count("RoleBinding") == 3
    assert "CustomResourceDefinition" not in kinds
    assert "ClusterRoleBinding" not in kinds
    assert "PodDisruptionBudget" in kinds
    assert {each["metadata"]["namespace"] for each in made if each["kind"] == "Role"} == {"a", "b", "ops"}
    (workload,) = [each for each in made if each["kind"] == "StatefulSet"]
    assert workload["metadata"]["namespace"] == "ops"
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "r.example.com:5000/iu:2"
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert variables["IMAGE_UPDATER_ROLES"] == "sync"
    assert variables["IMAGE_UPDATER_WATCH_NAMESPACES"] == "a,b"


def test_without_an_image_it_is_this_version() -> None:
    assert f"image: image-updater:{__version__}\n" in run(install)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--namespace", "A"), "is not a namespace"),
        (("--image", "web"), "is no image with a tag or a digest"),
        (("--roles", "all"), "is not one of update, sync, web"),
        (("--watch-namespaces", "a b"), "is not a name"),
        (("--replicas", "0"), "not in the range"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(install, arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
