"""What the chart renders, with the real Helm; `tests/integration/cluster/test_chart.py` installs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from image_updater.api import load_text, rbac
from image_updater.api.schema import crds
from image_updater.api.selectors import parse_selector
from image_updater.settings import LogFormat, Role, Settings
from tests.integration.chart.helm import (
    CHART,
    NAMES,
    ROOT,
    VALUES,
    HelmError,
    Object,
    container,
    helm,
    of_kind,
    template,
    variables,
    workloads,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

values_files = pytest.mark.parametrize("name", NAMES)


def rendered(name: str) -> list[Object]:
    return template("-f", VALUES / f"{name}.yaml")


def test_generated_files_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "charts/generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@values_files
def test_lint_finds_nothing(name: str) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "-f", VALUES / f"{name}.yaml")


@values_files
def test_no_two_objects_share_a_name(name: str) -> None:
    names = Counter(
        (
            each["apiVersion"].partition("/")[0],
            each["kind"],
            each["metadata"].get("namespace"),
            each["metadata"]["name"],
        )
        for each in rendered(name)
    )
    assert [place for place, count in names.items() if count > 1] == []


@values_files
def test_every_object_says_where_it_belongs(name: str) -> None:
    for each in rendered(name):
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "rel"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert ("namespace" in each["metadata"]) != each["kind"].startswith("Cluster"), each


@values_files
def test_pods_keep_to_the_restricted_standard(name: str) -> None:
    for workload in workloads(rendered(name)):
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        security = container(workload)["securityContext"]
        assert security == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is True
        assert pod["enableServiceLinks"] is False


@values_files
def test_a_pods_selector_finds_it_and_no_other_workloads(name: str) -> None:
    found = workloads(rendered(name))
    for workload in found:
        selector = workload["spec"]["selector"]["matchLabels"].items()
        matched = [
            each["metadata"]["name"]
            for each in found
            if selector <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert matched == [workload["metadata"]["name"]]


@values_files
def test_the_variables_are_settings_that_the_controller_takes(name: str) -> None:
    for workload in workloads(rendered(name)):
        settings = Settings.load(variables(workload))
        assert str(settings.state) == "/data/state.sqlite"
        assert str(settings.cache) == "/data/cache"
        assert settings.listen == "0.0.0.0:8080"
        assert settings.leader_election
        mounts = {each["name"]: each["mountPath"] for each in container(workload)["volumeMounts"]}
        assert mounts.items() >= {"data": "/data", "tmp": "/tmp"}.items()


@values_files
def test_pods_have_time_to_stop(name: str) -> None:
    for workload in workloads(rendered(name)):
        settings = Settings.load(variables(workload))
        assert workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > settings.stop_timeout


# ------------------------------------------------------------------------------------------- values


def every_setting() -> Iterator[tuple[str, Any]]:
    for name, schema in json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"][
        "properties"
    ].items():
        match schema:
            case {"enum": [*_, last]}:
                yield name, last
            case {"type": "boolean"}:
                yield name, True
            case {"type": "integer"}:
                yield name, 1000
            case {"type": "number"}:
                yield name, 7
            case {"type": "array"}:
                yield name, ["one", "two"]
            case _:
                yield name, "word"


def test_every_setting_of_the_schema_arrives_as_the_setting_that_it_names() -> None:
    given = dict(every_setting())
    objects = template("--set-json", f"settings={json.dumps(given)}")
    (workload,) = workloads(objects)
    settings = Settings.load(variables(workload))
    for name, value in given.items():
        arrived = getattr(settings, re.sub(r"[A-Z]", lambda each: "_" + each.group().lower(), name))
        arrived = str(arrived) if isinstance(arrived, Path) else arrived
        assert arrived == (tuple(value) if isinstance(value, list) else value), name


def test_what_the_chart_itself_decides_is_no_setting() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["properties"]["settings"]["properties"]
    assert {
        "state",
        "cache",
        "listen",
        "roles",
        "selector",
        "watchNamespaces",
        "leaderElection",
    } & known.keys() == set()


@pytest.mark.parametrize(
    "argument",
    [
        "replica=2",
        "settings.registryrate=5",
        "settings.state=/elsewhere",
        "repository.urls=https://git.example.com/x",
        "persistence.enable=true",
        "crds.enable=false",
        "replicas=two",
        "settings.logFormat=yaml",
        "roles={write}",
        "image.digest=sha256:abc",
    ],
)
def test_a_wrong_value_is_refused(argument: str) -> None:
    with pytest.raises(HelmError, match="schema"):
        template("--set", argument)


def test_names_that_would_be_cut_are_refused() -> None:
    with pytest.raises(HelmError, match="longer than 52"):
        template("--set", f"fullnameOverride={'n' * 50}", "--set-json", 'shards=[{"name":"abc","selector":"x=y"}]')


def test_one_account_name_for_two_components_is_refused() -> None:
    with pytest.raises(HelmError, match="is for one account"):
        template("-f", VALUES / "split.yaml", "--set", "serviceAccount.name=one")


# ------------------------------------------------------------------------------------------- shapes


def test_the_default_is_one_deployment_whose_volume_needs_no_storage_class() -> None:
    (workload,) = workloads(rendered("default"))
    assert workload["kind"] == "Deployment"
    assert workload["spec"]["replicas"] == 1
    volumes = {each["name"]: each for each in workload["spec"]["template"]["spec"]["volumes"]}
    assert "emptyDir" in volumes["data"]
    assert of_kind(rendered("default"), "PodDisruptionBudget") == []
    settings = Settings.load(variables(workload))
    assert set(settings.roles) == set(Role)
    assert settings.log_format is LogFormat.JSON


def test_two_replicas_with_claims_are_a_stateful_set() -> None:
    objects = rendered("ha")
    (workload,) = workloads(objects)
    assert workload["kind"] == "StatefulSet"
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["selector"] == workload["spec"]["selector"]
    (policy,) = of_kind(objects, "NetworkPolicy")
    assert policy["spec"]["ingress"][0]["from"]
    assert len(policy["spec"]["egress"]) == 2
    settings = Settings.load(variables(workload))
    assert (settings.max_pages, settings.registry_rate, settings.take_over) == (1_000_000, 0.5, ("one", "two"))
    assert container(workload)["args"] == ["controller", "--log-level=debug"]


def test_each_shard_is_a_workload_with_its_selector() -> None:
    found = {each["metadata"]["name"]: each for each in workloads(rendered("shards"))}
    selectors = {name: Settings.load(variables(each)).selector for name, each in found.items()}
    assert selectors == {"rel-image-updater-a": "shard=a", "rel-image-updater-rest": "shard!=a"}
    for selector in selectors.values():
        assert selector is not None
        parse_selector(selector)
    assert found["rel-image-updater-a"]["spec"]["replicas"] == 3
    assert container(found["rel-image-updater-a"])["resources"] == {"limits": {"memory": "2Gi"}}
    assert len(of_kind(rendered("shards"), "PodDisruptionBudget")) == 2
    # They are one identity.
    assert len({each["spec"]["template"]["spec"]["serviceAccountName"] for each in found.values()}) == 1


def granted(objects: list[Object], account: str) -> set[tuple[str, str, str]]:
    """(group, resource, verb) that roles and cluster roles give an account of the namespace `updater`."""
    roles = {(each["kind"], each["metadata"]["name"]): each for each in of_kind(objects, "Role", "ClusterRole")}
    found = set()
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        if {"kind": "ServiceAccount", "name": account, "namespace": "updater"} in binding["subjects"]:
            for rule in roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]["rules"]:
                found |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    return found


def expected(*roles: Role, watch_groups: tuple[str, ...] = ()) -> set[tuple[str, str, str]]:
    found = set()
    for place in rbac.Place:
        for rule in rbac.chosen(roles, place, watch_groups=watch_groups):
            found |= {(g, r, v) for g in rule.groups for r in rule.resources for v in rule.verbs}
    return found


def test_the_rights_are_those_of_the_code() -> None:
    assert granted(rendered("default"), "rel-image-updater") == expected(*Role)


def test_roles_apart_have_accounts_with_their_own_rights_alone() -> None:
    objects = rendered("split")
    accounts = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["serviceAccountName"] for each in workloads(objects)
    }
    assert accounts == {f"updater-{role}": f"updater-{role}" for role in Role}
    for role in Role:
        assert granted(objects, f"updater-{role}") == expected(role, watch_groups=("cert-manager.io",))
    assert ("", "serviceaccounts", "impersonate") not in granted(objects, "updater-update")
    assert {
        resource for _, resource, verb in granted(objects, "updater-web") if verb not in ("get", "list", "watch")
    } == set()


def test_named_namespaces_need_no_role_of_the_cluster() -> None:
    objects = rendered("namespaces")
    assert of_kind(objects, "ClusterRole", "ClusterRoleBinding") == []
    bindings = {each["metadata"]["namespace"] for each in of_kind(objects, "RoleBinding")}
    assert bindings == {"kube-public", "default", "updater"}
    (workload,) = workloads(objects)
    assert Settings.load(variables(workload)).watch_namespaces == ("kube-public", "default")


def test_secrets_are_never_listed() -> None:
    for name in NAMES:
        for role in of_kind(rendered(name), "Role", "ClusterRole"):
            for rule in role["rules"]:
                if "" in rule["apiGroups"] and {"secrets", "*"} & set(rule["resources"]):
                    assert rule["verbs"] == ["get"], role["metadata"]["name"]


# ------------------------------------------------------------------------------------------- Flagger's gates


def test_gates_get_the_secret_and_a_service_of_each_workload_that_answers_them() -> None:
    objects = rendered("flagger")
    found = {each["metadata"]["name"]: each for each in workloads(objects)}
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "Service")}
    assert services.keys() == {"updater", "updater-update-a-flagger", "updater-update-rest-flagger"}
    for name, workload in found.items():
        pod = workload["spec"]["template"]["spec"]
        volumes = {each["name"]: each for each in pod["volumes"]}
        token_file = Settings.load(variables(workload)).flagger_token_file
        if "sync" in name:
            assert (token_file, volumes.get("flagger")) == (None, None)
            continue
        mounts = {each["name"]: each["mountPath"] for each in container(workload)["volumeMounts"]}
        assert str(token_file) == f"{mounts['flagger']}/tokens"
        assert volumes["flagger"]["secret"]["secretName"] == "flagger-token"
        assert "POD_IP" in variables(workload)
        service = services[f"{name}-flagger"]
        assert service["selector"] == workload["spec"]["selector"]["matchLabels"]
        assert "clusterIP" not in service, "one address: nobody has to choose among pods"


def test_replicas_reach_each_other_where_the_network_is_closed() -> None:
    (policy,) = of_kind(rendered("flagger"), "NetworkPolicy")
    ours = {"podSelector": policy["spec"]["podSelector"]}
    (ingress,) = policy["spec"]["ingress"]
    assert ours in ingress["from"]
    assert {"ports": [{"protocol": "TCP", "port": "http"}], "to": [ours]} in policy["spec"]["egress"]


def test_where_nobody_could_answer_a_gate_the_values_are_refused() -> None:
    gates = ("--set", "flagger.secretName=flagger-token")
    with pytest.raises(HelmError, match="both of the roles update and web"):
        template("-f", VALUES / "split.yaml", *gates)
    with pytest.raises(HelmError, match="give one"):
        template("--set", "settings.flaggerTokenFile=/elsewhere", *gates)


# ------------------------------------------------------------------------------------------- the first repository


@pytest.mark.parametrize("name", ["repository", "cluster-wide"])
def test_the_first_repository_is_objects_that_the_controller_understands(name: str) -> None:
    objects = [each for each in rendered(name) if each["apiVersion"].startswith("image-updater.dev/")]
    loaded = load_text(yaml.safe_dump_all(objects))
    (repository,) = loaded.repositories
    (kustomization,) = loaded.kustomizations
    assert kustomization.source_ref == repository.key
    assert kustomization.prune
    assert kustomization.wait
    if name == "cluster-wide":
        assert loaded.automations == ()
        assert kustomization.service_account_name == "applier"
        return
    assert (repository.ref.branch, repository.secret_ref) == ("release", "fleet-git")
    assert kustomization.path == "clusters/prod"
    (automation,) = loaded.automations
    assert automation.source_ref == repository.key
    assert automation.update.paths == ("clusters/prod", "apps")
    (policy,) = loaded.policies
    assert policy.image == "registry.example.com/web"
    assert repository.meta.labels["shard"] == "a"


def test_its_images_are_moved_below_its_path_alone() -> None:
    url = "repository.url=https://git.example.com/acme/fleet.git"
    objects = template("--set", url, "--set", "repository.path=clusters/prod")
    (automation,) = of_kind(objects, "ImageUpdateAutomation")
    assert automation["spec"]["update"]["paths"] == ["clusters/prod"]


def test_its_account_has_the_rights_that_the_values_say_and_where_they_say() -> None:
    bindings = [
        each
        for each in of_kind(rendered("repository"), "RoleBinding")
        if each["metadata"]["name"] == "default-fleet-edit"
    ]
    assert {each["metadata"]["namespace"] for each in bindings} == {"default", "kube-public"}
    assert {each["roleRef"]["name"] for each in bindings} == {"edit"}
    (binding,) = [
        each
        for each in of_kind(rendered("cluster-wide"), "ClusterRoleBinding")
        if each["roleRef"]["name"] == "cluster-admin"
    ]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "applier", "namespace": "kube-public"}]


def test_its_objects_outlive_the_release() -> None:
    kept = [
        each["kind"]
        for each in rendered("repository")
        if each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    ]
    assert Counter(kept) == {
        "GitRepository": 1,
        "Kustomization": 1,
        "ImageUpdateAutomation": 1,
        "ImagePolicy": 1,
    }


# ------------------------------------------------------------------------------------------- definitions


def test_the_definitions_are_those_of_the_code_and_come_first() -> None:
    shown = [each for each in yaml.safe_load_all(helm("show", "crds", CHART)) if each]
    by_name = {each["metadata"]["name"]: each for each in shown}
    assert by_name == {each["metadata"]["name"]: each for each in crds()}
    assert of_kind(template("--include-crds"), "CustomResourceDefinition")


def test_their_files_can_be_put_one_behind_the_other() -> None:
    """`helm show crds` of Helm 3 does just that."""
    text = "".join(path.read_text() for path in (CHART / "charts/crds/crds").iterdir())
    assert len(list(yaml.safe_load_all(text))) == len(crds())


def test_without_them_none_is_installed() -> None:
    objects = template("--include-crds", "-f", VALUES / "no-crds.yaml")
    assert of_kind(objects, "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "NetworkPolicy") != []
    assert of_kind(objects, "CustomResourceDefinition", "ServiceAccount", "NetworkPolicy") == []
    (workload,) = workloads(objects)
    assert workload["spec"]["template"]["spec"]["serviceAccountName"] == "existing"
    assert "@sha256:" in container(workload)["image"]


def test_an_upgrade_applies_them_before_everything_else() -> None:
    upgrade = of_kind(template("--is-upgrade"), "CustomResourceDefinition")
    assert {each["metadata"]["annotations"]["helm.sh/hook"] for each in upgrade} == {"pre-upgrade"}
    for each in upgrade:
        del each["metadata"]["annotations"]
    assert sorted(upgrade, key=str) == sorted(crds(), key=str)
    assert of_kind(template("--is-upgrade", "--set", "crds.upgrade=false"), "CustomResourceDefinition") == []
    assert of_kind(template("--is-upgrade", "--set", "crds.enabled=false"), "CustomResourceDefinition") == []
