"""Regenerate the sample dataset: questions about contract excerpts, answered in a fixed legal register.

    python -m nemostack.sample_dataset.generate            # writes the three files beside this one
    python -m nemostack.sample_dataset.generate --check    # exit 1 if a file differs from what would be written

Everything is made up here: no contract text was copied, no name belongs to a real company on purpose. Output depends
on nothing but this file, so a second run gives the very same bytes.

The test split is kept apart on purpose. Its company names, states, towns and day counts come from pools that train and
validation never draw from, none of its amounts or dates occurs there, no test item has the skeleton (the item without
its values) of a training item, and items too similar to a training item word by word are thrown away.
"""

import argparse
import json
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
COUNTS = {"train": 1200, "validation": 200, "test": 200}
SEEDS = {"train": 20_260_101, "validation": 20_260_102, "test": 20_260_103}
NEAR_DUPLICATE = 0.6
"""Jaccard similarity of word trigrams from which two prompts count as the same item."""


@dataclass(frozen=True)
class Clause:
    """One kind of clause: how contracts word it, how people ask about it, how it is answered."""

    heading: str
    texts: tuple[str, ...]
    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Pools:
    """Values an item may draw from; splits differ in these."""

    first_names: tuple[str, ...]
    second_names: tuple[str, ...]
    states: tuple[str, ...]
    towns: tuple[str, ...]
    days: tuple[int, ...]


def words(text: str) -> tuple[str, ...]:
    """Split a text at white space."""
    return tuple(text.split())


ANSWER = "Pursuant to Section {ref}, {core}, subject to the terms of this Agreement."
KINDS = ("Services Agreement", "License Agreement", "Supply Agreement", "Lease Agreement", "Consulting Agreement")
ROLES = (("Provider", "Client"), ("Licensor", "Licensee"), ("Supplier", "Buyer"), ("Lessor", "Lessee"))
BODIES = ("the AAA", "JAMS", "the ICC", "the LCIA")
MONTHS = words("January February March April May June July August September October November December")

LEARNING = Pools(
    first_names=words("""Harlow Northgate Meridian Kestrel Ashford Summit Redwood Granite Silverline Crestview
        Ironbridge Westfield Stonehaven Orchid Fairmont Eastbrook Bluewater Oakridge Falcon Maplewood"""),
    second_names=words("Holdings Logistics Capital Networks Foods Industries Realty Software Media Shipping"),
    states=words("Ohio Texas Nevada Oregon Virginia Georgia Florida Illinois Colorado Arizona Iowa Kansas"),
    towns=words("Columbus Houston Reno Salem Richmond Tampa Chicago Boulder Tucson Portland Memphis Dover"),
    days=(5, 7, 10, 14, 15, 20, 30, 45, 60, 90, 120, 180),
)
HELD_OUT = Pools(
    first_names=words("Brightwater Pinnacle Lakeside Halcyon Copperfield Larkspur Duskwood Riverton Glenmark"),
    second_names=words("Dynamics Ventures Analytics Textiles Aerospace Materials"),
    states=words("Delaware Vermont Utah Maine Montana Washington Tennessee Michigan"),
    towns=words("Savannah Burlington Detroit Provo Wichita Helena Spokane Nashville"),
    days=(6, 8, 12, 18, 21, 25, 35, 40, 50, 75, 100, 150),
)

