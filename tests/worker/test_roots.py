"""Paths stay inside the roots, and nothing that is read is ever run."""

import ast
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import aft_worker
from aft_contracts import RunSpec, SourceSpec
from aft_worker.data.errors import DataFileMissing, DataFileUnreadable
from aft_worker.data.sources.hugging_face import read_dataset
from aft_worker.errors import WorkerError
from aft_worker.model.errors import ModelFileMissing, WeightMismatch
from aft_worker.model.weight_files import WeightFiles
from aft_worker.roots import PathOutsideRoots, refuse_outside
from aft_worker.server import create_app
from aft_worker.settings import WorkerSettings


def spec_of(path: Path | str, model: Path | str) -> RunSpec:
    """A spec of one domain."""
    return RunSpec.model_validate({"model": {"path": str(model)}, "data": {"domains": {"d": {"path": str(path)}}}})


def laid_out(folder: Path) -> Path:
    """A root in `folder` with a model and data, and a secret beside it."""
    inside = folder / "inputs"
    (inside / "model").mkdir(parents=True)
    (inside / "data.jsonl").write_text("{}\n")
    (folder / "inputs-of-others").mkdir()
    (folder / "secret.jsonl").write_text('{"text": "secret"}\n')
    return inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return laid_out(tmp_path)


