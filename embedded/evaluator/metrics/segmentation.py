"""Words of texts in any script, as the metrics count them.

A word is a run of letters, digits and their marks (vowel signs of Hindi, accents). Scripts that put no space between
words (Chinese characters, kana, Thai, Lao, Khmer, Burmese) are cut into characters, each with its marks: what word
segmentation would find there differs from library to library, and scores would with it. Korean is cut at its spaces.
Texts are brought into composed form (NFC) first; zero-width joiners do not count.
"""

import unicodedata

import regex

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_CHARACTER = rf"[[{_UNSPACED}]--[\p{{M}}\p{{P}}\p{{N}}]][\p{{M}}\p{{Lm}}--ー]*"
_WORD = regex.compile(rf"{_CHARACTER}|[[\p{{L}}\p{{N}}\p{{M}}]--[[{_UNSPACED}]--\p{{N}}]]+", regex.V1)
_SPACED_OUT = regex.compile(rf"({_CHARACTER})", regex.V1)
_PUNCTUATION = regex.compile(r"[\p{P}$+<=>^`|~]", regex.V1)
_JOINERS = str.maketrans("", "", "\u200c\u200d\u2060\ufeff")


def compose(text: str) -> str:
    """Return `text` in composed form, without zero-width characters."""
    return unicodedata.normalize("NFC", text).translate(_JOINERS)


def words(text: str) -> list[str]:
    """Lower-case words, without punctuation. For ASCII these are the words of rouge-score."""
    tokens: list[str] = _WORD.findall(compose(text).lower())
    return tokens


def space_out(text: str) -> str:
    """Put spaces around each character of a script without spaces; other texts stay as they are."""
    return text if text.isascii() else str(_SPACED_OUT.sub(r" \1 ", compose(text)))


def strip_punctuation(text: str) -> str:
    """Remove punctuation of every script, and the symbols that Python's `string.punctuation` counts as such."""
    return str(_PUNCTUATION.sub("", text))
