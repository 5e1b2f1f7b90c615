"""Every kind of site of design section 6: what is edited, where, and what is left with which state."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sites.harness import (
    ALWAYS,
    PINNED,
    POLICY,
    TAGS,
    WEB,
    A,
    C,
    deployment,
    pod,
    policy,
    release,
    rows,
    scoped,
    update,
)

OLD, NEW = f"{WEB}:1.0.0", f"{WEB}:1.2.0"
HEAD = "resources: [deploy.yaml]\n"
FLUX = '# {"$imagepolicy": "default:web'
STRATEGIC = f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  template:
    spec:
      containers:
      - name: web
        image: {OLD}
"""
"""The image stands in line 9."""


def indented(text: str, columns: int) -> str:
    return "".join(" " * columns + line + "\n" for line in text.splitlines())


def marked(value: str, comment: str) -> str:
    return f"value: {value} {comment}\n"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`swap`: per file the texts that change. `states`: (file, line) → state."""

    files: dict[str, str]
    swap: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    states: dict[tuple[str, int], str] = field(default_factory=dict)
    objects: str = POLICY
    tags: Any = field(default_factory=lambda: TAGS)
    problems: tuple[str, ...] = ()


def swapped(text: str, pairs: list[tuple[str, str]]) -> str:
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


MOVE = [("1.0.0", "1.2.0")]

CASES: dict[str, Case] = {
    # ------------------------------------------------------------------ containers
    "init-ephemeral-and-sidecars-of-one-image": Case(
        files={
            "p.yaml": pod(
                f"{{name: a, image: {OLD}}}",
                f"{{name: b, image: {WEB}:2.0.0}}",
                f"{{name: c, image: {WEB}}}",
                f"{{name: d, image: {WEB}:latest}}",
                f"{{name: e, image: '{WEB}@{A}'}}",
                more=f"  initContainers:\n  - image: {WEB}:1.1.0\n    name: i\n"
                f"  ephemeralContainers:\n  - image: {OLD}\n    name: x\n"
                f"  volumes:\n  - name: v\n    image: {{reference: {OLD}}}\n",
            )
        },
        swap={
            "p.yaml": [
                (OLD, NEW),
                (f"{WEB}}}", f"{NEW}}}"),
                (f"{WEB}:latest", NEW),
                (f"{WEB}@{A}", NEW),
                (f"{WEB}:1.1.0", NEW),
            ]
        },
        states={
            ("p.yaml", 6): "updated",
            ("p.yaml", 7): "held",
            ("p.yaml", 8): "updated",
            ("p.yaml", 9): "updated",
            ("p.yaml", 10): "updated",
            ("p.yaml", 12): "updated",
            ("p.yaml", 15): "updated",
            ("p.yaml", 19): "updated",
        },
    ),
    "the-styles-of-a-scalar": Case(
        files={
            "p.yaml": pod(
                f"name: a\n    image:\n      {OLD}",
                f'name: b\n    image:   "{OLD}"\t# c',
                f"{{name: c, image: {OLD},}}",
                f"name: d\n    image: !!str {OLD}",
                f"name: f\n    \"image\": '{OLD}'",
                f"? image\n    : {OLD}\n    ? name\n    : g",
            )
        },
        swap={"p.yaml": MOVE},
    ),
    "a-block-scalar-is-refused": Case(
        files={"p.yaml": pod(f"name: a\n    image: >-\n      {OLD}")}, states={("p.yaml", 7): "refused"}
    ),
    "a-variable-is-refused": Case(
        files={
            "p.yaml": pod(
                f"{{name: a, image: '{WEB}:${{TAG:=1.0.0}}'}}",
                f"{{name: b, image: '{WEB}:$(TAG)'}}",
                f"{{name: c, image: '{WEB}:{{{{ tag }}}}'}}",
                "{name: d, image: '${IMAGE}:1.0.0'}",
            )
        },
        states={
            ("p.yaml", 6): "refused",
            ("p.yaml", 7): "refused",
            ("p.yaml", 8): "refused",
            ("p.yaml", 9): "unmanaged",
        },
    ),
    "several-documents-and-lists": Case(
        files={
            "m.yaml": f"# c\n---\n{deployment()}---\n---\n# only a comment\n---\n{deployment(name='b')}...\n---\n"
            f"{deployment(name='c')}",
            "l.yaml": f"kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: PodList\n  items:\n"
            f"  - {{apiVersion: v1, kind: Pod, metadata: {{name: p}},\n"
            f"     spec: {{containers: [{{name: a, image: {OLD}}}]}}}}\n",
        },
        swap={"m.yaml": MOVE, "l.yaml": MOVE},
        states={("m.yaml", 14): "updated", ("m.yaml", 30): "updated", ("m.yaml", 44): "updated"},
    ),
    "a-list-at-the-top-of-a-plain-file": Case(
        files={
            "l.yaml": f"- apiVersion: v1\n  kind: Pod\n  metadata: {{name: p}}\n"
            f"  spec: {{containers: [{{name: a, image: {OLD}}}]}}\n"
        },
        swap={"l.yaml": MOVE},
        states={("l.yaml", 4): "updated"},
    ),
    "a-list-at-the-top-is-nothing-to-kustomize": Case(
        files={
            "kustomization.yaml": "resources: [l.yaml]\n",
            "l.yaml": f"- apiVersion: v1\n  kind: Pod\n  metadata: {{name: p}}\n"
            f"  spec: {{containers: [{{name: a, image: {OLD}}}]}}\n",
        },
        problems=("l.yaml",),
    ),
    "vars-end-the-argument-without-a-render": Case(
        files={
            "kustomization.yaml": "resources:\n- https://github.com/org/repo//deploy\n"
            f"images:\n- name: {WEB}\n  newTag: 1.0.0\nvars:\n- name: IMG\n"
            "  objref: {apiVersion: apps/v1, kind: Deployment, name: web}\n"
        },
        states={("kustomization.yaml", 5): "refused"},
    ),
    "spellings-of-one-image-keep-theirs": Case(
        files={
            "p.yaml": pod(
                "{name: a, image: 'nginx:1.0.0'}",
                "{name: b, image: 'docker.io/library/nginx:1.0.0'}",
                "{name: c, image: 'index.docker.io/library/nginx:1.0.0'}",
                "{name: d, image: 'library/nginx:1.0.0'}",
                "{name: e, image: 'acme/nginx:1.0.0'}",
            )
        },
        swap={"p.yaml": [("nginx:1.0.0", "nginx:1.2.0"), ("acme/nginx:1.2.0", "acme/nginx:1.0.0")]},
        objects=policy("nginx"),
    ),
    "names-of-files-with-blanks-and-letters": Case(
        files={"a b/ü.yaml": "# ünïcödé 🎉\n" + deployment()}, swap={"a b/ü.yaml": MOVE}
    ),
    "crlf-a-byte-order-mark-and-no-final-break": Case(
        files={"d.yaml": "\ufeff" + deployment().replace("\n", "\r\n").rstrip("\r\n")}, swap={"d.yaml": MOVE}
    ),
    "json": Case(
        files={
            "kustomization.yaml": "resources: [p.json]\n",
            "p.json": '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":'
            f'[{{"name":"a","image":"{OLD}"}}]}}}}',
        },
        swap={"p.json": MOVE},
    ),
    "fields-that-configurations-name": Case(
        files={
            "kustomization.yaml": "resources: [t.yaml]\nconfigurations: [c.yaml]\n",
            "c.yaml": "images: [{path: spec/runner/image, kind: Thing}]\n",
            "t.yaml": f"apiVersion: x.io/v1\nkind: Thing\nmetadata: {{name: t}}\nspec:\n  runner:\n    image: {OLD}\n"
            f"  image: {WEB}:0.9.0\n",
        },
        swap={"t.yaml": MOVE},
        states={("t.yaml", 6): "updated"},
    ),
    "one-name-in-two-namespaces": Case(
        files={
            "kustomization.yaml": "resources: [a.yaml, b.yaml]\n",
            "a.yaml": deployment(namespace="x"),
            "b.yaml": deployment(namespace="y", annotations="{image-updater.dev/policy: semver ~1.1}"),
        },
        swap={"a.yaml": MOVE, "b.yaml": [("1.0.0", "1.1.0")]},
    ),
    "any-kind-with-containers": Case(
        files={
            "x.yaml": "apiVersion: batch/v1\nkind: CronJob\n"
            "metadata: {name: c, annotations: {image-updater.dev/policy.job: semver ~1.1}}\nspec:\n  jobTemplate:\n"
            f"    spec: {{template: {{spec: {{containers: [{{name: job, image: '{OLD}'}}]}}}}}}\n---\n"
            "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: k}\n"
            f"spec: {{template: {{spec: {{containers: [{{image: '{WEB}:1.1.1'}}]}}}}}}\n---\n"
            "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: c}\n"
            f"spec: {{imageName: '{WEB}:0.1.0'}}\n"
        },
        swap={"x.yaml": [("1.0.0", "1.1.0"), ("1.1.1", "1.2.0")]},
    ),
    "a-config-map-that-a-replacement-copies": Case(
        files={
            "kustomization.yaml": "resources: [deploy.yaml, cm.yaml]\nreplacements:\n"
            "- source: {kind: ConfigMap, name: v, fieldPath: data.tag}\n  targets:\n"
            "  - select: {kind: Deployment}\n    fieldPaths: [spec.template.spec.containers.0.image]\n"
            "    options: {delimiter: ':', index: 1}\n",
            "deploy.yaml": deployment(f"{WEB}:x"),
            "cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: v}\ndata: {tag: '1.0.0', other: '0.9.0'}\n",
        },
        swap={"cm.yaml": MOVE},
    ),
    "a-config-map-that-a-var-copies": Case(
        files={
            "kustomization.yaml": "resources: [deploy.yaml, cm.yaml]\nvars:\n- name: TAG\n"
            "  objref: {apiVersion: v1, kind: ConfigMap, name: v}\n  fieldref: {fieldpath: data.tag}\n"
            "configurations: [c.yaml]\n",
            "c.yaml": "varReference:\n- path: spec/template/spec/containers/image\n  kind: Deployment\n",
            "deploy.yaml": deployment(f"{WEB}:$(TAG)"),
            "cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: v}\ndata: {tag: '1.0.0'}\n",
        },
        swap={"cm.yaml": MOVE},
    ),
    # ------------------------------------------------------------------ helm
    "helm-values-in-every-form": Case(
        files={
            "hr.yaml": release(
                f"""image: {OLD}
