"""Platforms compare as container runtimes compare them (containerd/platforms, `Normalize` and `Only`)."""

from __future__ import annotations

import pytest

from image_updater.policy.gates.platforms import runs
from tests.unit.policy_gates.gating import gated, known, made, pick


@pytest.mark.parametrize(
    ("machine", "image", "expected"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/x86_64", True),
        ("linux/amd64", "linux/amd64/v1", True),
        ("linux/amd64", "linux/amd64/v2", False),
        ("linux/amd64/v3", "linux/amd64/v2", True),
        ("linux/amd64/v3", "linux/amd64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64/8", "linux/aarch64", True),
        ("linux/arm64", "linux/arm64/v9", False),
        ("linux/arm64/v9", "linux/arm64", True),
        ("linux/arm64/v8.5", "linux/arm64/v8.1", True),
        ("linux/arm64/v8.1", "linux/arm64/v8.5", False),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm/v7", "linux/arm/v6", True),
        ("linux/arm/v7", "linux/arm/v5", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm/v6", "linux/arm", False),
        ("linux/arm/v7", "linux/armhf", True),
        ("linux/arm/v6", "linux/armel", True),
        ("linux/arm64", "linux/arm/v7", False),
        ("linux/amd64", "linux/386", False),
        ("linux/386", "linux/i386", True),
        ("windows/amd64", "linux/amd64", False),
        ("darwin/arm64", "macos/aarch64", True),
        ("linux/riscv64", "linux/riscv64", True),
        ("linux/mips/softfloat", "linux/mips", False),
        ("Linux/AMD64", "linux/amd64", True),
        ("linux/amd64", "unknown/unknown", False),
        ("linux/amd64", "", False),
    ],
)
def test_a_machine_runs_its_own_variant_and_those_below(machine: str, image: str, expected: bool) -> None:
    assert runs(machine, image) is expected


def test_the_policy_and_the_nodes_are_wanted_together() -> None:
    both = made(platforms=("linux/amd64",), from_nodes=True)
    facts = {
        "1.6.0": known("a", platforms=("linux/amd64",)),
        "1.5.0": known("b", platforms=("linux/arm64",)),
        "1.4.0": known("c", platforms=("linux/amd64", "linux/arm64/v8", "unknown/unknown")),
    }
    assert pick(gated(both, facts, node_platforms=("linux/arm64", "linux/amd64"))) == "1.4.0"
    # A cluster without nodes wants nothing.
    assert pick(gated(made(from_nodes=True), facts, node_platforms=())) == "1.6.0"
    # Nodes count only where the policy says so.
    assert pick(gated(made(platforms=("linux/amd64",)), facts, node_platforms=("linux/arm64",))) == "1.6.0"


def test_an_image_without_platforms_is_for_none() -> None:
    answer = gated(made(platforms=("linux/amd64",)), {"1.6.0": known("a", platforms=())}, ("1.6.0",))
    assert answer.reason == "no tag passes the gates: 1.6.0 is not for linux/amd64: it is for no platform at all"


def test_of_many_platforms_some_are_named() -> None:
    many = tuple(f"os/arch{n}" for n in range(1_000))
    answer = gated(made(platforms=("linux/amd64",)), {"1.6.0": known("a", platforms=many)}, ("1.6.0",))
    assert answer.reason.endswith("os/arch9 and 990 more")
