"""Aliases as virtual models of NVIDIA's inference gateway, which runs here; a small server plays the models behind it.

The gateway and its middleware are NVIDIA's own. What the platform's controller does for an adapter of a NIM (a served
model of the provider, and a virtual model of its own) is done by hand.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from nemo_platform import NeMoPlatform

from nemostack.aliases import Alias, Route
from nemostack.clients import Timeouts
from nemostack.clients.platform import Platform
from nemostack.clients.platform.aliases import VirtualModels
from nemostack.clients.platform.records import PlatformRecords
from nemostack.errors import Conflict, NotFound, RolledBack, ServiceError
from nemostack.outputs import gateway_url
from tests.deadlines import Deadline
from workflows.promotion.canary import Canary, Plan, Question

OLD, NEW = "default/legal-1a2b3c", "default/legal-4d5e6f"
pytestmark = [
    pytest.mark.xdist_group("platform"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what NVIDIA's SDK stands on
]


class Server:
    """A server of models that says which one was asked; those in `broken` answer 500."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model = asked["model"]
                turn = {"role": "assistant", "content": f"I am {model}"}
                choice = {"index": 0, "message": turn, "text": turn["content"], "finish_reason": "stop"}
                answer = {"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
                body = json.dumps(answer).encode()
                self.send_response(500 if model in served.broken else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def name_of(model: str) -> str:
    return model.partition("/")[2]


@pytest.fixture(scope="module")
def server(client: NeMoPlatform) -> Iterator[Server]:
    """Serve a base model with two adapters, known to the platform as its controller would make them known."""
    server = Server()
    client.inference.providers.create(name="server", workspace="default", host_url=server.url)
    served: Any = [{"model_entity_id": "default/base", "served_model_name": "base"}]
    for model in (OLD, NEW):
        entity = f"default/base&adapters/{model}"
        served.append({"model_entity_id": entity, "served_model_name": name_of(model)})
        client.inference.virtual_models.create(
            workspace="default", name=name_of(model), default_model_entity=entity, autoprovisioned=True
        )
    client.inference.providers.update_status("server", workspace="default", served_models=served, status="READY")
    yield server
    client.inference.providers.delete("server", workspace="default")
    for model in (OLD, NEW):
        client.inference.virtual_models.delete(name_of(model), workspace="default")
    server.close()


@pytest.fixture(scope="module")
def platform(platform_url: str, server: Server) -> Iterator[Platform]:
    assert server
    made = Platform(platform_url, Timeouts())
    wait_until(lambda: {OLD, NEW} <= set(made.served()))
    yield made
    made.close()


@pytest.fixture
def virtual(platform: Platform, server: Server) -> Iterator[VirtualModels]:
    made = VirtualModels(platform)
    yield made
    server.broken.clear()
    for name in made.aliases():
        made.remove_alias(name)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = Deadline(120)
    while not holds():
        assert not deadline.passed
        time.sleep(0.1)


def leads_to(*routes: tuple[str, float]) -> Alias:
    return Alias(routes=tuple(Route(model=model, weight=weight) for model, weight in routes))


class Users:
    """Ask for the alias without a pause, from when they are made until they are told to stop."""

    def __init__(self, url: str) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._url, self._stopped = f"{gateway_url(url)}/v1/chat/completions", threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as http:
            while not self._stopped.is_set():
                answer = http.post(self._url, json={"model": "prod", "messages": [{"role": "user", "content": "?"}]})
                if answer.is_success:
                    self.answers.append(answer.json()["choices"][0]["message"]["content"])
                else:
                    self.failures.append(f"{answer.status_code} {answer.text}")

    def until(self, *models: str, count: int = 1) -> None:
        """Wait for so many answers of each of these models, in answers from now on."""
        begun = len(self.answers)

        def heard() -> bool:
            said = Counter(self.answers[begun:])
            return all(said[f"I am {name_of(model)}"] >= count for model in models)

        wait_until(heard)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(60)


def test_users_of_an_alias_are_led_elsewhere_without_a_failed_request(
    platform_url: str, virtual: VirtualModels
) -> None:
    virtual.set_alias("prod", leads_to((OLD, 100)))
    users = Users(platform_url)
    users.until(OLD, count=20)
    assert set(users.answers) == {f"I am {name_of(OLD)}"}
    virtual.set_alias("prod", leads_to((OLD, 50), (NEW, 50)))
    assert virtual.aliases()["prod"].alias == leads_to((OLD, 50), (NEW, 50))
    users.until(OLD, NEW, count=20)
    virtual.set_alias("prod", leads_to((OLD, 90), (NEW, 10)))
    users.until(NEW, count=1)
    time.sleep(2)  # until the gateway has read it; what it draws then is counted
    begun = len(users.answers)
    users.until(OLD, NEW, count=20)
    seen = users.answers[begun:]
    share = seen.count(f"I am {name_of(NEW)}") / len(seen)
    assert 0.03 < share < 0.25, (share, len(seen))  # of 200 or so; chance leaves this far more rarely than a test fails
    virtual.set_alias("prod", leads_to((NEW, 100)))
    time.sleep(3)
    begun = len(users.answers)
    users.until(NEW, count=20)
    users.stop()
    assert set(users.answers[begun:]) == {f"I am {name_of(NEW)}"}
    assert users.failures == []


def test_while_it_is_shared_out_only_chats_are_taken(platform_url: str, virtual: VirtualModels) -> None:
    completions = f"{gateway_url(platform_url)}/v1/completions"

    def ask() -> int:
        return httpx.post(completions, json={"model": "prod", "prompt": "?"}, trust_env=False).status_code

    virtual.set_alias("prod", leads_to((OLD, 100)))
    assert ask() == 200
    virtual.set_alias("prod", leads_to((OLD, 50), (NEW, 50)))
    wait_until(lambda: ask() == 500)
    virtual.set_alias("prod", leads_to((OLD, 100)))
    wait_until(lambda: ask() == 200)


def test_a_broken_model_goes_back(platform: Platform, server: Server, virtual: VirtualModels) -> None:
    virtual.set_alias("prod", leads_to((OLD, 100)))
    server.broken = {name_of(NEW)}

    def ask(model: str, prompt: str) -> str:
        path = f"{gateway_url('')}/v1/chat/completions"
        body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        return str(platform.call("asking", "POST", path, json=body).json()["choices"][0]["message"]["content"])

    changes: list[str] = []

    def run() -> None:
        changes.clear()
        Canary(
            router=virtual,
            name="prod",
            candidate=NEW,
            plan=Plan(questions=2),
            ask=ask,
            record=lambda what, *_more: changes.append(what),
            tell=lambda _text: None,
        ).run([Question("?", "right")] * 6)

    with pytest.raises(RolledBack, match="failures: 1 of 1"):
        run()
    assert virtual.aliases()["prod"].alias == leads_to((OLD, 100))
    assert changes == ["canary", "rollback"]
    server.broken.clear()
    run()
    assert virtual.aliases()["prod"].alias == leads_to((NEW, 100))
    assert changes == ["canary", "canary", "canary", "promote"]


def test_names_of_others_stay_theirs(client: NeMoPlatform, virtual: VirtualModels) -> None:
    with pytest.raises(Conflict, match="no alias of ours can replace"):
        virtual.set_alias(name_of(OLD), leads_to((NEW, 100)))
    with pytest.raises(Conflict, match="no such model is served"):
        virtual.set_alias("prod", leads_to(("default/gone", 100)))
    call: Any = {"name": "nemo-switchyard", "config_type": "translate", "config": {"target_format": "openai_chat"}}
    client.inference.virtual_models.create(
        workspace="default", name="theirs", default_model_entity="default/base", request_middleware=[call]
    )
    try:
        assert "theirs" not in virtual.aliases()
        with pytest.raises(Conflict, match="no alias of ours can replace"):
            virtual.set_alias("theirs", leads_to((NEW, 100)))
    finally:
        client.inference.virtual_models.delete("theirs", workspace="default")
    with pytest.raises(NotFound):
        virtual.remove_alias("prod")


def test_what_the_gateway_refuses_is_passed_on(platform: Platform) -> None:
    call = {"name": "nobody", "config_type": "x", "config": {}}
    with pytest.raises(ServiceError, match="unknown plugin"):
        platform.save_virtual_model("prod", {"default_model_entity": "default/base", "request_middleware": [call]})


def test_changes_are_kept_in_a_file(platform: Platform) -> None:
    records = PlatformRecords(platform)
    for changes in ([1], [1, 2]):
        records.save_record("aliases", "prod", OLD, {"changes": changes})
        assert records.record("aliases", "prod") == {"changes": changes}
    assert records.record("aliases", "other") is None
