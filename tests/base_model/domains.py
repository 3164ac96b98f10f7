"""Documents of numbered parts and the facts in them.

A `Domain` is what documents of one session have in common: fields, their wordings, the way parts are numbered. Most
domains are invented for the session (sentences of no meaning but with a key, values and words to find again); some are
everyday ones, written out in `everyday.py`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.base_model import lexicon, values
from tests.base_model.everyday import EVERYDAY_DOMAINS
from tests.base_model.lexicon import Vocabulary, phrases
from tests.base_model.values import Scene


@dataclass(frozen=True)
class Field:
    """Something documents of a domain state. Slots `{0}`, `{1}`, `{2}` take values of the kinds, in order."""

    key: str
    kinds: tuple[str, ...]
    sentences: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """A field as one document states it."""

    field: Field
    values: tuple[str, ...]
    label: str
    ref: str
    sentence: str
    opens_with_name: bool
    question: str


@dataclass(frozen=True)
class Document:
    """Text, and the facts that can be asked about."""

    text: str
    scene: Scene
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Domain:
    """What the documents of a session share."""

    vocabulary: Vocabulary
    names: tuple[str, ...]
    fields: tuple[Field, ...]
    role_pairs: tuple[tuple[str, str], ...]
    label: str
    numbering: str
    layout: str
    intro: str


LINKS = phrases(
    """is|was|will be|comes to|stands at|has been set to|reads|equals|amounts to|is listed as|must be|should be|remains|
    is fixed at|goes up to|is kept at|is limited to|depends on|may reach|starts with|ends with|includes|covers|
    must not exceed|is not more than|lasts for|begins on|is due within|is held in|belongs to|is given to|is open to|
    needs|requires|is payable to|is required by|is kept by|is valid for|continues for|was taken by"""
)
JOINTS = phrases(
    """and|for|by|within|after|before|no later than|up to|to|from|in|under|upon|with|on|of|per|unless|per each|given"""
)
LABELS = ("Part", "Item", "Entry", "Note", "Point", "Line", "Row", "Step", "Block", "Field", "Page", "Box")
LAYOUTS = (
    "{label} {ref} {title}. {sentence}",
    "{label} {ref} {title}. {sentence}",
    "{label} {ref} {title}. {sentence}",
    "{label} {ref} {title}: {sentence}",
    "{label} {ref}. {title}. {sentence}",
    "{label} {ref}: {sentence}",
    "{label} {ref}. {sentence}",
    "{label} {ref} - {sentence}",
    "{title} ({label} {ref}): {sentence}",
    "{label} {ref} ({title}) {sentence}",
    "{ref} {sentence}",
    "{ref}. {title}. {sentence}",
    "({ref}) {sentence}",
    "[{ref}] {title}: {sentence}",
)
INTROS = (
    "{name}: {first} as {role1}, {second} as {role2}.\n",
    "{name} of {first} ({role1}) with {second} ({role2}).\n",
    "{name} of {first} ({role1}) with {second} ({role2}).\n",
    '{name} for {first} ("{role1}") and {second} ("{role2}").\n',
    "{first} ({role1}) and {second} ({role2}): {name}.\n",
    "{first} ({role1}) {phrase} {second} ({role2}).\n",
    "{name} {phrase} {first} ({role1}) {phrase2} {second} ({role2}).\n",
    "{name} {phrase} {first} and {second}.\n",
    "{name} for {first}. ",
    "{name}\n",
    "",
)
QUESTION_WORDS = (
    "What",
    "Which",
    "How much",
    "Who",
    "When",
    "How long",
    "Where",
    "How",
    "How many",
    "Whose",
    "In which",
)
QUESTION_LINKS = ("is", "are", "must", "does", "may", "the", "will", "do", "is the", "was", "", "", "needs")
ASKS = (
    "What is the {key}?",
    "What is the {key}?",
    "State the {key}.",
    "Which {key} is given?",
    "Tell me the {key}.",
    "What does it say about the {key}?",
    "What {key} is stated?",
    "I need the {key}.",
    "What about the {key}?",
    "{key}?",
)
PART_ASKS = ("What does {label} {ref} say?", "What is in {label} {ref}?", "Read {label} {ref}.")

_ROMAN = lexicon.words("I II III IV V VI VII VIII IX X XI XII XIII XIV XV")
_NUMBERINGS: dict[str, Callable[[random.Random, int, int], str]] = {
    "plain": lambda _, start, place: str(start + place),
    "dotted": lambda rng, start, place: f"{start + place}.{rng.randint(1, 9)}",
    "sub": lambda _, start, place: f"{start}.{place + 1}",
    "deep": lambda rng, start, place: f"{start}.{place + 1}.{rng.randint(1, 9)}",
    "letter": lambda _, start, place: f"{start}({'abcdefghij'[place]})",
    "roman": lambda _, start, place: _ROMAN[(start + place) % 15],
    "code": lambda rng, start, place: f"{'ABCDEFGHKLMN'[start % 12]}-{place + 1}{rng.randint(0, 9)}",
}


def _key(rng: random.Random, vocabulary: Vocabulary) -> str:
    """Make what a field is called: one to three words."""
    word = vocabulary.word
    return rng.choice(
        (
            word(rng),
            f"{rng.choice(lexicon.ADJECTIVES)} {word(rng)}",
            f"{word(rng)} {word(rng)}",
            f"{word(rng)} of {word(rng)}",
        )
    )


def _sentence(rng: random.Random, vocabulary: Vocabulary, key: str, slots: int) -> str:
    """Make a sentence frame for a field, with slots for its values."""
    phrase = vocabulary.phrase
    named = key if rng.random() < 0.5 else key.rsplit(maxsplit=1)[-1]
    marks = [f"{{{index}}}" for index in range(slots)]
    rng.shuffle(marks)
    rest = "".join(f" {rng.choice(JOINTS) if rng.random() < 0.5 else phrase(rng, 1, 4)} {mark}" for mark in marks[1:])
    tail = f" {phrase(rng, 1, 6)}" if rng.random() < 0.5 else ""
    link = rng.choice(LINKS) if rng.random() < 0.55 else phrase(rng, 1, 4)
    the_key = f"{'the ' if rng.random() < 0.7 else ''}{named}"
    kind = rng.random()
    if kind < 0.35:
        opening = f"{phrase(rng, 1, 5)} " if rng.random() < 0.5 else ""
        return f"{opening}{the_key} {link} {marks[0]}{rest}{tail}"
    if kind < 0.6:
        return f"{marks[0]} {link} {the_key}{rest}{tail}"
    if kind < 0.8:
        return f"{phrase(rng, 1, 5)} {marks[0]} {link} {the_key}{rest}{tail}"
    if kind < 0.9:
        return f"{phrase(rng, 2, 6)} {marks[0]}{rest} {phrase(rng, 1, 4)} {the_key}"
    return f"{phrase(rng, 1, 6)} {marks[0]}{rest}{tail}"


def _question(rng: random.Random, key: str, sentence: str) -> str:
    """Make a question that shares words with the sentence, or names the key."""
    words = [word for word in sentence.split() if "{" not in word and len(word) > 2]
    if len(words) < 2 or rng.random() < 0.35:
        return rng.choice(ASKS).format(key=key if rng.random() < 0.6 else key.rsplit(maxsplit=1)[-1])
    start = rng.randrange(len(words))
    picked = words[start : start + rng.randint(1, 4)]
    if rng.random() < 0.3:
        picked.insert(rng.randrange(len(picked) + 1), key.rsplit(maxsplit=1)[-1])
    if rng.random() < 0.25:
        rng.shuffle(picked)
    return " ".join(f"{rng.choice(QUESTION_WORDS)} {rng.choice(QUESTION_LINKS)} {' '.join(picked)}?".split())


def _invented_field(rng: random.Random, vocabulary: Vocabulary, kinds: tuple[str, ...]) -> Field:
    key = _key(rng, vocabulary)
    slots = rng.choice((1, 1, 1, 2, 2, 2, 3))
    sentences = tuple(_sentence(rng, vocabulary, key, slots) for _ in range(rng.choice((1, 2, 3))))
    questions = tuple(_question(rng, key, rng.choice(sentences)) for _ in range(rng.choice((1, 2, 3))))
    return Field(key, tuple(rng.choice(kinds) for _ in range(slots)), sentences, questions)


def draw_domain(rng: random.Random, fields: int) -> Domain:
    """Make a domain for one session with about `fields` fields."""
    vocabulary = Vocabulary.draw(rng)
    if rng.random() < 0.12:
        names, rows = rng.choice(EVERYDAY_DOMAINS)
        chosen = tuple(Field(key, kinds, sentences, questions) for key, kinds, sentences, questions in rows)
        chosen = tuple(rng.sample(chosen, min(len(chosen), fields)))
    else:
        # Few kinds of value a domain, so that a document holds several that could be mistaken for each other.
        kinds = tuple(rng.sample(values.KINDS, rng.randint(2, 6)))
        if rng.random() < 0.5:
            kinds += ("role", "entity", "duration", "money")
        invented = (_invented_field(rng, vocabulary, kinds) for _ in range(fields))
        chosen = tuple({field.key: field for field in invented}.values())
        names = tuple(f"{vocabulary.word(rng)} {vocabulary.word(rng)}".title() for _ in range(rng.choice((1, 1, 3))))
    label = (
        rng.choice(LABELS)
        if rng.random() < 0.4
        else values.name_word(rng)
        if rng.random() < 0.5
        else vocabulary.word(rng).capitalize()
    )
    pairs = tuple(
        (
            vocabulary.word(rng).capitalize(),
            values.name_word(rng) if rng.random() < 0.4 else vocabulary.word(rng).capitalize(),
        )
        for _ in range(rng.choice((1, 2, 4)))
    )
    intro = rng.choice(INTROS)
    if "{phrase" in intro:
        intro = intro.replace("{phrase}", vocabulary.phrase(rng, 1, 3)).replace(
            "{phrase2}", vocabulary.phrase(rng, 1, 2)
        )
    numbering = "dotted" if rng.random() < 0.4 else rng.choice(tuple(_NUMBERINGS))
    return Domain(vocabulary, names, chosen, pairs, label, numbering, rng.choice(LAYOUTS), intro)


def write_document(rng: random.Random, domain: Domain, parts: int) -> Document:
    """Make a document of the domain that states `parts` of its fields, each in a numbered part."""
    maker = values.company if rng.random() < 0.7 else values.person
    bare = Scene(domain.vocabulary, ("", ""), rng.choice(domain.role_pairs))
    scene = Scene(domain.vocabulary, (maker(rng, bare), maker(rng, bare)), bare.roles)
    fields = rng.sample(domain.fields, min(parts, len(domain.fields)))
    start, number = rng.randint(1, 19), _NUMBERINGS[domain.numbering]
    facts, lines = [], []
    for place, field in enumerate(fields):
        stated = tuple(values.make(rng, kind, scene) for kind in field.kinds)
        frame = rng.choice(field.sentences)
        sentence = frame.format(*stated)
        sentence = sentence[0].upper() + sentence[1:]
        ref = number(rng, start, place)
        asks = PART_ASKS if rng.random() < 0.04 else field.questions
        facts.append(
            Fact(
                field=field,
                values=stated,
                label=domain.label,
                ref=ref,
                sentence=sentence,
                opens_with_name=frame.startswith("{") and not stated[int(frame[1])][0].islower(),
                question=rng.choice(asks).format(*stated, label=domain.label, ref=ref),
            )
        )
        title = field.key if rng.random() < 0.3 else field.key.title()
        lines.append(domain.layout.format(label=domain.label, ref=ref, title=title, sentence=sentence + "."))
    intro = domain.intro.format(
        name=rng.choice(domain.names),
        first=scene.entities[0],
        second=scene.entities[1],
        role1=scene.roles[0],
        role2=scene.roles[1],
    )
    return Document(intro + "\n".join(lines), scene, tuple(facts))
