"""Base URLs: API paths that users copied along are cut off, all others stay."""

import json
from pathlib import Path

import pytest

from nemostack import stack_outputs
from nemostack.base_urls import API_PATHS, base_url, notice
from nemostack.outputs import StackOutputs

OUTPUTS = {
    "target": "given",
    "nemo_url": "http://nemo",
    "nemo_internal_url": "http://nemo",
    "data_store_url": "http://data",
    "nim_url": "http://nim",
    "nim_internal_url": "http://nim",
    "mlflow_url": "",
    "judge_url": "http://judge",
    "judge_model": "j",
    "base_model": "m",
    "customization_config": "n/c@1",
    "log_commands": {},
}


@pytest.mark.parametrize(
    ("key", "url", "base"),
    [
        ("nim_url", "http://h:1", "http://h:1"),
        ("nim_url", "http://h:1/", "http://h:1"),
        ("nim_url", "http://h:1/v1", "http://h:1"),
        ("nim_url", "http://h:1/v1/", "http://h:1"),
        ("nim_internal_url", "http://h:1/v1/chat/completions", "http://h:1"),
        ("judge_url", "https://integrate.api.nvidia.com/v1", "https://integrate.api.nvidia.com"),
        ("judge_url", "https://h/proxy/v1/completions", "https://h/proxy"),
        ("judge_url", "https://h/v1/models", "https://h"),
        ("data_store_url", "http://h/v1/hf", "http://h"),
        ("data_store_url", "http://h/v1/hf/", "http://h"),
        ("nemo_url", "http://h/v1", "http://h"),
        ("mlflow_url", "http://h/mlflow", "http://h/mlflow"),
        # paths of a proxy, not of the API
        ("nim_url", "http://h/v1/team-a", "http://h/v1/team-a"),
        ("nim_url", "http://h/apiv1", "http://h/apiv1"),
        ("nim_url", "http://h/v10", "http://h/v10"),
    ],
)
def test_base_of_a_url(key: str, url: str, base: str) -> None:
    assert base_url(key, url) == base


def test_the_notice_names_option_base_and_path() -> None:
    assert notice("nim_url", "http://h/v1/", name="--nim-url") == (
        "--nim-url: using http://h without /v1, which clients add themselves"
    )
    assert notice("nim_url", "http://h/") is None


def test_every_url_of_the_outputs_is_covered() -> None:
    pages = {"studio_url"}  # for a browser: no client adds a path to it
    assert set(API_PATHS) == {key for key in StackOutputs.model_fields if key.endswith("_url")} - pages


@pytest.mark.parametrize("key", sorted({*API_PATHS} - {"mlflow_url"}))
def test_outputs_and_options_lose_their_api_path(
    tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(stack_outputs.ENV_OUTPUTS, raising=False)
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(OUTPUTS | {key: f"{OUTPUTS[key]}{API_PATHS[key][0]}"}))
    assert getattr(stack_outputs.resolve("none", file, {}), key) == OUTPUTS[key]
    file.write_text(json.dumps(OUTPUTS))
    outputs = stack_outputs.resolve("none", file, {key: f"http://other{API_PATHS[key][0]}/"})
    assert getattr(outputs, key) == "http://other"
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["notice", "notice"]
    assert f"{key}: using http://other without {API_PATHS[key][0]}" in lines[1]


def test_outputs_without_api_paths_are_used_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(OUTPUTS))
    stack_outputs.resolve("none", file, {})
    assert capsys.readouterr().err == ""
