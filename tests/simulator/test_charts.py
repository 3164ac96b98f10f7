"""The stand-in charts: they take what the real charts take, refuse what those do not know, and say what they got.

No cluster: helm renders. Whether a stack's values are known to the real charts is asked here for every setting that
changes values; test_stack.py asks the API server about the rest.
"""

import subprocess

import pytest
import yaml

from infra.versions import CHARTS, GATEWAY_API
from operations.toolchain import programs
from simulator.charts import shapes

NEMO = "nemo-microservices-helm-chart"
PODGROUPS = ("--api-versions", "scheduling.volcano.sh/v1beta1/PodGroup")
ALONE = ("--set", "tags.platform=false")


@pytest.fixture(scope="session")
def render(charts):
    helm = programs.ensure(["helm"])["helm"]

    def run(chart, *more, release="rel", fails=False):
        command = [helm, "template", release, str(charts / chart), "--namespace", "there", "--include-crds", *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else [thing for thing in yaml.safe_load_all(done.stdout) if thing]

    return run


def named(things, kind):
    return sorted(thing["metadata"]["name"] for thing in things if thing["kind"] == kind)


KNOWN = [chart for chart in CHARTS if shapes.is_known(chart.name)]


@pytest.mark.parametrize("chart", KNOWN, ids=lambda chart: chart.name)
def test_every_chart_renders_with_its_defaults_and_refuses_an_unknown_value(render, charts, chart):
    assert "rel-values" in named(render(chart.name, *PODGROUPS), "ConfigMap")
    assert "additional properties 'typo' not allowed" in render(chart.name, "--set", "typo=1", fails=True)
    assert yaml.safe_load((charts / chart.name / "Chart.yaml").read_text())["version"] == chart.version
    assert "stand-in" in (charts / chart.name / "README.md").read_text()


def test_a_typo_deep_in_a_sub_chart_is_refused_even_if_that_is_off(render):
    said = render(NEMO, *ALONE, "--set", "customizer.customizerConfig.mlflowUrl=x", fails=True)
    assert "'/customizer/customizerConfig': additional properties 'mlflowUrl' not allowed" in said


def test_a_condition_picks_one_service_from_the_umbrella(render):
    things = render(NEMO, *ALONE, "--set", "data-store.enabled=true")
    assert named(things, "Service") == ["nemo-data-store"]
    assert named(things, "PersistentVolumeClaim") == ["datastore-shared-storage"]


def test_the_whole_platform_has_the_services_and_ports_of_the_contract(render):
    things = render(NEMO, *PODGROUPS)
    ports = {t["metadata"]["name"]: t["spec"]["ports"][0]["port"] for t in things if t["kind"] == "Service"}
    assert (
        ports.items()
        >= {
            "nemo-data-store": 3000,
            "nemo-entity-store": 8000,
            "nemo-customizer": 8000,
            "nemo-evaluator": 7331,
            "nemo-core-api": 8000,
            "nemo-guardrails": 7331,
            "nemo-deployment-management": 8000,
            "nemo-nim-proxy": 8000,
        }.items()
    )


def test_the_training_operator_needs_volcano(render):
    assert "install Volcano first" in render(NEMO, fails=True)


def test_values_are_shown_as_they_came(render):
    things = render("nim-llm", "--set", "model.name=meta/llama", "--set", "replicaCount=3", release="llama-nim-llm")
    shown = next(t["data"]["values.yaml"] for t in things if t["metadata"]["name"] == "llama-nim-llm-values")
    assert yaml.safe_load(shown)["model"]["name"] == "meta/llama"
    stateful = next(t for t in things if t["kind"] == "StatefulSet")
    assert stateful["spec"]["replicas"] == 3
    pod = stateful["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_a_shape_is_derived_from_values_and_templates(tmp_path):
    (tmp_path / "Chart.yaml").write_text("name: a\nversion: '1'\ndependencies: [{name: b, condition: b.enabled}]\n")
    (tmp_path / "values.yaml").write_text("image: {tag: x, port: 1}\nlabels: {}\nnodeSelector: {a: b}\nlist: [1]\n")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "all.yaml").write_text('{{ .Values.image.digest }} {{ index .Values "odd-key" "in" }}')
    shape = shapes.of_chart(tmp_path, set())
    assert shape == {
        "image": {"tag": "string", "port": "number", "digest": "any"},
        "labels": "map",
        "nodeSelector": "map",
        "list": "list",
        "odd-key": {"in": "any"},
        "b": "map",
        "global": "map",
    }
    assert shapes.unknown({"image": {"tag": 1, "tags": 2}, "labels": {"any": 1}}, shape) == ["image.tags"]


def test_manifests_are_there_under_their_pinned_names(charts):
    for manifest in GATEWAY_API:
        definition = yaml.safe_load((charts / manifest.file).read_text())
        assert manifest.file == f"{definition['spec']['group']}_{definition['spec']['names']['plural']}.yaml"


def test_volcano_has_the_scheduler_configuration_that_its_chart_ships(render):
    (configuration,) = [it for it in render("volcano") if it["metadata"]["name"] == "rel-scheduler-configmap"]
    shipped = yaml.safe_load(configuration["data"]["volcano-scheduler.conf"])
    assert shipped["actions"] == "enqueue, allocate, backfill"
    assert shipped["tiers"][1]["plugins"][0]["name"] == "overcommit"