CLAUSES = (
    Clause(
        "Governing Law",
        (
            "This Agreement shall be governed by the laws of {state}.",
            "The laws of {state} govern this Agreement and every dispute under it.",
            "The validity of this Agreement is decided under the laws of {state}.",
        ),
        ("Which law governs the contract?", "What is the governing law?", "The laws of which state apply?"),
        "the rights of the parties are construed under the laws of {state}",
    ),
    Clause(
        "Jurisdiction",
        (
            "The parties submit to the exclusive jurisdiction of the courts of {town}, {state}.",
            "Any action shall be brought solely in the courts located in {town}, {state}.",
            "The courts sitting in {town}, {state} alone may hear a claim.",
        ),
        ("Which courts have jurisdiction?", "Where must an action be brought?", "Which courts may hear a claim?"),
        "the parties irrevocably accept the courts of {town}, {state} as the sole forum",
    ),
    Clause(
        "Fees",
        (
            "The {second} shall pay the {first} a fee of {money} within {days} days of each invoice.",
            "A fee of {money} is payable by the {second} to the {first} no later than {days} days after invoice.",
            "For its work the {first} invoices {money}, which the {second} settles in {days} days.",
        ),
        (
            "What fee is payable, and when?",
            "How much does the {second} pay, and by when?",
            "What does the fee come to?",
        ),
        "the {second} is obligated to remit {money} to the {first} not later than {days} days following invoice",
    ),
    Clause(
        "Late Payment",
        (
            "Overdue sums bear interest at {rate}% per month after {days} days.",
            "Any sum unpaid after {days} days accrues interest of {rate}% per month.",
            "Interest of {rate}% per month is due on late sums once {days} days have passed.",
        ),
        ("What interest do overdue sums bear?", "What happens to unpaid sums?", "Which interest is due on late sums?"),
        "sums in arrears for {days} days shall attract monthly interest at {rate}%",
    ),
    Clause(
        "Term",
        (
            "This Agreement commences on {date} and continues for {years} years.",
            "The term begins on {date} and runs for {years} years.",
            "Starting on {date}, this Agreement stays in force for {years} years.",
        ),
        (
            "When does the term begin, and how long is it?",
            "What is the term of the contract?",
            "How long is it in force?",
        ),
        "the engagement takes effect on {date} and endures for a period of {years} years",
    ),
    Clause(
        "Termination",
        (
            "The {second} may terminate this Agreement upon {days} days written notice.",
            "Termination without cause is open to the {second} on written notice of {days} days.",
            "By giving {days} days written notice the {second} may end this Agreement without cause.",
        ),
        ("What notice ends the contract?", "How much notice is required to terminate?", "Who may terminate, and how?"),
        "the {second} is entitled to terminate for convenience by serving {days} days prior written notice",
    ),
    Clause(
        "Default",
        (
            "If the {first} commits a material breach, it shall have {days} days to cure it.",
            "A material breach by the {first} must be cured within {days} days of notice.",
            "The {first} has {days} days from notice in which to cure a material breach.",
        ),
        ("How long is the cure period?", "How many days are there to cure a breach?", "When must a breach be cured?"),
        "any material breach must be remedied by the {first} within {days} days of being notified",
    ),
    Clause(
        "Limitation of Liability",
        (
            "The aggregate liability of the {first} shall not exceed {money}.",
            "In no event shall the {first} be liable for more than {money} in aggregate.",
            "Liability of the {first} is limited to {money} in total.",
        ),
        (
            "What is the liability cap?",
            "What is the maximum liability of the {first}?",
            "How far is liability limited?",
        ),
        "the total liability of the {first} is capped at {money} for all claims whatsoever",
    ),
    Clause(
        "Insurance",
        (
            "The {first} shall maintain liability insurance of not less than {money} per occurrence.",
            "Insurance of at least {money} per occurrence shall be carried by the {first}.",
            "The {first} keeps insurance cover of {money} for each occurrence.",
        ),
        (
            "What insurance must be maintained?",
            "How much insurance is required?",
            "Who carries insurance, and for how much?",
        ),
        "the {first} is required to keep in force insurance of no less than {money} per occurrence",
    ),
    Clause(
        "Confidentiality",
        (
            "The duties of confidentiality survive for {years} years after expiration.",
            "Each party shall keep the information of the other secret for {years} years.",
            "Confidential information stays protected during {years} years after the end.",
        ),
        (
            "How long do confidentiality duties last?",
            "How long is information kept secret?",
            "How long is it protected?",
        ),
        "the obligations of confidentiality remain binding for {years} years following expiry",
    ),
    Clause(
        "Ownership",
        (
            "All work product shall be the sole property of {party}.",
            "Title to all deliverables vests exclusively in {party}.",
            "{party} owns every deliverable and all work product.",
        ),
        (
            "Who owns the work product?",
            "In whom does title to deliverables vest?",
            "Whose property is the work product?",
        ),
        "all right, title and interest in the deliverables belongs to {party}",
    ),
    Clause(
        "Arbitration",
        (
            "Any dispute shall be settled by binding arbitration in {town} administered by {body}.",
            "Disputes shall be referred to {body} for arbitration seated in {town}.",
            "Arbitration before {body} in {town} settles all disputes.",
        ),
        (
            "Where and by whom is arbitration conducted?",
            "How are disputes settled?",
            "Who settles disputes, and where?",
        ),
        "controversies are to be finally resolved by arbitration in {town} under the rules of {body}",
    ),
    Clause(
        "Assignment",
        (
            "The {second} shall not assign this Agreement without the written consent of {party}.",
            "No assignment by the {second} is valid unless {party} consents in writing.",
            "{party} must consent in writing to any assignment by the {second}.",
        ),
        (
            "Whose consent does an assignment need?",
            "Who must consent to an assignment?",
            "When is an assignment valid?",
        ),
        "no transfer by the {second} shall be effective absent the written approval of {party}",
    ),
    Clause(
        "Audit",
        (
            "The {second} may audit the records upon {days} days notice, up to {times} times a year.",
            "Up to {times} times a year the {second} may inspect the books on {days} days notice.",
            "Records are open to audit by the {second} {times} times a year given {days} days notice.",
        ),
        ("How often may records be audited?", "What notice does an audit need?", "How often may the {second} inspect?"),
        "the {second} is permitted to examine the records {times} times per annum on {days} days notice",
    ),
    Clause(
        "Renewal",
        (
            "This Agreement renews for {years} years unless notice is given {days} days before expiry.",
            "Unless a party objects {days} days before expiry, the term is renewed for {years} years.",
            "Renewal is for {years} years, save where a party objects {days} days before expiry.",
        ),
        ("How does the contract renew?", "For how long is the term renewed?", "When must a party object to renewal?"),
        "this engagement is extended by {years} years absent an objection {days} days before expiry",
    ),
    Clause(
        "Indemnification",
        (
            "{party} shall indemnify the other party against third party claims up to {money}.",
            "Third party claims up to {money} shall be indemnified by {party}.",
            "Up to {money}, {party} holds the other party harmless from third party claims.",
        ),
        (
            "Who must indemnify, and up to what amount?",
            "Who indemnifies third party claims?",
            "What indemnity is given?",
        ),
        "{party} undertakes to hold the other party harmless from third party claims up to {money}",
    ),
)


