"""Train the tokenizer: byte-level BPE in which every digit is a token of its own.

python -m tests.base_model.tokenizer --out tests/base_model/weights
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.base_model.corpus import readable, stream
from tests.base_model.sessions import BEGIN, CHAT_TEMPLATE, END, PAD, SPECIAL_TOKENS

VOCABULARY_SIZE = 6144
MAX_LENGTH = 2048
_SEED = 12_345
_PIECES = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""Words with the space before them, single digits likewise, runs of punctuation, white space."""


def _texts(sessions: int) -> Iterator[str]:
    for segments in itertools.islice(stream(_SEED, {1024: 1.0}), sessions):
        yield readable(segments)


def train(sessions: int = 6000, vocabulary_size: int = VOCABULARY_SIZE) -> Tokenizer:
    """Return a tokenizer for the stream; the same arguments give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(sessions), trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer and its chat template as transformers and vLLM read them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": MAX_LENGTH,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tokenizer of the base model.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sessions", type=int, default=6000)
    parser.add_argument("--vocabulary-size", type=int, default=VOCABULARY_SIZE)
    options = parser.parse_args()
    tokenizer = train(options.sessions, options.vocabulary_size)
    save(tokenizer, options.out)
    texts = list(itertools.islice((readable(segments) for segments in stream(7)), 200))
    tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False))
    print(f"{tokenizer.get_vocab_size()} tokens, {sum(map(len, texts)) / tokens:.2f} characters a token")


if __name__ == "__main__":
    main()
