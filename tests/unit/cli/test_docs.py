"""The pages, compared with the code."""

import inspect
import re
from pathlib import Path

from cli.reference import reference
from load_tests.verdict.slo import EXIT_CODES
from nemostack import errors
from nemostack.clone import ROOT
from nemostack.exit_codes import MEANINGS, ExitCode
from operations.doctor.cluster import FAILURES, STATE
from operations.teardown import leftovers
from workflows.pipeline import plan
from workflows.settings import Settings

DOCS = ROOT / "docs"


def test_cli_reference_is_current() -> None:
    assert (DOCS / "cli.md").read_text() == reference(), "run `python -m cli.reference > docs/cli.md`"


def test_every_exit_code_has_one_meaning() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    assert {kind.exit_code for kind in kinds} <= set(ExitCode)  # the page lists all of them
    assert set(MEANINGS) == set(ExitCode)
    assert len(set(MEANINGS.values())) == len(MEANINGS)
    own = [kind.exit_code for kind in kinds if "exit_code" in vars(kind)]
    assert len(own) == len(set(own))


def test_load_test_page_has_the_exit_code_of_each_verdict() -> None:
    rows = re.findall(r"^\| ([A-Z ]+) \| (\d+) \|", (DOCS / "load-tests.md").read_text(), re.MULTILINE)
    assert rows == [(verdict.value, f"{code:d}") for verdict, code in EXIT_CODES.items()]


def test_doctor_page_has_every_check() -> None:
    text = (DOCS / "kubernetes" / "doctor.md").read_text()
    by_symptom, _, text = text.partition("## State")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| check ")]
    checks = (*STATE, *FAILURES)
    named = {
        name for line in by_symptom.splitlines() if line.startswith("| ") for name in re.findall("`([^`]+)`", line)
    }
    assert named - {c.name for c in checks} == {"LoRA jobs succeed", "evaluations end soon", "MLflow", "answers"}
    assert rows == [f"| {c.name} | {c.symptom} | {c.looks_at} | {c.fix} |" for c in checks]


def test_teardown_page_has_every_kind() -> None:
    text = (DOCS / "kubernetes" / "teardown.md").read_text()
    kinds = re.findall(r'kind="([\w ]+)"', inspect.getsource(leftovers))
    assert len(set(kinds)) > 3
    for kind in kinds:
        assert re.search(rf"^\| .*{kind}", text, re.MULTILINE), kind
    assert "| 9 |" in text


def test_stages_are_documented_in_order() -> None:
    rows = re.findall(r"^\| (\w+) \|", (DOCS / "workflows.md").read_text(), re.MULTILINE)
    names = [stage.name for stage in plan(Settings(load_slo=Path("slo.yaml")))]
    assert [row for row in rows if row in names] == names
