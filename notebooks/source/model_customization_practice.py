# %% [markdown]
# # The whole workflow in one notebook
#
# 1. Is everything there?
# 2. The pipeline: base model, examples in the prompt, LoRA, on the same questions
# 3. The scores side by side
# 4. How it learned
# 5. The decision, and what it costs
#
# The single steps are explained in lessons [1](01-NIM-Evaluation.ipynb), [2](02-Evaluator.ipynb) and
# [3](03-Customizer.ipynb).

# %% [markdown] korean="5eb59ed2"
# # 노트북 하나로 보는 전체 워크플로우
#
# 1. 환경 확인
# 2. 파이프라인: 기본 모델, 프롬프트의 예시, LoRA를 같은 문항으로
# 3. 점수 비교
# 4. 학습 과정
# 5. 결정과 비용
#
# 각 단계는 [1](01-NIM-Evaluation.ipynb), [2](02-Evaluator.ipynb), [3](03-Customizer.ipynb)단원에서 설명합니다.

# %%
import matplotlib.pyplot as plt

from nemostack.models import Hyperparameters
from nemostack.service_checks import Scope, check
from workflows.gate.evidence import of_run
from workflows.notebook import connect
from workflows.results.comparison import interval_text
from workflows.results.metrics import BY_KEY
from workflows.stages.comparison import Compared
from workflows.stages.customization import Trained

# %% [markdown]
# ## 1. Is everything there?
#
# Every service is asked something real. What does not work is said with what to do about it; `nemostack doctor` shows the same.

# %% [markdown] korean="a92dd9b3"
# ## 1. 환경 확인
#
# 모든 서비스에 실제로 요청을 보내 봅니다. 동작하지 않는 것이 있으면 해결 방법과 함께 알려 줍니다. `nemostack doctor`도 같은
# 내용을 보여 줍니다.

# %%
stack = connect()
for finding in check(stack.clients, Scope(write=True)):
    print(f"{finding.level:5} {finding.service} {finding.check}", finding.fix)

# %% [markdown]
# ## 2. The pipeline
#
# The same test questions, three ways. It takes a minute or two with a small model and hours with a large one; if it is interrupted,
# run the cell again and it goes on where it was.

# %% [markdown] korean="4f1a1535"
# ## 2. 파이프라인
#
# 같은 시험 문항을 세 가지 방법으로 물어봅니다. 작은 모델은 일이 분, 큰 모델은 몇 시간이 걸립니다. 중단되면 셀을 다시 실행하십시오.
# 멈춘 곳에서 이어집니다.

# %%
chosen = Hyperparameters(adapter_dim=8, alpha=32, learning_rate=5e-3, batch_size=8, epochs=1)
run = stack.run("run", limit=40, train_rows=160, validation_rows=24, hyperparameters=chosen)

# %% [markdown]
# ## 3. The scores side by side
#
# Examples in the prompt cost nothing but tokens with every question. LoRA costs a training, and then short prompts suffice.

# %% [markdown] korean="1d15c152"
# ## 3. 점수 비교
#
# 프롬프트의 예시는 학습이 필요 없지만 질문마다 토큰을 씁니다. LoRA는 한 번 학습해야 하지만 그다음에는 짧은 프롬프트로
# 충분합니다.

# %%
approaches = [evidence.approach for evidence in of_run(run)]
for key in approaches[0].scores:
    print(f"{BY_KEY[key].label:12}", *(f"{one.label} {interval_text(one.scores[key])}" for one in approaches), sep="  ")

# %%
metrics = [key for key in ("rouge_l", "bleu", "f1", "em", "bertscore", "meteor") if key in approaches[0].scores]
figure, axes = plt.subplots(figsize=(9, 3.4))
for place, (one, colour) in enumerate(zip(approaches, ("#9aa5b1", "#2f6f9f", "#c2571a"), strict=True)):
    scores = [one.scores[key] for key in metrics]
    errors = [[score.mean - score.low for score in scores], [score.high - score.mean for score in scores]]
    where = [number + 0.27 * (place - 1) for number in range(len(metrics))]
    axes.bar(where, [score.mean for score in scores], 0.25, yerr=errors, capsize=3, color=colour, label=one.label)
axes.set_xticks(range(len(metrics)), [BY_KEY[key].label for key in metrics])
axes.set(ylim=(0, 1.05), title="Means with 95 % intervals")
axes.legend()
figure.tight_layout()

# %% [markdown]
# ## 4. How it learned

# %% [markdown] korean="ffcd003d"
# ## 4. 학습 과정

# %%
trained = Trained.model_validate(run.stage("customization").outputs)
print(trained.how)
figure, axes = plt.subplots(figsize=(6.5, 3))
axes.plot(*zip(*((point.step, point.value) for point in trained.train_loss), strict=True), label="training")
axes.plot(*zip(*((point.step, point.value) for point in trained.val_loss), strict=True), "o-", label="validation")
axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
axes.legend()
figure.tight_layout()

# %% [markdown]
# ## 5. The decision, and what it costs
#
# The gate compares LoRA with the best of the others, question by question. The run's `report.html` shows all of it with every answer,
# and MLflow has the same numbers.

# %% [markdown] korean="2adf5400"
# ## 5. 결정과 비용
#
# 게이트는 LoRA를 나머지 중 가장 좋은 것과 문항별로 비교합니다. 실행 폴더의 `report.html`에서 모든 답변과 함께 볼 수 있고,
# MLflow에도 같은 숫자가 있습니다.

# %%
gate = Compared.model_validate(run.stage("comparison").outputs).gate
print(gate.outcome, "-", gate.reason)
for one in gate.shown.checks:
    print(f"  {one.verdict:8} {one.name}: {one.text}")
run_cost, cost = gate.shown.run_cost, gate.shown.cost
print(f"training {run_cost.training_gpu_hours * 60:.1f} min, evaluations {run_cost.serving_gpu_hours * 60:.1f} min")
print(f"{cost.correct} of {cost.items} answers are wholly right, at {cost.tokens_per_correct or 0:.0f} tokens each")

# %% [markdown]
# To try several settings, use `nemostack sweep`; to bring the adapter into use, run with `keep_adapter=True` and
# `nemostack promote`. What this run made on the stack, it has removed.

# %% [markdown] korean="bad6e5a8"
# 여러 설정을 시험하려면 `nemostack sweep`을 쓰십시오. 어댑터를 배포하려면 `keep_adapter=True`로 실행한 뒤 `nemostack promote`를
# 쓰십시오. 이 실행이 스택에 만든 것은 이미 지워졌습니다.
