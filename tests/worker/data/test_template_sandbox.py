"""Templates come with models from anywhere: they must not reach out, and must not hold the worker up."""

import contextlib
import time

import pytest

from aft_worker.data.chat_template import ChatTemplate, UnrenderableChat
from aft_worker.data.errors import TokenizerUnusable

TALK = ({"role": "user", "content": "abc"},)


def render(source: str) -> str:
    return ChatTemplate(source, {}).render(TALK)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ("{{ {'é': '<'} | tojson }}", '{"é": "<"}'),
        ("{{ {'a': [1]} | tojson(indent=2) }}", '{\n  "a": [\n    1\n  ]\n}'),
        ("{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        ("{% set ns = namespace(n=1) %}{% for m in messages %}{% set ns.n = ns.n * 2 %}{% endfor %}{{ ns.n }}", "2"),
        ("{{ '-' * 80 }}{{ 2 ** 10 }}{{ 7 % 2 }}", "-" * 80 + "10241"),
        ("  {% if true %}\n  a\n  {% endif %}\n", "  a\n"),
        ("{% for i in [] %}{% else %}none{% endfor %}", "none"),
    ],
)
def test_what_templates_need_works(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__self__.__reduce__() }}",
        "{{ namespace.__init__.__globals__['os'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ '{0.__class__.__base__}'.format(messages) }}",
        "{{ ('{0.__class__}' | format(messages)).x.y }}",
        "{{ messages | attr('__class__') | attr('__mro__') }}",
        "{{ messages | map(attribute='__class__') | map(attribute='__mro__') | list }}",
        "{{ messages.append({'role': 'x'}) }}",
        "{{ messages[0].update({'content': 'y'}) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ lipsum(n=10 ** 9) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ environment.count_turn() }}",
    ],
)
def test_a_template_cannot_reach_out(source: str) -> None:
    # What the sandbox withholds is undefined, which prints as nothing and cannot be used further.
    with contextlib.suppress(UnrenderableChat):
        assert render(source) == ""
    assert TALK == ({"role": "user", "content": "abc"},)


def nested(times: int, over: str) -> str:
    opening = "".join(f"{{% for i{n} in {over} %}}" for n in range(times))
    return opening + "{% endfor %}" * times


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(10 ** 9) %}{% endfor %}",
        nested(3, "range(50000)"),
        nested(9, "'abcdefghij'"),
        nested(2, "('a' * 90000)"),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for m in [messages] recursive %}{{ loop([m, m]) if loop.depth < 60 }}{% endfor %}",
        "{{ 10 ** (10 ** 10) }}",
        "{% set ns = namespace(n=9) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
        "{{ 'a' * 10 ** 12 }}",
        "{{ [0] * 1000000000 }}",
    ],
    ids=[
        "range", "nested ranges", "nested strings", "nested products", "recursion", "branching recursion",
        "recursive loop", "power", "squares", "long text", "long list",
    ],
)  # fmt: skip
def test_a_template_cannot_hold_the_worker_up(source: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnrenderableChat):
        render(source)
    assert time.monotonic() - started < 15


def test_the_bound_holds_for_each_rendering_anew() -> None:
    template = ChatTemplate(nested(2, "range(200)"), {})
    for _ in range(3):
        assert template.render(TALK) == ""


def test_a_template_that_is_not_jinja_is_an_error() -> None:
    with pytest.raises(TokenizerUnusable, match="cannot be parsed"):
        ChatTemplate("{% for %}", {})
    with pytest.raises(TokenizerUnusable, match="cannot be parsed"):
        ChatTemplate("{% generation %}", {})
