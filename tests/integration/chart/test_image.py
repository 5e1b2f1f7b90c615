"""The Dockerfile: linted by a real linter, held to rules of ours, and its build of the package done here.

No container engine is needed: what is asked of the image is read from its stages.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

import image_updater
from tests.integration.chart.helm import CHART, ROOT, container, template, workloads
from tests.parts.tools import binary

if TYPE_CHECKING:
    from pathlib import Path

DOCKERFILE = (ROOT / "Dockerfile").read_text()


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands behind one FROM, as (instruction, arguments), lines joined, comments gone."""

    base: str
    name: str | None
    steps: tuple[tuple[str, str], ...]

    def all(self, instruction: str) -> list[str]:
        return [arguments for name, arguments in self.steps if name == instruction]

    def last(self, instruction: str) -> str:
        return self.all(instruction)[-1]


def parse(text: str) -> tuple[dict[str, str], list[Stage]]:
    """The global arguments with their defaults, and the stages."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name or None, ()))
        elif not stages:
            assert instruction == "ARG", line
            name, _, value = rest.partition("=")
            arguments[name] = value
        else:
            last = stages[-1]
            stages[-1] = Stage(last.base, last.name, (*last.steps, (instruction, rest)))
    return arguments, stages


ARGUMENTS, STAGES = parse(DOCKERFILE)
PROGRAMS, PACKAGE, IMAGE = STAGES


def test_a_linter_finds_nothing() -> None:
    done = subprocess.run(
        [binary("hadolint"), "--no-color", "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_base_images_are_named_by_a_tag_of_one_version() -> None:
    assert [stage.base for stage in STAGES] == ["${GO}", "${PYTHON}", "${PYTHON}"]
    for image in ARGUMENTS.values():
        name, _, tag = image.partition(":")
        assert "/" not in name, "the engine's own default names them, no registry"
        assert re.match(r"\d+\.\d+-", tag), image
    # The interpreter that the tests run on.
    assert f"python:{sys.version_info.major}.{sys.version_info.minor}-slim" in ARGUMENTS["PYTHON"]


def test_programs_are_those_that_the_tests_run() -> None:
    pinned = dict(re.findall(r"^(\w+) +\S+ +(v[\d.]+)$", (ROOT / ".ci/tools.sh").read_text(), re.MULTILINE))
    given = dict(argument.split("=") for argument in PROGRAMS.all("ARG"))
    assert given == {"KUSTOMIZE_VERSION": pinned["kustomize"], "HELM_VERSION": ""}
    assert f"HELM_VERSION={pinned['helm']}" in DOCKERFILE
    (build,) = PROGRAMS.all("RUN")
    package = re.search(r"^kustomize +(\S+) ", (ROOT / ".ci/tools.sh").read_text(), re.MULTILINE)
    assert package is not None
    assert f"{package[1]}@${{KUSTOMIZE_VERSION}}" in build


def test_it_runs_as_nobody_in_particular_and_without_a_shell() -> None:
    assert IMAGE.name is None, "the last stage is the image"
    assert IMAGE.last("USER") == "65532:65532"
    assert IMAGE.all("RUN") == []
    assert json.loads(IMAGE.last("ENTRYPOINT")) == ["image-updater"]
    assert json.loads(IMAGE.last("CMD")) == ["controller"]
    assert IMAGE.last("STOPSIGNAL") == "SIGTERM"
    (workload,) = workloads(template())
    pod = workload["spec"]["template"]["spec"]["securityContext"]
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == IMAGE.last("USER")
    assert container(workload)["args"] == json.loads(IMAGE.last("CMD"))
    assert "command" not in container(workload), "the entry point is the image's"


def test_nothing_is_written_beside_tmp() -> None:
    assert "PYTHONDONTWRITEBYTECODE=1" in IMAGE.last("ENV")
    assert "HOME=/tmp" in IMAGE.last("ENV")
    assert IMAGE.last("WORKDIR") == "/tmp"
    (workload,) = workloads(template())
    assert {"name": "tmp", "mountPath": "/tmp"} in container(workload)["volumeMounts"]


def test_it_says_what_it_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', IMAGE.last("LABEL")))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels == {
        "title": project["name"],
        "description": project["description"],
        "licenses": project["license"],
    }


def test_nothing_is_fetched_but_by_go_and_pip() -> None:
    for stage in STAGES:
        assert {name for name, _ in stage.steps} <= {
            *("ARG", "ENV", "RUN", "WORKDIR", "COPY", "LABEL", "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD"),
        }
    assert re.findall(r"https?://|curl|wget|apt-get|apk ", DOCKERFILE) == []
    assert "PIP_NO_CACHE_DIR=1" in PACKAGE.last("ENV")


def test_the_build_sees_what_the_wheel_needs_and_no_more() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]

    def seen(path: str) -> bool:
        shown = True
        for pattern in patterns:
            inner = pattern.removeprefix("!").removeprefix("**/")
            parts = [path, *(path[: match.start()] for match in re.finditer("/", path)), path.rpartition("/")[2]]
            if any(fnmatch.fnmatchcase(part, inner) for part in parts) or f"/{inner}/" in f"/{path}":
                shown = pattern.startswith("!")
        return shown

    copied = [source for step in PACKAGE.all("COPY") for source in step.split()[:-1]]
    assert copied == ["pyproject.toml", "README.md", "LICENSE", "image_updater"]
    assert all(map(seen, copied))
    assert seen("image_updater/cli/app.py")
    for hidden in (".git/config", "tests/conftest.py", "image_updater/__pycache__/a.pyc", "secrets/token", ".venv/x"):
        assert not seen(hidden), hidden


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as the image's second stage installs it, but that its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("image")
    (build,) = PACKAGE.all("RUN")
    for words in ("pip wheel --no-deps", "venv --without-pip", "--no-compile", "compileall -q --invalidation-mode"):
        assert words in build
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}

    def run(*words: str | Path) -> None:
        done = subprocess.run(list(map(str, words)), env=quiet, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "image_updater").symlink_to(ROOT / "image_updater")
    wheels, made = folder / "wheels", folder / "made"
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", wheels, source)
    (wheel,) = wheels.glob("*.whl")
    assert wheel.name.startswith(f"image_updater-{image_updater.__version__}-py3-none-any")
    run(sys.executable, "-m", "venv", "--without-pip", made)
    python = made / "bin/python"
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install"),
        *("--no-deps", "--no-index", "--no-compile", wheel),
    )
    (library,) = (made / "lib").glob("python3*/site-packages")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    (library / "dependencies.pth").write_text(f"{packages}\n")
    run(python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", made / "lib")
    return made


def everything_below(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["explain", "--help"]], ids=" ".join)
def test_what_is_installed_starts_without_a_home_and_writes_nothing(prefix: Path, words: list[str]) -> None:
    before = everything_below(prefix)
    done = subprocess.run(
        [prefix / "bin/image-updater", *words],
        cwd=prefix,
        env={"PATH": str(prefix / "bin"), "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert everything_below(prefix) == before


def test_every_module_is_compiled_and_not_checked_again(prefix: Path) -> None:
    (library,) = (prefix / "lib").glob("python3*/site-packages")
    modules = {path.relative_to(library) for path in (library / "image_updater").rglob("*.py")}
    assert len(modules) > 150
    assert modules == {path.relative_to(ROOT) for path in (ROOT / "image_updater").rglob("*.py")}
    for module in modules:
        (compiled,) = (library / module.parent / "__pycache__").glob(f"{module.stem}.*.pyc")
        # PEP 552: bit 0 = by hash, bit 1 = compared with the source.
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 1
    assert (library / "image_updater/py.typed").exists()


def test_the_chart_names_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == image_updater.__version__
