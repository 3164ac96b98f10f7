"""Promoting a run's model behind an alias, and taking it back. What decides is the gate of the run.

Refuses a model whose run has no GO, unless it is forced, which is written down with who did it; a model that is not
served; stacks where nothing routes by aliases; and a shadow where the router casts none.
"""

import random
from collections.abc import Callable
from pathlib import Path

from nemostack.aliases import Alias, Route
from nemostack.clients import Clients
from nemostack.clients.serving import wait_until_answered
from nemostack.errors import BadInput, DeadlineExceeded, NotPromoted
from nemostack.exit_codes import ExitCode
from workflows.engine.run_directory import RunDirectory
from workflows.promotion.canary import Canary, Plan, Question
from workflows.promotion.history import Action, Change, History, Lineage, gate_of, lineage_of
from workflows.results.approach import ItemResult
from workflows.stages.upload import Uploaded

Tell = Callable[[str], None]
NEW_ALIAS_S = 30.0
"""How long a router may take to answer for a new alias: Envoy AI Gateway answers 500 for about ten seconds."""


def promote(clients: Clients, path: Path, history: History, name: str, plan: Plan, *, force: bool, tell: Tell) -> None:
    """Promote the tuned model of a run: at once where the alias is new or no steps are wanted, else as a canary."""
    run = RunDirectory.open(path)
    lineage = lineage_of(run)
    reason = _require_go(run, lineage, force=force)
    router = clients.aliases
    if plan.shadow and router.limits:
        raise BadInput(f"--shadow: a shadow needs the NIM of the local stack; here {router.limits}")
    known = router.aliases()
    if name not in known or not (plan.steps or plan.shadow):
        before = known[name].alias if name in known else None
        alias = Alias(routes=(Route(model=lineage.model, weight=100),))
        router.set_alias(name, alias)
        history.add("promote", alias, before, reason, lineage)
        tell(f"{name}: {alias}")
        if before is None:
            _await_answer(clients, name, tell)
        return
    settings = run.info().settings
    uploaded = Uploaded.model_validate(run.stage("dataset").outputs)

    def record(action: Action, alias: Alias, before: Alias, why: str) -> Change:
        return history.add(action, alias, before, f"{why} ({reason})" if action != "rollback" else why, lineage)

    if router.limits:
        tell(f"{name}: {router.limits}; the canary is judged by its own questions")
    Canary(
        router=router,
        name=name,
        candidate=lineage.model,
        plan=plan,
        ask=lambda model, prompt: clients.front.chat(model, prompt, max_tokens=uploaded.max_tokens),
        record=record,  # type: ignore[arg-type] # the canary's words are those of Action
        tell=tell,
    ).run(_questions(run, settings.seed))


def split(
    clients: Clients, path: Path, history: History, name: str, percent: float, *, force: bool, tell: Tell
) -> None:
    """Share the requests out between the present model and a run's, and leave it so: for a test among users."""
    run = RunDirectory.open(path)
    lineage = lineage_of(run)
    reason = _require_go(run, lineage, force=force)
    router = clients.aliases
    state = router.aliases().get(name)
    if state is None or state.alias.stable == lineage.model:
        raise BadInput(f"the alias {name} has no other model to share the requests with; promote one first")
    alias = Alias(
        routes=(Route(model=state.alias.stable, weight=100 - percent), Route(model=lineage.model, weight=percent))
    )
    router.set_alias(name, alias)
    history.add("split", alias, state.alias, reason, lineage)
    tell(f"{name}: {alias}; {router.limits or 'a request with `user` stays with its model'}")


def roll_back(clients: Clients, history: History, name: str, to: str | None, *, tell: Tell) -> None:
    """Let the alias lead where it led before, with one request: the end of a canary, or the model promoted before."""
    router = clients.aliases
    state = router.aliases().get(name)
    if state is None:
        raise BadInput(f"there is no alias {name} on this stack; `nemostack history` lists what was")
    target = to or _earlier(state.alias, history.changes())
    if target is None:
        raise BadInput(f"nothing was behind {name} before {state.alias.stable}; name a model with --to")
    alias = Alias(routes=(Route(model=target, weight=100),))
    router.set_alias(name, alias)
    history.add("rollback", alias, state.alias, "asked for by a person" if to is None else f"to {to}, asked for")
    tell(f"{name}: {alias}")


def _await_answer(clients: Clients, name: str, tell: Tell) -> None:
    """Wait for the router; a notice if it stays silent, for the stack's address may lead past it."""
    try:
        wait_until_answered(clients.front, name, deadline_s=NEW_ALIAS_S)
    except DeadlineExceeded as late:
        tell(
            f"notice: the alias is set; {late}; where that address leads past the router, as a port-forward to NIM "
            "does, ask at the router's"
        )


def _earlier(now: Alias, changes: list[Change]) -> str | None:
    """The stable model of a canary; else the last one before the present one that was in use alone."""
    if sum(route.weight > 0 for route in now.routes) > 1 or now.shadow is not None:
        return now.stable
    for change in reversed(changes):
        if change.action == "promote" and change.alias.stable == now.stable:
            return None if change.before is None else change.before.stable
    return None


def _require_go(run: RunDirectory, lineage: Lineage, *, force: bool) -> str:
    """Say why the model may be used. NotPromoted when the gate does not."""
    gate = gate_of(run)
    outcome = gate.outcome if gate is not None else "INCONCLUSIVE"
    if outcome == "GO":
        return f"GO by the gate of run {lineage.run}"
    reason = gate.reason if gate is not None else "the run has not been decided about"
    if force:
        return f"forced in spite of {outcome}: {reason}"
    error = NotPromoted(
        f"the gate of run {lineage.run} says {outcome}: {reason}; nothing was changed (--force promotes all the same, "
        "and writes down who did it)"
    )
    error.exit_code = ExitCode.NO_GO if outcome == "NO-GO" else ExitCode.INCONCLUSIVE
    raise error


def _questions(run: RunDirectory, seed: int) -> list[Question]:
    """The test items of the run in a random order, which the sequential test needs."""
    items = run.load_samples("lora", ItemResult)
    questions = [Question(item.prompt, item.reference) for item in items]
    random.Random(seed).shuffle(questions)
    return questions
