"""Files and folders, references between objects, and secrets from a folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from image_updater import api
from image_updater.api import model
from image_updater.errors import SpecError

if TYPE_CHECKING:
    from pathlib import Path

V = "image-updater.dev/v1alpha1"


def policy(name: str, extra: str = "") -> str:
    spec = f"{{image: nginx, policy: {{newest: {{}}}}{extra}}}"
    return f"apiVersion: {V}\nkind: ImagePolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def test_a_folder_is_read_in_order_and_what_is_no_object_is_left(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "..data").mkdir()
    for name, text in {
        "z.yaml": policy("z"),
        "a.yml": policy("a"),
        "b/b.yaml": policy("b"),
        ".hidden.yaml": "[",
        ".git/x.yaml": "[",
        "..data/x.yaml": policy("a"),
        "note.txt": "[",
        "values.yaml": "image: {tag: x}\n",
        "list.yaml": "- 1\n",
        "word.yaml": "hello\n",
        "kustomization.yaml": "kind: Kustomization\nresources: [a.yml]\n",
    }.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(api.SpecErrors, match="must be a Kubernetes object, not a list"):
        api.load([tmp_path])
    (tmp_path / "list.yaml").unlink()
    assert [p.key.name for p in api.load([tmp_path]).policies] == ["a", "z", "b"]


@pytest.mark.parametrize("slip", ["apiversion: image-updater.dev/v1alpha1\nkind: ImagePolicy", "kind: ImagePolicy"])
def test_a_slip_is_not_overlooked_in_a_folder(tmp_path: Path, slip: str) -> None:
    (tmp_path / "a.yaml").write_text(f"{slip}\nmetadata: {{name: a}}\n")
    with pytest.raises(api.SpecErrors, match="apiVersion"):
        api.load([tmp_path])


def test_errors_of_all_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy("A"))
    (tmp_path / "b.yaml").write_text("a: [\n")
    (tmp_path / "c.yaml").write_bytes(b"a: \xff\n")
    (tmp_path / "d.yaml").write_text(policy("d", ", x: 1"))
    with pytest.raises(api.SpecErrors) as caught:
        api.load([tmp_path, tmp_path / "missing.yaml"])
    files = [os.path.basename(error.where.file or "") for error in caught.value.errors]
    assert files == ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "missing.yaml"]
    assert "not UTF-8" in caught.value.errors[2].message
    assert "cannot be read" in caught.value.errors[4].message


def test_a_duplicate_across_files_names_both(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy("web"))
    (tmp_path / "b.yaml").write_text("# one more\n" + policy("web"))
    with pytest.raises(api.SpecErrors) as caught:
        api.load([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    (error,) = caught.value.errors
    assert (error.where.file, error.where.line) == (str(tmp_path / "b.yaml"), 2)
    assert f"{tmp_path / 'a.yaml'}:1" in error.message


def test_merging_keeps_everything_and_refuses_duplicates() -> None:
    a, b = api.load_text(policy("a"), "a"), api.load_text(policy("b"), "b")
    assert [p.key.name for p in api.merge(a, b, model.Objects()).policies] == ["a", "b"]
    with pytest.raises(api.SpecErrors, match="defined twice"):
        api.merge(a, a)


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy("a"))
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    assert len(api.load([tmp_path, tmp_path / "a.yaml"]).policies) == 1


# ------------------------------------------------------------------------------------------------ references


OBJECTS = f"""\
apiVersion: {V}
kind: ImagePolicy
metadata: {{name: web}}
spec:
  image: nginx
  secretRef: {{name: ghcr}}
  policy: {{newest: {{}}}}