def _values(rng: random.Random, pools: Pools, parties: tuple[str, str], roles: tuple[str, str]) -> dict[str, str]:
    """Fresh values for one clause."""
    thousands = rng.choice((rng.randint(2, 99), rng.randint(4, 40) * 25))
    return {
        "state": rng.choice(pools.states),
        "town": rng.choice(pools.towns),
        "body": rng.choice(BODIES),
        "money": f"USD {thousands * 1000 + rng.choice((0, 0, 250, 500, 750)):,}",
        "days": str(rng.choice(pools.days)),
        "years": str(rng.randint(2, 9)),
        "times": rng.choice(("two", "three", "four")),
        "rate": rng.choice(("0.5", "1", "1.25", "1.5", "1.75", "2", "2.5", "3")),
        "date": f"{rng.choice(MONTHS)} {rng.randint(1, 28)}, {rng.randint(2018, 2031)}",
        "party": rng.choice(parties),
        "first": roles[0],
        "second": roles[1],
    }


@dataclass(frozen=True)
class Item:
    """A row of the dataset, with what keeps the splits apart."""

    prompt: str
    completion: str
    skeleton: tuple[object, ...]
    values: frozenset[str]

    def row(self) -> str:
        """Return the line of the file."""
        return json.dumps({"prompt": self.prompt, "completion": self.completion}, ensure_ascii=False)


