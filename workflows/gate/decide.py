"""GO, NO-GO or INCONCLUSIVE: a policy applied to the evidence of a baseline and of one or more candidates.

A candidate may go when all checks pass, and may not when one fails; when none fails and one is unclear, the data
cannot tell.
Of several candidates, which share the error probability of 5 % between them, the best that may go is chosen.
"""

from collections.abc import Sequence

from workflows.gate import cost
from workflows.gate.evidence import Evidence
from workflows.gate.policy import Outcome, Policy
from workflows.gate.quality import check_forgetting, check_quality
from workflows.gate.verdict import CandidateVerdict, Check, GateReport, ItemDifference, Passed, Wins, outcome_of
from workflows.results.comparison import same_questions
from workflows.results.metrics import BY_KEY

_SHOWN = 5


def best_of(evidence: Sequence[Evidence], policy: Policy) -> Evidence | None:
    """The best in the policy's first metric; None when none was measured in it."""
    metric = policy.quality[0].metric
    measured = [one for one in evidence if metric in one.approach.scores]
    return max(measured, key=lambda one: one.approach.scores[metric].mean, default=None)


def decide(policy: Policy, baseline: Evidence, candidates: Sequence[Evidence], *, seed: int) -> GateReport:
    """Apply the policy. `candidates` must not be empty."""
    quality = [check_quality(policy, rule, baseline, candidates, seed=seed) for rule in policy.quality]
    verdicts = [
        _verdict(policy, baseline, candidate, [checks[place] for checks in quality])
        for place, candidate in enumerate(candidates)
    ]
    outcome = _together([one.outcome for one in verdicts])
    may_go = [one for one in verdicts if one.outcome == "GO"]
    chosen = max(may_go, key=_gain, default=None)
    shown = chosen or next(one for one in verdicts if one.outcome == outcome)
    return GateReport(
        outcome=outcome,
        policy=policy,
        baseline=baseline.approach.name,
        baseline_label=baseline.approach.label,
        baseline_model=baseline.approach.model,
        baseline_cost=cost.of_approach(baseline, policy.cost, policy.correct),
        candidates=verdicts,
        chosen=None if chosen is None else chosen.name,
        reason=_reason(shown, baseline.approach.label, len(verdicts)),
    )


def _verdict(policy: Policy, baseline: Evidence, candidate: Evidence, quality: list[Check]) -> CandidateVerdict:
    own, run = cost.of_approach(candidate, policy.cost, policy.correct), cost.of_run(candidate, policy.cost)
    forgetting = [] if policy.forgetting is None else check_forgetting(policy.forgetting, candidate.benchmarks)
    checks = [*quality, *forgetting, *_costs(policy, own, run), *_load(policy, candidate)]
    return CandidateVerdict(
        name=candidate.approach.name,
        label=candidate.approach.label,
        model=candidate.approach.model,
        outcome=outcome_of(checks),
        checks=checks,
        wins=find_wins(baseline, candidate, policy.quality[0].metric),
        cost=own,
        run_cost=run,
    )


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    if "GO" in outcomes:
        return "GO"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in outcomes else "NO-GO"


def _gain(candidate: CandidateVerdict) -> float:
    difference = candidate.leading.difference
    return float("-inf") if difference is None else difference.mean


def _reason(shown: CandidateVerdict, baseline: str, candidates: int) -> str:
    wanted = {"GO": "PASS", "NO-GO": "FAIL", "INCONCLUSIVE": "UNCLEAR"}[shown.outcome]
    check = next(check for check in shown.checks if check.verdict == wanted)
    among = f", corrected for {candidates} candidates" if candidates > 1 else ""
    return f"{shown.label} against {baseline}: {check.name}, asked: {check.asked}; found: {check.text}{among}"


def _costs(policy: Policy, own: cost.ApproachCost, run: cost.RunCost) -> list[Check]:
    rules = [
        ("cost: the run", policy.cost.max_run, run.usd),
        ("cost: a correct answer", policy.cost.max_per_correct, own.usd_per_correct),
    ]
    return [_limit(name, most, found) for name, most, found in rules if most is not None]


def _limit(name: str, most: float, found: float | None) -> Check:
    asked = f"at most {most:g} USD"
    if found is None:
        text = "not known: the policy names no price (cost.gpu), or no answer was correct or had its tokens counted"
        return Check(name=name, asked=asked, verdict="UNCLEAR", text=text)
    return Check(name=name, asked=asked, verdict="PASS" if found <= most else "FAIL", text=f"{found:.4g} USD")


def _load(policy: Policy, candidate: Evidence) -> list[Check]:
    if not policy.require_load_test:
        return []
    name, asked, found = "load test", "objectives met", candidate.load_verdict
    if found is None:
        text = "the run has none; give it one with --load-slo"
        return [Check(name=name, asked=asked, verdict="UNCLEAR", text=text)]
    verdicts: dict[str, Passed] = {"PASS": "PASS", "FAIL": "FAIL"}
    return [Check(name=name, asked=asked, verdict=verdicts.get(found, "UNCLEAR"), text=found)]


def find_wins(baseline: Evidence, candidate: Evidence, metric: str) -> Wins | None:
    """Where each of the two wins; None when they share no item with a score."""
    found = [
        ItemDifference(
            index=after.index,
            prompt=after.prompt,
            reference=after.reference,
            baseline_output=before.output,
            candidate_output=after.output,
            gain=after.scores[metric] - before.scores[metric],
        )
        for before, after in same_questions(baseline.items, candidate.items)
        if metric in before.scores and metric in after.scores
    ]
    if not found:
        return None
    found.sort(key=lambda one: (one.gain, one.index))
    return Wins(
        metric=BY_KEY[metric].label,
        candidate=sum(one.gain > 0 for one in found),
        baseline=sum(one.gain < 0 for one in found),
        ties=sum(one.gain == 0 for one in found),
        best=[one for one in reversed(found[-_SHOWN:]) if one.gain > 0],
        worst=[one for one in found[:_SHOWN] if one.gain < 0],
    )
