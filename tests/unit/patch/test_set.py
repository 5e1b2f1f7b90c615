"""`set`: by hand, into a kustomization."""

from __future__ import annotations

import pytest

from image_updater.errors import Refused
from image_updater.patch.set import Assignment, changes_for_set
from tests.unit.patch.helpers import FILE, apply

D, E = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def done(text: str, *assignments: Assignment, rendered: tuple[str, ...] = ()) -> str:
    return apply(text, *changes_for_set(text, assignments, file=FILE, rendered=rendered))


def want(image: str, new_name: str | None = None, tag: str | None = None, digest: str | None = None) -> Assignment:
    return Assignment(image=image, new_name=new_name, tag=tag, digest=digest)


def entry(**fields: str) -> str:
    pairs = [f"{key}: {value}" for key, value in fields.items()]
    return "images:\n- " + "\n  ".join(pairs) + "\n"


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        (entry(name="a", newTag="v1"), want("a", tag="v2"), entry(name="a", newTag="v2")),
        (entry(name="a"), want("a", tag="1.10"), entry(name="a", newTag='"1.10"')),
        (entry(name="a", newTag="1.9"), want("a", tag="1.9"), entry(name="a", newTag='"1.9"')),
        (entry(name="a", newTag="v1", digest=D), want("a", tag="v2"), entry(name="a", newTag="v2")),
        (entry(name="a", newTag="v1"), want("a", digest=D), entry(name="a", digest=D)),
        (entry(name="a", newTag="v1"), want("a", tag="v2", digest=D), entry(name="a", newTag="v2", digest=D)),
        (entry(name="a", digest=D), want("a", digest=E), entry(name="a", digest=E)),
        (entry(name="a", digest=D), want("a", tag="v1"), entry(name="a", newTag="v1")),
        (entry(name="a", newTag=f"v1@{D}"), want("a", tag="v2", digest=E), entry(name="a", newTag=f"v2@{E}")),
        (entry(name="a", newTag=f"v1@{D}"), want("a", tag="v2"), entry(name="a", newTag="v2")),
        (entry(name="a", newTag=f"v1@{D}"), want("a", digest=E), entry(name="a", digest=E)),
        (entry(name="a", newTag="v1"), want("a", "b"), entry(name="a", newName="b", newTag="v1")),
        (entry(name="a", newName="b", newTag="v1"), want("a", "c"), entry(name="a", newName="c", newTag="v1")),
        (entry(name="a", newName="b", newTag="v1"), want("a", "a"), entry(name="a", newTag="v1")),
        (entry(name="a", newName="b", newTag="v1"), want("b", tag="v2"), entry(name="a", newName="b", newTag="v2")),
        (entry(name="nginx", newTag="v1"), want("docker.io/library/nginx", tag="v2"), entry(name="nginx", newTag="v2")),
        (entry(name="a", newTag="v1"), want("b", tag="v2"), entry(name="a", newTag="v1") + "- name: b\n  newTag: v2\n"),
        ("x: y\n", want("a", "b", "v1", D), f"x: y\nimages:\n- name: a\n  newName: b\n  newTag: v1\n  digest: {D}\n"),
        ("", want("a", tag="v1"), entry(name="a", newTag="v1")),
        ("x: y\n", want("a", "a"), "x: y\n"),
        ("images: []\n", want("a", tag="v1"), "images: [{name: a, newTag: v1}]\n"),
        ("images: [{name: a, newTag: v1}]\n", want("a", digest=D), f"images: [{{name: a, digest: {D}}}]\n"),
        (entry(name="a", newTag="v1"), want("a", tag="v1"), entry(name="a", newTag="v1")),
    ],
)
def test_what_is_named_is_set_and_the_rest_stays(before: str, wanted: Assignment, after: str) -> None:
    assert done(before, wanted) == after


def test_a_name_letter_by_letter_comes_first_and_of_twins_the_last() -> None:
    text = "images:\n- name: a\n  newName: b\n- name: b\n  newTag: v1\n- name: b\n  newTag: v2\n"
    assert done(text, want("b", tag="v3")) == text.replace("v2", "v3")


def test_of_a_repeated_image_the_last_counts() -> None:
    text = entry(name="nginx", newTag="v1")
    assert done(text, want("nginx", tag="v2", digest=D), want("docker.io/nginx", tag="v3")) == text.replace("v1", "v3")
    assert done("x: y\n", want("a", "b", tag="v1"), want("a", tag="v2")) == "x: y\nimages:\n- name: a\n  newTag: v2\n"


def test_a_new_entry_is_spelled_as_the_resources_do() -> None:
    wanted = want("docker.io/library/nginx", tag="v1")
    assert "name: nginx\n" in done("x: y\n", wanted, rendered=("redis", "nginx"))
    assert "name: docker.io/library/nginx\n" in done("x: y\n", wanted)
    assert "name: docker.io/library/nginx\n" in done("x: y\n", wanted, rendered=("nginx", wanted.image))


def test_several_images_at_once() -> None:
    text = done("x: y\n", want("a", tag="v1"), want("b", tag="v2"))
    assert text == "x: y\nimages:\n- name: a\n  newTag: v1\n- name: b\n  newTag: v2\n"


@pytest.mark.parametrize("text", [entry(name="a", tagSuffix="-x"), "images: x\n", "- a\n"])
def test_what_cannot_be_set_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        done(text, want("a", tag="v1"))
