"""Roots, sites and problems of small trees, without a binary."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from image_updater.kustomize import (
    Entry,
    EntryKind,
    MemoryCache,
    NamedRoot,
    Part,
    Provenance,
    RootKind,
    Site,
    SiteKind,
    locate,
)


class Tree:
    def __init__(self, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None) -> None:
        self._data = {path: text if isinstance(text, bytes) else text.encode() for path, text in files.items()}
        self._entries = {path: Entry(hashlib.sha1(data).hexdigest()) for path, data in self._data.items()}
        for path, target in (links or {}).items():
            self._data[path] = target.encode()
            self._entries[path] = Entry(hashlib.sha1(target.encode()).hexdigest(), EntryKind.SYMLINK)

    @property
    def id(self) -> str:
        return hashlib.sha1(
            repr(sorted((path, str(entry)) for path, entry in self._entries.items())).encode()
        ).hexdigest()

    def files(self) -> Mapping[str, Entry]:
        return self._entries

    def read(self, path: str) -> bytes:
        return self._data[path]


def run(files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None, **options: Any) -> Provenance:
    return locate(Tree(files, links), cache=MemoryCache(), **options)


def pod(image: str, name: str = "web", extra: str = "") -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n{extra}spec:\n  containers:\n  - name: c\n    image: {image}\n"  # noqa: E501


def site(answer: Provenance, file: str, field: str) -> Site:
    return next(s for s in answer.sites if (s.file, s.field) == (file, field))


def values(answer: Provenance) -> dict[str, list[str]]:
    return {root: sorted(use.value for _, use in answer.by_root(root)) for root in answer.roots}


def flux(path: str, body: str = "", name: str = "app") -> str:
    return (
        f"apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: flux}}\n"  # noqa: E501
        f"spec:\n  path: {path}\n{body}"
    )


def test_a_root_is_a_kustomization_that_no_other_refers_to() -> None:
    answer = run(
        {
            "base/kustomization.yaml": "resources: [d.yaml]\n",
            "base/d.yaml": pod("a:1"),
            "over/kustomization.yml": "resources: [../base]\n",
            "comp/Kustomization": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: []\n",
        }
    )
    assert {root.id: root.kind for root in answer.roots.values()} == {"over": RootKind.KUSTOMIZE}
    root = answer.roots["over"]
    assert root.closure == {"base/kustomization.yaml", "base/d.yaml", "over/kustomization.yml"}
    assert root.folders >= {"base", "over"}
    assert root.kustomization == "over/kustomization.yml"


def test_the_topmost_folder_of_plain_manifests_is_one_root() -> None:
    answer = run(
        {
            "deploy/a.yaml": pod("a:1"),
            "deploy/sub/b.yaml": pod("b:1"),
            "deploy/kust/kustomization.yaml": "resources: [c.yaml]\n",
            "deploy/kust/c.yaml": pod("c:1"),
            "deploy/kust/unused.yaml": pod("d:1"),
            "docs/compose.yaml": "services: {web: {image: x}}\n",
        }
    )
    assert values(answer) == {"deploy/kust": ["c:1"], "deploy": ["a:1", "b:1"]}
    assert answer.roots["deploy"].kind is RootKind.PLAIN
    assert answer.roots["deploy"].closure == {"deploy/a.yaml", "deploy/sub/b.yaml"}


def test_a_flux_kustomization_lays_its_images_over_its_path() -> None:
    answer = run(
        {
            "clusters/app.yaml": flux("./apps", '  images:\n  - name: a\n    newTag: "7"\n  targetNamespace: prod\n'),
            "apps/kustomization.yaml": "resources: [d.yaml]\nimages: [{name: a, newName: acme/a}]\n",
            "apps/d.yaml": pod("a:1"),
        }
    )
    root = answer.roots["apps (Kustomization flux/app)"]
    assert root.path == "apps"
    assert root.wrapper is not None
    assert "../ROOT" in root.wrapper
    assert "apps" not in answer.roots
    found = site(answer, "clusters/app.yaml", "spec.images[0].newTag")
    assert [(use.value, use.object.namespace, use.overwritten) for use in found.uses] == [("acme/a:7", "prod", True)]


def test_a_flux_path_without_a_kustomization_is_generated_down_to_the_next_one() -> None:
    answer = run(
        {
            "clusters/app.yaml": flux("./apps"),
            "apps/d.yaml": pod("a:1"),
            "apps/deep/e.yaml": pod("b:1"),
            "apps/kust/kustomization.yaml": "resources: [f.yaml]\nimages: [{name: c, newTag: '9'}]\n",
            "apps/kust/f.yaml": pod("c:1"),
            "apps/kust/unused.yaml": pod("d:1"),
        }
    )
    assert values(answer)["apps"] == ["a:1", "b:1", "c:9"]
    generated = answer.roots["apps"].generated
    assert generated is not None
    assert "deep/e.yaml" in generated
    assert "- kust\n" in generated


def test_an_argo_application_sets_images_in_its_own_strings() -> None:
    text = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: app}\nspec:\n  source:\n    path: apps\n"
        '    kustomize:\n      images:\n      - a=registry.example.com/a:2.0\n      - "b:3.0"\n'
    )
    answer = run(
        {
            "argo/app.yaml": text,
            "apps/kustomization.yaml": "resources: [d.yaml]\n",
            "apps/d.yaml": pod("a:1", extra="") + "---\n" + pod("b:1", "other"),
        }
    )
    assert sorted(values(answer)["apps (Application app)"]) == ["b:3.0", "registry.example.com/a:2.0"]
    for found in answer.sites:
        ref = found.parts[Part.TAG]
        assert ref.partial
        assert text[ref.start : ref.end] == ref.value


def test_a_root_named_from_outside_has_sites_that_nobody_can_edit_for_what_it_lays_over() -> None:
    files = {
        "apps/kustomization.yaml": "resources: [d.yaml]\n",
        "apps/d.yaml": pod("a:1"),
        "over/kustomization.yaml": "resources: [../apps]\n",
    }
    answer = run(
        files,
        named=[
            NamedRoot(path="apps"),
            NamedRoot(path="apps", source="x", overlay={"images": [{"name": "a", "newTag": "2"}]}),
        ],
    )
    assert values(answer) == {"over": ["a:1"], "apps": ["a:1"], "apps (x)": ["a:2"]}
    assert any(s.frozen for s in answer.sites if s.uses[0].root == "apps (x)")


@pytest.mark.parametrize(
    ("kustomization", "reason"),
    [
        ("resources: ['https://example.com/x.yaml']", "https://example.com/x.yaml"),
        ("resources: ['github.com/acme/repo//base?ref=v1']", "github.com/acme/repo//base?ref=v1"),
        ("resources: ['git@github.com:acme/repo.git']", "git@github.com:acme/repo.git"),
        ("resources: [../../../etc]", "leaves the repository"),
        ("resources: [nope.yaml]", "does not exist"),
        ("resources: [../over]", "cycle"),
        ("resources: [bad.yaml]", "not valid YAML"),
        ("resources: [out.yaml]", "leads out of the repository"),
        ("generators: [gen.yaml]", "plugin"),
        ("helmCharts: [{name: web, version: 1.0.0}]", "not vendored"),
        ("patches: [{path: nope.yaml}]", "does not exist"),
    ],
)
def test_what_cannot_be_built_says_why_and_never_stops_the_others(kustomization: str, reason: str) -> None:
    answer = run(
        {
            "over/kustomization.yaml": kustomization + "\n",
            "over/bad.yaml": "apiVersion: v1\nkind: Pod\nimage: [\n",
            "over/gen.yaml": "apiVersion: acme.io/v1\nkind: Gen\nmetadata: {name: g}\n",
            "good/kustomization.yaml": "resources: [d.yaml]\n",
            "good/d.yaml": pod("a:1"),
            "named.yaml": flux("over"),
        },
        {"over/out.yaml": "../../../etc/passwd"},
    )
    assert reason in (answer.roots["over"].unbuildable or "")
    assert values(answer)["good"] == ["a:1"]
    assert answer.roots["good"].unbuildable is None


def test_the_ref_of_a_remote_base_is_a_site_of_its_own() -> None:
    text = "resources:\n- https://github.com/acme/app//deploy?ref=v1.2.0\n"
    answer = run({"over/kustomization.yaml": text})
    (found,) = answer.sites
    ref = found.parts[Part.TAG]
    assert (found.kind, ref.value, text[ref.start : ref.end], found.files) == (
        SiteKind.REF,
        "v1.2.0",
        "v1.2.0",
        ("over",),
    )
    assert answer.roots["over"].remotes == ("https://github.com/acme/app//deploy?ref=v1.2.0",)


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_an_inline_patch_maps_back_character_by_character(newline: str) -> None:
    text = (
        "resources: [d.yaml]\npatches:\n- patch: |-\n    apiVersion: v1\n    kind: Pod\n    metadata:\n\n      name: web\n    spec:\n"  # noqa: E501
        '      containers:\n      - name: c  # \u00e9\n        image: "a:2"\n'
    ).replace("\n", newline)
    answer = run({"over/kustomization.yaml": text, "over/d.yaml": pod("a:1")})
    (found,) = answer.sites
    ref = found.parts[Part.IMAGE]
    assert found.kind is SiteKind.PATCH
    assert (ref.inline, ref.frozen, text[ref.start : ref.end]) == (True, None, '"a:2"')
    assert text.split(newline)[ref.line - 1].strip() == 'image: "a:2"'


def test_a_folded_inline_patch_cannot_be_edited() -> None:
    text = 'resources: [d.yaml]\npatches:\n- patch: "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c, image: a:2}]}}"\n'  # noqa: E501
    (found,) = run({"over/kustomization.yaml": text, "over/d.yaml": pod("a:1")}).sites
    assert found.frozen is not None


def test_anchors_and_aliases_are_flagged_and_block_scalars_frozen() -> None:
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: a\n    image: &i a:1\n"
        "  - name: b\n    image: *i\n  - name: c\n    image: >-\n      c:1\n"
    )
    answer = run({"p/d.yaml": text})
    anchored = [s for s in answer.sites if s.parts[Part.IMAGE].anchored]
    assert sum(len(s.uses) for s in anchored) == 2
    assert {s.parts[Part.IMAGE].start for s in anchored} == {text.index("a:1")}
    assert [s.frozen is not None for s in answer.sites if s.image == "c:1"] == [True]


def test_every_user_of_an_anchored_scalar_is_a_site_with_its_span() -> None:
    """An edit needs all of them to agree (patch/aliases.py counts)."""
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: a, image: &i 'a:1'}\n  - {name: b, image: *i}\n"  # noqa: E501
    answer = run({"p/d.yaml": text})
    assert [use.container for s in answer.sites for use in s.uses] == ["a", "b"]
    assert {s.parts[Part.IMAGE].start for s in answer.sites} == {text.index("'a:1'")}


def test_helm_releases_are_sites_and_patches_take_part() -> None:
    release = (
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n  values:\n    image:\n"  # noqa: E501
        "      repository: acme/web\n      tag: 1.0.0\n    sidecar:\n      image: acme/side:2\n"
    )
    patch = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n  values:\n    image:\n      tag: 1.1.0\n"  # noqa: E501
    answer = run(
        {
            "base/kustomization.yaml": "resources: [r.yaml]\n",
            "base/r.yaml": release,
            "over/kustomization.yaml": "resources: [../base]\npatches: [{path: p.yaml}]\n",
            "over/p.yaml": patch,
        }
    )
    tags = {s.field: (s.kind, s.file, s.image) for s in answer.sites}
    assert tags["spec.values.image.tag"] == (SiteKind.PATCH, "over/p.yaml", "acme/web:1.1.0")
    assert tags["spec.values.sidecar.image"] == (SiteKind.HELM, "base/r.yaml", "acme/side:2")
    assert not any(use.seen_by_images for s in answer.sites for use in s.uses)


def test_charts_of_a_kustomization_are_sites_when_vendored() -> None:
    answer = run(
        {
            "over/kustomization.yaml": "helmCharts:\n- name: web\n  releaseName: r\n  valuesInline:\n    image: {repository: acme/web, tag: '1'}\n",  # noqa: E501
            "over/charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
            "over/charts/web/templates/d.yaml": "apiVersion: v1\nkind: Pod\nimage: {{ .Values.image }}\n",
        }
    )
    root = answer.roots["over"]
    assert root.helm
    assert root.unbuildable is None
    assert "over/charts/web/templates/d.yaml" in root.closure
    assert [(s.kind, s.field) for s in answer.sites] == [(SiteKind.HELM, "helmCharts[0].valuesInline.image.tag")]
    assert answer.problems == ()


def test_annotations_of_the_rendered_object_come_with_each_use() -> None:
    answer = run(
        {
            "over/kustomization.yaml": "resources: [d.yaml]\ncommonAnnotations: {image-updater.dev/policy: 'semver ^1', other: x}\n",  # noqa: E501
            "over/d.yaml": pod("a:1"),
        }
    )
    assert answer.sites[0].uses[0].annotations == {"image-updater.dev/policy": "semver ^1"}


def test_markers_join_their_sites_and_stand_alone_elsewhere() -> None:
    answer = run(
        {
            "p/d.yaml": pod('a:1 # {"$imagepolicy": "apps:web"}'),
            "p/values.yaml": 'image:\n  tag: 1.0.0 # {"$imagepolicy": "apps:web:tag"}\n  other: |\n    x # {"$imagepolicy": "apps:web:tag"}\n',  # noqa: E501
        }
    )
    first = site(answer, "p/d.yaml", "spec.containers[0].image")
    assert first.marker is not None
    assert (first.marker.namespace, first.marker.name) == ("apps", "web")
    second = site(answer, "p/values.yaml", "image.tag")
    assert (second.kind, set(second.parts)) == (SiteKind.MARKER, {Part.TAG})
    assert len(answer.loose) == 1


def test_what_an_inserted_entry_would_have_to_match() -> None:
    answer = run(
        {
            "base/kustomization.yaml": "resources: [d.yaml]\nimages: [{name: a, newName: acme/a, newTag: '1'}]\n",
            "base/d.yaml": pod("a:0"),
            "one/kustomization.yaml": "resources: [../base]\n",
            "two/kustomization.yaml": "resources: [../base]\nimages: [{name: acme/a, newName: b}]\n",
        }
    )
    uses = {use.root: use for _, use in answer.by_root("one")} | {use.root: use for _, use in answer.by_root("two")}
    assert (uses["one"].before, uses["one"].entry, uses["one"].value) == ("acme/a:1", None, "acme/a:1")
    assert (uses["two"].before, uses["two"].entry, uses["two"].value) == (
        "acme/a:1",
        "two/kustomization.yaml#0:images[0]",
        "b:1",
    )
    assert any(s.id == "two/kustomization.yaml#0:images[0]" and not s.uses for s in answer.sites)


@pytest.mark.parametrize(
    ("entry", "frozen"),
    [
        ("newTag: 'sha256:" + "a" * 64 + "'", True),
        ("digest: " + "a" * 64, True),
        ("tagSuffix: -x", True),
        ("newTag: '1.10'", False),
    ],
    ids=["digest in newTag", "digest without algorithm", "tagSuffix", "good"],
)
def test_what_nobody_can_edit_is_frozen_with_a_reason(entry: str, frozen: bool) -> None:
    answer = run(
        {"o/kustomization.yaml": f"resources: [d.yaml]\nimages:\n- name: a\n  {entry}\n", "o/d.yaml": pod("a:1")}
    )
    (found,) = [s for s in answer.sites if s.kind is SiteKind.ENTRY]
    assert (found.frozen is not None) is frozen


def test_an_unquoted_number_is_no_string_and_breaks_the_root() -> None:
    answer = run(
        {"o/kustomization.yaml": "resources: [d.yaml]\nimages:\n- name: a\n  newTag: 1.10\n", "o/d.yaml": pod("a:1")}
    )
    (found,) = answer.sites
    assert (found.parts[Part.TAG].string, found.frozen) == (False, None)
    assert "needs quotes" in (answer.roots["o"].unbuildable or "")
    assert [(p.file, p.line) for p in answer.problems] == [("o/kustomization.yaml", 4)]


GARBAGE = {
    "utf": b"apiVersion: v1\nkind: Pod\nimage: \xff\n",
    "bomb": "kind: A\napiVersion: b\nimage: x\na: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)),
    "deep": "image: " + "[" * 2000,
    "scalar": "image",
    "list": "- image\n- {apiVersion: v1, kind: Pod, metadata: {name: x}}\n",
    "odd keys": "apiVersion: v1\nkind: Pod\nmetadata: {name: [x]}\nspec: {containers: {image: x}, ? [a] : b}\n",
    "odd kind": "apiVersion: [v1]\nkind: {Pod: image}\nmetadata: x\n",
    "nulls": "apiVersion:\nkind:\nmetadata:\nspec: {containers: [null, {image: null}, {image: [x]}, image]}\n",
    "list kind": "apiVersion: v1\nkind: List\nitems: image\n",
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_a_problem_at_most(text: str | bytes) -> None:
    everywhere = {
        "a/x.yaml": text,
        "k/kustomization.yaml": text,
        "o/kustomization.yaml": "resources: [d.yaml, x.yaml]\npatches: [{path: x.yaml}]\nconfigurations: [x.yaml]\ntransformers: [x.yaml]\n"  # noqa: E501
        "replacements: [{path: x.yaml}]\ngenerators: [x.yaml]\ncomponents: [../k]\npatchesStrategicMerge: [x.yaml]\n",
        "o/x.yaml": text,
        "o/d.yaml": pod("a:1"),
        "good/d.yaml": pod("b:1"),
    }
    answer = run(everywhere)
    assert "b:1" in values(answer)["good"]


ODD = [
    "resources: x", "resources: {a: b}", "resources: [[x], {a: b}, null, 1]", "images: x", "images: [x, null, {name: [a]}, {name: '('}, {}]",  # noqa: E501
    "patches: [x, {}, {path: [x]}, {patch: '['}, {patch: 'a: [', target: x}, {patch: '- op: x', target: {kind: '('}}]",
    "replacements: [x, {}, {source: x, targets: y}, {source: {kind: Pod}, targets: [{select: {kind: '('}, fieldPaths: x}]}]",  # noqa: E501
    "components: [x, [y]]", "namePrefix: [x]", "helmCharts: [x, {}]", "configMapGenerator: [x, {literals: x, files: [a=b], envs: [q]}]",  # noqa: E501
    "commonAnnotations: x", "labels: [x, {pairs: y}]", "vars: x", "configurations: {a: b}", "transformers: ['a: b\n', x]", "openapi: {path: x}",  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_odd_kustomizations_never_raise(text: str) -> None:
    answer = run({"o/kustomization.yaml": f"namespace: x\n{text}\n", "o/d.yaml": pod("a:1"), "good/d.yaml": pod("b:1")})
    assert values(answer)["good"] == ["b:1"]


def test_two_kustomizations_in_one_folder_are_a_problem() -> None:
    answer = run({"o/kustomization.yaml": "resources: []\n", "o/Kustomization": "resources: []\n"})
    assert "two kustomizations" in (answer.roots["o"].unbuildable or "")
    assert len(answer.problems) == 1


def test_a_linked_folder_is_followed_inside_the_repository() -> None:
    answer = run(
        {
            "real/kustomization.yaml": "resources: [d.yaml]\n",
            "real/d.yaml": pod("a:1"),
            "over/kustomization.yaml": "resources: [linked]\n",
        },
        {"over/linked": "../real"},
    )
    assert values(answer)["over"] == ["a:1"]
    assert answer.roots["over"].closure >= {"over/linked", "real/d.yaml"}


def test_a_cycle_that_nothing_leads_to_is_still_reported() -> None:
    answer = run({"a/kustomization.yaml": "resources: [../b]\n", "b/kustomization.yaml": "resources: [../a]\n"})
    assert {root: answer.roots[root].unbuildable for root in answer.roots} == {"a": "cycle: a → b → a"}
    assert len(answer.problems) == 1


def test_graphs_that_grow_without_measure_end() -> None:
    files = {"l0/kustomization.yaml": "resources: [d.yaml]\n", "l0/d.yaml": pod("a:1"), "good/d.yaml": pod("b:1")}
    for i in range(1, 40):
        files[f"l{i}/kustomization.yaml"] = "resources: [a, b]\n"
        for name in "ab":
            files[f"l{i}/{name}/kustomization.yaml"] = f"namePrefix: {name}-\nresources: [../../l{i - 1}]\n"
    answer = run(files)
    assert answer.roots["l39"].unbuildable is not None
    assert values(answer)["good"] == ["b:1"]


def test_patterns_of_a_repository_run_in_linear_time() -> None:
    answer = run(
        {
            "o/kustomization.yaml": "resources: [d.yaml]\npatches:\n- {path: p.yaml, target: {name: '(a+)+$'}}\nimages: [{name: '(x+x+)+y', newTag: '2'}]\n",  # noqa: E501
            "o/d.yaml": pod("x" * 100, "a" * 200 + "b"),
            "o/p.yaml": pod("c:1"),
        }
    )
    assert values(answer)["o"] == ["x" * 100]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"), (b"\xff\xfe", "UTF-8")],
    ids=["lfs", "utf-16"],
)
def test_what_is_not_here_or_no_text_is_a_reason(data: bytes, reason: str) -> None:
    answer = run({"o/kustomization.yaml": "resources: [d.yaml]\npatches: [{path: d.yaml}]\n", "o/d.yaml": data})
    assert reason in (answer.roots["o"].unbuildable or "")


def test_links_are_read_inside_the_folder_of_their_kustomization_only() -> None:
    files = {
        "r/kustomization.yaml": "resources: [d.yaml]\n",
        "r/d.yaml": pod("a:1"),
        "o/k.txt": "resources: [l.yaml]\n",
        "o/e.yaml": pod("b:1"),
    }
    answer = run(
        {**files, "q/kustomization.yaml": "resources: [l.yaml]\n"},
        {
            "o/kustomization.yaml": "k.txt",
            "o/l.yaml": "e.yaml",
            "p/kustomization.yaml": "../r/kustomization.yaml",
            "q/l.yaml": "../r/d.yaml",
        },
    )
    assert values(answer)["o"] == ["b:1"]
    assert answer.roots["o"].closure == {"o/kustomization.yaml", "o/k.txt", "o/l.yaml", "o/e.yaml"}
    assert answer.roots["o"].unbuildable is None
    assert "link" in (answer.roots["p"].unbuildable or "")
    assert "Kustomize refuses" in (answer.roots["q"].unbuildable or "")


def test_an_unreferenced_kustomization_that_is_a_template_is_no_mistake() -> None:
    template = "kind: Component\nimages:\n- name: web\n  newName: {{REGISTRY}}/web\n"
    files = {"registry/kustomization.yaml": template, "app/kustomization.yaml": "resources: [pod.yaml]\n"}
    files["app/pod.yaml"] = pod("nginx:1")

    answer = run(files)

    assert list(answer.roots) == ["app"]
    assert answer.problems == ()

    used = run({**files, "app/kustomization.yaml": "resources: [pod.yaml]\ncomponents: [../registry]\n"})
    assert [problem.file for problem in used.problems][:1] == ["app/kustomization.yaml"]


def test_an_unreferenced_kustomization_that_is_broken_is_a_problem() -> None:
    answer = run({"app/kustomization.yaml": "resources: [pod.yaml\n"})

    assert [(problem.file, problem.line) for problem in answer.problems] == [("app/kustomization.yaml", 1)]
