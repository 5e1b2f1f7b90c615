"""Repositories and tags that mean harm: every command ends with a reason, and nothing leaves the repository."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from image_updater.embedded.faults import Reply
from tests.integration.faults.harness import DEPLOYMENT, Fleet, Home, Result, automation, leftovers, policy, repository
from tests.parts import gitservers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

git = gitservers.git
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]"
BASE = "resources: [deployment.yaml]\n"


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A loopback port that counts who calls."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                seen.append(b"someone")
                client.close()

        threading.Thread(target=accept, daemon=True).start()
        yield int(server.getsockname()[1]), seen
        server.shutdown(socket.SHUT_RDWR)


def cycle(folder: Path, _: int) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (folder / name).mkdir()
        (folder / name / "kustomization.yaml").write_text(f"resources: [../{other}]\n")


def own_cycle(folder: Path, _: int) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "kustomization.yaml").write_text("resources: [., ../a]\ncomponents: [.]\n")


def outside(folder: Path, _: int) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "kustomization.yaml").write_text("resources: [../../../../../etc, ../../outside.yaml, /etc]\n")


def symlink_out(folder: Path, _: int) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "kustomization.yaml").write_text("resources: [out, out.yaml]\n")
    (folder / "a" / "out").symlink_to("/etc")
    (folder / "a" / "out.yaml").symlink_to("../../outside.yaml")


def symlink_cycle(folder: Path, _: int) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "self").symlink_to(".")
    (folder / "a" / "loop").symlink_to("loop")
    (folder / "a" / "kustomization.yaml").write_text("resources: [loop, self/self/self]\n")


def huge(folder: Path, _: int) -> None:
    (folder / "huge.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: 'x:1'}]}\ndata:\n" + "  k: v\n" * 9_000_000
    )


def deep(folder: Path, _: int) -> None:
    (folder / "deep.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: 'x:1'}]}\nx: "
        + "[" * 50_000
        + "]" * 50_000
        + "\n"
    )
    (folder / "nested.yaml").write_text("apiVersion: v1\nkind: X\n" + "".join(" " * n + "a:\n" for n in range(3_000)))


def bomb(folder: Path, _: int) -> None:
    lines = ["apiVersion: v1", "kind: ConfigMap", "metadata: {name: bomb}", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (folder / "bomb.yaml").write_text("\n".join(lines) + "\n")
    (folder / "b").mkdir()
    (folder / "b" / "kustomization.yaml").write_text("\n".join(lines[3:]) + "\nresources: *a11\n")


def not_utf8(folder: Path, _: int) -> None:
    (folder / "latin.yaml").write_bytes(
        b"apiVersion: v1\nkind: Pod\nspec: {containers: [{name: caf\xe9, image: 'x:1'}]}\n"
    )
    (folder / "utf16.yaml").write_bytes("apiVersion: v1\nkind: X\n".encode("utf-16"))
    (folder / "nul.yaml").write_bytes(b"apiVersion: v1\nkind: X\nname: \0\n")


def two(folder: Path, _: int) -> None:
    (folder / "two").mkdir()
    (folder / "two" / "kustomization.yaml").write_text(BASE)
    (folder / "two" / "kustomization.yml").write_text("resources: []\n")
    (folder / "two" / "deployment.yaml").write_text(DEPLOYMENT.format(name="two", image="acme/two:1.0.0"))


def broken(folder: Path, _: int) -> None:
    (folder / "broken.yaml").write_text("apiVersion: v1\nkind: [\n")
    (folder / "tabs.yaml").write_text("a:\n\tb: 1\n")
    (folder / "k").mkdir()
    (folder / "k" / "kustomization.yaml").write_text("resources: {a: [}\n")
    (folder / "l").mkdir()
    (folder / "l" / "kustomization.yaml").write_text("resources: 5\nimages: x\npatches: {}\n")


def control(folder: Path, _: int) -> None:
    name = f"esc{ESCAPE.replace('/', '')}.yaml"
    (folder / name).write_text("kind: [\n")
    (folder / "esc.yaml").write_text(
        DEPLOYMENT.format(name="x", image="acme/x:1.0.0").replace("main", json.dumps(ESCAPE))
        + "# image-policy: web\x1b[31m\n"
    )
    (folder / "esc2.yaml").write_text(
        'apiVersion: v1\nkind: Pod\nmetadata: {name: "\\e]0;x\\a"}\n'
        'spec: {containers: [{name: a, image: "acme/y:\\e[2J"}]}\n'
    )
    (folder / "k").mkdir()
    (folder / "k" / "kustomization.yaml").write_text('resources: ["\\e[2Jno.yaml"]\nnamePrefix: "\\e[31m"\n')


def names(folder: Path, _: int) -> None:
    for name in ("a b", "ünï", "new\nline", "-rf", "--push", "-f", "$(touch owned)", "%s", "'q'", '"d"', "*"):
        (folder / "n" / name).mkdir(parents=True)
        (folder / "n" / name / "deployment.yaml").write_text(DEPLOYMENT.format(name="n", image="acme/n:1.0.0"))
        (folder / "n" / name / "kustomization.yaml").write_text(BASE)
    (folder / "--dry-run").write_text("x\n")


def remote(folder: Path, port: int) -> None:
    here = f"127.0.0.1:{port}"
    (folder / "r").mkdir()
    (folder / "r" / "kustomization.yaml").write_text(
        f"resources:\n- http://{here}/base.yaml\n- git::http://{here}/x//y?ref=1.0.0\n- git@127.0.0.1:x/y\n"
        f"- https://{here}/org/repo?ref=v1\n"
        f"configurations: ['http://{here}/c.yaml']\ncrds: ['http://{here}/crd.yaml']\nopenapi: {{path: 'http://{here}/o.json'}}\n"
        f"patches: [{{path: 'http://{here}/p.yaml'}}]\nreplacements: [{{path: 'http://{here}/r.yaml'}}]\n"
        f"transformers: ['http://{here}/t.yaml']\ngenerators: ['http://{here}/g.yaml']\n"
        f"helmCharts: [{{name: c, repo: 'http://{here}/charts', version: '1'}}]\n"
        f"configMapGenerator: [{{name: c, files: ['http://{here}/f']}}]\n"
    )
    (folder / "s").mkdir()
    (folder / "s" / "kustomization.yaml").write_text(
        "resources: [deployment.yaml]\ntransformers:\n- |-\n  apiVersion: x/v1\n  kind: Exec\n"
        "  metadata:\n    name: x\n    annotations:\n"
        "      config.kubernetes.io/function: |\n        exec: {path: ./owned.sh}\n"
    )
    (folder / "s" / "deployment.yaml").write_text(DEPLOYMENT.format(name="s", image="acme/s:1.0.0"))
    (folder / "s" / "owned.sh").write_text("#!/bin/sh\ntouch owned\n")
    (folder / "s" / "owned.sh").chmod(0o755)


KINDS: dict[str, Callable[[Path, int], None]] = {
    each.__name__: each
    for each in (
        cycle, own_cycle, outside, symlink_out, symlink_cycle, huge, deep, bomb, not_utf8, two, broken, control, names,
        remote,
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_ends_well_on_a_hostile_repository(stage: Fleet, kind: str, tmp_path: Path) -> None:
    checkout = stage.clone()
    (tmp_path / "outside.yaml").write_text(DEPLOYMENT.format(name="outside", image=f"{stage.image('web')}:1.0.0"))
    with listening() as (port, seen):
        KINDS[kind](checkout, port)
        git("add", "-A", cwd=checkout)
        git("commit", "-qm", "Hostile", cwd=checkout)
        stage.write(
            "".join(policy(name, stage.image(name)) for name in stage.names) + repository(stage.url) + automation()
        )
        home = stage.home
        at = str(checkout)
        home.run("images", at)
        images = home.run("images", at, "-o", "json", "-f", str(stage.objects))
        json.loads(images.out)
        home.run("render", at)
        home.run("diff", at, "HEAD~1", "HEAD")
        home.run("diff", at)
        for folder in sorted(path.parent for path in checkout.glob("*/kustomization.yaml")):
            if folder.name not in stage.names:
                home.run("set", "acme/web=:2.0.0", "--path", str(folder))
                git("checkout", "-q", ".", cwd=checkout)
        result = stage.update(at, "--commit")
        home.run("update", at, "-f", str(stage.objects))
        assert seen == [], "no request is made"
    # The good ones are done all the same, and only they.
    assert result.code == 0, result.err
    changed = set(git("diff", "--name-only", "HEAD~1", "HEAD", cwd=checkout).splitlines())
    assert changed == {"web/deployment.yaml", "api/deployment.yaml"}
    assert leftovers(checkout) == []
    assert not list(tmp_path.rglob("owned"))
    assert "1.0.0" in (tmp_path / "outside.yaml").read_text()
    if kind in ("not_utf8", "broken", "deep", "huge", "two", "cycle", "symlink_cycle", "outside"):
        assert images.report["problems"], "it is said"


# ------------------------------------------------------------------------------------------------- tags and messages


def test_hostile_tags_reach_no_file_no_terminal_and_no_message(stage: Fleet) -> None:
    evil = [
        "9.0.2 # x",
        "9.0.3: {a: b}",
        "../../9.0.4",
        "-9",
        "9" * 400,
        "{{ 9 }}",
        "9.0.7'",
        "9.0.8@sha256:00",
        "$(9)",
    ]
    faults = stage.registry.server.faults
    faults.always(
        r"acme/web/tags/list", Reply(body=json.dumps({"name": "acme/web", "tags": ["1.0.0", "1.1.0", *evil]}))
    )
    for form in ("text", "json"):
        stage.home.run("explain", "-f", str(stage.objects), "-o", form)
    result = stage.update("--push")
    assert result.code == 0, result.err
    assert stage.tags == {"web": "1.1.0", "api": "1.1.0"}

    # What no registry would take as a tag is no answer of a registry.
    for tag in ("9.0.0\n9.9.9", f"9.0.1{ESCAPE}\x9b2J\u202e", ""):
        faults.scripts.clear()
        faults.always(
            r"acme/api/tags/list", Reply(body=json.dumps({"name": "acme/api", "tags": ["1.1.0", "1.2.0", tag]}))
        )
        result = stage.update("--push")
        assert stage.tag("api") in ("1.1.0", "1.2.0")
        stage.home.run("explain", "-f", str(stage.objects))
    assert not re.search(CONTROL, git("log", "-p", "main", cwd=stage.bare))


def test_paths_and_values_with_control_characters_reach_no_message(stage: Fleet) -> None:
    """The path of an edited file stands in the commit's message."""
    checkout = stage.clone()
    folder = checkout / "esc\x1b[31m\x9b2J\u202e\n\nAutomation: forged"
    folder.mkdir()
    (folder / "p.yaml").write_text(DEPLOYMENT.format(name="p", image=f"{stage.image('web')}:1.0.0"))
    git("add", "-A", cwd=checkout)
    git("commit", "-qm", "Odd", cwd=checkout)
    stage.write(policy("web", stage.image("web")) + repository(stage.url) + automation())
    for arguments in (["-o", "json"], [], ["-o", "diff"]):
        stage.home.run("update", str(checkout), "-f", str(stage.objects), *arguments)
    result = stage.home.run("update", str(checkout), "-f", str(stage.objects), "--commit")
    assert result.code == 0, result.err
    message = git("log", "-1", "--format=%B", cwd=checkout)
    assert not re.search(CONTROL, message), repr(message)
    assert [line for line in message.splitlines() if line.startswith("Automation:")] == ["Automation: default/all"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ values.__init__.__globals__ }}",
        "{% for i in range(10**9) %}{% for j in range(10**9) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 10**10 }}",
        "{{ 9**(9**9) }}",
        "{% include '/etc/passwd' %}",
        "{{ lipsum(n=100000) }}",
        "{{ cycler.__init__.__globals__.os.popen('touch owned').read() }}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{{ unknown.field }}",
        "{{ ",
    ],
)
def test_a_hostile_template_stops_the_run_before_anything_is_written(
    stage: Fleet, template: str, tmp_path: Path
) -> None:
    more = f"\n  git: {{commit: {{messageTemplate: {json.dumps(template)}}}}}"
    stage.write(
        "".join(policy(name, stage.image(name)) for name in stage.names) + repository(stage.url) + automation(more=more)
    )
    result = stage.update("--push")
    assert result.code == 2
    assert "messageTemplate" in result.err
    assert stage.log == ["Start"]
    assert not list(tmp_path.rglob("owned"))


