"""Further ways to move an image, each compared with both binaries; and roots that something names."""

from __future__ import annotations

import pytest

from tests.integration.kustomize.harness import build, check_edits, commands, images, provenance, said

POD = "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  containers:\n  - name: a\n    image: {image}\n"  # noqa: E501
DEPLOYMENT = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  labels: {app: web, tier: x}\nspec:\n  template:\n    spec:\n"  # noqa: E501
    "      containers:\n      - name: a\n        image: nginx:1.0\n      - name: b\n        image: redis:1.0\n"
)
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {image: 'nginx:5', tag: '5', host: quay.io}\n"
PATCH = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: [%s]}}}}"


def repo(over: str, **more: str) -> dict[str, str]:
    return {
        "base/kustomization.yaml": "resources: [d.yaml, cm.yaml]\n",
        "base/d.yaml": DEPLOYMENT,
        "base/cm.yaml": CONFIG,
        "over/kustomization.yaml": "resources: [../base]\n" + over,
        **{f"over/{name.replace('__', '.')}": text for name, text in more.items()},
    }


def copied(source: str, target: str) -> str:
    return f"replacements: [{{source: {{{source}}}, targets: [{{select: {{kind: Deployment}}, {target}}}]}}]\n"


FIELD = "spec.template.spec.containers.[name=a].image"
CASES = {
    "a new container": repo("patches: [{path: p.yaml}]", p__yaml=PATCH % "{name: c, image: 'c:1'}"),
    "a deleted container": repo("patches: [{path: p.yaml}]", p__yaml=PATCH % "{name: a, $patch: delete}"),
    "a replaced list": repo("patches: [{path: p.yaml}]", p__yaml=PATCH % "{$patch: replace}, {name: z, image: 'z:1'}"),
    "an image set to null": repo("patches: [{path: p.yaml}]", p__yaml=PATCH % "{name: a, image: null}"),
    "an item without its key": repo(
        "patches: [{path: p.yaml}]", p__yaml=PATCH % "{name: a, image: 'x:1'}, {image: 'y:1'}"
    ),
    "lists of unknown kinds are replaced": {
        k: v.replace("apps/v1", "x.io/v1").replace("Deployment", "Thing")
        for k, v in repo("patches: [{path: p.yaml}]", p__yaml=PATCH % "{name: b, image: 'b:1'}").items()
    },
    "an object deleted by a patch": repo(
        "patches: [{path: p.yaml}]",
        p__yaml="{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, $patch: delete}",
    ),
    "a target by labels": repo(
        "patches: [{path: p.yaml, target: {labelSelector: 'app in (web, api),!none'}}]",
        p__yaml=PATCH % "{name: a, image: 'x:1'}",
    ),
    "a target by expressions": repo(
        "patches: [{path: p.yaml, target: {kind: Deploy.*, name: w.b}}]", p__yaml=PATCH % "{name: a, image: 'x:1'}"
    ),
    "a target that is not there": repo(
        "patches: [{path: p.yaml, target: {name: we}}]", p__yaml=PATCH % "{name: a, image: 'x:1'}"
    ),
    "original and current names": {
        **repo("namePrefix: q-\npatches: [{path: p.yaml}, {path: q.yaml}]", p__yaml=PATCH % "{name: a, image: 'x:1'}")
    }
    | {
        "base/kustomization.yaml": "namePrefix: p-\nnamespace: own\nresources: [d.yaml, cm.yaml]\n",
        "over/q.yaml": (PATCH % "{name: b, image: 'y:1'}").replace("name: web", "name: p-web, namespace: own"),
    },
    "a renaming patch": repo(
        "patches: [{path: p.yaml, target: {kind: Deployment}, options: {allowNameChange: true}}]\nimages: [{name: redis, newTag: '7'}]",  # noqa: E501
        p__yaml=(PATCH % "{name: a, image: 'x:1'}").replace("name: web", "name: other"),
    ),
    "move, copy, remove and test": repo(
        "patches: [{path: p.yaml, target: {kind: Deployment}}]",
        p__yaml="- {op: test, path: /kind, value: Deployment}\n- {op: copy, from: /spec/template/spec/containers/0, path: /spec/template/spec/containers/-}\n"  # noqa: E501
        "- {op: replace, path: /spec/template/spec/containers/2/name, value: c}\n- {op: remove, path: /spec/template/spec/containers/0}\n"  # noqa: E501
        "- {op: move, from: /spec/template/spec/containers/0/image, path: /spec/template/spec/containers/1/image}\n",
    ),
    "an escaped pointer": repo(
        "patches: [{path: p.yaml, target: {kind: Deployment}}]",
        p__yaml="- {op: add, path: /metadata/annotations, value: {image-updater.dev~1policy: x}}\n"
        "- {op: add, path: /metadata/annotations/image-updater.dev~1ignore, value: 'true'}\n",
    ),
    "a whole image copied": repo(
        copied("kind: ConfigMap, name: cm, fieldPath: data.image", f"fieldPaths: ['{FIELD}']")
    ),
    "a tag copied": repo(
        copied(
            "kind: ConfigMap, name: cm, fieldPath: data.tag",
            f"fieldPaths: ['{FIELD}'], options: {{delimiter: ':', index: 1}}",
        )
    ),
    "a registry put before": repo(
        copied(
            "kind: ConfigMap, name: cm, fieldPath: data.host",
            f"fieldPaths: ['{FIELD}'], options: {{delimiter: /, index: -1}}",
        )
    ),
    "a tag taken from another image": repo(
        "images: [{name: redis, newTag: '8'}]\n"
        + copied(
            "kind: Deployment, fieldPath: 'spec.template.spec.containers.1.image', options: {delimiter: ':', index: 1}",
            f"fieldPaths: ['{FIELD}'], options: {{delimiter: ':', index: 1}}",
        )
    ),
    "from a generated config map": repo(
        "configMapGenerator: [{name: gen, literals: ['tag=9', 'image=nginx:9']}]\n"
        + copied("kind: ConfigMap, name: gen, fieldPath: data.image", f"fieldPaths: ['{FIELD}']")
    ),
    "a replacement in a file": repo(
        "replacements: [{path: r.yaml}]",
        r__yaml=f"source: {{kind: ConfigMap, name: cm, fieldPath: data.image}}\ntargets: [{{select: {{name: web}}, fieldPaths: ['{FIELD}']}}]\n",  # noqa: E501
    ),
    "a rejected target": repo(
        "replacements: [{source: {kind: ConfigMap, name: cm, fieldPath: data.image}, targets: [{select: {kind: Deployment}, "  # noqa: E501
        f"reject: [{{name: web}}], fieldPaths: ['{FIELD}']}}]}}]"
    ),
    "a PatchTransformer": repo(
        "images: [{name: nginx, newTag: '2'}]\ntransformers: [t.yaml]",
        t__yaml="apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: t}\ntarget: {kind: Deployment}\n"
        "patch: |-\n  - op: replace\n    path: /spec/template/spec/containers/0/image\n    value: nginx:t\n",
    ),
    "an ImageTagTransformer with fields": repo(
        "transformers:\n- |-\n  apiVersion: builtin\n  kind: ImageTagTransformer\n  metadata: {name: t}\n  imageTag: {name: nginx, newTag: t}\n"  # noqa: E501
        "  fieldSpecs: [{path: 'spec/template/spec/containers[]/image'}]\n"
    ),
    "prefix and namespace transformers": repo(
        "transformers: [t.yaml]",
        t__yaml="apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: t}\nprefix: t-\nfieldSpecs: [{path: metadata/name}]\n---\n"  # noqa: E501
        "apiVersion: builtin\nkind: NamespaceTransformer\nmetadata: {name: n, namespace: zone}\nfieldSpecs: [{path: metadata/namespace, create: true}]\n",  # noqa: E501
    ),
    "an object kept local": {
        **repo("images: [{name: nginx, newTag: '2'}]"),
        "base/d.yaml": DEPLOYMENT
        + "---\n"
        + POD.format(name="l", image="nginx").replace(
            "labels", "annotations: {config.kubernetes.io/local-config: 'true'}, labels"
        ),
    },
    "a component's resources and patches come between": {
        **repo("components: [../comp]\npatches: [{path: p.yaml}]", p__yaml=PATCH % "{name: a, image: 'own:1'}"),
        "comp/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [pod.yaml]\npatches: [{path: p.yaml}]\n"  # noqa: E501
        "images: [{name: nginx, newName: from-comp}]\nnamePrefix: c-\n",
        "comp/pod.yaml": POD.format(name="extra", image="nginx"),
        "comp/p.yaml": PATCH % "{name: a, image: 'nginx:comp'}, {name: b, image: 'nginx:b'}",
    },
    "one base under two roots of one root": {
        **repo(""),
        "over/kustomization.yaml": "resources: [../one, ../two]\nimages: [{name: redis, newTag: '9'}]\n",
        "one/kustomization.yaml": "resources: [../base]\nnamePrefix: one-\nimages: [{name: nginx, newTag: '1'}]\n",
        "two/kustomization.yaml": "resources: [../base]\nnamePrefix: two-\nimages: [{name: nginx, newTag: '2'}]\n",
    },
    "merge keys and anchors": {
        **repo("images: [{name: nginx, newTag: '2'}]"),
        "base/d.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nx: &s {containers: [{image: nginx, name: c}]}\nspec:\n  <<: *s\n  foo: bar\n",  # noqa: E501
    },
    "vars in an image": {
        **repo(
            "configurations: [c.yaml]\nvars: [{name: TAG, objref: {apiVersion: v1, kind: ConfigMap, name: cm}, fieldref: {fieldpath: data.tag}}]"  # noqa: E501
        ),
        "over/c.yaml": "varReference: [{path: spec/template/spec/containers/image, kind: Deployment}]\n",
        "base/d.yaml": DEPLOYMENT.replace("nginx:1.0", "nginx:$(TAG)"),
    },
    "vars below": {
        **repo(""),
        "base/kustomization.yaml": "resources: [d.yaml, cm.yaml]\nconfigurations: [c.yaml]\n"
        "vars: [{name: IMAGE, objref: {apiVersion: v1, kind: ConfigMap, name: cm}, fieldref: {fieldpath: data.image}}]\n",  # noqa: E501
        "base/c.yaml": "varReference: [{path: spec/template/spec/containers/image}]\n",
        "base/d.yaml": DEPLOYMENT.replace("nginx:1.0", "$(IMAGE)"),
    },
    "crlf and comments": {
        **repo("images:\r\n- name: nginx # why\r\n  newTag: '2' # this\r\n"),
        "base/d.yaml": DEPLOYMENT.replace("\n", "\r\n"),
    },
    "selectors see labels that were added below": {
        **repo(
            "patches: [{path: p.yaml, target: {labelSelector: added=yes}}]", p__yaml=PATCH % "{name: a, image: 'x:1'}"
        ),
        "base/kustomization.yaml": "resources: [d.yaml, cm.yaml]\nlabels: [{pairs: {added: 'yes'}}]\n",
    },
    "annotation selectors": {
        **repo(
            "patches: [{path: p.yaml, target: {annotationSelector: added=yes}}]",
            p__yaml=PATCH % "{name: a, image: 'x:1'}",
        ),
        "base/kustomization.yaml": "resources: [d.yaml, cm.yaml]\ncommonAnnotations: {added: 'yes'}\n",
    },
}


