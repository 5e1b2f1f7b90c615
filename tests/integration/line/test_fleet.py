"""The whole line on real parts: a registry, a Git server over TLS with a password, Kustomize, and a fleet of
several hundred files.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pygit2
import pytest
from click.testing import CliRunner

from image_updater.cli.app import cli
from tests.parts import fleet as fleets
from tests.parts import gitservers, registries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OCTETS = {"Content-Type": "application/octet-stream"}
USER, PASSWORD = "bot", "s3cret:with:colons"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registries.RealRegistry]:
    with registries.running("debian", tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gitservers.HttpServer]:
    with gitservers.http_server(tmp_path_factory.mktemp("git"), tls=True, user=USER, password=PASSWORD) as running:
        yield running


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout


def push_image(registry: registries.RealRegistry, repository: str, tag: str) -> str:
    """A small real image, by the push protocol; its manifest's digest."""
    layer = hashlib.sha256(repository.encode()).digest() * 8
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": "2024-05-01T00:00:00Z"}).encode()
    for blob in (layer, config):
        status, headers, _ = registries.request("POST", f"{registry.url}/v2/{repository}/blobs/uploads/", b"")
        assert status == 202
        place = headers["location"]
        join = "&" if "?" in place else "?"
        url = place if place.startswith("http") else registry.url + place
        status, _, _ = registries.request("PUT", f"{url}{join}digest={_digest(blob)}", blob, OCTETS)
        assert status == 201
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": _part("application/vnd.docker.container.image.v1+json", config),
            "layers": [_part("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)],
        }
    ).encode()
    status, _, body = registries.request(
        "PUT",
        f"{registry.url}/v2/{repository}/manifests/{tag}",
        manifest,
        {"Content-Type": "application/vnd.docker.distribution.manifest.v2+json"},
    )
    assert status == 201, body
    return _digest(manifest)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _part(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def contents(repository: Path, branch: str = "main") -> dict[str, str]:
    """Every file of a branch, byte for byte."""
    opened = pygit2.Repository(str(repository))
    index = pygit2.Index()
    index.read_tree(opened.branches[branch].peel(pygit2.Tree))
    return {entry.path: opened[entry.id].data.decode() for entry in index}


def push(registry: registries.RealRegistry, fleet: fleets.Fleet) -> None:
    """One real image in each repository, then its tags."""
    for repository, tags in fleet.tags.items():
        digest = push_image(registry, repository, tags[0])
        registry.tag_many(repository, list(tags[1:]), digest)


def test_an_update_changes_exactly_the_intended_bytes_and_a_second_one_nothing(
    registry: registries.RealRegistry, server: gitservers.HttpServer, tmp_path: Path
) -> None:
    fleet = fleets.build(registry.host)
    assert len(fleet.before) > 250
    push(registry, fleet)
    repository = gitservers.bare(server.root / "fleet.git", files=dict(fleet.before))
    secrets = tmp_path / "secrets"
    for name, key, value in (("git", "username", USER), ("git", "password", PASSWORD)):
        (secrets / name).mkdir(parents=True, exist_ok=True)
        (secrets / name / key).write_text(value)
    (secrets / "ca").mkdir()
    assert server.ca is not None
    (secrets / "ca" / "ca.crt").write_bytes(server.ca)
    objects = tmp_path / "objects.yaml"
    objects.write_text(fleets.objects(fleet, url=server.url("fleet.git"), secret="git", certificate=True))
    common = ["-f", str(objects), "--secrets", str(secrets), "--cache", str(tmp_path / "cache"), "-o", "json"]
    state = ["--state", str(tmp_path / "state.sqlite")]

    code, out = run("update", *common, *state, "--push")
    report = json.loads(out)
    assert code == 0, report.get("failures")
    after = contents(repository)
    assert after.keys() == fleet.after.keys()
    assert {path for path in after if after[path] != fleet.after[path]} == set()
    assert len(report["edits"]) == fleet.updates
    assert not [site for site in report["sites"] if site["state"] not in ("updated", "current", "unmanaged")]
    commits = gitservers.git("log", "--format=%s", "main", cwd=repository).splitlines()
    assert len(commits) == 1 + 4, "one commit an automation"
    assert len({commit["commit"] for commit in report["commits"]}) == 4
    gitservers.git("fsck", "--full", "--strict", cwd=repository)

    tip = gitservers.git("rev-parse", "main", cwd=repository)
    code, out = run("update", *common, *state, "--push")
    report = json.loads(out)
    assert (code, report["changed"], report["edits"], report["commit"]) == (0, False, [], None)
    assert gitservers.git("rev-parse", "main", cwd=repository) == tip

    # Every site, with the roots that render it.
    checkout = tmp_path / "checkout"
    for path, text in fleet.before.items():
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).write_bytes(text.encode())
    code, out = run("images", str(checkout), "-f", str(objects), "-o", "json", "--cache", str(tmp_path / "cache"))
    found = json.loads(out)
    assert code == 0
    sites = {(site["file"], site["image"].rpartition(":")[0].rpartition("/")[2]): site for site in found["sites"]}
    for number in range(36):
        name = f"svc-{number:02d}"
        for environment in fleets.ENVIRONMENTS:
            folder = f"apps/{name}/overlays/{environment}"
            site = sites[f"{folder}/kustomization.yaml", name]
            assert site["roots"] == [folder]
            assert site["policy"] == f"default/{name}-{environment}"
        envoy = sites[f"apps/{name}/base/deployment.yaml", "envoy"]
        assert sorted(envoy["roots"]) == [f"apps/{name}/overlays/{e}" for e in sorted(fleets.ENVIRONMENTS)]

    # Every tag is accounted for.
    code, out = run("explain", "-f", str(objects), "--secrets", str(secrets), "-o", "json")
    answers = json.loads(out)
    assert code == 0
    assert len(answers) == len(fleet.policies)
    for answer in answers:
        assert sorted(tag["tag"] for tag in answer["tags"]) == sorted(fleets.TAGS)
        assert all(tag["reason"] for tag in answer["tags"])
        assert answer["chosen"]["tag"] == (fleets.PROD_NEW if answer["policy"].endswith("-prod") else fleets.NEW)
