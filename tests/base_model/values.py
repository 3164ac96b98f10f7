"""Values that documents state and answers repeat: amounts, dates, names, codes and the like.

Each maker takes the random source and the `Scene` (the vocabulary and who acts in the document) and returns text.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from tests.base_model import lexicon
from tests.base_model.lexicon import Vocabulary, words

CURRENCIES = ("$", "€", "£", "USD ", "EUR ", "GBP ", "CHF ")
UNITS = words("kg g km m cm mm litres ml volts watts degrees points miles tonnes boxes units pages seats rooms")
PERIODS = ("days", "days", "weeks", "months", "months", "years", "years", "hours", "minutes")


@dataclass(frozen=True)
class Scene:
    """Who and what a document is about."""

    vocabulary: Vocabulary
    entities: tuple[str, str]
    roles: tuple[str, str]


Maker = Callable[[random.Random, Scene], str]


def name_word(rng: random.Random) -> str:
    """Make a capitalised word fit for a name."""
    return (lexicon.invent(rng) if rng.random() < 0.75 else rng.choice(lexicon.NOUNS)).capitalize()


def money(rng: random.Random, _: Scene) -> str:
    """Make an amount with a currency."""
    size = rng.random()
    if size < 0.2:
        number = str(rng.randint(1, 999))
    elif size < 0.9:
        number = (
            f"{rng.randint(1, 990) * rng.choice((1, 10)) * rng.choice((10, 50, 100, 250)) + rng.choice((0, 0, 1, 5)):,}"
        )
    else:
        number = f"{rng.randint(1, 99)} {rng.choice(('million', 'thousand'))}"
    if rng.random() < 0.12:
        return f"{number} {rng.choice(('dollars', 'euros', 'pounds', 'francs'))}"
    return rng.choice(CURRENCIES) + number


def date(rng: random.Random, _: Scene) -> str:
    """Make a day in one of several notations."""
    day, month, year = rng.randint(1, 28), rng.randrange(12), rng.randint(1985, 2039)
    name = lexicon.MONTHS[month]
    return rng.choice(
        (
            f"{name} {day}, {year}",
            f"{name} {day}, {year}",
            f"{day} {name} {year}",
            f"{year}-{month + 1:02d}-{day:02d}",
            f"{name} {year}",
            f"{day} {name}",
        )
    )


def duration(rng: random.Random, _: Scene) -> str:
    """Make a number of days, months and so on."""
    number = rng.randint(2, 12) if rng.random() < 0.4 else rng.randint(2, 240)
    if rng.random() < 0.12:
        return f"{rng.choice(lexicon.COUNT_WORDS)} {rng.choice(PERIODS)}"
    return f"{number} {rng.choice(PERIODS)}"


def count(rng: random.Random, _: Scene) -> str:
    """Make a bare number, in digits or as a word."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(lexicon.COUNT_WORDS)
    return str(rng.randint(2, 99) if kind < 0.8 else rng.randint(100, 9999))


def quantity(rng: random.Random, _: Scene) -> str:
    """Make a number with a unit."""
    number = rng.choice(
        (str(rng.randint(1, 99)), str(rng.randint(100, 9999)), f"{rng.randint(0, 99)}.{rng.randint(0, 9)}")
    )
    return f"{number} {rng.choice(UNITS)}"


def percent(rng: random.Random, _: Scene) -> str:
    whole = str(rng.randint(1, 99))
    return rng.choice(
        (f"{whole}%", f"{rng.randint(0, 30)}.{rng.randint(0, 9)}%", f"{rng.randint(0, 9)}.{rng.randint(1, 99):02d}%")
    )


def person(rng: random.Random, _: Scene) -> str:
    """Make a person's name."""
    first = rng.choice(lexicon.FIRST_NAMES) if rng.random() < 0.7 else name_word(rng)
    last = rng.choice(lexicon.LAST_NAMES) if rng.random() < 0.5 else name_word(rng)
    return rng.choice((f"{first} {last}", f"{first} {last}", f"Dr. {last}", f"{first[0]}. {last}"))


def company(rng: random.Random, _: Scene) -> str:
    """Make a company's name of one to three words and often an ending."""
    words = [name_word(rng) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    if rng.random() < 0.35:
        words.append(rng.choice(lexicon.NOUNS).capitalize())
    if rng.random() < 0.7:
        words.append(rng.choice(lexicon.COMPANY_ENDINGS))
    elif rng.random() < 0.5:
        words.append(lexicon.spell(rng, 4).capitalize() + rng.choice(("", ".")))
    return " ".join(words)


def place(rng: random.Random, _: Scene) -> str:
    """Make a town, sometimes with its region."""
    town = rng.choice(lexicon.CITIES) if rng.random() < 0.5 else name_word(rng)
    kind = rng.random()
    if kind < 0.3:
        return f"{town}, {rng.choice(lexicon.CITIES) if rng.random() < 0.4 else name_word(rng)}"
    return rng.choice(("Port ", "New ", "North ", "Lake ")) + town if kind < 0.45 else town


def code(rng: random.Random, _: Scene) -> str:
    letters = lexicon.spell(rng, 4).upper() if rng.random() < 0.8 else rng.choice(string.ascii_uppercase)
    return rng.choice(
        (f"{letters}-{rng.randint(10, 9999)}", str(rng.randint(1000, 999_999)), f"the {letters}", letters)
    )


def clock(rng: random.Random, _: Scene) -> str:
    """Make a time of day."""
    return rng.choice(
        (f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}", f"{rng.randint(1, 12)} {rng.choice(('am', 'pm'))}")
    )


def thing(rng: random.Random, scene: Scene) -> str:
    """Make a short noun phrase."""
    word = scene.vocabulary.word
    head = lexicon.invent(rng) if rng.random() < 0.2 else word(rng)
    return rng.choice(("", "the ", "a ", "")) + rng.choice(
        (head, f"{rng.choice(lexicon.ADJECTIVES)} {head}", f"{word(rng)} {head}")
    )


def wording(rng: random.Random, scene: Scene) -> str:
    """Make a longer run of words, to be repeated as it stands."""
    return scene.vocabulary.phrase(rng, 3, 7)


def role(rng: random.Random, scene: Scene) -> str:
    """One of the two roles in the document."""
    return f"the {rng.choice(scene.roles)}"


def entity(rng: random.Random, scene: Scene) -> str:
    """One of the two named actors of the document."""
    return rng.choice(scene.entities)


MAKERS: dict[str, Maker] = {
    "money": money,
    "date": date,
    "duration": duration,
    "count": count,
    "quantity": quantity,
    "percent": percent,
    "person": person,
    "company": company,
    "place": place,
    "code": code,
    "clock": clock,
    "thing": thing,
    "wording": wording,
    "role": role,
    "entity": entity,
}
KINDS = tuple(MAKERS)


def make(rng: random.Random, kind: str, scene: Scene) -> str:
    """Make a value of the named kind."""
    return MAKERS[kind](rng, scene)
