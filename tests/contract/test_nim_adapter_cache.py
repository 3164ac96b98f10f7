"""Adapter files on their way from a real Data Store to the NIM's folder."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi
from pydantic import ValidationError

from embedded.nim.adapter_cache import (
    CONFIG,
    WEIGHTS,
    AdapterCache,
    FilesUrlError,
    FolderCache,
    NotServableError,
    read_shapes,
)
from embedded.nim.adapter_index import Adapter, read_folder
from embedded.nim.settings import Settings
from tests.contract.nim_support import MODEL, write_config, write_weights

LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def cache(tmp_path: Path, data_store_url: str) -> AdapterCache:
    return AdapterCache(
        tmp_path / "adapters",
        data_store_url,
        max_rank=32,
        layers=("q_proj",),
        base_shapes={f"{LAYER}.weight": (48, 64)},
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a good adapter; tests spoil it."""
    return write_weights(write_config(tmp_path / "source"), LAYER, rank=8, inputs=64, outputs=48)


def uploaded(hub: HfApi, name: str, folder: Path, branch: str = "cust-1") -> Adapter:
    hub.create_repo(f"default/{name}", exist_ok=True)
    hub.create_branch(f"default/{name}", branch=branch, exist_ok=True)
    hub.upload_folder(repo_id=f"default/{name}", folder_path=folder, revision=branch)
    return Adapter(f"default/{name}@{branch}", f"hf://models/default/{name}@{branch}", "1")


def test_fetches_the_two_files_and_nothing_else(cache: AdapterCache, source: Path, hub: HfApi, unique: str) -> None:
    (source / "training_args.bin").write_bytes(b"\x80\x04pickle")
    adapter = uploaded(hub, unique, source)
    folder = cache.fetch(adapter)
    assert folder == cache.place(adapter)
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]
    assert (folder / WEIGHTS).read_bytes() == (source / WEIGHTS).read_bytes()
    assert list(cache.folder.iterdir()) == [folder], "nothing is left of the download"


def test_fetches_once(cache: AdapterCache, source: Path, hub: HfApi, unique: str) -> None:
    adapter = uploaded(hub, unique, source)
    folder = cache.fetch(adapter)
    hub.delete_repo(f"default/{unique}")
    assert cache.fetch(adapter) == folder


def test_branch_decides(cache: AdapterCache, source: Path, hub: HfApi, unique: str) -> None:
    one = uploaded(hub, unique, source, "cust-1")
    write_config(source, r=4)
    two = uploaded(hub, unique, source, "cust-2")
    assert (cache.fetch(one) / CONFIG).read_text() != (cache.fetch(two) / CONFIG).read_text()


def test_another_version_gets_another_folder(cache: AdapterCache) -> None:
    old, new = (Adapter("default/a@cust-1", "hf://models/default/a@cust-1", version) for version in "12")
    assert cache.place(old) != cache.place(new)


def test_hostile_ids_stay_inside(cache: AdapterCache) -> None:
    for hostile in ("../../etc/x", "/etc/x", "a/../../b", "a\0b"):
        assert cache.place(Adapter(hostile, "hf://models/a/b", "1")).parent == cache.folder


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"r": 64}, "rank 64 is above max_lora_rank 32"),
        ({"rank_pattern": {"q_proj": 33}}, "rank 33 is above"),
        ({"peft_type": "IA3"}, "only LORA"),
        ({"r": "many"}, "not a PEFT configuration"),
    ],
)
def test_refuses_configurations(  # noqa: PLR0917
    cache: AdapterCache, source: Path, hub: HfApi, unique: str, change: dict[str, object], reason: str
) -> None:
    adapter = uploaded(hub, unique, write_config(source, **change))
    with pytest.raises(NotServableError, match=reason):
        cache.fetch(adapter)
    assert list(cache.folder.iterdir()) == []


def test_refuses_truncated_weights(cache: AdapterCache, source: Path, hub: HfApi, unique: str) -> None:
    weights = source / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(NotServableError, match="cannot be read"):
        cache.fetch(uploaded(hub, unique, source))


@pytest.mark.parametrize(("inputs", "outputs"), [(32, 48), (64, 24)])
def test_refuses_weights_of_another_shape(  # noqa: PLR0917
    cache: AdapterCache, source: Path, hub: HfApi, unique: str, inputs: int, outputs: int
) -> None:
    write_weights(source, LAYER, rank=8, inputs=inputs, outputs=outputs)
    with pytest.raises(NotServableError, match="trained on another model"):
        cache.fetch(uploaded(hub, unique, source))


