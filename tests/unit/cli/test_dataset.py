"""`nemostack dataset`: what a user sees of it, on files and on a stack."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemostack.clone import ROOT
from tests.unit.command_line import run_command
from tests.unit.fake_stack import FakeStack
from tests.unit.pipeline_harness import Harness, write_dataset
from workflows.settings import Settings

EXAMPLES = ROOT / "examples" / "datasets"


@pytest.fixture
def target(stack: FakeStack, tmp_path: Path) -> list[str]:
    path = tmp_path / "outputs.json"
    path.write_text(stack.outputs.model_dump_json())
    return ["--outputs", str(path)]


def findings(capfd: pytest.CaptureFixture[str]) -> dict[tuple[str, str], dict[str, str]]:
    report = json.loads(capfd.readouterr().out)
    return {(finding["service"], finding["check"]): finding for finding in report["findings"]}


def test_check_says_what_would_spoil_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_dataset(tmp_path / "d", {"train": 60, "validation": 4, "test": 30})
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"prompt": "test question 7?", "completion": "x"}\nnonsense\n')
    assert run_command("dataset", "check", str(folder), "--format", "json") == 2
    found = findings(capfd)
    assert found["train and test", "leakage"]["level"] == "bad"
    assert "train line 61, test line 8" in found["train and test", "leakage"]["evidence"]
    assert (
        found["train", "rows"]["evidence"]
        == "61 of 62 can be used; train.jsonl line 62: is not JSON (Expecting value at column 1)"
    )
    assert "too few even to develop with" in found["test", "size"]["evidence"]
    assert found["validation", "duplicates"]["level"] == "ok"


def test_check_in_a_terminal_of_a_good_dataset(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_dataset(tmp_path / "d", {"train": 60, "validation": 4, "test": 200})
    assert run_command("dataset", "check", str(folder), "--no-near") == 0
    assert "200 test items: enough to validate" in capfd.readouterr().out
    (folder / "test.jsonl").write_bytes(b"\xef\xbb\xbf" + (folder / "test.jsonl").read_bytes())
    assert run_command("dataset", "check", str(folder), "--no-near") == 0
    assert run_command("dataset", "check", str(folder), "--no-near", "--strict") == 2
    assert "UTF-8 with a byte order mark" in capfd.readouterr().out


def test_tokens_are_those_of_the_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stack: FakeStack, target: list[str]
) -> None:
    folder = write_dataset(tmp_path / "d")
    with (folder / "test.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "a" * 500, "completion": "b"}) + "\n")
        file.write(json.dumps({"prompt": "a" * 250, "completion": "b"}) + "\n")
    stack.tokens_per_character, stack.context = 0.5, 200
    assert run_command("dataset", "check", str(folder), "--tokens", "--format", "json", *target) == 2
    found = findings(capfd)["test", "lengths"]
    assert "longest 250 tokens; the context of base/model is 200; too long: line 11" in found["evidence"]
    stack.tokens_per_character = None
    assert run_command("dataset", "check", str(folder), "--tokens", "--format", "json", *target) == 0
    assert "offers no tokenizer" in findings(capfd)["test", "lengths"]["evidence"]


def test_the_users_own_csv(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    csv, out = EXAMPLES / "bicycle-workshop" / "tickets.csv", tmp_path / "tickets"
    columns = ["--prompt-column", "question", "--completion-column", "answer"]
    assert run_command("dataset", "split", str(csv), *columns, "--group", "product", "--out", str(out)) == 0
    said = capfd.readouterr().out
    assert "left out 1: column 'answer' is empty" in said
    assert "left out 1: says what line 6 says" in said
    manifest = json.loads((out / "dataset.json").read_text())
    assert sum(manifest["rows"].values()) == 168
    assert manifest["choices"]["group"] == "product"
    assert run_command("dataset", "check", str(out), "--no-near") == 0
    assert run_command("dataset", "check", str(csv)) == 2
    assert (
        "lacks column 'prompt' (has: answer, product, question, ticket); name it with --prompt-"
        in capfd.readouterr().err
    )


def test_a_korean_chat_dataset_runs(harness: Harness, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "library"
    assert run_command("dataset", "split", str(EXAMPLES / "korean-library" / "chats.jsonl"), "--out", str(out)) == 0
    uploaded: list[dict[str, bytes]] = []
    stack = harness.stack
    stack.on(r"DELETE /ds/v1/hf/api/repos/delete", lambda: uploaded.extend(map(dict, stack.repos.values())))
    templates: list[object] = []
    stack.on(
        r"DELETE /v1/evaluation/jobs/eval-1",
        lambda: templates.extend(j["config"]["tasks"]["answers"] for j in stack.evaluations.values()),
    )
    run = harness.run(Settings(dataset=out, limit=8))
    assert run.info().finished_at is not None
    [files] = uploaded
    training = [json.loads(line)["messages"] for line in files["training/train.jsonl"].decode().splitlines()]
    assert {turns[0]["content"] for turns in training} == {"당신은 시립 도서관의 안내원입니다. 사실만 짧게 답하십시오."}
    shown = [json.loads(line)["messages"] for line in files["testing/in_context.jsonl"].decode().splitlines()]
    plain = [json.loads(line)["messages"] for line in files["testing/test.jsonl"].decode().splitlines()]
    assert len(shown) == 8
    for with_examples, without in zip(shown, plain[:8], strict=True):
        assert [turn["role"] for turn in with_examples].count("system") == 1
        assert with_examples[0] == without[0]
        assert with_examples[-len(without) + 1 :] == without[1:]
        assert len(with_examples) >= len(without) + 6  # three examples of a question and an answer
    messages = {task["params"]["template"]["messages"] for task in templates}  # type: ignore[index]
    assert messages == {"{{ item.messages | tojson }}"}
    assert [task["dataset"]["files_url"].rpartition("/")[2] for task in templates] == [  # type: ignore[index]
        "test.jsonl",
        "in_context.jsonl",
        "test.jsonl",
    ]


def test_convert_of_another_encoding(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_bytes(
        ("질문,답\n" + "수도는 어디입니까?,대한민국의 수도는 서울입니다\n" * 3).encode("cp949")
    )
    out = tmp_path / "out"
    command = ["dataset", "convert", str(tmp_path / "a.csv"), "--out", str(out)]
    assert run_command(*command) == 2
    assert "--encoding cp949" in capfd.readouterr().err
    columns = ["--prompt-column", "질문", "--completion-column", "답"]
    assert run_command(*command, "--encoding", "cp949", *columns) == 0
    rows = [json.loads(line) for line in (out / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == [{"prompt": "수도는 어디입니까?", "completion": "대한민국의 수도는 서울입니다"}]
    assert run_command(*command, "--encoding", "klingon") == 2
    assert "--encoding klingon: not known" in capfd.readouterr().err


def test_profile_is_one_page_that_loads_nothing(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d")
    (folder / "train.jsonl").write_text(json.dumps({"prompt": "<script>alert(1)</script>?", "completion": "b"}))
    page = tmp_path / "p.html"
    assert run_command("dataset", "profile", str(folder), "--out", str(page)) == 0
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "<script" not in text
    assert "test question 0?" in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_same_content_is_one_version(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stack: FakeStack, target: list[str]
) -> None:
    folder = write_dataset(tmp_path / "d")
    command = ["dataset", "upload", str(folder), "--name", "legal", *target]
    assert run_command(*command) == 0
    assert run_command(*command) == 0
    assert list(stack.datasets) == ["default/legal-v1"]
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"prompt": "new", "completion": "row"}\n')
    assert run_command(*command) == 0
    fields = {name: dataset["custom_fields"] for name, dataset in stack.datasets.items()}
    assert [field["nemostack_version"] for field in fields.values()] == [1, 2]
    assert len({field["nemostack_sha256"] for field in fields.values()}) == 2
    assert set(stack.repos) == {("dataset", "default/legal-v1"), ("dataset", "default/legal-v2")}
    out = capfd.readouterr().out
    assert "version 1 uploaded" in out
    assert "version 1 was there already" in out
    assert fields["default/legal-v2"]["nemostack_sha256"] in out


def test_a_dataset_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stack: FakeStack
) -> None:
    """The fake Data Store speaks the Hub's API."""
    rows = [{"prompt": f"q{n}", "completion": "a"} for n in range(30)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    stack.repos["dataset", "org/data"] = {
        "README.md": b"#",
        "data/train-00000-of-00001.parquet": (tmp_path / "x.parquet").read_bytes(),
        "data/test-00000-of-00001.jsonl": b'{"prompt": "t", "completion": "a"}\n',
    }
    monkeypatch.setenv("HF_ENDPOINT", f"{stack.url}/ds/v1/hf")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    assert run_command("dataset", "convert", "hf://datasets/org/data", "--out", str(out)) == 0
    assert json.loads((out / "dataset.json").read_text())["rows"] == {"test": 1, "train": 30}
    assert json.loads((out / "dataset.json").read_text())["revision"] == "a" * 40
    assert run_command("dataset", "check", "hf://datasets/org/none") == 4
    assert "looking up dataset org/none" in capfd.readouterr().err
    assert run_command("dataset", "check", "hf://datasets/org/data", "--hub-split", "dev") == 2
    assert run_command("dataset", "check", "hf://datasets/") == 2


def test_a_source_that_is_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("dataset", "check", str(tmp_path / "none.csv")) == 2
    assert "is neither a file nor a folder" in capfd.readouterr().err
    (tmp_path / "val.csv").touch()
    (tmp_path / "validation.jsonl").touch()
    assert run_command("dataset", "check", str(tmp_path)) == 2
    assert "are both the validation split" in capfd.readouterr().err
