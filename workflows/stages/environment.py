"""Environment check: refuses to start on a stack where something that the run needs does not work."""

from workflows import doctor
from workflows.errors import Unhealthy
from workflows.settings import Model
from workflows.stage import Context, Stage


class Checked(Model):
    """Outputs of the stage."""

    findings: list[doctor.Finding]


def _run(context: Context) -> Checked:
    findings = doctor.check(context.clients, context.settings, write=False, tell=context.progress.update)
    for finding in findings:
        if finding.level != "ok":
            context.progress.line(f"  {finding.line}")
    bad = [finding for finding in findings if finding.level == "bad"]
    if bad:
        named = "; ".join(f"{finding.service}: {finding.check}" for finding in bad)
        raise Unhealthy(
            f"the environment is not ready, {len(bad)} problem(s): {named}; `nemostack doctor` looks at all"
        )
    return Checked(findings=findings)


ENVIRONMENT = Stage(
    name="environment",
    title="Environment check",
    run=_run,
    gives=Checked,
    every_time=True,
    summary=lambda checked: f"{len(checked.findings)} checks",
)
