"""What a workload in Git has for pulling its images reaches the policy that its annotation makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.model import GitRef, GitRepository, Kustomization, Meta, ObjectKey, Objects
from image_updater.kustomize import locate
from image_updater.patch.claims import resolve
from image_updater.pipeline.session import named_roots
from tests.parts.trees import MemoryTree
from tests.unit.pipeline_selection.fakes import IMAGE, policy

if TYPE_CHECKING:
    from image_updater.api.model import ImagePolicy

WORKLOAD = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
  namespace: SPACE
  annotations: {{image-updater.dev/policy: semver ^1}}
spec:
  template:
    spec:
      PULLS
      containers: [{{name: main, image: '{IMAGE}:1.0.0'}}]
"""
CRON = f"""\
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly, annotations: {{image-updater.dev/policy: semver ^1}}}}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          serviceAccount: old
          imagePullSecrets: [{{name: nightly}}, {{}}]
          containers: [{{name: main, image: '{IMAGE}:1.0.0'}}]
"""


def workload(name: str, namespace: str, pulls: str) -> str:
    return WORKLOAD.replace("NAME", name).replace("SPACE", namespace).replace("PULLS", pulls)


def found(files: dict[str, str], *policies: ImagePolicy) -> ImagePolicy:
    claims = resolve(locate(MemoryTree(files)), namespace="default", policies=policies)
    (policy_,) = claims.policies.values()
    return policy_


def keys(*texts: str) -> tuple[ObjectKey, ...]:
    return tuple(ObjectKey(*text.split("/")) for text in texts)


def test_a_pod_lends_its_secrets_and_its_account() -> None:
    pulls = "imagePullSecrets: [{name: one}, {name: two}]\n      serviceAccountName: runner"
    spec = found({"a.yaml": workload("a", "prod", pulls)})
    assert spec.pull_secrets == keys("prod/one", "prod/two")
    assert spec.pull_accounts == keys("prod/runner")


def test_all_workloads_that_say_the_same_lend_what_they_have() -> None:
    files = {
        "a.yaml": workload("a", "prod", "imagePullSecrets: [{name: one}]"),
        "b.yaml": workload("b", "stage", "imagePullSecrets: [{name: one}, {name: two}]"),
        "c.yaml": CRON,
    }
    spec = found(files)
    assert spec.pull_secrets == keys("prod/one", "stage/one", "stage/two", "default/nightly")
    assert spec.pull_accounts == keys("prod/default", "stage/default", "default/old")


def test_an_overlay_decides_the_namespace_and_may_add_a_secret() -> None:
    files = {
        "base/a.yaml": workload("a", "x", "serviceAccountName: runner"),
        "base/kustomization.yaml": "resources: [a.yaml]\n",
        "prod/kustomization.yaml": (
            "namespace: prod\nresources: [../base]\npatches:\n- patch: |-\n"
            "    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: a, namespace: x}\n"
            "    spec: {template: {spec: {imagePullSecrets: [{name: patched}]}}}\n"
        ),
    }
    spec = found(files)
    assert spec.pull_secrets == keys("prod/patched")
    assert spec.pull_accounts == keys("prod/runner")


def test_an_image_policy_lends_its_own_login_instead() -> None:
    explicit = policy(secret_ref="ghcr", pull_secrets=keys("default/own"))
    spec = found({"a.yaml": workload("a", "prod", "imagePullSecrets: [{name: one}]")}, explicit)
    assert spec.secret_ref == "ghcr"
    assert spec.pull_secrets == ()
    assert spec.pull_accounts == ()


def test_without_annotations_nobody_looks_at_pods() -> None:
    text = workload("a", "prod", "imagePullSecrets: [{name: one}]").replace("image-updater.dev/policy", "other/policy")
    (site,) = locate(MemoryTree({"a.yaml": text})).sites
    assert [use.pulls for use in site.uses] == [None]


def test_kustomizations_of_another_repository_name_no_roots_here() -> None:
    def repository(name: str, url: str) -> GitRepository:
        return GitRepository(meta=Meta(key=ObjectKey("x", name)), url=url, ref=GitRef(branch="main"))

    def kustomization(name: str, source: str | None) -> Kustomization:
        key = ObjectKey("x", source) if source is not None else None
        return Kustomization(meta=Meta(key=ObjectKey("x", name)), source_ref=key, path=name)

    ours = repository("ours", "https://git.test/fleet.git")
    objects = Objects(
        repositories=(ours, repository("same", "ssh://git@git.test/fleet"), repository("other", "https://git.test/x")),
        kustomizations=(
            kustomization("a", "ours"),
            kustomization("b", "same"),
            kustomization("c", "other"),
            kustomization("d", "unknown"),
            kustomization("e", None),
        ),
    )
    assert [root.path for root in named_roots(objects, (), ours)] == ["a", "b", "d", "e"]
    assert len(named_roots(objects, ("f",))) == 6
