"""Whatever is in a file, the answer is objects or SpecErrors: never another exception, never endless work."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from image_updater import api
from image_updater.api.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from image_updater.errors import SpecError

V = "image-updater.dev/v1alpha1"

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["0", "5m", "1.2", "on"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def refusals(read: Callable[[], object]) -> tuple[SpecError, ...]:
    """What is refused; any other exception is a failure."""
    try:
        read()
    except api.SpecErrors as exc:
        return exc.errors
    return ()


def fields(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    known = [field.name for field in KINDS[kind].spec.fields]
    return st.dictionaries(st.sampled_from(known) | st.text(max_size=8), VALUES, max_size=6)


@given(st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), fields(kind))), VALUES)
def test_any_spec_is_read_or_refused_with_its_place(case: tuple[str, dict[str, Any]], metadata: Any) -> None:
    kind, spec = case
    for meta in ({"name": "a"}, metadata):
        text = yaml.safe_dump({"apiVersion": V, "kind": kind, "metadata": meta, "spec": spec}, allow_unicode=True)
        for error in refusals(partial(api.load_text, text, "f.yaml")):
            assert error.where.file == "f.yaml"
            assert error.where.line is not None
            assert error.message


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for head in ("", f"apiVersion: {V}\nkind: ImagePolicy\nmetadata: {{name: a}}\nspec:\n  image: "):
        refusals(partial(api.load_text, head + text))


@given(st.text())
def test_any_annotation_is_read_or_refused(text: str) -> None:
    refusals(partial(api.parse_annotation_policy, text))


@pytest.mark.parametrize("depth", [100, 490])
def test_deep_nesting_is_refused(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    metadata = f"{{name: a, managedFields: {deep}}}"
    with pytest.raises(api.SpecErrors, match="must be a string, not a list"):
        api.load_text(f"apiVersion: {V}\nkind: ImagePolicy\nmetadata: {metadata}\nspec: {{image: {deep}}}\n")


def test_values_that_multiply_by_aliases_are_refused() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    head = f"apiVersion: {V}\nkind: ImagePolicy\nmetadata: {{name: a, managedFields: *a39}}\n"
    spec = "spec: {deny: *a39, filterTags: {exclude: *a39}}\n"
    with pytest.raises(api.SpecErrors, match="must be a string, not a list"):
        api.load_text("\n".join(lines) + "\n" + head + spec)
