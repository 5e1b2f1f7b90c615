"""What a plan reads of the files that say what is proven: each of them once, and nothing where it cannot be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from image_updater.api.model import After, ImageUpdateAutomation, Objects, Start
from image_updater.pipeline.answers.situations import Situations
from image_updater.pipeline.choosing import read_proven
from image_updater.pipeline.line import default_automation
from tests.parts.trees import MemoryTree
from tests.unit.pipeline_selection.fakes import policy

FILE = "clusters/proven.yaml"
GOOD = b'proven:\n  default/web:\n    - tag: "1.0.0"\n      since: "2024-05-01T12:00:00Z"\n'


def automation(file: str | None = FILE) -> ImageUpdateAutomation:
    return replace(default_automation(Objects()), proven_file=file)


def test_a_file_is_read_once_for_all_policies_that_follow_it() -> None:
    known, tree = Situations(), MemoryTree({FILE: GOOD})
    followers = [policy(name=f"prod-{n}", after=After(name="web", proven_file=FILE)) for n in range(50)]
    read_proven(known, automation(), tree, followers)
    assert len(tree.reads) == 1
    assert {len(known.of(each).upstream or ()) for each in followers} == {1}


@pytest.mark.parametrize(
    ("data", "start", "problem"),
    [
        (GOOD, ("1.0.0",), ""),
        (b"proven: {}\n", (), ""),
        (None, (), ""),
        (b"proven: [\n", None, f"{FILE}:2: not valid YAML: "),
    ],
    ids=["proven", "something else is", "not there yet", "broken"],
)
def test_a_start_with_the_proven_waits_where_nothing_is_known(
    data: bytes | None, start: tuple[str, ...] | None, problem: str
) -> None:
    known, again = Situations(), policy(start=Start.PROVEN)
    read_proven(known, automation(), MemoryTree({FILE: data} if data is not None else {}), [again])
    found = known.of(again)
    assert (None if found.start is None else tuple(each.tag for each in found.start)) == start
    assert found.start_problem.startswith(problem)
    assert bool(found.start_problem) is bool(problem)
    assert found.hold is None, "nobody held it, and no resume would end it"


def test_without_a_file_a_start_with_the_proven_says_nothing() -> None:
    known, again = Situations(), policy(start=Start.PROVEN)
    read_proven(known, automation(None), MemoryTree({}), [again])
    assert known.of(again).start is None
