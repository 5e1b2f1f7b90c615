"""However bytes are cut, the same lines come out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.cluster.errors import ClusterError
from image_updater.cluster.lines import Lines


@given(
    st.lists(st.binary(min_size=1, max_size=20).map(lambda each: each.replace(b"\n", b".").replace(b" ", b"."))),
    st.data(),
)
def test_chunks_do_not_matter(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    splitter = Lines()
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += splitter.feed(whole[start:end])
    assert found == [line for line in lines if line.strip()]


X = b"x" * 60


@pytest.mark.parametrize("chunks", [[X + X], [X, X], [X + X + b"\n"], [X, X + b"\n"]])
def test_a_line_beyond_the_limit_is_refused_before_it_is_kept(chunks: list[bytes]) -> None:
    splitter = Lines(limit=100)
    with pytest.raises(ClusterError, match="larger than 100 bytes"):
        _ = [line for chunk in chunks for line in splitter.feed(chunk)]


def test_an_end_that_was_cut_is_no_line() -> None:
    splitter = Lines()
    assert list(splitter.feed(b'{"a":1}\n{"b"')) == [b'{"a":1}']
