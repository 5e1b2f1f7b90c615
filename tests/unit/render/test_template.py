"""Users' templates run in a child: what they may see, and what they cannot do."""

from __future__ import annotations

import pytest

from image_updater.errors import SpecError
from image_updater.render.template import render_template

VALUES = {"values": {"team": "a"}, "changes": [{"image": "acme/web", "old": ["1.0.0"], "new": "1.1.0"}]}


async def test_a_template_sees_the_values_it_is_given() -> None:
    text = await render_template(
        "{{ values.team }}: {% for c in changes %}{{ c.image }} {{ c.old | join(', ') }} -> {{ c.new }}{% endfor %}",
        VALUES,
        field="spec.f",
    )
    assert text == "a: acme/web 1.0.0 -> 1.1.0"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ nobody }}", "'nobody' is undefined"),
        ("{% for %}", "TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ changes.append(1) }}", "unsafe"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
        ("  ", "empty message"),
        ("{{ 'a' * 100000 }}", "100,000 characters"),
        ("{{ 'a' * 10**10 }}", "too much"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "too much"),
    ],
    ids=["unknown", "syntax", "dunder", "mutation", "division", "include", "empty", "long", "memory", "endless"],
)
async def test_what_a_template_cannot_do_is_an_error_that_names_its_field(template: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        await render_template(template, VALUES, field="spec.git.commit.messageTemplate")
    assert said in str(caught.value)
    assert "spec.git.commit.messageTemplate" in str(caught.value)
