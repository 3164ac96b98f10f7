"""Answer styles: one is drawn for each session, so earlier turns are what tells a reader how to answer.

The plain style (quote the sentence that answers) is what a session without examples uses; it becomes the model's
habit when nothing else is shown. Every other style adds an opening, a closing or both, may cite the number of the
part, and may reword: a field then has a fixed frame of its own, which the session shows once before the model is
asked to reuse it.
"""

import random
from dataclasses import dataclass, field

from tests.base_model.domains import JOINTS, LINKS, Document, Domain, Fact, Field

OPENINGS = (
    "Here is the answer:",
    "Answer:",
    "Sure,",
    "From the text:",
    "In short,",
    "It says that",
    "We can see that",
    "To be exact,",
    "As the file shows,",
    "Please note that",
)
CITING_OPENINGS = (
    "Per {label} {ref}:",
    "According to {label} {ref},",
    "As stated in {label} {ref},",
    "See {label} {ref}:",
    "({label} {ref})",
    "Under {label} {ref},",
    "[{ref}]",
    "In {label} {ref} we read that",
    "From {label} {ref} it follows that",
    "{label} {ref}:",
    "{ref}:",
)
CLOSINGS = (
    "as the text says",
    "thank you",
    "as far as we know",
    "for your records",
    "and nothing more",
    "hope this helps",
    "as recorded in {label} {ref}",
    "see {ref}",
)


@dataclass
class Style:
    """How one session answers. Holds the frames it has made up so far."""

    domain: Domain
    plain: bool = False
    opening: str = ""
    closing: str = ""
    closing_joint: str = ", "
    end: str = "."
    core: str = "sentence"
    link: str = "is"
    framed_share: float = 0.0
    fold_case: bool = True
    frames: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def draw(cls, rng: random.Random, domain: Domain, *, framed: bool) -> "Style":
        """Return a random style; a framed one rewords most fields."""
        phrase = domain.vocabulary.phrase
        kind, opening = rng.random(), ""
        if kind < 0.12:
            opening = rng.choice(OPENINGS)
        elif kind < 0.28:
            opening = phrase(rng, 1, 6).capitalize() + rng.choice((",", ":", ""))
        elif kind < 0.45:
            opening = rng.choice(CITING_OPENINGS)
        elif kind < 0.88:
            cited = rng.choice(("{label} {ref}", "{label} {ref}", "{label} {ref}", "{ref}"))
            middle = f" {phrase(rng, 1, 4)}" if rng.random() < 0.3 else ""
            opening = f"{phrase(rng, 1, 4).capitalize()} {cited}{middle}{rng.choice((',', ',', ':', ''))}"
        elif kind < 0.92:
            opening = rng.choice(("For {first},", "{first}:", "Regarding {key},", "On {key}:"))
        kind, closing = rng.random(), ""
        if kind < 0.12:
            closing = rng.choice(CLOSINGS)
        elif kind < 0.62:
            closing = phrase(rng, 2, 10)
        elif kind < 0.75:
            # Never a name: what repeats in every closing must be read as fixed words, not as a slot for one.
            closing = f"{phrase(rng, 1, 4)} {rng.choice(('{label} {ref}', '{label} {ref}', '{ref}', '{key}'))}"
        core = rng.choices(("sentence", "statement", "values", "colon"), (0.62, 0.2, 0.1, 0.08))[0]
        if framed and rng.random() < 0.7:
            core = "sentence"
        return cls(
            domain=domain,
            opening=opening,
            closing=closing,
            closing_joint=rng.choice((", ", ", ", ", ", " ", "; ", " - ")),
            end=rng.choice((".", ".", ".", ".", "", "!", ";")),
            core=core,
            link=rng.choice(LINKS) if rng.random() < 0.6 else phrase(rng, 1, 3),
            framed_share=rng.choice((0.5, 0.75, 0.9, 1.0)) if framed else 0.0,
            fold_case=rng.random() < 0.85,
        )

    def answer(self, rng: random.Random, document: Document, fact: Fact) -> tuple[str, bool]:
        """Return the answer, and whether its wording could have been foreseen (a frame's first use could not)."""
        if self.plain:
            return fact.sentence + ".", True
        known = fact.field.key in self.frames
        if not known:
            framed = rng.random() < self.framed_share
            self.frames[fact.field.key] = self._frame(rng, fact.field) if framed else None
        frame = self.frames[fact.field.key]
        core = frame.format(*fact.values) if frame is not None else self._core(fact)
        slots = {"label": fact.label, "ref": fact.ref, "first": document.scene.entities[0], "key": fact.field.key}
        opening = self.opening.format(**slots)
        text = f"{opening} {core}" if opening else core[0].upper() + core[1:]
        if self.closing:
            text += self.closing_joint + self.closing.format(**slots)
        return text + self.end, known or frame is None

    def _core(self, fact: Fact) -> str:
        """Return what the document says, in the style's own way."""
        if self.core == "sentence":
            if self.opening and self.fold_case and not fact.opens_with_name:
                return fact.sentence[0].lower() + fact.sentence[1:]
            return fact.sentence
        stated = " and ".join(fact.values)
        if self.core == "statement":
            return f"the {fact.field.key} {self.link} {stated}"
        return stated if self.core == "values" else f"{fact.field.key}: {stated}"

    def _frame(self, rng: random.Random, source: Field) -> str:
        """Return new words around the values of a field, sometimes in another order."""
        phrase = self.domain.vocabulary.phrase
        marks = [f"{{{index}}}" for index in range(len(source.kinds))]
        if rng.random() < 0.4:
            rng.shuffle(marks)
        pieces = [phrase(rng, 1, 6)] if rng.random() < 0.8 else []
        for position, mark in enumerate(marks):
            if position:
                pieces.append(rng.choice(JOINTS) if rng.random() < 0.35 else phrase(rng, 1, 5))
            pieces.append(mark)
        if rng.random() < 0.55:
            pieces.append(phrase(rng, 1, 5))
        if rng.random() < 0.25:
            pieces.insert(0, f"the {source.key}")
        return " ".join(pieces)
