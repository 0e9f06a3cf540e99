"""The config file: absolute paths out, and every wrong field named."""

from pathlib import Path

import pytest

from aft_cli.config_file import ConfigError, FieldFault, read_spec

GOOD = """
model: {path: model}
data:
  domains: {chat: {path: rows/chat.jsonl}, other: {path: /abs/other.jsonl}}
  evaluation: {chat: ../held.jsonl}
optim: {learning_rate: 2e-4}
"""

FAULTS = [
    ("{}", "model", "nothing", "a value: this field has no default"),
    ("optim: {steps: 0}", "optim.steps", "0", "greater than or equal to 1"),
    ("optim: {steps: many}", "optim.steps", "'many'", "integer"),
    ("optim: {curve: wavy}", "optim.curve", "'wavy'", "'constant', 'linear' or 'cosine'"),
    ("optim: {stepz: 5}", "optim.stepz", "5", "a known field; did you mean optim.steps?"),
    ("model: {path: m, lora: {targets: 5}}", "model.lora.targets", "5", "'all-linear', or a list"),
    ("model: {path: m, lora: {rnk: 4}}", "model.lora.rnk", "4", "a known field; did you mean model.lora.rank?"),
    (
        "data: {domains: {chat: {path: a, wieght: 2}}}",
        "data.domains.chat.wieght",
        "2",
        "a known field; did you mean data.domains.chat.weight?",
    ),
    ("detection: 7", "detection", "7", "a mapping of fields and their values"),
    (
        "data: {domains: {chat: {path: a, weight: 0}}}",
        "data",
        "{'domains': {'chat': {'path': 'a', 'weight': 0}}}",
        "at least one domain needs a weight above 0",
    ),
]


def _faults(path: Path, text: str | bytes) -> tuple[FieldFault, ...]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as refused:
        read_spec(path)
    return refused.value.faults


def test_relative_paths_are_taken_from_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "configs" / "run.yaml"
    config.parent.mkdir()
    config.write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    spec = read_spec(Path("configs/run.yaml"))
    assert spec.model.path == str(tmp_path / "configs/model")
    assert {name: domain.path for name, domain in spec.data.domains.items()} == {
        "chat": str(tmp_path / "configs/rows/chat.jsonl"),
        "other": "/abs/other.jsonl",
    }
    assert {name: source.path for name, source in spec.data.evaluation.items()} == {
        "chat": str(tmp_path / "held.jsonl")
    }
    assert spec.optim.learning_rate == 2e-4, "YAML 1.1 reads 2e-4 as text"


@pytest.mark.parametrize(("text", "field", "given", "expected"), FAULTS, ids=[fault[1] for fault in FAULTS])
def test_wrong_field_is_named_with_its_value(tmp_path: Path, text: str, field: str, given: str, expected: str) -> None:
    assert FieldFault(field=field, given=given, expected=expected) in _faults(tmp_path / "run.yaml", text)


def test_every_wrong_field_is_named_once(tmp_path: Path) -> None:
    text = "seed: -1\nmodel: {path: m}\noptim: {steps: 0, beta1: 2}\ndata: {domains: {}}"
    fields = [fault.field for fault in _faults(tmp_path / "run.yaml", text)]
    assert sorted(fields) == ["data.domains", "optim.beta1", "optim.steps", "seed"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1,", "YAML or JSON"),
        ("- just\n- a list\n", "fields and their values, as in `model: {path: …}`"),
        ("", "fields and their values, as in `model: {path: …}`"),
        (b"\xff\xfe\x00", "a text file in UTF-8"),
    ],
)
def test_file_that_is_no_config_is_one_fault(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert [(fault.field, fault.expected) for fault in _faults(tmp_path / "run.yaml", text)] == [("(file)", expected)]


def test_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a file that can be read"):
        read_spec(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("{path: org/set, format: dataset}", "org/set"),
        ("{path: set, format: dataset, split: test}", "set"),
        ("{path: ./org/set, format: dataset}", "{folder}/org/set"),
        ("{path: here, format: dataset}", "{folder}/here"),
        ("{path: org/set}", "{folder}/org/set"),
    ],
)
def test_the_id_of_a_data_set_on_the_hub_is_no_path(tmp_path: Path, source: str, path: str) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "run.yaml").write_text(
        f"model: {{path: m}}\ndata: {{domains: {{chat: {source}}}, evaluation: {{chat: {source}}}}}\n"
    )
    data = read_spec(tmp_path / "run.yaml").data
    assert data.domains["chat"].path == data.evaluation["chat"].path == path.format(folder=tmp_path)


def test_a_misspelt_field_of_a_held_out_source_is_named(tmp_path: Path) -> None:
    text = "model: {path: m}\ndata: {domains: {a: {path: a}}, evaluation: {a: {path: b, columns: {txt: c}}}}"
    (fault,) = _faults(tmp_path / "run.yaml", text)
    assert (fault.field, fault.expected) == (
        "data.evaluation.a.columns.txt",
        "a known field; did you mean data.evaluation.a.columns.text?",
    )
