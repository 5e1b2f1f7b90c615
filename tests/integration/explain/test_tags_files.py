"""`--tags FILE` in all its forms and errors (design section 10): the complete answer of this moment."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.integration.explain.running import IMAGE, check, digest, explain, policy, run

if TYPE_CHECKING:
    from pathlib import Path

ANY = policy("{semver: {range: '*'}}")
NEWEST = policy("{newest: {}}")

FORMS: dict[str, tuple[str | bytes, str | None]] = {
    "lines": ("1.0.0\n1.1.0\n", "1.1.0"),
    "no last line break": ("1.0.0\n1.1.0", "1.1.0"),
    "CRLF": ("1.0.0\r\n1.1.0\r\n", "1.1.0"),
    "empty lines": ("\n\n1.0.0\n\n", "1.0.0"),
    "blanks around": ("  1.0.0 \n\t1.1.0\t\n", "1.1.0"),
    "a byte order mark": (b"\xef\xbb\xbf1.0.0\n", "1.0.0"),
    "nothing": ("", None),
    "only line breaks": ("\n\n", None),
    "a list": ('["1.0.0", "1.1.0"]', "1.1.0"),
    "a list behind blanks": ('\n  ["1.0.0"]', "1.0.0"),
    "a list behind a byte order mark": (b'\xef\xbb\xbf["1.0.0"]', "1.0.0"),
    "an empty list": ("[]", None),
    "objects": ('[{"tag": "1.0.0"}, {"tag": "1.1.0", "created": null, "digest": null, "platforms": null}]', "1.1.0"),
    "objects and names": ('["1.0.0", {"tag": "1.1.0"}]', "1.1.0"),
    "platforms": ('[{"tag": "1.0.0", "platforms": ["linux/amd64", "linux/arm64/v8"]}]', "1.0.0"),
    "by image": (f'{{"{IMAGE}": ["1.0.0"]}}', "1.0.0"),
    "by image, null": (f'{{"{IMAGE}": null}}', None),
    "by image, empty": (f'{{"{IMAGE}": []}}', None),
    "another image": ('{"other/image": ["1.0.0"]}', None),
    "no image": ("{}", None),
    "repeats": ('["1.0.0", "1.0.0"]', "1.0.0"),
    "a later line that looks like JSON": ('1.0.0\n["2.0.0"]\n', "1.0.0"),
}


@pytest.mark.parametrize(("data", "chosen"), FORMS.values(), ids=FORMS)
def test_the_forms_of_a_tags_file(data: str | bytes, chosen: str | None, tmp_path: Path) -> None:
    answer = explain(tmp_path, ANY, data)
    assert (answer.code, answer.chosen) == (0, chosen), answer.stderr


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"], ids=ascii)
def test_only_line_breaks_end_a_line(character: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, ANY, f"1.0.0\n1.1.0{character}9.0.0\n")
    assert answer.chosen == "1.0.0"
    assert len(answer.report()["tags"]) == 2


@pytest.mark.parametrize(
    ("image", "key"),
    [
        ("nginx", "nginx"),
        ("nginx", "docker.io/library/nginx"),
        ("docker.io/nginx", "library/nginx"),
        ("index.docker.io/acme/web", "acme/web"),
        ("Registry.Example/acme/web", "registry.example/acme/web"),
        ("localhost:5000/web", "localhost:5000/web"),
    ],
)
def test_keys_match_as_images_do(image: str, key: str, tmp_path: Path) -> None:
    objects = policy("{semver: {range: '*'}}", image=image)
    assert explain(tmp_path, objects, {key: ["1.0.0"]}).chosen == "1.0.0"
    assert explain(tmp_path, objects, {f"{key}x": ["1.0.0"]}).chosen is None


def test_a_file_of_other_images_is_told(tmp_path: Path) -> None:
    answer = explain(tmp_path, ANY, {"tags": ["1.0.0"]})
    assert (answer.code, answer.chosen) == (0, None)
    assert "no policy has any of its images" in answer.stderr
    assert explain(tmp_path, ANY, {"tags": ["1.0.0"], IMAGE: ["1.0.0"]}).stderr == ""


def test_a_bare_list_stands_for_every_image_and_a_map_for_its_own(tmp_path: Path) -> None:
    objects = "---\n".join(policy("{semver: {range: '*'}}", name=name, image=f"acme/{name}") for name in ("a", "b"))
    bare = explain(tmp_path, objects, ["1.0.0"])
    assert [each["chosen"]["tag"] for each in bare.reports] == ["1.0.0", "1.0.0"]
    mapped = explain(tmp_path, objects, {"acme/a": ["1.0.0"], "acme/b": ["2.0.0"]})
    assert [each["chosen"]["tag"] for each in mapped.reports] == ["1.0.0", "2.0.0"]


# the data, the line, the field, a part of what is said
ERRORS: dict[str, tuple[str | bytes, int | None, str | None, str]] = {
    "broken": ('["1.0.0",\n "2.0.0"', 2, None, "not JSON"),
    "something behind": ('["1.0.0"] x', 1, None, "not JSON"),
    "one quote": ("['1.0.0']", 1, None, "not JSON"),
    "a tag in brackets": ("[1.0.0]", 1, None, "not JSON"),
    "a number": ("[\n1]", 2, "[0]", "got a number"),
    "null": ("[null]", 1, "[0]", "got null"),
    "a boolean": ("[true]", 1, "[0]", "got a boolean"),
    "a list in a list": ('[["1.0.0"]]', 1, "[0]", "got a list"),
    "no tag": ('[\n{"created": null}]', 2, "[0]", "'tag' must be a string"),
    "tag is null": ('[{"tag": null}]', 1, "[0]", "'tag' must be a string"),
    "tag is a number": ('[{"tag": 1}]', 1, "[0]", "'tag' must be a string"),
    "an empty tag": ('["1.0.0",\n"",\n"2.0.0"]', 2, "[1]", "empty"),
    "an unknown key": ('[{"tag": "1", "creatd": null}]', 1, "[0]", "did you mean 'created'?"),
    "a word as date": ('[{"tag": "1",\n"created": "yesterday"}]', 2, "[0].created", "RFC 3339"),
    "a date without time": ('[{"tag": "1", "created": "2024-01-01"}]', 1, "[0].created", "RFC 3339"),
    "a date without zone": ('[{"tag": "1", "created": "2024-01-01T00:00:00"}]', 1, "[0].created", "RFC 3339"),
    "a day that is none": ('[{"tag": "1", "created": "2024-02-30T00:00:00Z"}]', 1, "[0].created", "not a time"),
    "a number as date": ('[{"tag": "1", "created": 1704067200}]', 1, "[0].created", "got a number"),
    "an empty date": ('[{"tag": "1", "created": ""}]', 1, "[0].created", "RFC 3339"),
    "a short digest": ('[{"tag": "1", "digest": "sha256:abc"}]', 1, "[0].digest", "not a digest"),
    "a digest in capitals": (f'[{{"tag": "1", "digest": "sha256:{"A" * 64}"}}]', 1, "[0].digest", "not a digest"),
    "a digest without algorithm": (f'[{{"tag": "1", "digest": "{"a" * 64}"}}]', 1, "[0].digest", "not a digest"),
    "an empty digest": ('[{"tag": "1", "digest": ""}]', 1, "[0].digest", "not a digest"),
    "a platform": ('[{"tag": "1", "platforms": "linux/amd64"}]', 1, "[0].platforms", "list of strings"),
    "platforms of numbers": ('[{"tag": "1", "platforms": [1]}]', 1, "[0].platforms", "list of strings"),
    "a tag twice": (f'["1",\n{{"tag": "1", "digest": "{digest("a")}"}}]', 2, "[1]", "stands twice"),
    "a word for an image": ('{"acme/web": "1.0.0"}', 1, "acme/web", "expected a list of tags, got a string"),
    "an object for an image": ('{"acme/web": {}}', 1, "acme/web", "got an object"),
    "a registry's answer": ('{"name": "acme/web",\n"tags": ["1.0.0"]}', 1, "name", "expected a list"),
    "a scheme in a key": ('{"https://acme/web": []}', 1, "https://acme/web", "not an image name"),
    "a tag in a key": ('{"acme/web:1": []}', 1, "acme/web:1", "not an image name"),
    "an empty key": ('{"": []}', 1, "", "not an image name"),
    "a key twice": ('{"acme/web": [], "acme/web": []}', None, None, "stands twice"),
    "an image twice": ('{"nginx": [],\n"docker.io/library/nginx": []}', 2, "docker.io/library/nginx", "same image"),
    "an entry of an image": ('{"acme/web":\n[{"tag":\n"1", "created": 1}]}', 3, "acme/web[0].created", "got a number"),
    "too deep": ("[" * 100_000, None, None, "nested too deeply"),
    "a huge number": ("[" + "9" * 5_000 + "]", None, None, "too long"),
    "a bad byte": (b"1.0.0\n1.1.0\n\xff\n", 3, None, "UTF-8"),
    "UTF-16": ("1.0.0\n".encode("utf-16"), 1, None, "UTF-8"),
}


@pytest.mark.parametrize(("data", "line", "field", "words"), ERRORS.values(), ids=ERRORS)
def test_anything_else_is_an_error_that_names_the_file(
    data: str | bytes, line: int | None, field: str | None, words: str, tmp_path: Path
) -> None:
    answer = explain(tmp_path, ANY, data)
    assert answer.code == 2, answer.stdout
    [error] = answer.errors
    assert (error["file"], error["line"], error["field"]) == (str(tmp_path / "tags"), line, field)
    assert words in f"{error['message']} {error['remedy']}"
    assert error["remedy"]
    assert str(tmp_path / "tags") in answer.stderr


@pytest.mark.parametrize("name", ["missing", "folder"])
def test_a_tags_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    answer = explain(tmp_path, ANY, None, "--tags", str(tmp_path / name))
    assert answer.code == 2
    [error] = answer.errors
    assert error["file"] == str(tmp_path / name)
    assert error["remedy"]


def test_no_request_is_made_with_a_tags_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    fields = ["digestReflectionPolicy: Always", "preflight: true", "timeout: 1s"]
    for strategy in ("{semver: {range: '*'}}", "{newest: {by: pushed}}", "{digest: {tag: '1.0.0'}}"):
        answer = explain(tmp_path, policy(strategy, *fields), ["1.0.0", {"tag": "1.1.0", "digest": digest("a")}])
        assert answer.code == 0


def test_surrogates_and_control_characters_stay_one_valid_document(tmp_path: Path) -> None:
    answer = explain(tmp_path, ANY, '["\\ud800", "\\u0000", "\\u001b[2J", "1.0.0", "\\ud83d\\ude00"]')
    assert answer.chosen == "1.0.0"
    check(answer.report(), ["\ud800", "\0", "\x1b[2J", "1.0.0", "\U0001f600"])
    text = run("explain", "-f", str(tmp_path / "policies.yaml"), "--tags", str(tmp_path / "tags"))
    assert "\x1b" not in text.stdout
    assert "\0" not in text.stdout


def test_a_pipe_can_be_the_tags_file(tmp_path: Path) -> None:
    import os
    import threading

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_text("1.0.0\n"))
    writer.start()
    answer = explain(tmp_path, ANY, None, "--tags", str(fifo))
    writer.join()
    assert answer.chosen == "1.0.0"


def test_a_login_is_looked_up_but_not_used_with_a_tags_file(tmp_path: Path) -> None:
    """A Secret that SOPS encrypted is there; what is in it does not matter when nobody is asked."""
    objects = policy("{semver: {range: '*'}}", "secretRef: {name: ghcr}")
    encrypted = (
        "---\napiVersion: v1\nkind: Secret\nmetadata: {name: ghcr}\ndata: {a: 'ENC[AES256]'}\nsops: {version: 3}\n"
    )
    assert explain(tmp_path, objects + encrypted, ["1.0.0"]).chosen == "1.0.0"
    assert explain(tmp_path, objects, ["1.0.0"]).code == 2
    assert explain(tmp_path, objects + encrypted).code == 2
