"""`nemostack runs`: what is listed, shown and removed, and why the rest stays."""

import json
from pathlib import Path

import pytest

from load_tests.options import RunManifest
from nemostack.errors import BadInput
from tests.unit.command_line import run_command
from tests.unit.pipeline_harness import Harness
from workflows.engine.run_directory import RunDirectory
from workflows.settings import Settings


@pytest.fixture
def folder(harness: Harness, settings: Settings) -> dict[str, Path]:
    """A finished run, one that kept its adapter, an interrupted one, a folder that is none, and a load test."""
    found = {"finished": harness.run(settings, new=True).path}
    found["kept"] = harness.run(settings.model_copy(update={"keep_adapter": True}), new=True).path
    harness.stack.interrupt_on(r"GET /v1/customization/jobs/cust-3$")
    with pytest.raises(KeyboardInterrupt):
        harness.run(settings, new=True)
    (found["unfinished"],) = set(harness.root.glob("2*")) - set(found.values())
    found["broken"] = harness.root / "broken"
    found["broken"].mkdir()
    (found["broken"] / "run.json").write_text("{}")
    load_test = harness.root / "load-20261129-163100-4a87"
    load_test.mkdir()
    (load_test / "run.json").write_text(json.dumps(dict.fromkeys(RunManifest.model_fields)))
    return found


def test_list(harness: Harness, folder: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("runs", "list", "--runs", str(harness.root)) == 0
    rows = {line.split("\t")[0]: line.split("\t") for line in capfd.readouterr().out.splitlines()[1:]}
    assert set(rows) == {path.name for path in folder.values()}
    finished = rows[folder["finished"].name]
    assert finished[1:5] == ["run", "finished", "GO", "0.696"]
    assert "-lora@cust-2" in rows[folder["kept"].name][8]
    assert rows[folder["unfinished"].name][2] == "unfinished: LoRA customization interrupted"
    assert rows["broken"][2] == "unreadable"
    assert run_command("runs", "list", "--runs", str(harness.root), "--format", "json") == 0
    assert {row["id"] for row in json.loads(capfd.readouterr().out)} == set(rows)
    assert run_command("runs", "list", "--runs", "/nowhere") == 0
    assert "There are no runs in /nowhere" in capfd.readouterr().out


def test_a_load_test_is_no_run_of_the_pipeline(harness: Harness, folder: dict[str, Path]) -> None:
    assert folder  # among which is a load test
    with pytest.raises(BadInput, match="is the folder of a load test; a run of the pipeline is wanted"):
        RunDirectory.open(harness.root / "load-20261129-163100-4a87")


def test_show_says_what_the_twins_say(folder: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    run = folder["finished"]
    assert run_command("runs", "show", str(run)) == 0
    out = capfd.readouterr().out
    assert out == (run / "report.md").read_text()
    assert "**GO**: LoRA against In-context" in out
    assert "| ROUGE-L | 0.296" in out
    twin = json.loads((run / "report.json").read_text())
    assert twin["gate"]["outcome"] == "GO"
    assert twin["lineage"]["training_job"] == "cust-1"
    assert twin["lineage"]["sha256"]["train"] in out
    assert twin["command"].startswith("nemostack run --dataset ")
    assert "(not finished)" in (folder["unfinished"] / "report.md").read_text()


def test_clean_removes_what_left_nothing_and_says_why_the_rest_stays(
    harness: Harness, folder: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    clean = ("runs", "clean", "--runs", str(harness.root), "--older-than", "0", "--keep", "0")
    assert run_command(*clean, "--dry-run") == 0
    assert f"would go\t{folder['finished']}" in capfd.readouterr().out
    assert folder["finished"].exists()
    assert run_command(*clean) == 0
    said = {line.split("\t")[1]: line for line in capfd.readouterr().out.splitlines()}
    assert not folder["finished"].exists()
    assert all(folder[name].exists() for name in ("kept", "unfinished", "broken"))
    assert "left default/my-data" in said[str(folder["kept"])]
    assert "not finished" in said[str(folder["unfinished"])]
    assert "cannot be read" in said[str(folder["broken"])]


def test_clean_keeps_the_newest_and_the_young(
    harness: Harness, folder: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments, reason in ((("--keep", "5"), "one of the 5 newest"), (("--keep", "0"), "younger than 30 days")):
        assert run_command("runs", "clean", "--runs", str(harness.root), *arguments) == 0
        assert reason in capfd.readouterr().out
    assert folder["finished"].exists()


def test_a_run_that_is_worked_on_is_running(
    harness: Harness, folder: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    from workflows.engine.run_directory import RunDirectory

    with RunDirectory(folder["unfinished"]).locked():
        assert run_command("runs", "list", "--runs", str(harness.root)) == 0
    assert "\trunning\t" in capfd.readouterr().out


def test_words_of_a_model_do_not_break_a_table(folder: dict[str, Path]) -> None:
    from workflows.report.twins import as_markdown

    twin = json.loads((folder["finished"] / "report.json").read_text())
    twin["stages"][0]["reason"] = "a | b\nc <script>"
    assert "a \\| b c &lt;script>" in as_markdown(twin)