---
apiVersion: {V}
kind: GitRepository
metadata: {{name: fleet}}
spec: {{url: 'https://git.acme.dev/fleet', ref: {{tag: v1}}, secretRef: {{name: git}}}}
---
apiVersion: {V}
kind: ImageUpdateAutomation
metadata: {{name: all}}
spec: {{sourceRef: {{name: fleet}}}}
---
apiVersion: {V}
kind: ImageUpdateAutomation
metadata: {{name: lost}}
spec:
  sourceRef: {{name: flet}}
  git: {{commit: {{signingKey: {{secretRef: {{name: key}}}}}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: gitt}}
---
apiVersion: v1
kind: Secret
metadata: {{name: key}}
sops: {{}}
"""


def test_references_that_lead_nowhere_are_found_with_their_lines() -> None:
    errors = api.check_references(api.load_text(OBJECTS, "o.yaml"))
    assert [(error.where.line, error.where.field, error.message) for error in errors] == [
        (6, "spec.secretRef.name", "there is no Secret default/ghcr"),
        (17, "spec.sourceRef.name", "GitRepository default/fleet reads a tag, and a tag cannot be pushed to"),
        (24, "spec.git.commit.signingKey.secretRef.name", "Secret default/key is encrypted with SOPS"),
        (23, "spec.sourceRef.name", "there is no GitRepository default/flet"),
        (12, "spec.secretRef.name", "there is no Secret default/git"),
    ]
    remedies = [error.remedy or "" for error in errors]
    assert "--secrets DIR" in remedies[0]
    assert remedies[3] == "did you mean 'default/fleet'?"
    assert remedies[4] == "did you mean 'gitt'?"


def test_only_what_will_be_asked_is_needed() -> None:
    objects = api.load_text(OBJECTS)
    assert len(api.check_references(objects, git=False)) == 2


def test_a_login_that_nobody_will_use_may_be_encrypted_but_not_missing() -> None:
    assert len(api.check_references(api.load_text(OBJECTS), registry=False)) == 5
    encrypted = api.load_text(OBJECTS + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: ghcr}\nsops: {}\n")
    assert len(api.check_references(encrypted)) == 5
    assert len(api.check_references(encrypted, registry=False)) == 4


def test_secrets_of_a_folder_count(tmp_path: Path) -> None:
    for name in ("ghcr", "git", "key"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "password").write_text("x")
    objects = api.load_text(OBJECTS)
    assert len(api.check_references(objects, api.SecretsFolder(tmp_path))) == 2


# --------------------------------------------------------------------------------------------------- secrets


def key(name: str, namespace: str = "default") -> model.ObjectKey:
    return model.ObjectKey(namespace, name)


def test_a_secret_is_a_folder_of_files_and_a_namespace_goes_first(tmp_path: Path) -> None:
    for folder, value in {"git": "both", "apps/git": "apps"}.items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "password").write_text(value)
    secrets = api.SecretsFolder(tmp_path)
    found = secrets(key("git"))
    assert found is not None
    assert found.data == {"password": b"both"}
    found = secrets(key("git", "apps"))
    assert found is not None
    assert found.data == {"password": b"apps"}
    assert secrets(key("other")) is None


def test_a_mounted_secret_is_read_through_its_links(tmp_path: Path) -> None:
    version = tmp_path / "ghcr" / "..2026_01_01"
    version.mkdir(parents=True)
    (version / ".dockerconfigjson").write_text("{}")
    (tmp_path / "ghcr" / "..data").symlink_to("..2026_01_01")
    (tmp_path / "ghcr" / ".dockerconfigjson").symlink_to("..data/.dockerconfigjson")
    found = api.SecretsFolder(tmp_path)(key("ghcr"))
    assert found is not None
    assert found.data == {".dockerconfigjson": b"{}"}
    assert found.type == "kubernetes.io/dockerconfigjson"


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "password").write_text("x")
    root = tmp_path / "secrets"
    (root / "git").mkdir(parents=True)
    secrets = api.SecretsFolder(root)
    for name in ("../outside", "..", ".", "", "a/../../outside", "x\0y"):
        assert secrets(key(name)) is None
    assert secrets(model.ObjectKey("..", "outside")) is None
    (root / "git" / "password").symlink_to(outside / "password")
    with pytest.raises(SpecError, match="outside the secrets folder"):
        secrets(key("git"))
    (root / "linked").symlink_to(outside)
    with pytest.raises(SpecError, match="outside the secrets folder"):
        secrets(key("linked"))


def test_odd_files_do_not_stop_a_secret(tmp_path: Path) -> None:
    (tmp_path / "git" / "folder").mkdir(parents=True)
    os.mkfifo(tmp_path / "git" / "pipe")
    (tmp_path / "git" / "password").write_text("x")
    found = api.SecretsFolder(tmp_path)(key("git"))
    assert found is not None
    assert dict(found.data) == {"password": b"x"}
    (tmp_path / "git" / "big").write_bytes(b"x" * 1_048_577)
    with pytest.raises(SpecError, match="more than 1,048,576 bytes"):
        api.SecretsFolder(tmp_path)(key("git"))


def test_a_secrets_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is not a folder"):
        api.SecretsFolder(tmp_path / "missing")


def test_secrets_of_the_objects_win_over_the_folder(tmp_path: Path) -> None:
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / "password").write_text("folder")
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: git}\nstringData: {password: objects}\n"
    lookup = api.find_secret(api.load_text(text), api.SecretsFolder(tmp_path))
    found = lookup(key("git"))
    assert found is not None
    assert found.data == {"password": b"objects"}
    other = lookup(key("git", "apps"))
    assert other is not None
    assert other.data == {"password": b"folder"}
