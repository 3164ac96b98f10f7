"""Which services: flags over file over stack, and clear words when it does not add up."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nemostack import stack_outputs
from nemostack.errors import NoOutputs, TargetError
from nemostack.stack_outputs import FLAG_KEYS, of_stack, resolve
from tests.unit.fake_stack import FakeStack

NO_FLAGS: dict[str, str | None] = dict.fromkeys(FLAG_KEYS)


@pytest.fixture
def file(stack: FakeStack, tmp_path: Path) -> Path:
    path = tmp_path / "outputs.json"
    path.write_text(stack.outputs.model_dump_json())
    return path


def test_file_and_flags(file: Path, stack: FakeStack) -> None:
    found = resolve("local", file, {**NO_FLAGS, "nim_url": "http://other:1/"})
    assert found.nim_url == "http://other:1"  # and no slash at the end
    assert found.mlflow_url == stack.outputs.mlflow_url


def test_environment_names_the_file(file: Path, stack: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOSTACK_OUTPUTS", str(file))
    assert resolve("local", None, NO_FLAGS) == stack.outputs


def test_flags_alone_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: pytest.fail("asked Pulumi"))
    flags: dict[str, str | None] = {key: f"http://{key.replace('_', '-')}" for key in FLAG_KEYS}
    flags["nim_internal_url"] = None
    found = resolve("local", None, flags)
    assert found.nim_internal_url == found.nim_url == "http://nim-url"


def fake_pulumi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> Path:
    """A python that records its arguments and then does what `script` says."""
    seen = tmp_path / "argv.json"
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open({str(seen)!r}, 'w'))\n{script}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    return seen


def test_stack_is_asked_by_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path) -> None:
    seen = fake_pulumi(monkeypatch, tmp_path, f"print(open({str(file)!r}).read())")
    assert resolve("staging", None, NO_FLAGS).target == "fake"
    expected = ["-m", "cli", "outputs", "--stack", "staging"]
    assert json.loads(seen.read_text()) == expected


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('error: no stack named x', file=sys.stderr); sys.exit(255)", r"exit 255.*no stack named x.*make up"),
        ("print('{}')", "has no outputs.*make up"),
        ("print('building...')", "answered no JSON"),
        ("print('[1]')", "answered no JSON object"),
    ],
)
def test_stack_that_cannot_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: str) -> None:
    fake_pulumi(monkeypatch, tmp_path, script)
    with pytest.raises(TargetError, match=said) as caught:
        resolve("local", None, NO_FLAGS)
    assert "\n" not in str(caught.value)


def test_the_microservices_of_a_stack_with_both_products(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: FakeStack
) -> None:
    platform = stack.outputs.model_copy(
        update={"product": "platform", "base_model": "default/m", "microservices": stack.outputs}
    )
    both = tmp_path / "both.json"
    both.write_text(platform.model_dump_json())
    seen = fake_pulumi(monkeypatch, tmp_path, f"print(open({str(both)!r}).read())")
    assert resolve("prod", None, NO_FLAGS).product == "platform"
    other = resolve("prod:microservices", None, NO_FLAGS)
    assert (other.product, other.base_model) == ("microservices", stack.outputs.base_model)
    assert json.loads(seen.read_text())[-1] == "prod"
    both.write_text(stack.outputs.model_dump_json())
    with pytest.raises(TargetError, match="'prod' does not run both products: leave :microservices out"):
        of_stack("prod:microservices")


def test_of_stack_asks_the_stack_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path, stack: FakeStack
) -> None:
    other = tmp_path / "other.json"
    other.write_text(stack.outputs.model_copy(update={"target": "other"}).model_dump_json())
    monkeypatch.setenv("NEMOSTACK_OUTPUTS", str(other))
    fake_pulumi(monkeypatch, tmp_path, f"print(open({str(file)!r}).read())")
    assert of_stack("staging").target == "fake"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("print('{}')", NoOutputs),
        ("print('[1]')", TargetError),
        ("print('building...')", TargetError),
        ('print(\'{"target": "gke"}\')', TargetError),  # as of another version of the program
        ("print('{}'); sys.exit(1)", TargetError),
    ],
)
def test_only_a_stack_without_outputs_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, kind: type[TargetError]
) -> None:
    fake_pulumi(monkeypatch, tmp_path, script)
    with pytest.raises(TargetError) as caught:
        of_stack("staging")
    assert type(caught.value) is kind


def test_a_stack_that_takes_too_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_pulumi(monkeypatch, tmp_path, "import time; time.sleep(60)")
    monkeypatch.setattr(stack_outputs, "PULUMI_TIMEOUT_S", 0.2)
    with pytest.raises(TargetError, match="timed out") as caught:
        of_stack("staging")
    assert type(caught.value) is TargetError


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nim_url": None}, "nim_url: field required"),
        ({"surprise": "x"}, "surprise: extra inputs are not permitted"),
        ({"nim_url": "localhost:8000"}, "nim_url='localhost:8000'.*is no URL"),
        ({"nim_url": "ftp://me:secret@x"}, "is no URL"),
    ],
)
def test_bad_outputs(file: Path, change: dict[str, str | None], said: str) -> None:
    values = json.loads(file.read_text()) | change
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    with pytest.raises(TargetError, match=said) as caught:
        resolve("local", file, NO_FLAGS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "no json", "[1]"])
def test_bad_file(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "o.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TargetError, match=r"o.json"):
        resolve("local", path, NO_FLAGS)
