from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.errors import ConfigError, DataError
from nemotron.data_prep import functions, sft
from nemotron.data_prep.corpus import Document, split_of
from nemotron.data_prep.packing import read_packed
from nemotron.data_prep.tokenizer import CHAT_TEMPLATE, TextTokenizer, load_tokenizer
from tests.nemotron.data_prep.small import small_tokenizer
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from nemo_runspec.artifacts import Manifest


def function(name: str) -> str:
    return f'def {name}(a):\n    """Do {name}."""\n    return a\n'


def talk(question: str, answer: str = "yes") -> str:
    return json.dumps({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})


def run(folder: Path, **changes: object) -> Manifest:
    small_tokenizer(folder / "tokenizer")
    config = {
        "blend": None,
        "tokenizer": {"path": str(folder / "tokenizer")},
        "pack_size": 256,
        "max_tokens": 200,
        "valid_fraction": 0.2,
        "seed": 1,
    }
    sft.prepare(stage(folder, **(config | changes)))
    return ArtifactStore(str(folder / "artifacts")).get("made")


def tokenizer_of(manifest: Manifest) -> TextTokenizer:
    return load_tokenizer(f"{manifest.path}/tokenizer")


def blend(folder: Path, *rows: str, **others: tuple[str, ...]) -> str:
    datasets = []
    for name, lines in {"mine": rows, **others}.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        datasets.append({"name": name, "path": f"{name}.jsonl", "weight": 1 if name == "mine" else 3})
    (folder / "blend.json").write_text(json.dumps({"datasets": datasets}))
    return str(folder / "blend.json")


def conversations(manifest: Manifest, split: str) -> list[str]:
    tokenizer = load_tokenizer(f"{manifest.path}/tokenizer")
    samples = read_packed(Path(str(manifest.field(split))))
    return sorted(str(tokenizer.backend.decode(item.ids.tolist(), skip_special_tokens=False)) for item in samples)


def test_functions_of_the_library_by_the_split_of_their_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [Document(f"m{number}.py", function(f"do_{number}")) for number in range(80)]
    monkeypatch.setattr(sft, "standard_library", lambda: documents)
    monkeypatch.setattr(functions, "standard_library", lambda: documents)
    manifest = run(tmp_path)
    for split in ("train", "valid"):
        names = [f"do_{number}" for number in range(80) if split_of(f"m{number}.py") == split]
        said = [
            f'<|im_start|>user\ndef {name}(a):\n    """Do {name}."""<|im_end|>\n'
            f"<|im_start|>assistant\ndef {name}(a):\n    return a<|im_end|>\n"
            for name in names
        ]
        assert conversations(manifest, split) == sorted(said)


def test_a_blend(tmp_path: Path) -> None:
    manifest = run(tmp_path, blend=blend(tmp_path, *(talk(f"question {number}") for number in range(40))))
    train, valid = conversations(manifest, "train"), conversations(manifest, "valid")
    assert len(train) + len(valid) == 40
    assert valid
    assert not set(train) & set(valid)


def test_weights_are_shares_of_the_training_samples(tmp_path: Path) -> None:
    rows = tuple(talk(f"question {number}") for number in range(30))
    others = tuple(talk(f"other {number}") for number in range(30))
    manifest = run(tmp_path, blend=blend(tmp_path, *rows, more=others), valid_fraction=0.0)
    train = conversations(manifest, "train")
    assert len([text for text in train if "other" in text]) == 30
    assert len([text for text in train if "question" in text]) == 10


def test_what_is_too_long_is_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [talk("short"), talk("long " * 300)]
    manifest = run(tmp_path, blend=blend(tmp_path, *rows), valid_fraction=0.0)
    assert manifest.field("too_long") == 1
    assert len(conversations(manifest, "train")) == 1
    assert "1 longer than max_tokens" in capsys.readouterr().out


def test_what_is_too_long_is_cut(tmp_path: Path) -> None:
    path = blend(tmp_path, talk("short", "long " * 300))
    manifest = run(tmp_path, blend=path, valid_fraction=0.0, overlong="truncate")
    (sample,) = read_packed(Path(str(manifest.field("train"))))
    assert len(sample.ids) == 200
    assert sample.mask[-2:].tolist() == [1, 0]
    assert manifest.field("truncated") == 1


def test_a_cut_that_leaves_nothing_to_learn_is_left_out_and_counted(tmp_path: Path) -> None:
    path = blend(tmp_path, talk("long " * 300), talk("short"))
    manifest = run(tmp_path, blend=path, valid_fraction=0.0, overlong="truncate")
    assert len(conversations(manifest, "train")) == 1
    assert manifest.field("all_masked") == 1