def test_what_a_template_prints_forges_no_trailer_and_no_escape(stage: Fleet) -> None:
    template = "Subject\\e[31m\\u009b2J\\u202e\\n\\nQuarantine: acme/web:1.1.0@sha256:00\\nAutomation: forged\\r\\n"
    more = f'\n  git: {{commit: {{messageTemplate: "{template}"}}}}'
    stage.write(policy("web", stage.image("web")) + repository(stage.url) + automation(more=more))
    result = stage.update("--push")
    assert result.code == 0, result.err
    message = git("log", "-1", "--format=%B", "main", cwd=stage.bare)
    assert not re.search(CONTROL, message), repr(message)
    trailers = git("log", "-1", "--format=%(trailers:key=Automation,key=Quarantine)", "main", cwd=stage.bare)
    assert trailers.split("\n") == ["Automation: default/all"]


# ------------------------------------------------------------------------------------------------- the renderer

BINARIES = {
    "hangs": "exec sleep 60\n",
    "killed": "kill -9 $$\n",
    "garbage": "printf '\\000\\377garbage: [\\n'\n",
    "escapes": "printf '\\033[2Jno\\n' >&2; exit 1\n",
    "empty": "exit 0\n",
    "fails": "echo 'accumulating resources: no' >&2; exit 1\n",
    "floods": "exec yes 'a: b'\n",
    "other": "printf 'apiVersion: v1\\nkind: Pod\\nmetadata: {name: evil}\\n"
    "spec: {containers: [{name: a, image: evil:1}]}\\n'\n",
}