b: {{image: {WEB}, tag: 1.0.0}}
c: {{registry: ghcr.io, image: acme/web, tag: "1.0.0"}}
d:
  image:
    registry: ghcr.io
    repository: acme/web
    tag: '1.0.0' # t
    digest: ""
    pullPolicy: Always
e: {{controllers: {{main: {{containers: {{app: {{image: {{repository: {WEB}, tag: 1.0.0}}}}}}}}}}}}
f: [{{image: {{repository: ghcr.io/acme/api, tag: 0.9.0}}}}]
"""
            )
        },
        swap={"hr.yaml": MOVE},
        states={
            ("hr.yaml", 6): "updated",
            ("hr.yaml", 7): "updated",
            ("hr.yaml", 8): "updated",
            ("hr.yaml", 13): "updated",
            ("hr.yaml", 16): "updated",
            ("hr.yaml", 17): "unmanaged",
        },
    ),
    "helm-digests-follow-the-policy": Case(
        files={
            "hr.yaml": release(
                f"""a: {{image: {{repository: {WEB}, tag: 1.0.0, digest: ""}}}}
b: {{image: {{repository: {WEB}, tag: 1.0.0, digest: '{A}'}}}}
c: {{image: {{repository: {WEB}, tag: '1.0.0@{A}'}}}}
"""
            )
        },
        swap={"hr.yaml": [(f"1.0.0@{A}", f"1.2.0@{C}"), ("1.0.0", "1.2.0"), ('""', f'"{C}"'), (A, C)]},
        objects=ALWAYS,
        tags=PINNED,
    ),
    "a-digest-in-helm-values-goes": Case(
        files={"hr.yaml": release(f"image:\n  repository: {WEB}\n  tag: 1.0.0\n  digest: {A}\n  pullPolicy: Always\n")},
        swap={"hr.yaml": [("1.0.0", "1.2.0"), (f"      digest: {A}\n", "")]},
    ),
    "helm-charts-inline-values": Case(
        files={
            "kustomization.yaml": "helmCharts:\n- name: web\n  repo: https://charts.example.com\n  version: 0.1.0\n"
            f"  valuesInline:\n    image:\n      repository: {WEB}\n      tag: 1.0.0 # here\n"
        },
        swap={"kustomization.yaml": MOVE},
        states={("kustomization.yaml", 8): "updated"},
    ),
    "a-values-file-moves-where-a-marker-says-so": Case(
        files={
            "a/values.yaml": f'image:\n  repository: {WEB}\n  tag: 1.0.0 {FLUX}:tag"}}\n',
            "b/values.yaml": f"image:\n  repository: {WEB}\n  tag: 1.0.0\n",
        },
        swap={"a/values.yaml": MOVE},
        states={("a/values.yaml", 3): "updated"},
    ),
    # ------------------------------------------------------------------ annotations
    "an-annotation-is-a-policy": Case(
        files={"d.yaml": deployment(annotations="{image-updater.dev/policy: semver ~1.1}")},
        swap={"d.yaml": [("1.0.0", "1.1.0")]},
        objects="",
    ),
    "a-container's-annotation-comes-before-the-workload's-and-the-policy": Case(
        files={
            "d.yaml": deployment(
                annotations="{image-updater.dev/policy: semver ^1, image-updater.dev/policy.web: semver ~1.1}"
            )
            + f"        - name: side\n          image: {WEB}:0.9.0\n"
        },
        swap={"d.yaml": [("1.0.0", "1.1.0"), ("0.9.0", "1.2.0")]},
    ),
    "filters-and-digests-in-annotations": Case(
        files={
            "d.yaml": deployment(
                annotations="{image-updater.dev/policy: semver ^1, image-updater.dev/filter: '^1[.]1'}"
            ),
            "e.yaml": deployment(f"{WEB}:latest", name="e", annotations="{image-updater.dev/policy.e: digest latest}"),
        },
        swap={"d.yaml": [("1.0.0", "1.1.0")], "e.yaml": [(f"{WEB}:latest", f"{WEB}:latest@{C}")]},
        objects="",
        tags=["1.0.0", "1.1.0", "1.2.0", {"tag": "latest", "digest": C}],
    ),
    "ref-names-a-policy": Case(
        files={"d.yaml": deployment(annotations="{image-updater.dev/policy: ref other}")},
        swap={"d.yaml": [("1.0.0", "2.0.0")]},
        objects=policy(name="other", strategy="semver: {range: '>=1'}"),
    ),
    "an-ignored-workload": Case(
        files={"d.yaml": deployment(annotations="{image-updater.dev/ignore: 'true'}")},
        states={("d.yaml", 13): "ignored"},
    ),
    "an-annotation-that-is-no-policy": Case(
        files={"d.yaml": deployment(annotations="{image-updater.dev/policy: 'semver ^x.q'}")},
        states={("d.yaml", 13): "refused"},
    ),
    "min-age-is-a-duration": Case(
        files={
            "d.yaml": deployment(annotations="{image-updater.dev/policy: semver ^1, image-updater.dev/min-age: long}"),
            "e.yaml": deployment(
                name="e", annotations="{image-updater.dev/policy: semver ^1, image-updater.dev/min-age: '0'}"
            ),
        },
        swap={"e.yaml": MOVE},
        states={("d.yaml", 13): "refused", ("e.yaml", 13): "updated"},
        objects="",
    ),
    "annotations-that-say-nothing-are-refused-as-somebody-relies-on-them": Case(
        files={
            f"{name}.yaml": deployment(name=name, annotations=f"{{{annotations}}}")
            for name, annotations in {
                "a": "image-updater.dev/policy: semver ^1, image-updater.dev/minAge: 72h",
                "b": "image-updater.dev/policy: semver ^1, image-updater.dev/min-age.b: 72h",
                "c": "image-updater.dev/policy: semver ^1, image-updater.dev/hold: no release today",
                "d": "image-updater.dev/ignore: 'yes'",
                "e": "image-updater.dev/min-age: 72h",
                "f": "image-updater.dev/policy: ref web, image-updater.dev/filter: '^1[.]1'",
                "g": "image-updater.dev/polcy: semver ^1",
                "h": "image-updater.dev/policy: semver ^1, image-updater.dev/reconcile: disabled",
            }.items()
        },
        swap={"h.yaml": MOVE},
        states={(f"{name}.yaml", 13): "refused" for name in "abcdefg"},
    ),
    "annotations-that-kustomize-adds-count": Case(
        files={
            "kustomization.yaml": HEAD + "commonAnnotations: {image-updater.dev/policy: semver ^1}\n",
            "deploy.yaml": deployment(),
        },
        swap={"deploy.yaml": MOVE},
        objects="",
    ),
    "annotations-of-the-pod-template-do-not": Case(
        files={
            "d.yaml": deployment().replace("{labels:", "{annotations: {image-updater.dev/policy: semver ^1}, labels:")
        },
        states={("d.yaml", 12): "unmanaged"},
        objects="",
    ),
    "names-namespaces-labels-replicas-and-generators-around-it": Case(
        files={
            "kustomization.yaml": "namePrefix: p-\nnameSuffix: -s\nnamespace: prod\n"
            "labels: [{pairs: {a: b}, includeSelectors: true}]\nreplicas: [{name: web, count: 3}]\n"
            f"configMapGenerator: [{{name: c, literals: [a=b]}}]\n{HEAD}",
            "deploy.yaml": deployment(annotations="{image-updater.dev/policy: semver ^1}"),
        },
        swap={"deploy.yaml": MOVE},
        objects="",
    ),
    # ------------------------------------------------------------------ patches
    "a-patch-is-a-person's-decision": Case(
        files={
            "kustomization.yaml": f"{HEAD}patches: [{{path: p.yaml}}]\n",
            "p.yaml": STRATEGIC,
            "deploy.yaml": deployment(),
        },
        states={("p.yaml", 9): "manual"},
    ),
    "a-patch-file-when-allowed": Case(
        files={
            "kustomization.yaml": f"{HEAD}patches: [{{path: p.yaml}}]\n",
            "p.yaml": STRATEGIC,
            "deploy.yaml": deployment(),
        },
        swap={"p.yaml": MOVE},
        objects=scoped("patches: true"),
    ),
    "an-inline-patch-when-allowed-is-reported-at-its-kustomization": Case(
        files={
            "kustomization.yaml": f"{HEAD}patches:\n- patch: |-\n{indented(STRATEGIC, 4)}",
            "deploy.yaml": deployment(),
        },
        swap={"kustomization.yaml": MOVE},
        states={("kustomization.yaml", 12): "updated"},
        objects=scoped("patches: true"),
    ),
    "json-patches-when-allowed": Case(
        files={
            "kustomization.yaml": f"{HEAD}patches:\n- target: {{kind: Deployment}}\n  patch: |-\n"
            "    - op: replace\n      path: /spec/template/spec/containers/0/image\n"
            f"      value: {OLD}\n    - op: add\n      path: /spec/template/spec/containers/-\n"
            f"      value: {{name: side, image: {OLD}}}\n",
            "deploy.yaml": deployment(),
        },
        swap={"kustomization.yaml": MOVE},
        states={("kustomization.yaml", 7): "updated", ("kustomization.yaml", 10): "updated"},
        objects=scoped("patches: true"),
    ),
    "images-run-after-patches": Case(
        files={
            "kustomization.yaml": f"{HEAD}patches: [{{path: p.yaml}}]\nimages: [{{name: {WEB}, newTag: 1.0.0}}]\n",
            "p.yaml": STRATEGIC,
            "deploy.yaml": deployment(),
        },
        swap={"kustomization.yaml": MOVE},
    ),
    "a-marker-on-a-patch-is-consent": Case(
        files={
            "kustomization.yaml": f"{HEAD}patches: [{{path: p.yaml}}]\n",
            "p.yaml": STRATEGIC.rstrip("\n") + f' {FLUX}"}}\n',
            "deploy.yaml": deployment(),
        },
        swap={"p.yaml": MOVE},
    ),
    "a-container-that-a-patch-deletes-is-nobody's": Case(
        files={
            "kustomization.yaml": f"{HEAD}patches:\n- patch: |-\n    apiVersion: apps/v1\n    kind: Deployment\n"
            "    metadata: {name: web}\n    spec: {template: {spec: {containers: [{name: web, $patch: delete}]}}}\n",
            "deploy.yaml": deployment() + f"        - name: side\n          image: {WEB}:1.1.0\n",
        },
        swap={"deploy.yaml": [("1.1.0", "1.2.0")]},
    ),
    # ------------------------------------------------------------------ markers
    "markers-on-every-kind-of-scalar": Case(
        files={
            "cm.yaml": f'a: {OLD} {FLUX}"}}\nb: \'1.0.0\' {FLUX}:tag"}}\nc: {WEB} {FLUX}:name"}}\n'
            f'd: 1.0.0 # image-policy: web:tag\ne: {OLD} # image-policy: default:web\nf: [1.0.0] {FLUX}:tag"}}\n'
            f'g:\n- {OLD} {FLUX}"}}\nh: 1.0.0 #{{"$imagepolicy":"default:web:tag","x":"y"}}\n'
        },
        swap={"cm.yaml": MOVE},
        states={
            ("cm.yaml", 1): "updated",
            ("cm.yaml", 2): "updated",
            ("cm.yaml", 3): "current",
            ("cm.yaml", 4): "updated",
            ("cm.yaml", 5): "updated",
            ("cm.yaml", 8): "updated",
            ("cm.yaml", 9): "updated",
        },
    ),
    "a-near-miss-silences-the-policy": Case(
        files={"d.yaml": deployment(f'{OLD} {FLUX}"}} please')}, states={("d.yaml", 12): "refused"}
    ),
    "a-marker-of-another-namespace": Case(
        files={"d.yaml": deployment(f'{OLD} # {{"$imagepolicy": "other:web"}}')},
        states={("d.yaml", 12): "refused"},
        objects=scoped("strategy: Auto"),
    ),
    "setters-only": Case(
        files={"a.yaml": deployment(), "b.yaml": deployment(f'{OLD} {FLUX}"}}', name="b")},
        swap={"b.yaml": MOVE},
        states={("a.yaml", 12): "unmanaged", ("b.yaml", 12): "updated"},
        objects=scoped("strategy: Setters"),
    ),
    "a-digest-beside-a-marked-tag-goes-with-it": Case(
        files={
            "kustomization.yaml": f'{HEAD}images:\n- name: {WEB}\n  digest: {A}\n  newTag: 1.0.0 {FLUX}:tag"}}\n',
            "deploy.yaml": deployment(),
        },
        swap={"kustomization.yaml": [(f"  digest: {A}\n", ""), *MOVE]},
    ),
    "a-digest-beside-a-marked-tag-follows-where-digests-are-written": Case(
        files={
            "kustomization.yaml": f'{HEAD}images:\n- name: {WEB}\n  newTag: 1.0.0 {FLUX}:tag"}}\n  digest: {A}\n',
            "deploy.yaml": deployment(),
        },
        swap={"kustomization.yaml": [*MOVE, (A, C)]},
        objects=ALWAYS,
        tags=PINNED,
    ),
    "a-marker-never-goes-down": Case(
        files={"d.yaml": deployment(f'{WEB}:1.9.0 {FLUX}"}}')}, states={("d.yaml", 12): "held"}
    ),
    "a-marker-in-a-shared-base-is-consent": Case(
        files={
            "base/kustomization.yaml": HEAD,
            "base/deploy.yaml": deployment(f'{OLD} {FLUX}"}}'),
            "o/a/kustomization.yaml": "resources: [../../base]\n",
            "o/b/kustomization.yaml": "resources: [../../base]\n",
        },
        swap={"base/deploy.yaml": MOVE},
        objects=scoped("paths: [base, o/a]"),
    ),
    "values-that-a-generator-copies": Case(
        files={
            "kustomization.yaml": "resources: [hr.yaml]\n"
            "configMapGenerator: [{name: vals, files: [values.yaml=v.yaml]}]\n"
            "secretGenerator: [{name: more, files: [v.yaml]}]\nconfigurations: [kc.yaml]\n",
            "kc.yaml": "nameReference:\n- kind: ConfigMap\n  version: v1\n"
            "  fieldSpecs: [{path: spec/valuesFrom/name, kind: HelmRelease}]\n",
            "hr.yaml": "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: x}\n"
            "spec:\n  valuesFrom: [{kind: ConfigMap, name: vals}]\n",
            "v.yaml": f'image:\n  repository: {WEB}\n  tag: 1.0.0 {FLUX}:tag"}}\n',
        },
        swap={"v.yaml": MOVE},
        states={("v.yaml", 3): "updated"},
    ),
    "literals-keep-their-keys": Case(
        files={
            "kustomization.yaml": f'{HEAD}configMapGenerator:\n- name: v\n  literals:\n  - TAG=1.0.0 {FLUX}:tag"}}\n'
            f"secretGenerator:\n- name: s\n  literals:\n  - 'IMAGE={OLD}' {FLUX}\"}}\n",
            "deploy.yaml": deployment("x/y:1") + f'          args:\n          - --image={OLD} {FLUX}"}}\n',
        },
        swap={"kustomization.yaml": MOVE, "deploy.yaml": MOVE},
    ),
    "a-digest-marker": Case(
        files={"v.yaml": f'tag: 1.0.0 {FLUX}:tag"}}\ndigest: {A} {FLUX}:digest"}}\n'},
        swap={"v.yaml": [("1.0.0", "1.2.0"), (A, C)]},
        objects=ALWAYS,
        tags=PINNED,
    ),
    "a-digest-marker-without-a-digest-is-left": Case(
        files={"v.yaml": f'digest: {A} {FLUX}:digest"}}\n'}, states={("v.yaml", 1): "refused"}
    ),
    "markers-that-nobody-can-read-are-problems": Case(
        files={"v.yaml": f'a: [x, 1.0.0] {FLUX}:tag"}}\nb: |\n  1.0.0 {FLUX}:tag"}}\n'}, problems=("v.yaml",)
    ),
    # ------------------------------------------------------------------ remote bases
    "a-remote-base-moves-with-its-entry": Case(
        files={
            "kustomization.yaml": "resources:\n- git@github.com:org/repo.git//deploy?timeout=90s&ref=1.0.0 # c\n"
            f"images:\n- name: app\n  newName: {WEB}\n  newTag: 1.0.0\n"
        },
        swap={"kustomization.yaml": MOVE},
        states={("kustomization.yaml", 2): "updated", ("kustomization.yaml", 6): "updated"},
    ),
    "a-remote-base-below-moves-too": Case(
        files={
            "b/kustomization.yaml": "resources:\n- https://github.com/org/a//deploy?ref=1.0.0\n",
            "o/kustomization.yaml": f"resources: [../b]\nimages:\n- name: {WEB}\n  newTag: 1.0.0\n",
        },
        swap={"b/kustomization.yaml": MOVE, "o/kustomization.yaml": MOVE},
    ),
    "a-remote-base-stays-when-told-to": Case(
        files={
            "kustomization.yaml": "resources:\n- https://github.com/org/repo//deploy?ref=1.0.0\n"
            f"images:\n- name: {WEB}\n  newTag: 1.0.0\n"
        },
        swap={"kustomization.yaml": [("newTag: 1.0.0", "newTag: 1.2.0")]},
        states={("kustomization.yaml", 2): "remote"},
        objects=scoped("followRefs: false"),
    ),
    "remote-bases-without-a-ref-are-reported": Case(
        files={
            "kustomization.yaml": "resources:\n- https://example.com/raw/1.0.0/file.yaml\n"
            "- github.com/org/repo//deploy\n- https://github.com/org/repo?ref=v9\n"
        },
        states={
            ("kustomization.yaml", 2): "remote",
            ("kustomization.yaml", 3): "remote",
            ("kustomization.yaml", 4): "remote",
        },
    ),
    "no-proof-without-a-render-where-one-is-asked-for": Case(
        files={
            "kustomization.yaml": "resources:\n- https://github.com/org/repo//deploy\n"
            f"images:\n- name: {WEB}\n  newTag: 1.0.0\n"
        },
        states={("kustomization.yaml", 5): "refused"},
        objects=scoped("proof: rendered"),
    ),
    "transformers-end-the-argument-without-a-render": Case(
        files={
            "kustomization.yaml": "resources:\n- https://github.com/org/repo//deploy\ntransformers: [t.yaml]\n"
            f"images:\n- name: {WEB}\n  newTag: 1.0.0\n",
            "t.yaml": "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: x}\nprefix: a-\n",
        },
        states={("kustomization.yaml", 6): "refused"},
    ),
    "a-root-that-does-not-build-takes-its-own-entries-markers-and-helm-values": Case(
        files={
            "kustomization.yaml": "resources: [missing.yaml, deploy.yaml, m.yaml, hr.yaml]\n"
            "images:\n- name: ghcr.io/acme/api\n  newTag: 1.0.0\n",
            "deploy.yaml": deployment("ghcr.io/acme/api") + f"        - {{name: s, image: '{WEB}:0.9.0'}}\n",
            "m.yaml": deployment(f'{OLD} {FLUX}"}}', name="m"),
            "hr.yaml": release(f"image: {{repository: {WEB}, tag: 1.0.0}}\n"),
        },
        swap={"kustomization.yaml": MOVE, "m.yaml": MOVE, "hr.yaml": MOVE},
        states={("deploy.yaml", 13): "refused"},
        objects=POLICY + "---\n" + policy("ghcr.io/acme/api", name="api"),
        problems=("kustomization.yaml",),
    ),
    # ------------------------------------------------------------------ who names roots
    "flux-lays-images-over-a-path": Case(
        files={
            "clusters/a.yaml": "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a}\n"
            f"spec:\n  path: ./apps/a\n  images:\n  - name: {WEB}\n    newTag: 1.0.0\n",
            "apps/a/deploy.yaml": deployment(f"{WEB}:0.1.0"),
        },
        swap={"clusters/a.yaml": MOVE},
    ),
    "argo-lays-images-over-a-path": Case(
        files={
            "argo/a.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec:\n"
            f"  source:\n    repoURL: x\n    path: apps/a\n    kustomize: {{images: ['app={OLD}']}}\n",
            "apps/a/kustomization.yaml": HEAD,
            "apps/a/deploy.yaml": deployment("app"),
        },
        swap={"argo/a.yaml": MOVE},
    ),
    "a-flux-monorepo-edits-the-shared-release-once": Case(
        files={
            "clusters/prod/apps.yaml": "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
            "metadata: {name: apps}\nspec: {path: ./apps/prod}\n",
            "apps/base/kustomization.yaml": "namespace: web\nresources: [release.yaml]\n",
            "apps/base/release.yaml": release(f"image: {{repository: {WEB}, tag: 1.0.0}}\n"),
            "apps/prod/kustomization.yaml": "resources: [../base]\npatches: [{path: v.yaml}]\n",
            "apps/prod/v.yaml": release("replicas: 3\n"),
            "apps/staging/kustomization.yaml": "resources: [../base]\n",
        },
        swap={"apps/base/release.yaml": MOVE},
    ),
    # ------------------------------------------------------------------ scope
    "excluded-files-and-roots-stay": Case(
        files={"a/d.yaml": deployment(), "a/vendor/x/d.yaml": deployment(name="x"), "vendor/d.yaml": deployment()},
        swap={"a/d.yaml": MOVE},
        states={("a/vendor/x/d.yaml", 12): "unmanaged", ("vendor/d.yaml", 12): "unmanaged"},
        objects=scoped("exclude: ['**/vendor/**', 'vendor/**']"),
    ),
    "two-policies-of-one-image-are-a-conflict": Case(
        files={"d.yaml": deployment()},
        states={("d.yaml", 12): "conflict"},
        objects=POLICY + "---\n" + policy(name="other", strategy="semver: {range: ~1.1}"),
    ),
    "containers-of-one-entry-that-want-different-tags-are-a-conflict": Case(
        files={
            "kustomization.yaml": f"{HEAD}images: [{{name: {WEB}, newTag: 1.0.0}}]\n",
            "deploy.yaml": deployment(
                annotations="{image-updater.dev/policy.web: semver ^1, image-updater.dev/policy.side: semver ~1.1}"
            )
            + f"        - name: side\n          image: {OLD}\n",
        },
        states={("kustomization.yaml", 2): "conflict"},
        objects="",
    ),
    "containers-of-one-entry-that-want-the-same-tag-move-together": Case(
        files={
            "kustomization.yaml": f"{HEAD}images: [{{name: {WEB}, newTag: 1.0.0}}]\n",
            "deploy.yaml": deployment(
                annotations="{image-updater.dev/policy.web: semver ^1, image-updater.dev/policy.side: semver ^1.2}"
            )
            + f"        - name: side\n          image: {OLD}\n",
        },
        swap={"kustomization.yaml": MOVE},
        objects="",
    ),
    "an-ignored-user-of-an-entry-keeps-it": Case(
        files={
            "kustomization.yaml": "resources: [a.yaml, b.yaml]\n" + f"images: [{{name: {WEB}, newTag: 1.0.0}}]\n",
            "a.yaml": deployment(),
            "b.yaml": deployment(name="b", annotations="{image-updater.dev/ignore: 'true'}"),
        },
        states={("kustomization.yaml", 2): "refused"},
    ),
    "of-an-automation's-namespace-only": Case(
        files={"d.yaml": deployment()},
        swap={"d.yaml": MOVE},
        objects=policy(name="web, namespace: elsewhere", strategy="semver: {range: ~1.1}")
        + "---\n"
        + scoped("strategy: Auto"),
    ),
    "a-broken-file-stops-nobody": Case(
        files={
            "a.yaml": deployment(),
            "b.yaml": "kind: Pod\napiVersion: v1\nimage: [\n",
            "c.yaml": "apiVersion: v1\nkind: Service\n  metadata: [\n",
            "d.yaml": "just: [a, 'broken\n",
            "template.yaml": "{{- if .Values.x }}\na: b\n{{- end }}\n",
            "lfs.yaml": "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
        },
        swap={"a.yaml": MOVE},
        problems=("b.yaml", "c.yaml", "d.yaml", "lfs.yaml"),
    ),
    "an-alias-moves-when-all-its-users-are-meant": Case(
        files={
            "p.yaml": pod(f"name: a\n    image: &i {OLD}", "name: b\n    image: *i"),
            "q.yaml": pod(f"name: a\n    image: &i {OLD}\n    args: [*i]", name="q"),
        },
        swap={"p.yaml": MOVE},
        states={("q.yaml", 7): "refused"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_site(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    outcome = update(tmp_path, case.files, objects=case.objects, tags=case.tags)
    expected = {file: swapped(text, case.swap.get(file, [])) for file, text in case.files.items()}
    assert {file: data.decode() for file, data in outcome.files.items()} == expected, outcome.report
    for (file, line), state in case.states.items():
        assert (file, line, state) in outcome.states()
    assert set(case.problems) <= {problem["file"] for problem in outcome.report["problems"]}
    assert {edit[0] for edit in rows(outcome)} == set(case.swap)
    assert outcome.code == 0


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ("policy: semver ^1, image-updater.dev/minAge: 72h", "unknown annotation (did you mean 'min-age'?)"),
        ("policy: semver ^1, image-updater.dev/hold: today", "hold: counts on an ImagePolicy, not on a workload"),
        ("policy: ref web, image-updater.dev/min-age: 72h", "or spec.minAge of the ImagePolicy"),
        ("policy: semver ^1, image-updater.dev/filter: ''", "filter is empty (write a pattern"),
    ],
)
def test_an_annotation_that_is_not_taken_up_is_told_with_what_to_do(
    tmp_path: Path, annotations: str, said: str
) -> None:
    files = {"d.yaml": deployment(annotations=f"{{image-updater.dev/{annotations}}}")}
    reason = update(tmp_path, files).site("d.yaml", 13)["reason"]
    assert reason.startswith("Deployment web: image-updater.dev/")
    assert said in reason
