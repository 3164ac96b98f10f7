"""The client of the NeMo Platform, over a platform of a few lines that holds what it is given."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

from nemostack import service_checks
from nemostack.clients import Clients, Timeouts
from nemostack.clients.platform import Platform
from nemostack.clients.platform.jobs import Jobs
from nemostack.clients.polling import Pace
from nemostack.entity_names import gateway_model
from nemostack.errors import BadInput, Conflict, DeadlineExceeded, NotFound, ServiceError, Unreachable
from nemostack.outputs import StackOutputs, gateway_url
from nemostack.product import require_microservices
from tests.unit.fake_platform import STATUS, URL, FakePlatform
from tests.unit.fake_stack import FakeStack


@pytest.fixture
def fake() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def platform(fake: FakePlatform) -> Iterator[Platform]:
    made = Platform(URL, Timeouts(), transport=httpx.MockTransport(fake))
    yield made
    made.close()


def test_a_file_comes_back_as_it_was(platform: Platform, fake: FakePlatform, tmp_path: Path) -> None:
    weights = tmp_path / "w"
    weights.write_bytes(bytes(range(256)) * 5000)  # more than one chunk
    platform.create_fileset("f", "model")
    platform.upload("f", "a/b c.bin", weights)
    assert platform.read("f", "a/b c.bin") == weights.read_bytes()
    assert list(fake.files) == ["/apis/files/v2/workspaces/default/filesets/f/-/a/b c.bin"]


def test_creating_again_and_deleting_again_is_fine(platform: Platform, fake: FakePlatform) -> None:
    for _ in range(2):
        platform.create_provider("nim", host_url="http://127.0.0.1:1", description="")
        platform.create_model("m", fileset="m", description="")
    assert platform.provider("nim") == {"name": "nim", "host_url": "http://127.0.0.1:1", "description": ""}
    model = platform.model("m")
    assert model is not None
    assert model["fileset"] == "default/m"
    for _ in range(2):
        platform.delete_provider("nim")
    assert platform.provider("nim") is None
    assert len(fake.things) == 3


def test_a_dataset_is_a_fileset_in_the_workspace_of_its_namespace(fake: FakePlatform, stack: FakeStack) -> None:
    theirs = stack.outputs.model_copy(update={"product": "platform", "nemo_url": URL})
    with Clients(theirs, transport=httpx.MockTransport(fake)) as clients:
        datasets = clients.datasets
        assert datasets.fields("law") == {}
        assert not datasets.has("law", "legal-v1")
        for _ in range(2):  # the second time workspace and fileset are there
            datasets.upload("law", "legal-v1", {"testing/test.jsonl": b"{}"}, message="first")
        assert datasets.register("law", "legal-v1", description="d", fields={"hash": "1"}) == "law/legal-v1"
        assert datasets.has("law", "legal-v1")
        assert datasets.fields("law") == {"legal-v1": {"hash": "1"}}
        assert clients.platform.workspace == "default"
    assert fake.things["/apis/entities/v2/workspaces/law"] == {"name": "law"}
    assert list(fake.files) == ["/apis/files/v2/workspaces/law/filesets/legal-v1/-/testing/test.jsonl"]


def test_all_pages_of_filesets_are_read(
    platform: Platform, fake: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemostack.clients.platform.PAGE_SIZE", 2)
    for number in range(5):
        platform.create_fileset(f"f{number}", "dataset")
    assert [fileset["name"] for fileset in platform.filesets()] == ["f0", "f1", "f2", "f3", "f4"]


def test_a_job_whose_state_changes_is_cancelled_at_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemostack.clients.platform.jobs.CANCEL_PAUSES_S", (0.0, 0.0))
    changing = "Entity 'a' was modified by another request. Please refetch and retry."
    answers = [httpx.Response(409, json={"detail": changing}), httpx.Response(200, json={})]
    ended = [httpx.Response(409, json={"detail": "the job has ended"})]
    busy = [httpx.Response(409, json={"detail": changing}) for _ in range(3)]
    for given, fails in ((answers, False), (ended, True), (busy, True)):
        left = list(given)
        made = Platform(URL, Timeouts(), transport=httpx.MockTransport(lambda _, left=left: left.pop(0)))
        with pytest.raises(Conflict) if fails else nullcontext():
            Jobs(made, "evaluator", "evaluate/jobs").cancel("default/j")
        assert left == []
        made.close()


def test_a_job_is_deleted_when_it_has_ended() -> None:
    states = ["cancelling", "cancelling", "cancelled"]
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if request.method == "DELETE":
            return httpx.Response(200, json={})
        return httpx.Response(200, json={"status": states.pop(0)}) if states else httpx.Response(404, json={})

    jobs = Jobs(Platform(URL, Timeouts(), transport=httpx.MockTransport(answer)), "evaluator", "evaluate/jobs")
    assert jobs.delete("default/j", pace=Pace(sleep=lambda _: None))
    assert asked == ["GET", "GET", "GET", "DELETE"]
    assert not jobs.delete("default/j")
    states[:] = ["cancelling"] * 1000
    now = iter(range(1000))
    with pytest.raises(DeadlineExceeded, match=r"the end of job default/j: not there after 9\d s"):
        jobs.delete("default/j", pace=Pace(clock=lambda: float(next(now)), sleep=lambda _: None))
    assert asked.count("DELETE") == 1


def test_served_models_are_those_of_the_gateway(platform: Platform, fake: FakePlatform) -> None:
    fake.things[f"{gateway_url('')}/v1/models"] = {"object": "list", "data": [{"id": "default/m"}]}
    assert platform.served() == ["default/m"]


def test_readiness_names_controllers_that_are_late(platform: Platform, fake: FakePlatform) -> None:
    assert platform.ready() == "2 services ready"
    fake.things["/status"] = STATUS | {"controllers": {"status": {"jobs": True, "models": False}}}
    assert platform.ready() == "2 services ready; controllers that are late: models"


def test_another_server_is_no_platform(platform: Platform, fake: FakePlatform) -> None:
    fake.things["/status"] = {}
    with pytest.raises(ServiceError, match="is not of a NeMo Platform"):
        platform.ready()
    fake.things[f"{gateway_url('')}/v1/models"] = {}
    with pytest.raises(ServiceError, match="answered no list"):
        platform.served()


def test_what_is_missing_or_away_is_told(platform: Platform) -> None:
    with pytest.raises(NotFound, match=r"listing the files of f: NeMo Platform at .* answered 404"):
        platform.files("f")
    with pytest.raises(Unreachable, match="no answer from NeMo Platform"):
        Platform("http://127.0.0.1:9", Timeouts(connect=1)).ready()


def test_the_doctor_knows_a_nim_that_the_platform_does_not_deploy(fake: FakePlatform, stack: FakeStack) -> None:
    """NIM serves it under its own name, the gateway under that of its entity."""
    own = stack.outputs.base_model
    for model, level in ((gateway_model(own), "ok"), (gateway_model("an/other"), "bad")):
        theirs = stack.outputs.model_copy(update={"product": "platform", "nemo_url": URL, "base_model": model})
        with Clients(theirs, max_retries=0, transport=httpx.MockTransport(fake)) as clients:
            findings = service_checks.check(clients, service_checks.Scope())
        assert [f.level for f in findings if f.check == "serves the model"] == [level]


def looked_at(fake: FakePlatform, outputs: StackOutputs) -> dict[str, tuple[str, str]]:
    """Check -> level and evidence of what the doctor says of the platform itself, without writing."""
    theirs = outputs.model_copy(
        update={
            "product": "platform",
            "nemo_url": URL,
            "base_model": "default/m",
            "customization_config": "default/m",
        }
    )
    with Clients(theirs, max_retries=0, transport=httpx.MockTransport(fake)) as clients:
        findings = service_checks.check(clients, service_checks.Scope())
    assert not {finding.service for finding in findings} & {"Data Store", "Entity Store", "Customizer", "Evaluator"}
    return {f.check: (f.level, f.line) for f in findings if f.service == "NeMo Platform"}


def test_the_doctor_looks_at_the_platform_in_place_of_our_services(fake: FakePlatform, stack: FakeStack) -> None:
    fake.things[f"{gateway_url('')}/v1/models"] = {"object": "list", "data": [{"id": "default/m"}]}
    fake.things["/apis/customization/v2/healthz"] = {"contributors": ["automodel"]}
    model = {"workspace": "default", "name": "m", "fileset": "default/m"}
    fake.things["/apis/models/v2/workspaces/default/models/m"] = model
    found = looked_at(fake, stack.outputs)
    assert {check: level for check, (level, _) in found.items()} == {
        "is ready": "ok",
        "its gateway serves the model": "ok",
        "offers training": "ok",
        "has the files of the base model": "ok",
        "its evaluator answers": "ok",
    }
    fake.things["/apis/customization/v2/healthz"] = {"contributors": []}
    fake.things["/apis/models/v2/workspaces/default/models/m"] = model | {"fileset": None}
    broken = looked_at(fake, stack.outputs)
    assert "no training backend automodel; there are: none" in broken["offers training"][1]
    assert broken["has the files of the base model"][0] == "bad"
    fake.things[f"{gateway_url('')}/v1/models"] = {"object": "list", "data": []}
    level, line = looked_at(fake, stack.outputs)["its gateway serves the model"]
    assert level == "bad"
    assert "no model 'default/m'; served: none -> `nemostack up --stack NAME --refresh`" in line


def test_a_part_for_the_other_product_says_so(stack: FakeStack) -> None:
    ours = stack.outputs
    require_microservices(ours, "nemostack run")
    theirs = StackOutputs.model_validate(ours.model_dump() | {"product": "platform"})
    with pytest.raises(BadInput, match="nemostack run needs the NeMo microservices, and this stack runs the NeMo Pl"):
        require_microservices(theirs, "nemostack run")


def test_what_to_do_names_the_stack(fake: FakePlatform, stack: FakeStack) -> None:
    """`up` alone does not register a provider that is gone, and of another stack not at all."""
    theirs = stack.outputs.model_copy(update={"target": "local", "product": "platform", "nemo_url": URL})
    with Clients(theirs, max_retries=0, transport=httpx.MockTransport(fake)) as clients:
        findings = service_checks.for_stack(service_checks.check(clients, service_checks.Scope()), "mine")
    fixes = {finding.check: finding.fix for finding in findings if finding.level == "bad"}
    assert fixes["its gateway serves the model"].startswith("`nemostack up --stack mine --refresh` registers NIM again")
    assert "`nemostack up --stack mine`" in fixes["offers training"]


def test_a_nim_that_is_away_is_not_said_to_serve_another_model(fake: FakePlatform, stack: FakeStack) -> None:
    away = {"target": "local", "product": "platform", "nemo_url": URL, "nim_url": "http://127.0.0.1:9"}
    theirs = stack.outputs.model_copy(update=away)
    with Clients(theirs, max_retries=0, transport=httpx.MockTransport(fake)) as clients:
        findings = service_checks.check(clients, service_checks.Scope())
    (finding,) = (one for one in findings if (one.service, one.check) == ("NIM", "serves the model"))
    assert "bring the stack up again" in finding.fix


def test_a_full_disk_is_told_with_what_to_do(fake: FakePlatform, stack: FakeStack) -> None:
    def full(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            return httpx.Response(507, json={"detail": "Storage error: [Errno 28] No space left on device"})
        return fake(request)

    theirs = stack.outputs.model_copy(update={"target": "local", "product": "platform", "nemo_url": URL})
    with Clients(theirs, max_retries=0, transport=httpx.MockTransport(full)) as clients:
        findings = service_checks.check(clients, service_checks.Scope(write=True))
        with pytest.raises(ServiceError, match="No space left on device; its disk is full: free some space"):
            clients.platform.upload("f", "a.txt", b"a")
    (finding,) = (one for one in findings if one.check == "stores and returns a file" and one.level == "bad")
    assert finding.fix.startswith("its disk is full: free some space")


def test_a_platform_that_is_away_has_one_remedy(stack: FakeStack) -> None:
    """Nothing has to be installed, uploaded or registered again: it has to be started."""
    theirs = stack.outputs.model_copy(update={"target": "local", "product": "platform", "nemo_url": URL})

    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    with Clients(theirs, max_retries=0, transport=httpx.MockTransport(away)) as clients:
        findings = service_checks.check(clients, service_checks.Scope(write=True))
    bad = [one for one in findings if one.service == "NeMo Platform" and one.level != "ok"]
    assert len(bad) >= 6
    assert {one.fix for one in bad} == {bad[0].fix}
    assert "bring the stack up again: `nemostack up --stack NAME`" in bad[0].fix


def test_the_doctor_sees_that_no_secret_can_be_kept(fake: FakePlatform, stack: FakeStack) -> None:
    state = {"broken": False}

    def answer(request: httpx.Request) -> httpx.Response:
        if state["broken"] and request.method == "POST" and request.url.path.endswith("/secrets"):
            return httpx.Response(500, json={"detail": "An unexpected error occurred."})
        return fake(request)

    theirs = stack.outputs.model_copy(update={"product": "platform", "nemo_url": URL})
    found = []
    for state["broken"] in (False, True):
        with Clients(theirs, max_retries=0, transport=httpx.MockTransport(answer)) as clients:
            findings = service_checks.check(clients, service_checks.Scope(write=True))
        found += [one for one in findings if one.check == "stores a secret and removes it"]
    assert [one.level for one in found] == ["ok", "warn"]
    assert "answered 500" in found[1].evidence
    assert not [path for path in fake.things if "secrets" in path]
