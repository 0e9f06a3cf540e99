"""Named paths: what a data set's own files say of where its rows lie."""

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from aft_worker.data.errors import DataFileUnreadable


def named_paths(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each path or pattern that the library `datasets` would follow in `folder`, with the file that names it.

    A card's header and `.huggingface.yaml` name `data_files` and a `data_dir` for each of their `configs`; what
    `save_to_disk` wrote names splits, which are folders, and the files of each.

    Raises:
        DataFileUnreadable: one of these files is not what it should be.
    """
    yield from _in_configs(folder / "README.md", _header)
    yield from _in_configs(folder / ".huggingface.yaml", _yaml)
    yield from _in_saved(folder)
    splits = folder / "dataset_dict.json"
    for split in _strings(_read(splits, _json).get("splits")):
        yield splits, split
        yield from _in_saved(folder / split)


def _in_configs(file: Path, parse: Callable[[Path], Any]) -> Iterator[tuple[Path, str]]:
    configs = _read(file, parse).get("configs")
    for config in configs if isinstance(configs, list) else []:
        if isinstance(config, dict):
            yield from ((file, path) for key in ("data_files", "data_dir") for path in _strings(config.get(key)))


def _in_saved(folder: Path) -> Iterator[tuple[Path, str]]:
    file = folder / "state.json"
    yield from ((file, path) for path in _strings(_read(file, _json).get("_data_files")))


def _read(file: Path, parse: Callable[[Path], Any]) -> dict[str, Any]:
    """What the file holds; nothing where there is none."""
    if not file.exists():
        return {}
    yaml = import_module("yaml")
    try:
        return dict(parse(file) or {})  # Of pairs as well: so does `datasets`.
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise DataFileUnreadable(
            f"{str(file)!r} says where the rows of its data set lie and cannot be read ({type(error).__name__}); "
            "repair or remove it.",
            path=str(file),
        ) from error


def _header(file: Path) -> Any:
    # Read as `datasets` reads it: nothing may pass here that means something else there.
    return import_module("huggingface_hub").DatasetCard.load(file).data.to_dict()


def _yaml(file: Path) -> Any:
    return import_module("yaml").safe_load(file.read_text(encoding="utf-8"))


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _strings(value: Any) -> Iterator[str]:
    """Every text in lists and mappings, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
