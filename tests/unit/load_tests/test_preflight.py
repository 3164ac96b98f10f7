"""The checks before the first request: models, adapters, prompts and objectives."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from load_tests.options import API_KEY_VARIABLE, api_key
from load_tests.traffic.adapters import ServedModels, discover, no_adapters_hint
from load_tests.traffic.prompts import Api, body, read_prompts, shuffled
from load_tests.verdict.slo import read_slo
from nemostack.clients.platform import USER_VARIABLE
from nemostack.clone import ROOT
from nemostack.errors import BadInput, ServiceError, Unreachable
from nemostack.outputs import gateway_url


def _list(*rows: Mapping[str, object]) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(200, json={"object": "list", "data": rows}))


def _nim(*rows: tuple[str, str | None]) -> httpx.MockTransport:
    return _list(*({"id": model, "parent": parent} for model, parent in rows))


def test_a_users_token_goes_to_the_gateway_of_a_platform_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    monkeypatch.setenv(USER_VARIABLE, "token")
    assert api_key(gateway_url("http://platform:8080")) == "token"
    assert api_key("http://nim:8000") is None
    monkeypatch.setenv(API_KEY_VARIABLE, "key")
    assert [api_key(url) for url in (gateway_url("http://platform:8080"), "http://nim:8000")] == ["key", "key"]


def test_adapters_are_the_children_of_the_base_model() -> None:
    nim = _nim(("m/base", None), ("b@2", "m/base"), ("a@1", "m/base"), ("m/base", None))
    assert discover("http://nim", base_model=None, requested="auto", transport=nim) == ServedModels(
        "m/base", ("a@1", "b@2")
    )
    assert discover("http://nim", base_model=None, requested=[], transport=nim) == ServedModels("m/base", ())


def test_who_is_loaded_is_said_and_how_to_get_adapters() -> None:
    nim = _nim(("m/base", None), ("b@2", "m/base"), ("a@1", "m/base"))
    assert discover("http://nim", base_model=None, requested="auto", transport=nim).summary == (
        "base model m/base and 2 adapters"
    )
    alone = discover("http://nim", base_model=None, requested="auto", transport=_nim(("m/base", None)))
    assert alone.summary == "base model m/base and 0 adapters"
    assert "`nemostack customize` trains one" in no_adapters_hint(alone)
    # a server that does not say whose adapters they are
    silent = _nim(("m/base", None), ("b@2", None), ("a@1", None))
    models = discover("http://nim", base_model="m/base", requested="auto", transport=silent)
    assert models.adapters == ()
    assert "no model names m/base as its parent or root" in no_adapters_hint(models)
    assert "--adapters a@1,b@2" in no_adapters_hint(models)


# As NIM 1.x lists them, and vLLM before 0.5.4: the root of each row is the served name of the base model.
BY_ROOT: list[dict[str, object]] = [
    {"id": "meta/llama3-8b-instruct", "root": "meta/llama3-8b-instruct", "parent": None},
    {"id": "llama3-8b-instruct-lora_vhf-math-v1", "root": "meta/llama3-8b-instruct", "parent": None},
]
# As vLLM lists them from 0.5.4 on, here with two served names: adapters name the first of them as their parent.
BY_PARENT: list[dict[str, object]] = [
    {"id": "llama", "root": "/models/llama", "parent": None, "max_model_len": 8192},
    {"id": "meta/llama", "root": "/models/llama", "parent": None, "max_model_len": 8192},
    {"id": "math", "root": "/adapters/math", "parent": "llama", "max_model_len": None},
]
# vLLM 0.5.0 to 0.5.3 with two served names: only rows of base models have a max_model_len.
BY_ROOT_TWO_NAMES: list[dict[str, object]] = [
    {"id": "llama", "root": "llama", "parent": None, "max_model_len": 8192},
    {"id": "meta/llama", "root": "llama", "parent": None, "max_model_len": 8192},
    {"id": "math", "root": "llama", "parent": None, "max_model_len": None},
]


@pytest.mark.parametrize(
    ("rows", "base_model", "base", "adapters"),
    [
        pytest.param(BY_ROOT, None, BY_ROOT[0]["id"], [BY_ROOT[1]["id"]], id="by-root"),
        pytest.param(BY_ROOT, BY_ROOT[0]["id"], BY_ROOT[0]["id"], [BY_ROOT[1]["id"]], id="by-root-named"),
        pytest.param(BY_PARENT, None, "llama", ["math"], id="two-names"),
        pytest.param(BY_PARENT, "llama", "llama", ["math"], id="two-names-first"),
        pytest.param(BY_PARENT, "meta/llama", "meta/llama", ["math"], id="two-names-second"),
        pytest.param(BY_ROOT_TWO_NAMES, None, "llama", ["math"], id="by-root-two-names"),
        pytest.param(BY_ROOT_TWO_NAMES, "meta/llama", "meta/llama", ["math"], id="by-root-two-names-second"),
        pytest.param(BY_ROOT[:1], None, BY_ROOT[0]["id"], [], id="no-adapters"),
    ],
)
def test_adapters_are_recognised_however_the_server_lists_them(
    rows: list[dict[str, object]], base_model: str | None, base: str, adapters: list[str]
) -> None:
    models = discover("http://nim", base_model=base_model, requested="auto", transport=_list(*rows))
    assert models == ServedModels(base, tuple(adapters))


def test_two_base_models_have_their_own_adapters() -> None:
    nim = _list(*BY_PARENT, {"id": "qwen", "root": "/models/qwen"}, {"id": "tales", "root": "/a/t", "parent": "qwen"})
    with pytest.raises(BadInput, match="lists 2 base models"):
        discover("http://nim", base_model=None, requested="auto", transport=nim)
    models = discover("http://nim", base_model="qwen", requested="all", transport=nim)
    assert (models.adapters, models.others) == (("tales",), ("llama", "math", "meta/llama"))


def test_all_adapters_of_a_model_without_any_are_refused() -> None:
    nim = _nim(("m/base", None))
    with pytest.raises(BadInput, match=r"lists no adapter of m/base: NIM serves no adapter: `nemostack customize`"):
        discover("http://nim", base_model=None, requested="all", transport=nim)


def test_a_private_ca_is_named_with_its_remedy() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: no local issuer")

    with pytest.raises(Unreachable, match=r"set SSL_CERT_FILE and REQUESTS_CA_BUNDLE"):
        discover("https://nim", base_model=None, requested="auto", transport=httpx.MockTransport(refuse))


def test_unknown_adapter_names_what_is_there() -> None:
    nim = _nim(("m/base", None), ("a@1", "m/base"))
    with pytest.raises(BadInput, match=r"adapter z@9 is not served .* served: a@1, m/base"):
        discover("http://nim", base_model=None, requested=["a@1", "z@9"], transport=nim)


def test_unknown_or_ambiguous_base_model() -> None:
    with pytest.raises(BadInput, match="base model x is not served"):
        discover("http://nim", base_model="x", requested="auto", transport=_nim(("m", None)))
    with pytest.raises(BadInput, match=r"lists 2 base models \(m, n\); name one"):
        discover("http://nim", base_model=None, requested="auto", transport=_nim(("m", None), ("n", None)))


@pytest.mark.parametrize("reply", [httpx.Response(503), httpx.Response(200, text="hi"), httpx.Response(200, json=[])])
def test_a_server_that_is_no_nim(reply: httpx.Response) -> None:
    with pytest.raises(ServiceError, match=r"GET http://nim/v1/models failed"):
        discover("http://nim", base_model=None, requested="auto", transport=httpx.MockTransport(lambda _: reply))


def test_prompts_name_the_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n\n{"text": "b"}\n')
    with pytest.raises(BadInput, match=r"p\.jsonl:3: no \"prompt\""):
        read_prompts(path, api="completions")
    path.write_text("")
    with pytest.raises(BadInput, match="holds no prompts"):
        read_prompts(path, api="completions")


CHAT = '{"messages": [{"role": "user", "content": "hi"}]}'


@pytest.mark.parametrize(
    ("rows", "api", "complaint"),
    [
        ([CHAT], "completions", r'p\.jsonl:1: "messages" are not for the completions API; use --api chat'),
        (['{"prompt": "a"}', CHAT], "completions", r"p\.jsonl:2: .* use --api chat"),
        (['{"prompt": ["a", "b"]}'], "completions", r'p\.jsonl:1: "prompt" is not text'),
        (['{"prompt": ["a", "b"]}'], "chat", r'p\.jsonl:1: "prompt" is not text'),
        (['{"prompt": [1, 2, 3]}'], "completions", r'p\.jsonl:1: "prompt" is not text'),
        (['{"messages": ["hi"]}'], "chat", r'p\.jsonl:1: "messages" is not a list of objects'),
        (['{"messages": {"role": "user"}}'], "chat", r'p\.jsonl:1: "messages" is not a list of objects'),
        (['{"messages": []}'], "chat", r'p\.jsonl:1: no "prompt" text and no "messages" list'),
        (["[1]"], "chat", r"p\.jsonl:1: not a JSON object"),
    ],
)
def test_rows_that_the_api_cannot_take_are_refused_before_the_run(
    tmp_path: Path, rows: list[str], api: Api, complaint: str
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(rows))
    with pytest.raises(BadInput, match=complaint):
        read_prompts(path, api=api)


def test_the_chat_api_takes_texts_and_messages(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n' + CHAT)
    assert read_prompts(path, api="chat") == ["a", [{"role": "user", "content": "hi"}]]


def test_a_unique_prefix_goes_before_a_message_of_parts() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "data:"}}]
    chat = [{"role": "user", "content": parts}]
    prompt, _ = next(shuffled([chat], unique_prefix=True, seed=1))
    assert prompt == [{"role": "user", "content": [{"type": "text", "text": "[1-0-1] "}, *parts]}]


def test_a_prompt_may_hold_what_some_take_for_the_end_of_a_line(tmp_path: Path) -> None:
    path, prompt = tmp_path / "p.jsonl", "one\u2028two\u2029three\u0085four"
    path.write_text(json.dumps({"prompt": prompt}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_prompts(path, api="completions") == [prompt]


def test_prompts_may_have_another_column(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"question": "a", "prompt": "not this"}\n{"question": "b"}\n')
    assert read_prompts(path, "question", api="completions") == ["a", "b"]


def test_unique_prefixes_never_repeat() -> None:
    prompts = [
        prompt
        for worker in range(2)
        for prompt, _ in itertools.islice(shuffled(["x", "y"], unique_prefix=True, seed=1, worker=worker), 50)
    ]
    assert len(set(map(str, prompts))) == 100


def test_a_text_is_a_message_of_the_chat_api() -> None:
    assert body("x", api="chat", options={"max_tokens": 3}) == {
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "x"}],
    }


@pytest.mark.parametrize(
    ("objective", "complaint"),
    [
        ({"metric": "ttft_ms", "max": 5}, "needs stat"),
        ({"metric": "error_rate", "stat": "p95", "max": 5}, "leave stat out"),
        ({"metric": "ttft_ms", "stat": "p95"}, "exactly one of max, min and max_ratio"),
        ({"metric": "ttft_ms", "stat": "p97", "max": 1}, "objectives.0.stat"),
        ({"metric": "goodput", "min": 1}, "need per_request"),
        ({"metric": "speed", "min": 1}, "objectives.0.metric"),
    ],
)
def test_slo_files_are_checked(tmp_path: Path, objective: dict[str, object], complaint: str) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(json.dumps({"version": 1, "objectives": [objective]}))  # JSON is YAML
    with pytest.raises(BadInput, match=complaint):
        read_slo(path)


@pytest.mark.parametrize("name", ["slo.yaml", "slo.local.yaml"])
def test_shipped_slo_files_are_valid(name: str) -> None:
    assert read_slo(ROOT / "examples" / name).objectives
