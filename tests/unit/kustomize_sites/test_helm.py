"""Images in Helm values: the shapes that charts use, and what only looks like one."""

from __future__ import annotations

import pytest

from image_updater.documents import parse
from image_updater.errors import DocumentError
from image_updater.kustomize import helm
from image_updater.kustomize.model import Part, dotted

D = "sha256:" + "a" * 64


def images(text: str) -> list[helm.HelmImage]:
    document = parse(text)[0]
    found = helm.images(document.root, file="hr.yaml", document=0, path=("spec", "values"))
    for image in found:
        for part in image.parts.values():
            if part.start != part.end:
                assert parse(text[part.start : part.end])[0].root.value == part.value  # type: ignore[union-attr]
    return found


def shapes(text: str) -> list[tuple[str, str, dict[str, str]]]:
    return [
        (dotted(i.path)[len("spec.values") :].lstrip("."), i.value, {p.value: s.value for p, s in i.parts.items()})
        for i in images(text)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image: ghcr.io/acme/web:1.2", ("image", "ghcr.io/acme/web:1.2", {"image": "ghcr.io/acme/web:1.2"})),
        ("image: nginx", ("image", "nginx", {"image": "nginx"})),
        (f"image: nginx:1@{D}", ("image", f"nginx:1@{D}", {"image": f"nginx:1@{D}"})),
        ("a: {b: [{image: 'x:1'}]}", ("a.b[0].image", "x:1", {"image": "x:1"})),
        ("image: acme/web\ntag: v1", ("", "acme/web:v1", {"name": "acme/web", "tag": "v1"})),
        ("image: acme/web\ntag: ''", ("", "acme/web", {"name": "acme/web", "tag": ""})),
        ("image: acme/web\ntag:\n", ("", "acme/web", {"name": "acme/web", "tag": ""})),
        (f"image: a/w\ndigest: {D}", ("", f"a/w@{D}", {"name": "a/w", "digest": D})),
        (
            "registry: ghcr.io\nimage: a/w\ntag: v1",
            ("", "ghcr.io/a/w:v1", {"registry": "ghcr.io", "repository": "a/w", "tag": "v1"}),
        ),
        ("registry: ghcr.io\nimage: a/w\n", ("", "ghcr.io/a/w", {"registry": "ghcr.io", "repository": "a/w"})),
        ("registry: ''\nimage: a/w\ntag: v1", ("", "a/w:v1", {"name": "a/w", "tag": "v1"})),
        (
            "repository: nvcr.io/nvidia\nimage: driver\ntag: v1",
            ("", "nvcr.io/nvidia/driver:v1", {"registry": "nvcr.io/nvidia", "repository": "driver", "tag": "v1"}),
        ),
        ("image: {repository: a/w, tag: v1}", ("image", "a/w:v1", {"name": "a/w", "tag": "v1"})),
        ("image: {repository: a/w}", ("image", "a/w", {"name": "a/w"})),
        ("image: {repository: 'a/w:1'}", ("image.repository", "a/w:1", {"image": "a/w:1"})),
        (
            "image: {registry: r.io, repository: a/w, tag: v1}",
            ("image", "r.io/a/w:v1", {"registry": "r.io", "repository": "a/w", "tag": "v1"}),
        ),
        (
            f"image: {{repository: a/w, tag: v1, digest: '{D}'}}",
            ("image", f"a/w:v1@{D}", {"name": "a/w", "tag": "v1", "digest": D}),
        ),
        (
            "image: {repository: a/w, tag: v1, digest: ''}",
            ("image", "a/w:v1", {"name": "a/w", "tag": "v1", "digest": ""}),
        ),
        (f"image: {{repository: a/w, tag: 'v1@{D}'}}", ("image", f"a/w:v1@{D}", {"name": "a/w", "tag": f"v1@{D}"})),
        ("x: {sidecarImage: {repository: a/w, tag: v1}}", ("x.sidecarImage", "a/w:v1", {"name": "a/w", "tag": "v1"})),
        ("images: {web: {repository: a/w, tag: v1}}", ("images.web", "a/w:v1", {"name": "a/w", "tag": "v1"})),
        ("image: docker.io/a/w\nimageTag: v1", ("", "docker.io/a/w:v1", {"name": "docker.io/a/w", "tag": "v1"})),
        ("image: a/w\nimageTag: ''", ("", "a/w", {"name": "a/w", "tag": ""})),
        ("x: {imageRepository: a/w, imageTag: v1}", ("x", "a/w:v1", {"name": "a/w", "tag": "v1"})),
        ("hub: {image: {name: a/w, tag: v1}}", ("hub.image", "a/w:v1", {"name": "a/w", "tag": "v1"})),
        (
            "image: {registry: r.io, name: a/w, tag: v1}",
            ("image", "r.io/a/w:v1", {"registry": "r.io", "repository": "a/w", "tag": "v1"}),
        ),
        ("sidecarImage: a/w:v1", ("sidecarImage", "a/w:v1", {"image": "a/w:v1"})),
        ("images: {web: 'a/w:v1', pullPolicy: Always}", ("images.web", "a/w:v1", {"image": "a/w:v1"})),
        ("images: {tags: {web: 'a/w:v1'}}", ("images.tags.web", "a/w:v1", {"image": "a/w:v1"})),
        ("images: {image: 'a/w:v1'}", ("images.image", "a/w:v1", {"image": "a/w:v1"})),
        ("images: [{repository: a/w, tag: v1}]", ("images[0]", "a/w:v1", {"name": "a/w", "tag": "v1"})),
        (
            "image: {registry: k8s.io, image: ingress/controller, tag: v1}",
            (
                "image",
                "k8s.io/ingress/controller:v1",
                {"registry": "k8s.io", "repository": "ingress/controller", "tag": "v1"},
            ),
        ),
        ("image: {repository: a/w, tag: 1.10}", ("image", "a/w:1.10", {"name": "a/w", "tag": "1.10"})),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_image_is_recognised(text: str, expected: tuple[str, str, dict[str, str]]) -> None:
    assert shapes(text) == [expected]
    assert images(text)[0].frozen is None


@pytest.mark.parametrize(
    "text",
    [
        "image: true",
        "image: 12",
        "image: ''",
        "image:",
        "image: 'https://example.com/x.png'",
        "image: '{{ .Values.x }}'",
        "image: a picture of a cat",
        "image: nginx:${TAG}",
        "image: {tag: v1}",
        "image: {repository: true, tag: v1}",
        "image: [1, 2]",
        "source: {repository: acme/web, tag: v1}",
        "image: {repository: a/w, tag: {from: x}}",
        "image: {name: cat, size: 3}",
        "sidecarImage: acme/proxy",
        "heroImage: 'https://example.com/x.png'",
        "images: {registry: 'localhost:5000', pullPolicy: Always}",
        "imageTag: v1",
        "tag: v1",
        "- 1",
        "---\n",
    ],
)
def test_what_is_no_image_is_left_alone(text: str) -> None:
    assert images(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "image: {repository: a/w, tag: '${TAG}'}",
        "image: {repository: a/w, tag: v1, digest: abc}",
        "image: {repository: a/w, tag: v1, sha: abc}",
        f"image: {{repository: a/w, tag: 'v1@{D}', digest: '{D}'}}",
        "image: a/w:1\ntag: v2",
        "image: a/w:1\nimageTag: v2",
        "registry: ghcr.io\nimage: a/w:1",
    ],
)
def test_an_image_that_cannot_be_edited_safely_says_why(text: str) -> None:
    (image,) = images(text)
    assert image.frozen


def test_an_unquoted_number_is_said_to_be_no_string() -> None:
    (image,) = images("image: {repository: a/w, tag: 1.10}")
    assert not image.parts[Part.TAG].string
    assert image.parts[Part.NAME].string


def test_the_holder_is_where_a_missing_tag_goes() -> None:
    text = "a:\n  image:\n    repository: a/w\nb: 1\n"
    (image,) = images(text)
    assert Part.TAG not in image.parts
    assert image.holder.path == ("spec", "values", "a", "image")
    assert text[image.holder.start :].startswith("repository")


def test_aliases_and_merge_keys_are_followed_and_flagged() -> None:
    text = "base: &b\n  image: {repository: a/w, tag: v1}\nx: *b\ny:\n  image:\n    <<: {repository: z}\n    tag: v2\n"
    found = images(text)
    assert [(dotted(i.path), i.value) for i in found] == [
        ("spec.values.base.image", "a/w:v1"),
        ("spec.values.x.image", "a/w:v1"),
        ("spec.values.y.image", "z:v2"),
    ]
    assert [i.parts[Part.TAG].anchored for i in found] == [True, True, False]


def test_a_bomb_of_aliases_is_refused() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(DocumentError, match="aliases"):
        images(text)