def make_item(rng: random.Random, pools: Pools) -> Item:
    """One contract excerpt of two sections, a question about one of them, and its answer."""
    names = [f"{first} {rng.choice(pools.second_names)}" for first in rng.sample(pools.first_names, 2)]
    parties, roles, kind = (names[0], names[1]), rng.choice(ROLES), rng.choice(KINDS)
    chosen = rng.sample(range(len(CLAUSES)), 2)
    asked = rng.randrange(2)
    number = rng.randint(1, 15)
    lines = [f"{kind} between {parties[0]} ({roles[0]}) and {parties[1]} ({roles[1]})"]
    wordings, amounts, question, completion = [], set(), "", ""
    for position, index in enumerate(chosen):
        clause, values = CLAUSES[index], _values(rng, pools, parties, roles)
        ref = f"{number + position}.{rng.randint(1, 9)}"
        wording = rng.randrange(len(clause.texts))
        wordings.append((index, wording))
        lines.append(f"Section {ref} {clause.heading}. {clause.texts[wording].format(**values)}")
        amounts |= {values[name] for name in ("money", "date") if f"{{{name}}}" in clause.texts[wording]}
        if position == asked:
            question_index = rng.randrange(len(clause.questions))
            question = clause.questions[question_index].format(**values)
            completion = ANSWER.format(ref=ref, core=clause.answer.format(**values))
            wordings.append((asked, question_index))
    prompt = "\n".join(lines) + f"\n\nQuestion: {question}"
    return Item(prompt, completion, tuple(wordings), frozenset(amounts))


def shingles(text: str, size: int = 3) -> frozenset[tuple[str, ...]]:
    """List runs of `size` consecutive words, case and punctuation aside."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return frozenset(zip(*(words[start:] for start in range(size)), strict=False))


def similarity(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> float:
    """Jaccard similarity of two sets of shingles."""
    shared = len(left & right)
    union = len(left) + len(right) - shared
    return shared / union if union else 0.0


def build() -> dict[str, list[Item]]:
    """All splits, each free of duplicates within itself and of near-duplicates of the splits before it."""
    splits: dict[str, list[Item]] = {}
    earlier: list[Item] = []
    for split, count in COUNTS.items():
        rng = random.Random(SEEDS[split])
        pools = HELD_OUT if split == "test" else LEARNING
        prompts = {item.prompt for item in earlier}
        skeletons = {item.skeleton for item in earlier}
        amounts = frozenset[str]().union(*(item.values for item in earlier))
        prints = [shingles(item.prompt) for item in earlier]
        items: list[Item] = []
        while len(items) < count:
            item = make_item(rng, pools)
            if item.prompt in prompts:
                continue
            if split == "test" and (item.skeleton in skeletons or item.values & amounts):
                continue
            own = shingles(item.prompt)
            if any(similarity(own, other) >= NEAR_DUPLICATE for other in prints):
                continue
            prompts.add(item.prompt)
            items.append(item)
        splits[split] = items
        earlier += items
    return splits


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them with `--check`."""
    parser = argparse.ArgumentParser(description="Regenerate the sample legal dataset.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this file)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    options = parser.parse_args(arguments)
    stale = []
    for split, items in build().items():
        path = options.out / f"{split}.jsonl"
        content = "".join(item.row() + "\n" for item in items)
        if options.check:
            if not path.is_file() or path.read_text(encoding="utf-8") != content:
                stale.append(path.name)
            continue
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"{path.name}: {len(items)} items")
    if stale:
        print(f"out of date: {', '.join(stale)}; run python -m nemostack.sample_dataset.generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
