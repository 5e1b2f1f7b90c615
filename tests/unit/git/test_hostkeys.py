"""known_hosts as sshd(8) describes it."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from image_updater.git import hostkeys
from image_updater.git.errors import HostKeyMismatch


def key(name: str, seed: int = 1) -> bytes:
    body = bytes([seed]) * 32
    return len(name).to_bytes(4, "big") + name.encode() + len(body).to_bytes(4, "big") + body


def line(hosts: str, k: bytes, marker: str = "") -> bytes:
    start = f"{marker} " if marker else ""
    return f"{start}{hosts} {hostkeys.key_type(k)} {base64.b64encode(k).decode()} a comment\n".encode()


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


A, B, C = key("ssh-ed25519", 1), key("ssh-ed25519", 2), key("ssh-rsa", 3)


@pytest.mark.parametrize(
    ("text", "host", "port", "ok"),
    [
        (line("host", A), "host", 22, True),
        (line("HOST", A), "Host", 22, True),
        (line("host", B), "host", 22, False),
        (line("host", B) + line("host", A), "host", 22, True),
        (line("other,host", A), "host", 22, True),
        (line("[host]:2222", A), "host", 2222, True),
        (line("host", A), "host", 2222, False),
        (line("[host]:2222", A), "host", 22, False),
        (line("*.example.com", A), "git.example.com", 22, True),
        (line("*.example.com,!git.example.com", A), "git.example.com", 22, False),
        (line("!git.example.com,*.example.com", A), "git.example.com", 22, False),
        (line("h?st", A), "host", 22, True),
        (line("[h*]:22?2", A), "host", 2222, True),
        (line("[a-h]ost", A), "host", 22, False),
        (line(hashed("host"), A), "host", 22, True),
        (line(hashed("[host]:2222"), A), "host", 2222, True),
        (line(hashed("host"), A), "hos", 22, False),
        (line("host", A) + line("host", A, "@revoked"), "host", 22, False),
        (line("*", A, "@revoked") + line("host", A), "host", 22, False),
        (line("host", A) + line("host", B, "@revoked"), "host", 22, True),
        (line("host", A, "@cert-authority"), "host", 22, False),
        (line("host", A, "@unknown"), "host", 22, False),
        (
            b"# host comment\n\nhost\nhost ssh-ed25519\nhost ssh-ed25519 !!!\n\xff\xfe\n" + line("host", A),
            "host",
            22,
            True,
        ),
        (line("host", A).replace(b"ssh-ed25519", b"ssh-rsa", 1), "host", 22, False),
        (line("::1", A), "::1", 22, True),
        (b"", "host", 22, False),
    ],
)
def test_a_key_is_trusted_only_where_a_line_says_so(text: bytes, host: str, port: int, ok: bool) -> None:
    if ok:
        hostkeys.check(text, host, port, A)
        return
    with pytest.raises(HostKeyMismatch) as caught:
        hostkeys.check(text, host, port, A, source="known_hosts of Secret a/b")
    assert hostkeys.fingerprint(A) in str(caught.value) or "cert-authority" in str(caught.value)
    assert caught.value.remedy


def test_no_known_hosts_at_all_is_refused() -> None:
    with pytest.raises(HostKeyMismatch):
        hostkeys.check(None, "host", 22, A)


def test_allowed_leaves_out_revoked_keys_and_authorities() -> None:
    text = line("host", A) + line("host", C) + line("host", B, "@cert-authority") + line("*", A, "@revoked")
    assert [x.kind for x in hostkeys.allowed(text, "host", 22)] == ["ssh-rsa"]
