# %% [markdown]
# # 1. Evaluating the model that NIM serves
#
# Before you customize a model, find out what it can do already. In this lesson you ask a model that NIM serves, put it to a
# benchmark, and let a judge rate its answers.
#
# All lessons work on any stack of nemostack: the one named in `NEMOSTACK_STACK` (default: `local`), or the one whose outputs
# are in the file `NEMOSTACK_OUTPUTS`.

# %% [markdown] korean="f995b508"
# # 1. NIM이 서빙하는 모델 평가하기
#
# 모델을 커스터마이즈하기 전에 지금 무엇을 할 수 있는지 먼저 알아봅니다. 이 단원에서는 NIM이 서빙하는 모델에 질문하고,
# 벤치마크로 시험하고, 심사 모델(judge)에게 답변의 평가를 맡깁니다.
#
# 모든 단원은 nemostack의 어느 스택에서나 실행됩니다. `NEMOSTACK_STACK`에 적힌 스택(기본값: `local`)이나, 출력이
# `NEMOSTACK_OUTPUTS` 파일에 있는 스택을 사용합니다.

# %%
import matplotlib.pyplot as plt

from workflows.data import dataset
from workflows.notebook import connect
from workflows.results.approach import Approach, ItemResult
from workflows.settings import Settings
from workflows.stages.evaluation import Benchmarked

stack = connect()
stack.clients.nim.ready()
print("NIM serves", ", ".join(stack.clients.nim.models()))

# %% [markdown]
# ## Ask it something
#
# *Zero-shot* means that the model sees the question and no example. The question comes from the sample dataset: a clause of a
# contract, and what somebody wants to know about it.

# %% [markdown] korean="ec5e28f4"
# ## 질문해 보기
#
# *제로샷(zero-shot)* 은 예시 없이 질문만 보여 주는 것을 말합니다. 질문은 예제 데이터셋에서 가져옵니다. 계약서 조항 하나와
# 그 조항에 대해 알고 싶은 내용으로 되어 있습니다.

# %%
item = dataset.load(Settings(kind="evaluate")).test[0]
print(item.prompt, "\n")
print("NIM:      ", stack.clients.nim.chat(stack.outputs.base_model, item.prompt, max_tokens=64))
print("Reference:", item.completion)

# %% [markdown]
# ## A benchmark
#
# Benchmarks compare models on general tasks: GSM8K (mathematics for schools), MMLU (many subjects), HellaSwag (common sense),
# TruthfulQA (facts), HumanEval (programs). The Evaluator runs them by lm-eval. Twelve questions show how it works and say
# little about the model. Where the Evaluator asks substitutes for the published questions, it says so.

# %% [markdown] korean="bfa72d6e"
# ## 벤치마크
#
# 벤치마크는 일반적인 과제로 모델을 비교합니다. GSM8K(초등 수학), MMLU(여러 과목), HellaSwag(상식), TruthfulQA(사실성),
# HumanEval(코딩)이 있습니다. Evaluator는 lm-eval로 벤치마크를 실행합니다. 열두 문항은 방법을 보여 줄 뿐, 모델에 대해 말해
# 주는 것은 거의 없습니다. 공개된 문항 대신 대체 문항을 쓰면 Evaluator가 그 사실을 알려 줍니다.

# %%
gsm8k = stack.run("evaluate", benchmark="gsm8k", limit=12, max_tokens=64)
benchmarked = Benchmarked.model_validate(gsm8k.stage("benchmark").outputs)
for name, score in benchmarked.scores.items():
    print(f"{name}: {score:.3f}")
print(benchmarked.data.note or "These are the published questions.")

# %% [markdown]
# ## Metrics and a judge
#
# ROUGE, BLEU, F1 and METEOR count the words that answer and reference share; BERTScore compares their meaning by embeddings. A
# *judge* is a language model that rates each answer from 1 to 5, by the guide's five criteria: faithfulness, relevance,
# coherence, fluency, helpfulness. (The judge of the local stack is a small one that rates similarity alone.)

# %% [markdown] korean="06187cf4"
# ## 메트릭과 심사 모델
#
# ROUGE, BLEU, F1, METEOR는 답변과 참조 답안에 함께 나오는 단어를 세고, BERTScore는 임베딩으로 의미를 비교합니다. *심사 모델*
# (LLM-as-a-Judge)은 각 답변에 1~5점을 매기는 언어 모델이며, 가이드의 다섯 기준(충실도, 관련성, 일관성, 유창성, 유용성)을
# 사용합니다. (로컬 스택의 심사 모델은 유사도만 평가하는 작은 모델입니다.)

# %%
rated = stack.run("evaluate", limit=24, shots=0)
approach = Approach.model_validate(rated.stage("evaluation").outputs)
for name, score in approach.scores.items():
    print(f"{name:10} {score.mean:.3f}  95 % interval {score.low:.3f} to {score.high:.3f}")

# %%
items = rated.load_samples("evaluation", ItemResult)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.hist([item.scores["judge"] for item in items], bins=[0.5, 1.5, 2.5, 3.5, 4.5, 5.5], rwidth=0.85, color="#2f6f9f")
left.set(xlabel="rating of the judge", ylabel="answers", title="How the judge rates")
right.scatter([item.scores["rouge_l"] for item in items], [item.scores["judge"] for item in items], color="#c2571a")
right.set(xlabel="ROUGE-L", ylabel="rating of the judge", title="Words and judgement, item by item", ylim=(0.8, 5.2))
figure.tight_layout()

# %% [markdown]
# Where the two disagree, read the answers. Before a judge decides anything, compare it with ratings by people:
# `nemostack judge`. Next: [2. Evaluating on your dataset](02-Evaluator.ipynb).

# %% [markdown] korean="69e28a0a"
# 두 점수가 어긋나는 곳에서는 답변을 직접 읽어 보십시오. 심사 모델로 무엇인가를 결정하기 전에 `nemostack judge`로 사람의
# 평가와 비교하십시오. 다음 단원: [2. 데이터셋으로 평가하기](02-Evaluator.ipynb)
