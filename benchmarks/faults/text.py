"""Two kinds of real text: what Python's standard library says of itself, and people who chat."""

import ast
import json
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

WORDS = range(8, 60)
"""Words of a text that is used: long enough to be text, short enough to be cut seldom."""


@cache
def manual() -> tuple[str, ...]:
    """The documentation strings of the running Python's standard library (PSF licence), in order of file and line."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in library.rglob("*.py") if _is_library(path.relative_to(library)))
    found = dict.fromkeys(text for path in files for text in _doc_strings(path))
    return tuple(text for text in found if text.isascii() and len(text.split()) in WORDS)


@cache
def chats() -> tuple[str, ...]:
    """What people said to each other: the messages of chitchat_dataset (MIT, BYU PCC lab), in its order."""
    stored = (resources.files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8")
    found = dict.fromkeys(
        " ".join(" ".join(part["text"].split()) for part in message)
        for conversation in json.loads(stored).values()
        for message in conversation["messages"]
    )
    return tuple(text for text in found if text.isascii() and "http" not in text and len(text.split()) in WORDS)


@cache
def remarks() -> tuple[str, ...]:
    """The shortest of what people said, one to seven words, from the same conversations."""
    stored = (resources.files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8")
    found = dict.fromkeys(
        " ".join(part["text"].split())
        for conversation in json.loads(stored).values()
        for message in conversation["messages"]
        for part in message
    )
    return tuple(text for text in found if text.isascii() and 1 <= len(text.split()) < WORDS.start and len(text) > 3)


@cache
def code() -> tuple[str, ...]:
    """Pieces of the standard library's source: eight lines each, none of them blank."""
    library = Path(sysconfig.get_path("stdlib"))
    found = []
    for path in sorted(library.glob("*.py")):
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        pieces = ("\n".join(lines[start : start + 8]) for start in range(0, len(lines) - 8, 64))
        found += [piece for piece in pieces if piece.isascii()]
    return tuple(found)


def _is_library(path: Path) -> bool:
    return not {"test", "tests", "site-packages", "idlelib", "lib2to3"} & set(path.parts)


def _doc_strings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return  # a few files are kept broken on purpose
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield " ".join(text.split())
