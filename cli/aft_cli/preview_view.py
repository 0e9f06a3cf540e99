"""A data preview as lines of text: what carries loss is coloured, or between brackets where there is no colour."""

from collections.abc import Iterator
from itertools import groupby

from rich.text import Text

from aft_contracts import DataPreview, PreviewRow, SourcePreview

OPENING, CLOSING = "⟦", "⟧"
LOSS_STYLE, OTHER_STYLE = "bold green", "dim"
SHOWN_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {127: "\u2421"}
"""Control characters by their pictures: a row must not steer the terminal."""


def preview_lines(preview: DataPreview, *, is_coloured: bool) -> Iterator[Text]:
    """Every source with its rows and its bad rows, training domains first."""
    loss = Text("coloured", style=LOSS_STYLE) if is_coloured else Text(f"between {OPENING} and {CLOSING}")
    yield Text.assemble("What carries loss is ", loss, ".")
    for kind, sources in (("domain", preview.domains), ("held out", preview.evaluation)):
        for name, source in sources.items():
            yield Text(f"\n{kind} {name}: {_count(source)}", style="bold" if is_coloured else "")
            for row in source.rows:
                yield Text(f"\n{_harmless(_head(row))}", style="cyan" if is_coloured else "")
                yield row_text(row, is_coloured=is_coloured)
            yield from (
                Text(f"bad row: {_harmless(bad)}", style="red" if is_coloured else "") for bad in source.bad_rows
            )


def row_text(row: PreviewRow, *, is_coloured: bool) -> Text:
    """The row's text, with its loss mask."""
    text = Text()
    for carries_loss, tokens in groupby(row.tokens, key=lambda token: token.carries_loss):
        words = _harmless("".join(token.text for token in tokens))
        if is_coloured:
            text.append(words, style=LOSS_STYLE if carries_loss else OTHER_STYLE)
        else:
            text.append(f"{OPENING}{words}{CLOSING}" if carries_loss else words)
    return text


def _count(source: SourcePreview) -> str:
    read = f"all {source.rows_read} rows" if source.is_whole else f"the first {source.rows_read} rows"
    return f"{source.skipped} bad among {read}"


def _head(row: PreviewRow) -> str:
    cut = f", cut from {row.uncut_tokens}" if row.is_cut else ""
    weight = "" if row.weight == 1 else f", weight {row.weight:g}"
    return f"{row.sample_id} ({row.place}): {len(row.tokens)} tokens{cut}, {row.loss_tokens} carry loss{weight}"


def _harmless(text: str) -> str:
    return text.translate(SHOWN_CONTROLS)
