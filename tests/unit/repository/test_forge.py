"""What a forge, pre-commit and editors read: parsed, and compared with the files and targets that it names."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import versions
from nemostack.clone import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
HASH = re.compile(r"[0-9a-f]{40}")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs() -> dict[str, dict[str, Any]]:
    return {f"{file.name}:{name}": job for file in WORKFLOWS for name, job in load(file)["jobs"].items()}


def steps() -> list[dict[str, Any]]:
    of_jobs = [step for job in jobs().values() for step in job["steps"]]
    return of_jobs + [step for file in ACTIONS for step in load(file)["runs"]["steps"]]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def named_targets() -> set[str]:
    """The make targets that jobs run: by name, and by the values of a matrix."""
    commands = [step["run"] for step in steps() if "run" in step]
    targets = {name for command in commands for name in re.findall(r"\bmake ([a-z-]+)", command)}
    return targets.union(*(job.get("strategy", {}).get("matrix", {}).get("target", []) for job in jobs().values()))


def test_every_action_is_pinned_by_the_hash_of_a_commit_and_tells_its_version():
    uses = [
        line.split("uses:")[1].strip()
        for file in (*WORKFLOWS, *ACTIONS)
        for line in file.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]
    foreign = [use for use in uses if not use.startswith("./")]
    assert foreign
    for use in foreign:
        assert re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use
    for use in set(uses) - set(foreign):
        assert (ROOT / use / "action.yml").exists(), use


def test_workflows_have_no_permission_that_a_job_does_not_ask_for():
    for file in WORKFLOWS:
        assert load(file)["permissions"] == {}, file
    for name, job in jobs().items():
        assert job["permissions"] == {"contents": "read"}, name
        assert job["timeout-minutes"] > 0, name


def test_checkouts_keep_no_credentials():
    checkouts = [step for step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(jobs())
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_values_from_outside_reach_a_shell_only_as_variables():
    assert not [step["run"] for step in steps() if "${{" in step.get("run", "")]


def test_jobs_run_make_targets_that_exist():
    assert named_targets() <= make_targets()
    assert {"check", "contract", "engine", "cluster", "smoke", "load", "lock-check"} <= named_targets()


def test_keys_of_caches_are_made_from_files_that_exist():
    keys = [step["with"]["key"] for step in steps() if step.get("uses", "").startswith("actions/cache@")]
    patterns = [pattern for key in keys for pattern in re.findall(r"'([^']+)'", key)]
    assert len(keys) == 2
    assert [pattern for pattern in patterns if not any(ROOT.glob(pattern))] == []


def test_hooks_are_pinned_or_run_from_the_environment_of_the_project():
    repositories = load(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: hook for repository in repositories for hook in repository["hooks"]}
    assert {"ruff", "ruff-format", "lock-check", "detect-secrets", "end-of-file-fixer"} <= set(hooks)
    assert all(repo["repo"] == "local" or HASH.fullmatch(repo["rev"]) for repo in repositories)
    for hook in (hook for repo in repositories if repo["repo"] == "local" for hook in repo["hooks"]):
        program = hook["entry"].split()
        if hook["language"] == "system":
            assert program[1] in make_targets() if program[0] == "make" else (ROOT / program[0]).exists(), hook["id"]


def renovate() -> dict[str, Any]:
    """renovate.json5 as JSON: its comments, bare keys and trailing commas are all that JSON lacks."""
    text = re.sub(r"^\s*//.*$", "", (ROOT / "renovate.json5").read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = re.sub(r"([{,]\s*)([$\w]+):", r'\1"\2":', text)
    loaded: dict[str, Any] = json.loads(re.sub(r",(\s*[}\]])", r"\1", text))
    return loaded


def matches() -> list[dict[str, str]]:
    """What Renovate's patterns find in the files that they are for."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    rows = []
    for manager in renovate()["customManagers"]:
        for wanted in manager["managerFilePatterns"]:
            files = [name for name in listed.stdout.splitlines() if re.search(wanted.strip("/"), name)]
            assert files, wanted
            for file in files:
                for pattern in manager["matchStrings"]:
                    text = (ROOT / file).read_text(encoding="utf-8")
                    hits = list(re.finditer(pattern.replace("(?<", "(?P<"), text))
                    assert hits, pattern
                    rows += [{**hit.groupdict(), "datasource": manager["datasourceTemplate"]} for hit in hits]
    return rows


def test_renovate_sees_every_version_that_can_be_read_without_a_login():
    rows = matches()
    charts = {row["depName"]: (row["registryUrl"], row["currentValue"]) for row in rows if row["datasource"] == "helm"}
    public = [chart for chart in versions.CHARTS if not chart.repository.startswith(versions.NGC)]
    assert charts == {
        chart.name: (chart.repository, chart.version) for chart in public if chart.repository.startswith("https:")
    }
    images = {
        (row.get("depName") or f"{row['registry']}/{row['chart']}"): row["currentValue"]
        for row in rows
        if row["datasource"] == "docker"
    }
    from_oci = {
        f"{chart.repository.removeprefix('oci://')}/{chart.name}": chart.version
        for chart in public
        if chart.repository.startswith("oci:")
    }
    pinned = [value.rsplit(":", 1) for name, value in vars(versions).items() if name.endswith("_IMAGE")]
    assert len(pinned) >= 2
    assert images == {**from_oci, **dict(pinned)}
    releases = [row["currentValue"] for row in rows if row["datasource"] == "github-releases"]
    assert releases == [versions.GATEWAY_API_VERSION]


def test_the_container_makes_the_environment():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert set(re.findall(r"make ([a-z-]+)", container["postCreateCommand"])) == {"env"}


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_issue_forms_have_fields_with_labels(name):
    form = load(GITHUB / "ISSUE_TEMPLATE" / name)
    assert all(field["attributes"]["label"] for field in form["body"])


def test_the_bug_form_asks_for_the_doctor():
    form = load(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")
    assert "nemostack doctor --format json" in form["body"][0]["attributes"]["label"]
    assert form["body"][0]["validations"]["required"]


def test_the_pull_request_names_targets_that_exist():
    text = (GITHUB / "pull_request_template.md").read_text(encoding="utf-8")
    commands = re.findall(r"`make ([a-z ]+)`", text)
    assert commands
    for command in commands:
        assert set(command.split()) <= make_targets()
