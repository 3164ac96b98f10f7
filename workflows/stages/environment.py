"""Environment check: refuses to start on a stack where something that the run needs does not work."""

from nemostack import service_checks
from nemostack.errors import Unhealthy
from nemostack.models import Model
from workflows.engine.stage import Context, Stage


class Checked(Model):
    """Outputs of the stage."""

    findings: list[service_checks.Finding]


def _run(context: Context) -> Checked:
    settings = context.settings
    scope = service_checks.Scope(
        namespace=settings.namespace,
        model=settings.model,
        customizes=settings.kind != "evaluate",
        judge=settings.judge,
    )
    findings = service_checks.check(context.clients, scope, context.progress.update)
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