def test_nothing_short_enough(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no conversation is left to train on") as raised:
        run(tmp_path, blend=blend(tmp_path, talk("long " * 300)), valid_fraction=0.0)
    assert "1 longer than max_tokens" in str(raised.value)


def test_rows_are_packed_over_all_data_sets(tmp_path: Path) -> None:
    rows = tuple(talk(f"question {number}") for number in range(30))
    others = tuple(talk(f"other {number}") for number in range(30))
    manifest = run(tmp_path, blend=blend(tmp_path, *rows, more=others), valid_fraction=0.0)
    folder = Path(str(manifest.field("train")))
    (file,) = folder.glob("*.parquet")
    table = pq.read_table(file)
    assert max(len(row) for row in table["input_ids"].to_pylist()) <= 256
    assert manifest.field("train_rows") == table.num_rows < manifest.field("train_sequences") == 40
    (described,) = json.loads((folder / "metadata.json").read_text())
    assert described["pack_size"] == 256
    assert 0.5 < float(str(manifest.field("fill"))) <= 1


def test_sequences_are_padded_for_context_parallelism(tmp_path: Path) -> None:
    path = blend(tmp_path, *(talk(f"question {'x' * number}") for number in range(12)))
    manifest = run(tmp_path, blend=path, valid_fraction=0.0, pad_seq_to_mult=8)
    samples = list(read_packed(Path(str(manifest.field("train")))))
    assert {(len(sample.ids) - 1) % 8 for sample in samples} == {0}
    end = tokenizer_of(manifest).end_of_text
    assert any(sample.ids[-1] == end for sample in samples)
    assert all(not sample.mask[sample.ids == end].any() for sample in samples)


def test_only_what_is_used_here(tmp_path: Path) -> None:
    marked = json.dumps({**json.loads(talk("wanted")), "used_in": "sft, other"})
    other = json.dumps({**json.loads(talk("unwanted")), "used_in": ["other"]})
    manifest = run(tmp_path, blend=blend(tmp_path, marked, other, talk("bare")), used_in="sft", valid_fraction=0.0)
    (text,) = conversations(manifest, "train")
    assert "user\nwanted<" in text
    assert manifest.field("not_used") == 2


def test_a_template_of_the_configuration(tmp_path: Path) -> None:
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    manifest = run(tmp_path, blend=blend(tmp_path, talk("a")), chat_template=template, valid_fraction=0.0)
    assert conversations(manifest, "train") == ["[user] a\n[assistant] yes\n"]


def test_records_that_cannot_be_used_are_skipped_and_listed(tmp_path: Path) -> None:
    manifest = run(tmp_path, blend=blend(tmp_path, talk("a"), "{}", talk("b")), on_error="skip", valid_fraction=0.0)
    assert len(conversations(manifest, "train")) == 2
    assert manifest.field("skipped") == 1
    (listed,) = (Path(manifest.path) / "skipped.jsonl").read_text().splitlines()
    assert json.loads(listed)["where"].endswith("mine.jsonl:2")


def test_a_changed_weight_encodes_nothing_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tuple(talk(f"question {number}") for number in range(30))
    others = tuple(talk(f"other {number}") for number in range(30))
    run(tmp_path, blend=blend(tmp_path, *rows, more=others), valid_fraction=0.0)
    text = (tmp_path / "blend.json").read_text()
    (tmp_path / "blend.json").write_text(text.replace('"weight": 3', '"weight": 1'))
    capsys.readouterr()
    manifest = run(tmp_path, blend=str(tmp_path / "blend.json"), valid_fraction=0.0)
    assert "2 of 2 shards were there already" in capsys.readouterr().out
    assert len(conversations(manifest, "train")) == 60


def test_the_same_run_again_is_reused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = blend(tmp_path, *(talk(f"question {number}") for number in range(30)))
    first = run(tmp_path, blend=path)
    assert run(tmp_path, blend=path) == first
    assert "reused made:v1" in capsys.readouterr().out


def rename(settings: Path, **changes: str) -> None:
    """Change settings of a tokenizer."""
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **changes}))


def test_a_token_that_the_template_prints_is_part_of_what_is_prepared(tmp_path: Path) -> None:
    folder = small_tokenizer(tmp_path / "mine").folder
    path = blend(tmp_path, talk("a"))
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    said = []
    for start in ("<|im_start|>", "<|pad|>"):
        rename(folder / "tokenizer_config.json", bos_token=start)
        changes = {"tokenizer": {"path": str(folder)}, "chat_template": template, "valid_fraction": 0.0}
        said.append(conversations(run(tmp_path, blend=path, **changes), "train"))
    assert said == [["<|im_start|>ayes"], ["<|pad|>ayes"]]


def test_other_files_of_the_tokenizer_are_published_anew(tmp_path: Path) -> None:
    folder = small_tokenizer(tmp_path / "mine").folder
    changes = {"tokenizer": {"path": str(folder)}, "blend": blend(tmp_path, talk("a")), "valid_fraction": 0.0}
    first = run(tmp_path, **changes)
    rename(folder / "tokenizer_config.json", model_max_length="9")
    second = run(tmp_path, **changes)
    assert second.path != first.path
    assert "model_max_length" in (Path(second.path) / "tokenizer" / "tokenizer_config.json").read_text()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"chat": []}', r"mine\.jsonl:2: the record has no field 'messages'"),
        ('{"messages": 3}', r"mine\.jsonl:2: the field 'messages' is not a list of messages"),
        ('{"messages": [{"role": "usr", "content": "a"}]}', r"mine\.jsonl:2: 'messages\[0\]\.role' is 'usr'"),
    ],
)
def test_a_record_that_is_no_conversation(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        run(tmp_path, blend=blend(tmp_path, talk("a"), row))
    assert not (tmp_path / "artifacts").exists()


def test_a_conversation_that_the_template_refuses_is_named(tmp_path: Path) -> None:
    folder = small_tokenizer(tmp_path / "strict").folder
    refuse = "{% if 'bad' in messages[0].content %}{{ raise_exception('no') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(refuse + CHAT_TEMPLATE)
    path = blend(tmp_path, talk("good"), talk("bad"))
    with pytest.raises(DataError, match=r"mine\.jsonl:2: the chat template refuses the conversation: no"):
        run(tmp_path, blend=path, tokenizer={"path": str(folder)}, valid_fraction=0.0)


def test_there_is_always_something_to_train_on(tmp_path: Path) -> None:
    manifest = run(tmp_path, blend=blend(tmp_path, talk("a")), valid_fraction=0.999999)
    assert len(conversations(manifest, "train")) == 1
    assert manifest.field("valid_sequences") == 0


def test_conversations_that_do_not_fit_into_a_row(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_tokens is 300, and the longest that fits into a packed row is 256"):
        run(tmp_path, max_tokens=300)
