"""The NIM with a real vLLM, a real Entity Store and Data Store, through the official clients. One start a session."""

import concurrent.futures
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from huggingface_hub import HfApi
from nemo_microservices import NeMoMicroservices

from load_tests.traffic import token_counts
from load_tests.traffic.prompts import Api
from load_tests.traffic.token_texts import learn
from nemostack.clients import Timeouts
from nemostack.clients.nim import Nim
from nemostack.clients.polling import Pace
from nemostack.clients.serving import wait_until_served
from nemostack.errors import ServiceError
from tests.contract.conftest import Running, wait_until
from tests.contract.nim_support import BASE, MODEL, Stores, make_adapter
from tests.contract_suite.nim import NimContract

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PROMPTS = [
    "Section 6.6 Ownership. All work product shall be the sole property of Riverton.\n\nQuestion: Who owns it?",
    "The parties submit to the exclusive jurisdiction of the courts of Detroit.",
    "A quiet river runs past the old mill and the children of the village swim in it.",
]
# bfloat16 keeps 8 bits: two right implementations differ by so much in a token's log probability, seldom more.
NOISE_MEAN, NOISE_MAX = 0.08, 0.6


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [make_adapter(folder / f"{seed}", seed, rank=rank) for seed, rank in ((1, 8), (2, 4), (3, 16), (4, 8))]


@pytest.fixture(scope="module")
def stores(data_store_url: str, entity_store_url: str) -> Iterator[Stores]:
    with NeMoMicroservices(base_url=entity_store_url) as sdk:
        yield Stores(HfApi(endpoint=f"{data_store_url}/v1/hf", token=False), sdk)


@pytest.fixture(scope="module")
def nim(start_process: Callable[..., Running], data_store_url: str, entity_store_url: str) -> Running:
    return start_process(
        "nim",
        wait_s=180,
        base_model=BASE,
        model_path=str(MODEL),
        data_store_url=data_store_url,
        entity_store_url=entity_store_url,
        refresh_interval_s=0.5,
        max_loras=3,
        max_cpu_loras=3,
        max_lora_rank=16,
        kv_cache_mib=128,
    )


