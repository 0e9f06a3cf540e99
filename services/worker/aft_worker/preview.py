"""A look at rows as the model will see them, before anything is trained."""

from pathlib import Path

from aft_contracts import DataPreview, PreviewRequest, PreviewRow, PreviewToken, SourcePreview, SourceSpec
from aft_worker.data.content import Content
from aft_worker.data.encoder import RowEncoder, load_encoder
from aft_worker.data.errors import BadRow
from aft_worker.data.table import EncodedRow, read_encoded

MOST_BAD_ROWS = 20
"""Bad rows of a source that are told in words; the others are counted."""


def preview_data(request: PreviewRequest) -> DataPreview:
    """The first good rows of every source with their loss mask, and the bad rows among those looked at.

    Raises:
        WorkerError: the tokenizer cannot be used, or a source cannot be opened.
    """
    data = request.spec.data
    encoder = load_encoder(Path(request.spec.model.path), max_length=data.max_length)
    return DataPreview(
        domains={name: _source_preview(source, encoder, request) for name, source in data.domains.items()},
        evaluation={name: _source_preview(source, encoder, request) for name, source in data.evaluation.items()},
    )


def _source_preview(source: SourceSpec, encoder: RowEncoder, request: PreviewRequest) -> SourcePreview:
    shown: list[PreviewRow] = []
    bad: list[BadRow] = []
    rows_read, is_whole = 0, True
    for read in read_encoded(source, encoder, most_rows=request.look_at + 1):
        if rows_read == request.look_at:
            is_whole = False
            break
        rows_read += 1
        if isinstance(read, BadRow):
            bad.append(read)
        elif len(shown) < request.rows:
            shown.append(_row_preview(*read, encoder))
    return SourcePreview(
        rows=tuple(shown),
        rows_read=rows_read,
        is_whole=is_whole,
        skipped=len(bad),
        bad_rows=tuple(str(row) for row in bad[:MOST_BAD_ROWS]),
    )


def _row_preview(row: EncodedRow, content: Content, encoder: RowEncoder) -> PreviewRow:
    encoded = row.encoded
    tokens = zip(encoded.tokens.tolist(), encoder.token_texts(content), encoded.is_target.tolist(), strict=True)
    return PreviewRow(
        sample_id=row.sample_id,
        place=str(row.place),
        weight=row.weight,
        tokens=tuple(PreviewToken(id=token, text=text, carries_loss=is_target) for token, text, is_target in tokens),
        loss_tokens=int(encoded.is_target.sum()),
        uncut_tokens=encoded.uncut_tokens,
        is_cut=encoded.uncut_tokens > len(encoded.tokens),
    )