def fake(folder: Path, body: str) -> Path:
    """A kustomize that says its version and then misbehaves."""
    file = folder / "kustomize"
    file.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\nif [ "$1" = version ]; then echo v5.8.1; exit 0; fi\n{body}')
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("kind", BINARIES)
def test_a_renderer_that_misbehaves_proves_nothing(stage: Fleet, kind: str, tmp_path: Path) -> None:
    stage.home.environment["IMAGE_UPDATER_KUSTOMIZE"] = str(fake(tmp_path, BINARIES[kind]))
    result = stage.update("--push", "--render-timeout", "3")
    assert result.code in (0, 1), result.err
    assert stage.log == ["Start"]
    assert set(result.states.values()) == {"refused"}
    assert all(site["reason"] for site in result.report["sites"])


def test_without_a_renderer_the_remedy_is_named(stage: Fleet, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    stage.home.environment |= {"PATH": str(tmp_path / "bin"), "IMAGE_UPDATER_KUSTOMIZE": str(tmp_path / "none")}
    result = stage.update("--push")
    assert result.code in (1, 2)
    assert "kustomize" in result.err
    assert stage.log == ["Start"]


def test_the_home_of_the_runs_holds_nothing_of_them(stage: Fleet) -> None:
    """Temporary folders are gone when a run has ended well."""
    assert stage.update("--push").code == 0
    assert os.listdir(stage.home.folder / "tmp") == []
    assert isinstance(stage.home, Home)
    assert Result(0, "", "").code == 0