@pytest.fixture(scope="module")
def client(nim: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{nim.url}/v1", api_key="unused", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def served(stores: Stores, client: openai.OpenAI, adapters: list[Path]) -> list[str]:
    """Ids of four adapters, as many as fill all three slots and one more."""
    names = [f"legal-{number}@cust-{number}" for number in range(4)]
    ids = [stores.publish("served", name, folder) for name, folder in zip(names, adapters, strict=True)]
    wait_until(lambda: set(ids) <= listed(client), "the adapters in /v1/models")
    return ids


def listed(client: openai.OpenAI) -> set[str]:
    return {model.id for model in client.models.list()}


def wait_for_a_look(stores: Stores, client: openai.OpenAI, unique: str, folder: Path) -> None:
    """Wait until NIM has looked at the Entity Store by itself: it serves an adapter that was not there before."""
    newest = stores.publish("default", f"{unique}-newest@cust-1", folder)
    wait_until(lambda: newest in listed(client), "NIM's next look at the Entity Store")


@pytest.fixture(scope="module")
def reference(adapters: list[Path]) -> Callable[[int | None, list[int]], list[float]]:
    """Log probabilities of each token after the first, by transformers and PEFT in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(adapters[0]), adapter_name="0")
    for number, folder in enumerate(adapters[1:], 1):
        model.load_adapter(str(folder), adapter_name=str(number))

    def score(adapter: int | None, tokens: list[int]) -> list[float]:
        ids = torch.tensor([tokens])
        with torch.no_grad():
            if adapter is None:
                with model.disable_adapter():
                    logits = model(ids).logits
            else:
                model.set_adapter(str(adapter))
                logits = model(ids).logits
        scores = torch.log_softmax(logits[0, :-1], -1)
        return [float(value) for value in scores.gather(1, ids[0, 1:, None]).squeeze(1)]

    return score


def tokenized(nim: Running, text: str) -> list[int]:
    answer = httpx.post(f"{nim.url}/tokenize", json={"model": BASE, "prompt": text}, timeout=30)
    tokens: list[int] = answer.raise_for_status().json()["tokens"]
    return tokens


def scored(client: openai.OpenAI, model: str, tokens: list[int]) -> list[float]:
    """The prompt's log probabilities as lm-eval asks for them."""
    answer = client.completions.create(model=model, prompt=tokens, max_tokens=1, temperature=0, logprobs=1, echo=True)
    values = answer.choices[0].logprobs.token_logprobs
    assert values is not None
    assert len(values) == len(tokens) + 1, "the prompt's tokens and the generated one"
    return values[1 : len(tokens)]


def assert_close(have: list[float], expected: list[float]) -> None:
    assert len(have) == len(expected)
    distances = [abs(a - b) for a, b in zip(have, expected, strict=True)]
    assert sum(distances) / len(distances) < NOISE_MEAN
    assert max(distances) < NOISE_MAX


def far(have: list[float], expected: list[float]) -> bool:
    return sum(abs(a - b) for a, b in zip(have, expected, strict=True)) / len(have) > 10 * NOISE_MEAN


def test_health(nim: Running) -> None:
    for path in ("/v1/health/ready", "/v1/health/live", "/v1/health", "/status"):
        answer = httpx.get(nim.url + path)
        assert answer.status_code == 200
        assert answer.json()["object"] == "health.response"
    assert httpx.get(f"{nim.url}/health").status_code == 200


def test_model_list(client: openai.OpenAI, served: list[str]) -> None:
    models = {model.id: model.model_dump() for model in client.models.list()}
    assert models[BASE]["parent"] is None
    assert models[BASE]["max_model_len"] == 2048
    for adapter in served:
        assert models[adapter]["parent"] == BASE
        assert models[adapter]["owned_by"]
        assert client.models.retrieve(adapter).id == adapter
    assert client.models.retrieve(BASE).id == BASE


def test_nemo_sdk(nim: Running, entity_store_url: str, served: list[str]) -> None:
    with NeMoMicroservices(base_url=entity_store_url, inference_base_url=nim.url) as sdk:
        assert set(served) < {model.id for model in sdk.inference.models.list().data}
        chat = sdk.chat.completions.create(
            model=served[0], messages=[{"role": "user", "content": PROMPTS[0]}], max_tokens=8, temperature=0
        )
        assert chat.choices[0].message.content
        text = sdk.completions.create(model=BASE, prompt=PROMPTS[0], max_tokens=8, temperature=0, logprobs=True)
        assert text.object == "text_completion"
        assert 1 <= (text.usage.completion_tokens or 0) <= 8


WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Ulm", "Bonn"]},
            "days": {"type": "integer", "enum": [1, 7]},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}


def test_tools_are_accepted_and_a_forced_call_follows_its_schema(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": BASE,
        "messages": [{"role": "user", "content": "What is the weather in Ulm?"}],
        "tools": [{"type": "function", "function": WEATHER}],
        "temperature": 0,
        "max_tokens": 64,
    }
    create: Any = client.chat.completions.create
    for choice in ("auto", "none"):
        answer = create(**asked, tool_choice=choice).choices[0]
        assert answer.message.content, choice
        assert not answer.message.tool_calls
    assert create(**asked).choices[0].message.content, "tool_choice left out"
    forced = {"type": "function", "function": {"name": "get_weather"}}
    (call,) = create(**asked, tool_choice=forced).choices[0].message.tool_calls or []
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "get_weather"
    assert arguments["city"] in {"Ulm", "Bonn"}
    assert arguments["days"] in {1, 7}
    assert create(**asked, tool_choice="required").choices[0].finish_reason


def test_json_mode_ends_with_json_of_the_schema(client: openai.OpenAI) -> None:
    """Without a word about white space, a small model filled all its tokens with newlines."""
    schema = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER["parameters"]}}
    create: Any = client.chat.completions.create
    answer = create(
        model=BASE,
        messages=[{"role": "user", "content": "Weather in Ulm?"}],
        response_format=schema,
        temperature=0,
        max_tokens=64,
    ).choices[0]
    assert answer.finish_reason == "stop"
    assert set(json.loads(answer.message.content or "")) == {"city", "days"}
    loose = create(
        model=BASE,
        messages=[{"role": "user", "content": "Weather in Ulm?"}],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=16,
    ).choices[0]
    assert (loose.message.content or "").startswith("{")
    assert (loose.message.content or "")[1:2] not in {"\n", " "}


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_unknown_model(nim: Running, path: str) -> None:
    question: dict[str, Any] = (
        {"prompt": "a"} if path == "completions" else {"messages": [{"role": "user", "content": "a"}]}
    )
    answer = httpx.post(f"{nim.url}/v1/{path}", json={"model": "default/none@cust-0", **question}, timeout=30)
    assert answer.status_code == 404
    body = answer.json()
    assert body["object"] == "error"
    assert body["code"] == body["error"]["code"] == 404
    assert "`default/none@cust-0` does not exist" in body["message"]
    assert body["message"] == body["error"]["message"]


