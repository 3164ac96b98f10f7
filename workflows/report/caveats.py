"""Caveats: the things that a reader must know before quoting a number, such as parts that were small or simulated."""

from collections.abc import Sequence

from nemostack.models import SAMPLE_MODEL, is_served_as
from workflows.engine.run_directory import RunInfo
from workflows.judge.criteria import SIMILARITY_JUDGE
from workflows.results.approach import Approach
from workflows.results.benchmarks import BenchmarkComparison


def list_caveats(
    info: RunInfo, approaches: Sequence[Approach], benchmarks: Sequence[BenchmarkComparison] = ()
) -> list[str]:
    """Return one sentence per caveat."""
    notes = []
    if is_served_as(info.outputs.get("base_model", ""), SAMPLE_MODEL):
        notes.append(
            f"The base model is {SAMPLE_MODEL} by Hugging Face (Apache-2.0), on the local stack as a 4-bit version of "
            "its weights. With 135 million parameters it shows what each step gains; its scores say nothing about a "
            "production model."
        )
    if info.outputs.get("product") == "platform":
        notes.append(
            "The NeMo Platform's own evaluator has scored the answers. For English its scores are those of the "
            "microservices line; it has neither METEOR nor BERTScore, and counts words of other scripts differently."
        )
    judged = any("judge" in approach.scores for approach in approaches)
    if judged and info.outputs.get("judge_model") == SIMILARITY_JUDGE:
        notes.append(
            "The judge rates by semantic similarity to the reference. It is not a language model and does not reason; "
            "point judge_url at one for ratings that mean more."
        )
    summary_only = [approach.label for approach in approaches if not approach.per_item]
    if summary_only:
        notes.append(
            f"{', '.join(summary_only)}: the Evaluator gave no scores per item, so intervals are normal ones from its "
            "summary, and differences are not paired."
        )
    cut = [f"{approach.label}: {approach.cut} of {approach.items}" for approach in approaches if approach.cut]
    if cut:
        notes.append(f"Answers were cut by the limit of tokens, which lowers their scores ({'; '.join(cut)}).")
    missing = {
        f"{approach.label} {key}": score.missing
        for approach in approaches
        for key, score in approach.scores.items()
        if score.missing
    }
    if missing:
        listed = ", ".join(f"{name}: {count}" for name, count in missing.items())
        notes.append(f"Items without a score are left out of that mean ({listed}).")
    notes += [
        f"{benchmark.data.note[0].upper()}{benchmark.data.note[1:]}." for benchmark in benchmarks if benchmark.data.note
    ]
    if info.git_commit and info.git_commit.endswith("-dirty"):
        notes.append("The clone had uncommitted changes when the run was made.")
    return notes
