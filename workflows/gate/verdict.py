"""The words of a gate: what it says of a candidate, check by check, and of all candidates together."""

from typing import Literal

from nemostack.models import Model
from workflows.gate.cost import ApproachCost, RunCost
from workflows.gate.policy import Outcome, Policy
from workflows.results.statistics import Estimate

Passed = Literal["PASS", "FAIL", "UNCLEAR"]
OUTCOMES: dict[Passed, Outcome] = {"PASS": "GO", "FAIL": "NO-GO", "UNCLEAR": "INCONCLUSIVE"}


class Check(Model):
    """One rule of the policy on one candidate. `text` says what was found and what would settle an unclear one.

    `p_value`: of a gain no greater than asked for, `adjusted_p` corrected for the number of candidates (Holm).
    `detectable`: the smallest gain that so many items of this spread would have shown (8 times of 10).
    """

    name: str
    asked: str
    verdict: Passed
    text: str
    metric: str | None = None
    difference: Estimate | None = None
    test: str = ""
    p_value: float | None = None
    adjusted_p: float | None = None
    detectable: float | None = None
    items_needed: int | None = None


class ItemDifference(Model):
    """One item on which the two differ, with the candidate's score minus the baseline's."""

    index: int
    prompt: str
    reference: str
    baseline_output: str
    candidate_output: str
    gain: float


class Wins(Model):
    """Where each model wins, by the first metric of the policy: all counted, the widest apart shown."""

    metric: str
    candidate: int
    baseline: int
    ties: int
    best: list[ItemDifference]
    worst: list[ItemDifference]


class CandidateVerdict(Model):
    """What the policy says of one candidate against the baseline."""

    name: str
    label: str
    model: str
    outcome: Outcome
    checks: list[Check]
    wins: Wins | None
    cost: ApproachCost
    run_cost: RunCost

    @property
    def leading(self) -> Check:
        """The check of the first rule."""
        return self.checks[0]


class GateReport(Model):
    """gate.json. `chosen` is the best of the candidates that may go; `reason` is one sentence."""

    outcome: Outcome
    policy: Policy
    baseline: str
    baseline_label: str
    baseline_model: str
    baseline_cost: ApproachCost
    candidates: list[CandidateVerdict]
    chosen: str | None
    reason: str

    @property
    def shown(self) -> CandidateVerdict:
        """The candidate to speak of: the chosen one, else the first."""
        return next((one for one in self.candidates if one.name == self.chosen), self.candidates[0])


def outcome_of(checks: list[Check]) -> Outcome:
    """NO-GO when one check fails, INCONCLUSIVE when one is unclear, else GO."""
    verdicts = {check.verdict for check in checks}
    return next(OUTCOMES[verdict] for verdict in ("FAIL", "UNCLEAR", "PASS") if verdict in verdicts)