@pytest.mark.parametrize("files", CASES.values(), ids=CASES.keys())
def test_the_static_answer_is_what_the_binary_renders(files: dict[str, str]) -> None:
    answer = provenance(files)
    for version, command in commands().items():
        objects = build(files, "over", command)
        assert objects is not None, version
        assert answer.roots["over"].unbuildable is None, version
        assert said(answer, "over") == images(objects), version
        if version == "5.8":
            check_edits(files, answer, "over", command)


FLUX = (
    "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: app}}\nspec:\n  path: ./over\n  targetNamespace: prod\n"  # noqa: E501
    "  namePrefix: f-\n  images: [{{name: nginx, newTag: '7'}}, {{name: redis, newName: acme/redis}}]\n  components: [../comp]\n"  # noqa: E501
    "  patches:\n  - target: {{kind: Deployment}}\n    patch: |\n      - op: add\n        path: /spec/template/spec/containers/-\n"  # noqa: E501
    "        value: {{name: side, image: {image}}}\n"
)


def test_a_wrapper_is_built_as_it_is_analysed() -> None:
    files = {
        **repo("images: [{name: nginx, newName: acme/nginx}]"),
        "comp/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches: [{path: p.yaml}]\n",  # noqa: E501
        "comp/p.yaml": PATCH % "{name: b, image: 'redis:comp'}",
        "clusters/app.yaml": FLUX.format(image="side:1"),
    }
    answer = provenance(files)
    root = answer.roots["over (Kustomization app)"]
    assert root.wrapper is not None
    for command in commands().values():
        objects = build(
            {**files, "wrap/kustomization.yaml": root.wrapper.replace("../ROOT", "../over")}, "wrap", command
        )
        assert objects is not None
        assert said(answer, root.id) == images(objects)
    assert "acme/nginx:7" in {key[4] for key in said(answer, root.id)}


def test_a_generated_kustomization_is_built_as_it_is_analysed() -> None:
    files = {
        "over/d.yaml": DEPLOYMENT,
        "over/deep/cm.yaml": CONFIG,
        "over/kust/kustomization.yaml": "resources: [p.yaml]\nimages: [{name: nginx, newTag: '3'}]\n",
        "over/kust/p.yaml": POD.format(name="p", image="nginx"),
        "comp/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages: [{name: redis, newTag: c}]\n",  # noqa: E501
        "clusters/app.yaml": FLUX.format(image="side:1"),
    }
    answer = provenance(files)
    root = answer.roots["over (Kustomization app)"]
    assert root.wrapper is not None
    assert root.generated is not None
    laid = {
        **files,
        "over/kustomization.yaml": root.generated,
        "wrap/kustomization.yaml": root.wrapper.replace("../ROOT", "../over"),
    }
    for command in commands().values():
        objects = build(laid, "wrap", command)
        assert objects is not None
        assert said(answer, root.id) == images(objects)