def test_unknown_model_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve("default/none@cust-0")


def test_bad_request_has_both_shapes(nim: Running) -> None:
    answer = httpx.post(f"{nim.url}/v1/completions", json={"model": BASE, "prompt": "a", "max_tokens": -1}, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["message"] == answer.json()["error"]["message"]


def test_stream_with_usage(client: openai.OpenAI, served: list[str]) -> None:
    chunks = list(
        client.chat.completions.create(
            model=served[0],
            messages=[{"role": "user", "content": PROMPTS[0]}],
            max_tokens=12,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12
    assert chunks[-2].choices[0].finish_reason == "length"
    whole = client.chat.completions.create(
        model=served[0],
        messages=[{"role": "user", "content": PROMPTS[0]}],
        max_tokens=12,
        temperature=0,
        extra_body={"ignore_eos": True},
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content


def test_an_alias_leads_to_an_adapter_and_hides_the_failures_of_one_that_is_gone(
    nim: Running, stores: Stores, client: openai.OpenAI, served: list[str], *, adapters: list[Path], unique: str
) -> None:
    asked: dict[str, Any] = {
        "messages": [{"role": "user", "content": PROMPTS[0]}],
        "max_tokens": 8,
        "temperature": 0,
    }

    def lead_to(*models: str) -> None:
        routes = [{"model": model, "weight": number} for number, model in enumerate(models)]
        answer = httpx.put(f"{nim.url}/v1/aliases/prod", json={"routes": routes}, timeout=30)
        assert answer.status_code == 200, answer.text

    texts = {model: client.chat.completions.create(model=model, **asked).choices[0].message.content for model in served}
    lead_to(BASE, served[1])
    samples = f"{nim.url}/v1/aliases/prod/samples"
    assert httpx.put(samples, json={"share": 1}, timeout=30).status_code == 200
    raw = client.chat.completions.with_raw_response.create(model="prod", **asked)
    assert raw.headers["x-nemostack-model"] == served[1]
    assert raw.parse().choices[0].message.content == texts[served[1]]
    chunks = client.chat.completions.create(model="prod", stream=True, **asked)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == texts[served[1]]
    assert client.models.retrieve("prod").id == "prod"
    rows = httpx.get(samples, timeout=30).json()["data"]
    assert [(row["prompt"], row["answer"]) for row in rows] == [(PROMPTS[0], texts[served[1]])] * 2
    assert httpx.delete(samples, timeout=30).status_code == 200

    going = stores.publish("default", f"{unique}@cust-1", adapters[0])
    wait_until(lambda: going in listed(client), "the adapter in /v1/models")
    lead_to(served[2], going)
    stores.sdk.models.delete(f"{unique}@cust-1", namespace="default")
    wait_until(lambda: going not in listed(client), "the adapter to leave /v1/models")
    raw = client.chat.completions.with_raw_response.create(model="prod", **asked)
    assert raw.headers["x-nemostack-model"] == served[2]
    stats = httpx.get(f"{nim.url}/v1/aliases/prod", timeout=30).json()["stats"]
    assert (stats[going]["failures"], stats[served[2]]["failures"]) == (1, 0)
    refused = httpx.put(f"{nim.url}/v1/aliases/prod", json={"routes": [{"model": going, "weight": 1}]}, timeout=30)
    assert refused.status_code == 409
    assert httpx.delete(f"{nim.url}/v1/aliases/prod", timeout=30).status_code == 200


def test_the_models_own_limit_does_not_cap_requests(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=BASE, prompt="a", max_tokens=150, temperature=0, extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 150, "generation_config.json of this model says 96"


@pytest.mark.parametrize("prompt", PROMPTS)
def test_same_probabilities_as_transformers(
    nim: Running,
    client: openai.OpenAI,
    served: list[str],
    reference: Callable[[int | None, list[int]], list[float]],
    prompt: str,
) -> None:
    tokens = tokenized(nim, prompt)
    expected = {model: reference(number, tokens) for number, model in enumerate(served)}
    expected[BASE] = reference(None, tokens)
    have = {model: scored(client, model, tokens) for model in [BASE, *served]}
    for model in [BASE, *served]:
        assert_close(have[model], expected[model])
    assert all(far(have[model], expected[BASE]) for model in served), "these adapters change everything"


def test_adapters_and_base_in_one_batch(
    nim: Running,
    client: openai.OpenAI,
    served: list[str],
    reference: Callable[[int | None, list[int]], list[float]],
) -> None:
    tokens = tokenized(nim, PROMPTS[0])
    models = [BASE, *served] * 6
    with concurrent.futures.ThreadPoolExecutor(len(models)) as pool:
        answers = list(pool.map(lambda model: scored(client, model, tokens), models))
    for model, have in zip(models, answers, strict=True):
        assert_close(have, reference(None if model == BASE else served.index(model), tokens))


def test_decoding_in_mixed_batches_gives_what_each_gives_alone(client: openai.OpenAI, served: list[str]) -> None:
    def answer(job: tuple[str, str]) -> str:
        model, prompt = job
        made = client.completions.create(
            model=model, prompt=prompt, max_tokens=24, temperature=0, extra_body={"ignore_eos": True}
        )
        return made.choices[0].text

    jobs = [(model, prompt) for model in [BASE, *served] for prompt in PROMPTS]
    alone = [answer(job) for job in jobs]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        together = list(pool.map(answer, jobs))
    # Sums in another order may turn a near tie; one adapter's answer for another's would turn them all.
    same = sum(a[:20] == b[:20] for a, b in zip(alone, together, strict=True))
    assert same >= len(jobs) - 2
    assert len(set(alone)) == len(jobs)


def prefix_cache_hits(nim: Running) -> float:
    """Tokens of prompts that were not computed again, so far."""
    lines = httpx.get(f"{nim.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:prefix_cache_hits_total"))


def test_long_shared_prefixes_are_computed_once(nim: Running, client: openai.OpenAI) -> None:
    examples = "\n\n".join(f"{number}. {PROMPTS[number % 3]}" for number in range(30))
    for question in ("Who?", "Where?"):
        before = prefix_cache_hits(nim)
        answer = client.completions.create(model=BASE, prompt=f"{examples}\n\n{question}", max_tokens=1)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > 500
    assert prefix_cache_hits(nim) - before > 400


def test_so_is_a_prefix_as_short_as_a_system_prompt(nim: Running, client: openai.OpenAI) -> None:
    for last in (7, 8):
        before = prefix_cache_hits(nim)
        client.completions.create(model=BASE, prompt=[*range(500, 540), *[last] * 30], max_tokens=1)
    assert prefix_cache_hits(nim) - before == 32


def test_lm_eval(nim: Running, served: list[str]) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    model = LocalCompletionsAPI(
        base_url=f"{nim.url}/v1/completions", model=served[0], tokenizer_backend="remote", tokenized_requests=True
    )
    pairs = [("The courts of", " Detroit"), ("A quiet river", " runs past the old mill")]
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    results = model.loglikelihood(requests)
    for (context, continuation), (score, _) in zip(pairs, results, strict=True):
        tokens, start = tokenized(nim, context + continuation), len(tokenized(nim, context))
        with openai.OpenAI(base_url=f"{nim.url}/v1", api_key="unused") as client:
            expected = scored(client, served[0], tokens)
        assert score == pytest.approx(sum(expected[start - 1 :]), abs=0.2)


def test_metrics_by_nim_names(nim: Running, client: openai.OpenAI) -> None:
    def value(name: str, **labels: str) -> float:
        from prometheus_client.parser import text_string_to_metric_families

        text = httpx.get(f"{nim.url}/v1/metrics", timeout=30).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(
            sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    names = ("generation_tokens_total", "time_to_first_token_seconds_count", "e2e_request_latency_seconds_count")
    before = {name: value(name, model_name=BASE) for name in names}
    finished = value("request_finish_total", finished_reason="length")
    client.completions.create(model=BASE, prompt="a", max_tokens=7, extra_body={"ignore_eos": True})
    assert [value(name, model_name=BASE) - before[name] for name in names] == [7, 1, 1]
    assert value("request_finish_total", finished_reason="length") == finished + 1
    assert value("num_request_max") == 64
    assert value("request_prompt_tokens_bucket", le="+Inf") > 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/invocations"),
        ("POST", "/adapters"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/responses"),
        ("POST", "/scale_elastic_ep"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
    ],
)
def test_nothing_else_is_open(nim: Running, tmp_path: Path, method: str, path: str) -> None:
    body = {"lora_name": "x", "lora_path": str(tmp_path), "name": "x", "src": str(tmp_path)}
    assert httpx.request(method, nim.url + path, json=body, timeout=30).status_code == 404


def test_no_page_of_another_origin_may_call(nim: Running) -> None:
    answer = httpx.get(f"{nim.url}/v1/models", headers={"origin": "http://evil.test"}, timeout=30)
    assert "access-control-allow-origin" not in answer.headers


def test_life_of_an_adapter(
    stores: Stores, client: openai.OpenAI, served: list[str], adapters: list[Path], unique: str
) -> None:
    name = f"{unique}@cust-life"
    adapter = stores.announce("default", name)
    wait_for_a_look(stores, client, unique, adapters[1])
    assert adapter not in listed(client), "announced is not uploaded"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model=adapter, prompt="a", max_tokens=1)
    stores.upload("default", name, adapters[0])
    stores.complete("default", name)
    # At once, whatever the interval: the request itself makes NIM look.
    answer = client.completions.create(model=adapter, prompt=PROMPTS[0], max_tokens=16, temperature=0)
    same = client.completions.create(model=served[0], prompt=PROMPTS[0], max_tokens=16, temperature=0)
    assert answer.choices[0].text == same.choices[0].text
    assert adapter in listed(client)
    stores.sdk.models.delete(name, namespace="default")
    wait_until(lambda: adapter not in listed(client), "the adapter's removal")
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model=adapter, prompt="a", max_tokens=1)


def test_rank_above_the_limit(stores: Stores, client: openai.OpenAI, tmp_path: Path, unique: str) -> None:
    adapter = stores.publish("default", f"{unique}@cust-1", make_adapter(tmp_path, 5, rank=17))
    for ask in (
        lambda: client.completions.create(model=adapter, prompt="a", max_tokens=1),
        lambda: client.models.retrieve(adapter),
    ):
        with pytest.raises(openai.NotFoundError, match="rank 17 is above max_lora_rank 16"):
            ask()
    # the harness, which waits for adapters, understands that there is nothing to wait for
    nim = Nim(str(client.base_url).removesuffix("/v1/"), Timeouts())
    with pytest.raises(ServiceError, match=r"NIM refuses to serve .*: rank 17 is above max_lora_rank 16"):
        wait_until_served(nim, adapter, deadline_s=120, outage_s=0, pace=Pace())
    nim.close()
    assert client.completions.create(model=BASE, prompt="a", max_tokens=1).choices


def test_what_vllm_itself_refuses(stores: Stores, client: openai.OpenAI, adapters: list[Path], unique: str) -> None:
    """DoRA passes our checks of files; vLLM's reason reaches the client and the engine goes on."""
    import json
    import shutil

    folder = Path(shutil.copytree(adapters[0], adapters[0].parent / unique))
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_dora": True}))
    adapter = stores.publish("default", f"{unique}@cust-1", folder)
    wait_for_a_look(stores, client, unique, adapters[1])
    with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
        client.completions.create(model=adapter, prompt="a", max_tokens=1)
    assert adapter not in listed(client)
    assert client.completions.create(model=BASE, prompt="a", max_tokens=1).choices


class TestPromises(NimContract):
    """Those that the fake stack of the unit tests shares."""

    @pytest.fixture
    def nim_url(self, nim: Running) -> str:
        return nim.url

    @pytest.fixture
    def base_model(self) -> str:
        return BASE


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_the_load_test_makes_prompts_of_exactly_the_length_that_vllm_counts(nim: Running, api: Api) -> None:
    with token_counts.client(None) as http:
        count = token_counts.counter(http, nim.url, BASE, api=api)
        texts = learn(count)
        numbers = random.Random(3)
        for wanted in (40, 77, 200):
            text, tokens = texts.text(wanted, numbers)
            assert (tokens, count(text)) == (wanted, wanted)
