"""The environment that chat templates run in: transformers' filters and tags in Jinja's sandbox, with a bound on work.

The sandbox keeps templates from attributes they have no business with. What it does not bound is time, so every turn of
a loop and every call of a macro is counted here, and powers and products that could grow without end are refused.
"""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATE_DATE = date(2024, 7, 26)
"""What `strftime_now` answers: a template that prints the day would otherwise train on other tokens after midnight."""
MOST_TURNS = 100_000
"""Turns of loops and calls of macros that one rendering may take: about a second."""
MOST_REPEATS = 100_000
"""Largest size of what a product may repeat, and largest factor: the sandbox allows the same to `range`."""
MOST_BITS = 1024
"""Largest whole number a product or a power may make."""


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox as transformers sets it up, with counted loops."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, "jinja2.ext.loopcontrols"])
        self.turns_left = MOST_TURNS
        self.marks = ("", "")
        """What a generation block is put between."""
        self.has_generation_tags = False
        del self.globals["lipsum"]  # Makes text without end, and no chat needs it.
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = TEMPLATE_DATE.strftime
        self.filters["tojson"] = _to_json

    def compiled(self, source: str) -> tuple[Template, frozenset[str]]:
        """The template with its loops counted, and every string that stands in it.

        Raises:
            TemplateError: it is not Jinja.
        """
        tree = self.parse(source)
        words = frozenset(str(constant.value) for constant in tree.find_all(nodes.Const))
        blocks: list[Any] = [*tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))]
        for block in blocks:
            count = nodes.Call(nodes.EnvironmentAttribute("count_turn"), [], [], None, None)
            block.body.insert(0, nodes.ExprStmt(count).set_lineno(block.lineno))
        tree.set_environment(self)
        return self.from_string(tree), words

    def count_turn(self) -> None:
        """Takes one of the turns that are left.

        Raises:
            SecurityError: none is left.
        """
        self.turns_left -= 1
        if self.turns_left < 0:
            raise SecurityError(f"more than {MOST_TURNS:,} turns of loops")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The product or power, unless it is out of all proportion."""
        if operator == "**" and not (_bits(left) * abs(float(right)) <= MOST_BITS):
            raise SecurityError("a power that is too large")
        if operator == "*" and not _is_small_product(left, right):
            raise SecurityError("a product that is too large")
        return super().call_binop(context, operator, left, right)


class GenerationTag(Extension):
    """Reads `{% generation %}…{% endgeneration %}`: what stands between is what the assistant has to write."""

    tags = {"generation"}
    environment: TemplateEnvironment

    def parse(self, parser: Parser) -> nodes.Node:
        """The tag's body, called back for its text."""
        self.environment.has_generation_tags = True
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("marked"), [], [], body).set_lineno(line)

    def marked(self, caller: Callable[[], str]) -> str:
        """The body between the environment's marks."""
        before, after = self.environment.marks
        return f"{before}{caller()}{after}"


def _is_small_product(left: Any, right: Any) -> bool:
    if isinstance(left, int | float) and isinstance(right, int | float):
        return _bits(left) + _bits(right) <= MOST_BITS
    sizes = [abs(side) if isinstance(side, int) else len(side) for side in (left, right)]
    return sizes[0] * sizes[1] <= MOST_REPEATS


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 64


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)
