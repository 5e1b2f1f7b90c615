"""Every line of the facts page on Kustomize: the binary renders it, and `locate` says the same and names the line
that did it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.kustomize.harness import build, check_edits, commands, images, provenance, said

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def deployment(
    *containers: str, name: str = "web", kind: str = "Deployment", api: str = "apps/v1", more: str = ""
) -> str:
    lines = "".join(f"      - name: c{i}\n        image: {image!r}\n" for i, image in enumerate(containers))
    return f"apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n  template:\n    spec:\n      containers:\n{lines}{more}"  # noqa: E501


def patch(image: str, name: str = "web", container: str = "c0") -> str:
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  template:\n    spec:\n      containers:\n"  # noqa: E501
        f"      - name: {container}\n        image: {image!r}\n"
    )


BASE = {
    "base/kustomization.yaml": 'resources: [d.yaml]\nimages:\n- name: nginx\n  newTag: "1.1"\n',
    "base/d.yaml": deployment("nginx:1.0"),
}
JSON_PATCH = "- op: replace\n  path: /spec/template/spec/containers/0/image\n  value: "


def over(text: str, **files: str) -> dict[str, str]:
    named = {f"over/{name.replace('__', '.')}": body for name, body in files.items()}
    return {**BASE, "over/kustomization.yaml": f"resources: [../base]\n{text}", **named}


def alone(text: str, body: str, **files: str) -> dict[str, str]:
    named = {f"over/{name.replace('__', '.')}": text_ for name, text_ in files.items()}
    return {"over/kustomization.yaml": f"resources: [d.yaml]\n{text}", "over/d.yaml": body, **named}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    files: dict[str, str]
    images: tuple[str, ...] = ()
    site: tuple[str, str] | None = None
    """File and field of the site of the first image."""
    builds: bool = True
    root: str = "over"
    edits: bool = True
    only: tuple[str, ...] = ("5.5", "5.8")
    dialects: tuple[str, ...] = field(default=("5.5", "5.8"))


K = "over/kustomization.yaml"
CASES = {
    "the nearest kustomization wins": Case(
        files=over("images: [{name: nginx, newTag: '1.2'}]"), images=("nginx:1.2",), site=(K, "images[0].newTag")
    ),
    "of two entries the last one wins": Case(
        files=over("images: [{name: nginx, newTag: '7'}, {name: nginx, newTag: '8'}]"),
        images=("nginx:8",),
        site=(K, "images[1].newTag"),
    ),
    "an entry sees what the ones before left": Case(
        files=over("images: [{name: nginx, newName: acme/nginx}, {name: nginx, newTag: '9'}]"),
        images=("acme/nginx:1.1",),
        site=("base/kustomization.yaml", "images[0].newTag"),
    ),
    "chains of renames": Case(
        files=over("images: [{name: nginx, newName: acme/nginx}, {name: acme/nginx, newTag: '9'}]"),
        images=("acme/nginx:9",),
        site=(K, "images[1].newTag"),
    ),
    "newTag and digest in one entry": Case(
        files=over(f"images: [{{name: nginx, newTag: '7', digest: '{DIGEST}'}}]"),
        images=(f"nginx:7@{DIGEST}",),
        site=(K, "images[0].newTag"),
    ),
    "an unquoted number breaks the build": Case(files=over("images: [{name: nginx, newTag: 1.10}]"), builds=False),
    "names are compared as strings": Case(
        files=over("images: [{name: docker.io/library/nginx, newTag: '9'}]"),
        images=("nginx:1.1",),
        site=("base/kustomization.yaml", "images[0].newTag"),
    ),
    "a name is a regular expression": Case(files=over("images: [{name: ngi.x, newTag: '9'}]"), images=("nginx:9",)),
    "a name is no glob": Case(files=over("images: [{name: 'ng*', newTag: '9'}]"), images=("nginx:1.1",)),
    "alternatives": Case(files=over("images: [{name: '(foo|nginx)', newTag: '9'}]"), images=("nginx:9",)),
    "a tag inside name": Case(files=over("images: [{name: 'nginx:1.1', newTag: '9'}]"), images=("nginx:9",)),
    "nonsense in newName": Case(
        files=over("images: [{name: nginx, newName: 'acme/nginx:oops'}]"), images=("acme/nginx:oops:1.1",), edits=False
    ),
    "a digest in newTag": Case(
        files=over(f"images: [{{name: nginx, newTag: '{DIGEST}'}}]"), images=(f"nginx:{DIGEST}",)
    ),
    "tag and digest in newTag": Case(
        files=over(f"images: [{{name: nginx, newTag: '4@{DIGEST}'}}]"),
        images=(f"nginx:4@{DIGEST}",),
        site=(K, "images[0].newTag"),
    ),
    "tagSuffix is applied twice": Case(
        files=over("images: [{name: nginx, tagSuffix: -alpine}]"), images=("nginx:1.1-alpine-alpine",)
    ),
    "a patch above beats images below": Case(
        files=over("patches: [{path: p.yaml}]", p__yaml=patch("nginx:3.0")),
        images=("nginx:3.0",),
        site=("over/p.yaml", "spec.template.spec.containers[0].image"),
    ),
    "images run after the patches": Case(
        files=over("patches: [{path: p.yaml}]\nimages: [{name: nginx, newTag: '4'}]", p__yaml=patch("nginx:3.0")),
        images=("nginx:4",),
        site=(K, "images[0].newTag"),
    ),
    "json6902 is the last of the patch lists": Case(
        files=over(
            "patchesJson6902: [{path: j.yaml, target: {group: apps, version: v1, kind: Deployment, name: web}}]\n"
            "patches: [{path: p.yaml}]\npatchesStrategicMerge: [s.yaml]",
            j__yaml=JSON_PATCH + "nginx:j\n",
            p__yaml=patch("nginx:p"),
            s__yaml=patch("nginx:s"),
        ),
        images=("nginx:j",),
        site=("over/j.yaml", "[0].value"),
    ),
    "patches run after patchesStrategicMerge": Case(
        files=over(
            "patches: [{path: p.yaml}]\npatchesStrategicMerge: [s.yaml]",
            p__yaml=patch("nginx:p"),
            s__yaml=patch("nginx:s"),
        ),
        images=("nginx:p",),
        site=("over/p.yaml", "spec.template.spec.containers[0].image"),
    ),
    "a component's images": Case(
        files=over("components: [../comp]")
        | {
            "comp/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages: [{name: nginx, newTag: c}]\n"  # noqa: E501
        },
        images=("nginx:c",),
        site=("comp/kustomization.yaml", "images[0].newTag"),
    ),
    "own images run after the components": Case(
        files=over("components: [../comp]\nimages: [{name: nginx, newTag: own}]")
        | {
            "comp/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages: [{name: nginx, newTag: c}]\n"  # noqa: E501
        },
        images=("nginx:own",),
        site=(K, "images[0].newTag"),
    ),
    "replacements run after images": Case(
        files=over(
            "images: [{name: nginx, newTag: '2'}]\nreplacements: [{source: {kind: ConfigMap, name: cm, fieldPath: data.image}, "  # noqa: E501
            "targets: [{select: {kind: Deployment}, fieldPaths: ['spec.template.spec.containers.[name=c0].image']}]}]"
        )
        | {
            "base/kustomization.yaml": "resources: [d.yaml, cm.yaml]\n",
            "base/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata:\n  image: nginx:r\n",
        },
        images=("nginx:r",),
        site=("base/cm.yaml", "data.image"),
    ),
    "a replacement of the tag alone": Case(
        files=over(
            "replacements: [{source: {kind: ConfigMap, name: cm, fieldPath: data.tag}, "
            "targets: [{select: {kind: Deployment}, fieldPaths: ['spec.template.spec.containers.0.image'], options: {delimiter: ':', index: 1}}]}]"  # noqa: E501
        )
        | {
            "base/kustomization.yaml": "resources: [d.yaml, cm.yaml]\n",
            "base/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata:\n  tag: r\n",
        },
        images=("nginx:r",),
        site=("base/cm.yaml", "data.tag"),
    ),
    "an ImageTagTransformer runs last": Case(
        files=over(
            "images: [{name: nginx, newTag: '2'}]\ntransformers: [t.yaml]",
            t__yaml="apiVersion: builtin\nkind: ImageTagTransformer\nmetadata: {name: t}\nimageTag: {name: nginx, newTag: t}\n",  # noqa: E501
        ),
        images=("nginx:t",),
        site=("over/t.yaml", "imageTag.newTag"),
    ),
    "imageTags and bases still work": Case(
        files={**BASE, K: "bases: [../base]\nimageTags: [{name: nginx, newTag: '2'}]\n"},
        images=("nginx:2",),
        site=(K, "imageTags[0].newTag"),
    ),
    "two kustomizations in one folder": Case(
        files={**over(""), "over/Kustomization": "resources: [../base]\n"}, builds=False
    ),
    "a CronJob": Case(
        files=alone(
            "images: [{name: nginx, newTag: '2'}]",
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: web}\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c0, image: nginx}]}}}}}\n",  # noqa: E501
        ),
        images=("nginx:2",),
    ),
    "a Rollout of another group": Case(
        files=alone(
            "images: [{name: nginx, newTag: '2'}]", deployment("nginx:1", kind="Rollout", api="argoproj.io/v1alpha1")
        ),
        images=("nginx:2",),
    ),
    "items of a list": Case(
        files=alone(
            "images: [{name: nginx, newTag: '2'}]",
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec: {containers: [{name: c, image: nginx}]}\n"  # noqa: E501
            "- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n  spec: {containers: [{name: c, image: other}], initContainers: [{name: i, image: nginx}]}\n",  # noqa: E501
        ),
        images=("nginx:2", "nginx:2", "other"),
    ),
    "a field of a custom kind stays": Case(
        files=alone(
            "images: [{name: nginx, newTag: '2'}]",
            "apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: t}\nspec: {runner: {image: 'nginx:1'}}\n",
        ),
        images=(),
    ),
    "a digest drops a tag, a tag drops a digest": Case(
        files=alone(
            f"images: [{{name: nginx, newTag: '2'}}, {{name: other, digest: '{OTHER}'}}]",
            deployment(
                "nginx", f"nginx@{DIGEST}", f"nginx:1@{DIGEST}", "other:1", f"other@{DIGEST}", f"other:1@{DIGEST}"
            ),
        ),
        images=("nginx:2",) * 3 + (f"other@{OTHER}",) * 3,
        site=(K, "images[0].newTag"),
    ),
    "image volumes": Case(
        files=alone(
            "images: [{name: nginx, newTag: '2'}]",
            deployment("nginx:1", more="      volumes:\n      - name: v\n        image: {reference: 'nginx:1'}\n"),
        ),
        images=("nginx:2", "nginx:2"),
        dialects=("5.8",),
    ),
    "ephemeral containers stay": Case(
        files=alone(
            "images: [{name: nginx, newTag: '2'}]",
            deployment("nginx:1", more="      ephemeralContainers: [{name: e, image: 'nginx:1'}]\n"),
        ),
        images=("nginx:1", "nginx:2"),
    ),
    "a bigger name with a port": Case(
        files=alone(
            "images: [{name: 'localhost:5000/nginx', newTag: '2'}]",
            deployment("localhost:5000/nginx", "localhost:5000/nginx:1"),
        ),
        images=("localhost:5000/nginx:2",) * 2,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_static_answer_is_what_the_binary_renders(case: Case) -> None:
    answer = provenance(case.files)
    root = answer.roots[case.root]
    for version, command in commands().items():
        if version not in case.dialects:
            continue
        objects = build(case.files, case.root, command)
        assert (objects is not None) == case.builds, version
        if objects is None:
            assert root.unbuildable is not None
            continue
        assert root.unbuildable is None
        rendered = images(objects)
        assert sorted(key[4] for key in rendered.elements()) == sorted(case.images)
        assert said(answer, case.root) == rendered
        if case.edits:
            check_edits(case.files, answer, case.root, command)
    if case.site is not None:
        first: Any = next(site for site, use in answer.by_root(case.root) if use.value == case.images[0])
        assert (first.file, first.field) == case.site


def test_a_configuration_names_further_image_fields() -> None:
    files = alone(
        "images: [{name: nginx, newTag: '2'}]\nconfigurations: [c.yaml]",
        "apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: t}\nspec: {runner: {image: 'nginx:1'}}\n",
        c__yaml="images: [{path: spec/runner/image, kind: Thing}]\n",
    )
    answer = provenance(files)
    (use,) = [use for _, use in answer.by_root("over")]
    assert (use.value, use.path) == ("nginx:2", ("spec", "runner", "image"))
    for command in commands().values():
        objects = build(files, "over", command)
        assert objects is not None
        assert objects[0]["spec"]["runner"]["image"] == "nginx:2"