def test_refuses_layers_that_the_base_model_lacks(cache: AdapterCache, source: Path, hub: HfApi, unique: str) -> None:
    write_weights(source, "model.layers.99.self_attn.q_proj", rank=8, inputs=64, outputs=48)
    with pytest.raises(NotServableError, match=r"no layer model\.layers\.99"):
        cache.fetch(uploaded(hub, unique, source))


@pytest.mark.parametrize("layer", ["lm_head", "model.layers.0.self_attn.k_proj"])
def test_refuses_layers_that_would_be_skipped(
    cache: AdapterCache, source: Path, hub: HfApi, unique: str, layer: str
) -> None:
    write_weights(source, layer, rank=8, inputs=64, outputs=48)
    with pytest.raises(NotServableError, match=rf"it changes .*{layer}.*only LoRA on q_proj"):
        cache.fetch(uploaded(hub, unique, source))


def test_refuses_fully_trained_modules(cache: AdapterCache, source: Path, hub: HfApi, unique: str) -> None:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    tensors = load_file(source / WEIGHTS) | {"base_model.model.model.norm.weight": np.zeros(64, np.float32)}
    save_file(tensors, source / WEIGHTS)
    with pytest.raises(NotServableError, match=r"it changes .*norm\.weight"):
        cache.fetch(uploaded(hub, unique, source))


def test_pickled_weights_are_not_even_fetched(cache: AdapterCache, source: Path, hub: HfApi, unique: str) -> None:
    (source / WEIGHTS).rename(source / "adapter_model.bin")
    with pytest.raises(FilesUrlError, match=r"holds no 'adapter_model\.safetensors'"):
        cache.fetch(uploaded(hub, unique, source))


def test_says_when_the_data_store_is_away(tmp_path: Path) -> None:
    cache = AdapterCache(tmp_path, "http://127.0.0.1:9", max_rank=32, layers=("q_proj",))
    with pytest.raises(FilesUrlError, match=r"Data Store at http://127\.0\.0\.1:9"):
        cache.fetch(Adapter("default/a@b", "hf://models/default/a@b", "1"))


def test_sweep_keeps_what_is_wanted(cache: AdapterCache, source: Path, hub: HfApi, unique: str) -> None:
    folder = cache.fetch(uploaded(hub, unique, source))
    (cache.folder / "partial-x").mkdir()
    (cache.folder / "old").mkdir()
    cache.sweep({folder})
    assert list(cache.folder.iterdir()) == [folder]
    cache.discard(folder)
    assert not folder.exists()


def test_discard_touches_nothing_outside(cache: AdapterCache, source: Path) -> None:
    cache.discard(source)
    assert source.is_dir()


def test_shapes_of_the_base_model() -> None:
    from transformers import AutoModelForCausalLM

    layer = AutoModelForCausalLM.from_pretrained(MODEL).model.layers[0].mlp.down_proj
    assert read_shapes(str(MODEL))["model.layers.0.mlp.down_proj.weight"] == (layer.out_features, layer.in_features)
    assert read_shapes("owner/model-on-the-hub") == {}


def test_of_a_folder_each_adapter_is_read_as_it_is_now(tmp_path: Path, source: Path) -> None:
    peft_source = tmp_path / "peft"
    assert read_folder(peft_source) == {}
    (peft_source / ".default--b.tmp").mkdir(parents=True)  # being filled
    source.rename(peft_source / "default--a")
    first = read_folder(peft_source)
    assert list(first) == ["default--a"]
    cache = FolderCache(tmp_path / "adapters", "", max_rank=32, layers=("q_proj",))
    folder = cache.fetch(first["default--a"])
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]
    write_config(peft_source / "default--a", r=4)
    second = read_folder(peft_source)["default--a"]
    assert second.version != first["default--a"].version
    assert (cache.fetch(second) / CONFIG).read_text() != (folder / CONFIG).read_text()


def test_an_adapter_that_is_half_there_is_tried_again(tmp_path: Path, source: Path) -> None:
    (source / WEIGHTS).unlink()
    cache = FolderCache(tmp_path / "adapters", "", max_rank=32, layers=("q_proj",))
    with pytest.raises(FilesUrlError, match="cannot be read: No such file"):
        cache.fetch(Adapter("default--a", str(source), "1"))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"entity_store_url": "http://e"},
        {"entity_store_url": "http://e", "data_store_url": "http://d", "peft_source": "/p"},
    ],
)
def test_adapters_come_from_the_stores_or_from_a_folder(tmp_path: Path, given: dict[str, str]) -> None:
    base = {"port": 1, "data_dir": str(tmp_path), "base_model": "a/b", "model_path": "/m"}
    with pytest.raises(ValidationError, match="expected either entity_store_url and data_store_url, or peft_source"):
        Settings.model_validate(base | given)
    assert Settings.model_validate(base | {"peft_source": "/p"}).peft_source == Path("/p")
