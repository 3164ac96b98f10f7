"""Whether a served model answers as well as in its evaluation, by a judge that sees no reference.

Users' questions have no ground truth, so faithfulness is left out of the guide's criteria, and the same judge rates the
model's answers to test items in the same way, to compare with. A one-sided Mann-Whitney test decides, at the level of
the numbers of drift. Texts go to the judge of the stack and nowhere else. Refuses the similarity judge, which compares
with a reference, and judges that only the Evaluator reaches.
"""

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from nemostack.clients.error_mapping import calling
from nemostack.clients.tls import shared_context
from nemostack.errors import ServiceError
from nemostack.outputs import StackOutputs
from workflows.judge.criteria import CRITERIA, SIMILARITY_JUDGE
from workflows.watch.drift import Shift

Rate = Callable[[str, str], float | None]
JUDGED = "judged quality, 1 to 5"
_ASKED = tuple(criterion for criterion in CRITERIA if criterion.name != "faithfulness")
_RATING = re.compile(rf"(?i)({'|'.join(criterion.name for criterion in _ASKED)})\W{{0,4}}:\W{{0,4}}([1-5])\b")
_SYSTEM = (
    "You are an impartial judge. Rate the answer to the question from 1 (poor) to 5 (perfect) by each of these "
    "criteria on its own. A longer answer is not a better one.\n{criteria}\nReply with these lines and nothing else, "
    "where n is a whole number from 1 to 5:\n{lines}"
).format(
    criteria="\n".join(f"- {criterion.name}: {criterion.asks}" for criterion in _ASKED),
    lines="\n".join(f"{criterion.name.upper()}: <n>" for criterion in _ASKED),
)


def why_not(outputs: StackOutputs) -> str:
    """Why this stack's judge cannot be asked; "" when it can."""
    if not outputs.judge_url:
        return "this stack has no judge"
    if outputs.judge_model == SIMILARITY_JUDGE:
        return "the stack's judge compares with a reference, and users' questions have none"
    if ".svc" in (urlsplit(outputs.judge_url).hostname or ""):
        return f"the judge at {outputs.judge_url} is inside the cluster, where only the Evaluator reaches it"
    return ""


@contextmanager
def judge_of(outputs: StackOutputs, key: str | None) -> Iterator[Rate]:
    """Yield what rates an answer: the mean of the criteria, or None for a reply without all of them."""
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    http = httpx.Client(timeout=120.0, verify=shared_context(httpx), headers=headers, follow_redirects=True)

    def rate(question: str, answer: str) -> float | None:
        turns = [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": f"Question: {question}\nAnswer: {answer}"},
        ]
        body = {"model": outputs.judge_model, "messages": turns, "temperature": 0, "max_tokens": 64}
        with calling("Judge", outputs.judge_url, "asking for a rating"):
            reply = http.post(f"{outputs.judge_url}/v1/chat/completions", json=body)
            reply.raise_for_status()
        try:
            return rating_of(str(reply.json()["choices"][0]["message"]["content"]))
        except (ValueError, LookupError, TypeError) as error:
            raise ServiceError(f"the judge at {outputs.judge_url} answered no chat: {reply.text[:200]}") from error

    with http:
        yield rate


def rating_of(reply: str) -> float | None:
    """Read the mean of the criteria off a reply."""
    found = {name.lower(): int(number) for name, number in _RATING.findall(reply)}
    return statistics.fmean(found.values()) if len(found) == len(_ASKED) else None


def loss(before: Sequence[float], now: Sequence[float]) -> Shift:
    """Compare ratings: whether those of now are lower."""
    from scipy.stats import mannwhitneyu

    p = float(mannwhitneyu(now, before, alternative="less").pvalue)
    return Shift(name=JUDGED, before=statistics.fmean(before), now=statistics.fmean(now), p=p)