@pytest.fixture(scope="module")
def one_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for many examples, none of which writes."""
    return laid_out(tmp_path_factory.mktemp("roots"))


def test_what_lies_inside_is_read(root: Path) -> None:
    refuse_outside(spec_of(root / "data.jsonl", root / "model"), [root])
    refuse_outside(spec_of(root / "model/../data.jsonl", root / "model"), [Path("/elsewhere"), root])
    (root / "alias.jsonl").symlink_to(root / "data.jsonl")
    refuse_outside(spec_of(root / "alias.jsonl", root / "model"), [root])
    with pytest.raises(PathOutsideRoots):  # the same, where no root is theirs
        refuse_outside(spec_of(root / "alias.jsonl", root / "model"), [Path("/elsewhere")])


@pytest.mark.parametrize(
    "path",
    ["{root}/../secret.jsonl", "/etc/passwd", "{root}-of-others", "{root}/absent.jsonl", "stanfordnlp/imdb",
     "https://example.org/x.jsonl", "file:///etc/passwd", "hf://datasets/x/y", "\0", "a" * 5000, "{root}/link.jsonl",
     "{root}/circle", "{root}/folder"],
)  # fmt: skip
def test_what_leads_outside_is_refused(root: Path, path: str) -> None:
    (root / "link.jsonl").symlink_to(root.parent / "secret.jsonl")
    (root / "circle").symlink_to(root / "circle")
    (root / "folder").mkdir()
    (root / "folder/part.jsonl").symlink_to(root.parent / "secret.jsonl")
    given_path = path.format(root=root)
    with pytest.raises(PathOutsideRoots, match=r"data\.domains\.d\.path"):
        refuse_outside(spec_of(given_path, root / "model"), [root])
    with pytest.raises(PathOutsideRoots, match=r"model\.path"):
        refuse_outside(spec_of(root / "data.jsonl", given_path), [root])


def data_set(folder: Path, *, name: str, content: str) -> Path:
    """A folder of one file that a data set is, and another that says where its rows lie."""
    (folder / "data").mkdir(parents=True)
    (folder / "data/train.jsonl").write_text('{"text": "a"}\n')
    (folder / name).write_text(content)
    return folder


CONFIGS = "configs:\n- config_name: default\n  data_files: data/*.jsonl\n- config_name: other\n  "
OUTSIDE = [
    "data_files: {outside}",
    "data_files: ../../secret.jsonl",
    "data_files: [data/train.jsonl, data/../../../secret.jsonl]",
    "data_files: [{{split: train, path: data/*}}, {{split: test, path: [data/*, '{outside}']}}]",
    "data_files: file://{outside}",
    "data_files: file:{outside}",
    "data_files: https://example.org/x.jsonl",
    "data_files: hf://datasets/x/y/z.jsonl",
    "data_files: zip://x.jsonl::data/train.zip",
    "data_files: data/train.jsonl::{outside}",
    "data_dir: ../..",
    "data_dir: /etc",
]


@pytest.mark.parametrize("config", OUTSIDE)
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_data_set_that_names_files_outside_its_folder_is_refused(root: Path, name: str, config: str) -> None:
    configs = CONFIGS + config.format(outside=root.parent / "secret.jsonl")
    content = f"\ufeff---\r\n{configs}\r\n---\r\n# A card\r\n" if name == "README.md" else configs
    folder = data_set(root / "set", name=name, content=content)
    with pytest.raises(PathOutsideRoots, match=rf"data\.domains\.d\.path is '.*/set', where {name} names '") as caught:
        refuse_outside(spec_of(folder, root / "model"), [root])
    assert caught.value.facts["named"] in content
    refuse_outside(spec_of(folder, root / "model"), [])


def test_data_set_that_names_files_outside_in_a_list_of_pairs_is_refused(root: Path) -> None:
    pairs = [["configs", [{"config_name": "default", "data_files": "../../secret.jsonl"}]]]
    folder = data_set(root / "set", name=".huggingface.yaml", content=json.dumps(pairs))
    with pytest.raises(PathOutsideRoots, match=r"where \.huggingface\.yaml names"):
        refuse_outside(spec_of(folder, root / "model"), [root])


@pytest.mark.parametrize("header", [CONFIGS + "data_files: data/train.jsonl", "license: mit", "configs: []", ""])
def test_data_set_that_names_its_own_files_is_read(root: Path, header: str) -> None:
    folder = data_set(root / "set", name="README.md", content=f"---\n{header}\n---\n")
    refuse_outside(spec_of(folder, root / "model"), [root])
    rows = list(read_dataset(SourceSpec(path=str(folder)), frozenset({"text"}), streamed=True))
    assert [row.fields for row in rows] == [{"text": "a"}]


@pytest.mark.parametrize(
    "named", ["../../elsewhere/data-00000-of-00001.arrow", "/etc/passwd", "hf://datasets/x/y.arrow"]
)
@pytest.mark.parametrize("split", [None, "train"])
def test_saved_data_set_that_names_files_outside_its_folder_is_refused(
    root: Path, split: str | None, named: str
) -> None:
    rows, folder = datasets.Dataset.from_list([{"text": "a"}]), root / "saved"
    (rows if split is None else datasets.DatasetDict({split: rows})).save_to_disk(folder)
    spec = spec_of(folder, root / "model")
    refuse_outside(spec, [root])
    state = folder / (split or "") / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"_data_files": [{"filename": named}]}))
    with pytest.raises(PathOutsideRoots, match=rf"where state\.json names '{named}'"):
        refuse_outside(spec, [root])
    (folder / "dataset_dict.json").write_text('{"splits": ["../../elsewhere"]}')
    state.unlink()
    with pytest.raises(PathOutsideRoots, match=r"where dataset_dict\.json names '\.\./\.\./elsewhere'"):
        refuse_outside(spec, [root])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", "---\nconfigs: [\n---\n"),
        (".huggingface.yaml", "a: b: c"),
        ("state.json", "{"),
        ("dataset_dict.json", "\0"),
    ],
)
def test_data_set_whose_names_cannot_be_read_is_refused(root: Path, name: str, content: str) -> None:
    folder = data_set(root / "set", name=name, content=content)
    with pytest.raises(DataFileUnreadable, match=rf"{name}' says where the rows"):
        refuse_outside(spec_of(folder, root / "model"), [root])


PARTS = st.sampled_from(["..", ".", "inputs", "model", "data.jsonl", "secret.jsonl"]) | st.text(max_size=6)


@given(st.text(min_size=1, max_size=60) | st.lists(PARTS, min_size=1, max_size=5).map("/".join), st.booleans())
@example("model/../data.jsonl", True)
@example("../secret.jsonl", True)
@example("absent/..", True)
@example("data.jsonl/..", True)
@example("data.jsonl/", True)
def test_any_path_is_inside_or_refused(one_root: Path, path: str, is_below: bool) -> None:
    given_path = f"{one_root}/{path}" if is_below else path or "."
    try:
        refuse_outside(spec_of(given_path, one_root / "model"), [one_root])
    except PathOutsideRoots:
        is_refused = True
    else:
        is_refused = False
    is_inside = Path(given_path).exists() and Path(os.path.realpath(given_path)).is_relative_to(one_root)
    assert is_refused != is_inside


def test_worker_refuses_on_every_route_that_reads(root: Path, make_spec: Callable[..., RunSpec]) -> None:
    spec = make_spec()  # its files lie beside the root
    worker = create_app(WorkerSettings(root=root.parent / "worker", input_roots=(root,)))
    with TestClient(worker) as client:
        told = spec.model_dump(mode="json")
        answers = [
            client.post("/v1/checks", json=told),
            client.post("/v1/previews", json={"spec": told}),
        ]
    assert [(response.status_code, response.json()["code"]) for response in answers] == [
        (422, "path_outside_roots")
    ] * 2


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_bomb_goes_off_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors", "model.pkl"])
def test_pickled_weights_are_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    with pytest.raises((ModelFileMissing, WeightMismatch)):
        WeightFiles(tmp_path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/passwd", "sub/x.safetensors"])
def test_index_names_only_files_beside_it(tmp_path: Path, shard: str) -> None:
    save_file({"w": np.zeros(1, np.float32)}, tmp_path / "outside.safetensors")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(WeightMismatch, match="a file beside it"):
        WeightFiles(tmp_path / "model")


@pytest.mark.parametrize("name", ["train.pkl", "train.pickle", "train.pt", "state.json", "dataset_info.json"])
def test_data_set_that_holds_a_pickle_is_not_unpickled(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    datasets.Dataset.from_list([{"text": "a"}]).save_to_disk(folder)
    (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    if name.startswith("train"):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    with pytest.raises((DataFileUnreadable, DataFileMissing)):
        list(read_dataset(SourceSpec(path=str(folder)), frozenset({"text"}), streamed=False))
    assert not (tmp_path / "mark").exists()


def test_script_of_a_data_set_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "script"
    folder.mkdir()
    (folder / "script.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n")
    with pytest.raises(WorkerError):
        list(read_dataset(SourceSpec(path=str(folder)), frozenset({"text"}), streamed=False))
    assert not (tmp_path / "mark").exists()


def test_worker_names_nothing_that_runs_what_it_reads() -> None:
    unsafe = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "torch", "runpy"}
    names = {"eval", "exec", "compile", "__import__"}
    found = []
    for path in Path(aft_worker.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                roots = {alias.name.split(".")[0] for alias in node.names} | {
                    (getattr(node, "module", "") or "").split(".")[0]
                }
                found += [(path.name, name) for name in roots & unsafe]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                found.append((path.name, node.func.id))
            if isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle"}:
                found.append((path.name, node.arg))
    assert found == []
