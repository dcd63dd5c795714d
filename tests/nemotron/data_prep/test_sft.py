from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.errors import ConfigError, DataError
from nemotron.data_prep import sft
from nemotron.data_prep.corpus import Document, split_of
from nemotron.data_prep.packing import read_packed
from nemotron.data_prep.tokenizer import CHAT_TEMPLATE, load_tokenizer
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
    manifest = run(tmp_path)
    for split in ("train", "valid"):
        names = [f"do_{number}" for number in range(80) if split_of(f"m{number}.py") == split]
        said = [
            f'<|im_start|>user\ndef {name}(a):\n    """Do {name}."""<|im_end|>\n'
            f"<|im_start|>assistant\ndef {name}(a):\n    return a<|im_end|>\n"
            for name in names
        ]
        assert conversations(manifest, split) == sorted(said)


def test_a_function_that_stands_in_the_training_part_is_not_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"m{number}.py" for number in range(80)]
    documents = [Document(name, function("same")) for name in names]
    monkeypatch.setattr(sft, "standard_library", lambda: documents)
    found, _ = sft.functions_by_split(stage(tmp_path))
    assert {split: len(functions) for split, functions in found.items()} == {"train": 1, "rl": 0, "valid": 0}


def test_no_prompt_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = function("same") + "\n\n" + function("own")
    documents = [
        Document(f"m{number}.py", text.replace("own", f"own_{number}").replace("return a", f"return {number}"))
        for number in range(80)
    ]
    monkeypatch.setattr(sft, "standard_library", lambda: documents)
    found, _ = sft.functions_by_split(stage(tmp_path))
    prompts = [item.prompt for functions in found.values() for item in functions]
    assert len(prompts) == len(set(prompts)) == 81
    assert [item.name for item in found["train"]].count("same") == 1


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
    assert manifest.field("left_out") == 1
    assert len(conversations(manifest, "train")) == 1
    assert "left out 1 conversations of more than 200 tokens" in capsys.readouterr().out


def test_nothing_short_enough(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all conversations are longer than 200 tokens"):
        run(tmp_path, blend=blend(tmp_path, talk("long " * 300)), valid_fraction=0.0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"chat": []}', r"mine\.jsonl:2: the record has no field 'messages'"),
        ('{"messages": [{"role": "user", "content": "a"}]}', r"mine\.jsonl:2: .*no assistant's turn"),
    ],
)
def test_a_record_that_is_no_conversation(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        run(tmp_path, blend=blend(tmp_path, talk("a"), row))
    assert not (tmp_path / "out").exists()


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
    assert manifest.field("valid_conversations") == 0


def test_conversations_that_do_not_fit_into_a_row(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_tokens is 300, more than the pack_size of 256"):
        run(tmp_path, max_tokens=300)
