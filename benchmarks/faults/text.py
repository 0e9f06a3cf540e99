"""Real text: what Python's standard library says of itself, people who chat, and a sentence in other languages."""

import ast
import json
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

WORDS = range(8, 60)
"""Words of a text that is used: long enough to be text, short enough to be cut seldom."""
LONGEST_WORD = 30
"""Letters; what is longer is a key that was held down, or no word."""

FOREIGN = (
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und "
    "sollen einander im Geist der Brüderlichkeit begegnen.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros.",
    "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di coscienza "
    "e devono agire gli uni verso gli altri in spirito di fratellanza.",
    "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de consciência, "
    "devem agir uns para com os outros em espírito de fraternidade.",
    "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en geweten, "
    "en behoren zich jegens elkander in een geest van broederschap te gedragen.",
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i "
    "sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja "
    "omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä.",
)
"""The first article of the Universal Declaration of Human Rights (United Nations, 1948)."""


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
    written = (text for text in found if text.isascii() and "http" not in text and len(text.split()) in WORDS)
    return tuple(text for text in written if _is_made_of_words(text))


def _is_made_of_words(text: str) -> bool:
    """Whether it is no heap of letters: some people sent 'k k k k k', and a control must have nothing wrong with it."""
    words = text.split()
    letters = sum(len(word) == 1 for word in words)
    return 2 * letters < len(words) and _longest_word(text) <= LONGEST_WORD


def _longest_word(text: str) -> int:
    return max(map(len, text.split()))


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
    short = (text for text in found if text.isascii() and 1 <= len(text.split()) < WORDS.start and len(text) > 3)
    return tuple(text for text in short if _longest_word(text) <= LONGEST_WORD)


@cache
def code() -> tuple[str, ...]:
    """Pieces of the standard library's source: eight lines each, none of them blank.

    None begins with a ruler: a row would hold little else, and one sign over and over is a fault, not a control.
    """
    library = Path(sysconfig.get_path("stdlib"))
    found = []
    for path in sorted(library.glob("*.py")):
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        pieces = ("\n".join(lines[start : start + 8]) for start in range(0, len(lines) - 8, 64))
        found += [piece for piece in pieces if piece.isascii() and not _is_ruler(piece.splitlines()[0])]
    return tuple(found)


def _is_ruler(line: str) -> bool:
    return len(line) > LONGEST_WORD and len({*line.strip()}) == 1


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
