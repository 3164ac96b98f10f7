"""The helpers of the tests see what the engine would see."""

import pulumi
import pulumi_kubernetes as kubernetes
import pytest

from infra.config import SettingsError
from tests.unit.infra.cluster_support import TARGETS, cluster, config_for, of_type, run


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("layout", ["per-service", "single"])
def test_settings_of_each_target_are_valid(target: str, layout: str) -> None:
    config = config_for(target, layout=layout)
    assert (config.target, config.layout) == (target, layout)


def test_settings_pass_the_rules() -> None:
    with pytest.raises(SettingsError, match=r"postgres\.kind"):
        config_for("minikube", postgres={"kind": "bundled"})


class Pair(pulumi.ComponentResource):
    """Two objects, one after the other."""

    def __init__(self, provider: kubernetes.Provider) -> None:
        super().__init__("test:unit:Pair", "pair", None, pulumi.ResourceOptions(provider=provider))
        first = kubernetes.core.v1.Secret(
            "first",
            string_data={"key": pulumi.Output.secret("hidden"), "other": "seen"},
            opts=pulumi.ResourceOptions(parent=self),
        )
        kubernetes.core.v1.Service(
            "second", spec={"ports": [{"port": 80}]}, opts=pulumi.ResourceOptions(parent=self, depends_on=[first])
        )


def test_registrations() -> None:
    found = run(lambda: Pair(cluster().provider))
    secret, service = of_type(found, ":Secret")["first"], of_type(found, ":Service")["second"]
    assert secret.inputs["stringData"] == {"key": "hidden", "other": "seen"}
    assert "stringData.key" in secret.secrets or "stringData" in secret.secrets
    assert (secret.parent, service.dependencies) == ("pair", {"first"})
    assert service.inputs["spec"] == {"ports": [{"port": 80}]}
    assert service.provider.split("::")[-2] == "cluster"


def test_calls_that_nobody_expects_are_refused() -> None:
    call = pulumi.runtime.invoke
    with pytest.raises(Exception, match="unexpected call of some:index:function"):
        run(lambda: call("some:index:function", {}).value)
    answers = {"some:index:function": lambda args: {"twice": args["n"] * 2}}
    seen = []
    run(lambda: seen.append(call("some:index:function", {"n": 2}).value), calls=answers)
    assert seen == [{"twice": 4}]
