# %% [markdown]
# # 2. Evaluating on your dataset
#
# Does an example in the prompt help? In this lesson the same test questions are asked without examples (zero-shot) and with three
# of them (in-context learning), and you see how to tell a difference from chance.

# %% [markdown] korean="255672ad"
# # 2. 데이터셋으로 평가하기
#
# 프롬프트에 예시를 넣으면 도움이 될까요? 이 단원에서는 같은 시험 문항을 예시 없이(제로샷), 그리고 예시 세 개와 함께(인컨텍스트
# 러닝) 물어보고, 차이와 우연을 구별하는 방법을 배웁니다.

# %%
import matplotlib.pyplot as plt

from workflows.data import dataset
from workflows.gate.evidence import of_run
from workflows.notebook import connect
from workflows.results.compare_runs import compare_runs
from workflows.results.comparison import interval_text, paired_items
from workflows.results.metrics import BY_KEY
from workflows.settings import Settings

stack = connect()
ITEMS = 32  # to see how it works; 50 to 100 to develop, 200 to 500 to validate, 1,000 and more to decide

# %% [markdown]
# ## The dataset
#
# Three splits: the model learns from the training rows, choices are made on the validation rows, and the test rows are asked at
# the end. No question may be in two of them; `nemostack dataset check` looks for that, and for duplicates and broken rows. Your own
# data comes as JSON Lines, CSV or parquet: `nemostack dataset split my.csv --out my/data`.

# %% [markdown] korean="a1e9a1de"
# ## 데이터셋
#
# 데이터는 셋으로 나뉩니다. 모델은 훈련 데이터로 배우고, 선택은 검증 데이터로 하고, 시험 데이터는 마지막에만 물어봅니다. 같은
# 질문이 두 곳에 있으면 안 됩니다. `nemostack dataset check`가 이를 검사하고 중복과 잘못된 행도 찾아 줍니다. 여러분의 데이터는
# JSON Lines, CSV, parquet 형식이면 됩니다: `nemostack dataset split my.csv --out my/data`

# %%
data = dataset.load(Settings(kind="evaluate", limit=ITEMS))
for split, facts in data.facts.splits.items():
    print(f"{split:10} {facts.rows:5} rows, answers of {facts.mean_completion:.0f} characters on average")
print(*data.facts.warnings, sep="\n")

# %% [markdown]
# ## Zero-shot and in-context
#
# A run uploads the dataset to the Data Store, registers it in the Entity Store, has the Evaluator ask all test questions, and
# keeps every answer. The temperature is near 0 and the seed is fixed, so the same run gives the same scores.

# %% [markdown] korean="782665c4"
# ## 제로샷과 인컨텍스트
#
# 실행(run)은 데이터셋을 Data Store에 올리고, Entity Store에 등록하고, Evaluator가 모든 시험 문항을 묻게 하고, 모든 답변을
# 보관합니다. 온도(temperature)는 0에 가깝고 시드가 고정되어 있으므로 같은 실행은 같은 점수를 냅니다.

# %%
zero_shot = stack.run("evaluate", limit=ITEMS, shots=0)

# %%
in_context = stack.run("evaluate", limit=ITEMS, shots=3)

# %%
comparison = compare_runs([zero_shot.path, in_context.path])
for difference in comparison.differences:
    gain = interval_text(difference.estimate, signed=True)
    print(f"{BY_KEY[difference.metric].label:12} {gain}  {difference.verdict}")

# %% [markdown]
# A gain is *better* only if its whole 95 % interval lies above zero. The interval is that of the **paired** differences: each
# question is compared with itself, so hard questions do not count as noise.

# %% [markdown] korean="d03c879a"
# 95 % 구간 전체가 0보다 클 때에만 *better* 라고 합니다. 이 구간은 **짝지은** 차이의 구간입니다. 각 문항을 자기 자신과 비교하므로
# 어려운 문항이 잡음이 되지 않습니다.

# %%
first, second = of_run(zero_shot)[-1], of_run(in_context)[-1]
gains = sorted(after - before for before, after in paired_items(first.items, second.items, "rouge_l"))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
for place, one in enumerate((first, second)):
    score = one.approach.scores["rouge_l"]
    error = [[score.mean - score.low], [score.high - score.mean]]
    left.bar(place, score.mean, yerr=error, capsize=6, color=("#2f6f9f", "#c2571a")[place])
left.set(ylabel="ROUGE-L", title="Means with 95 % intervals", ylim=(0, 1))
left.set_xticks([0, 1], ["zero-shot", "3 examples"])
right.bar(range(len(gains)), gains, color=["#2f6f9f" if gain < 0 else "#c2571a" for gain in gains])
right.set(xlabel="test items, sorted", ylabel="gain in ROUGE-L", title="What the examples change, item by item")
figure.tight_layout()

# %% [markdown]
# ## Into MLflow
#
# `nemostack run` logs all of this by itself. By hand it takes a few lines; open the address to compare runs in MLflow.

# %% [markdown] korean="115a2299"
# ## MLflow에 기록하기
#
# `nemostack run`은 이 모든 것을 스스로 기록합니다. 직접 기록하는 데에도 몇 줄이면 됩니다. 주소를 열면 MLflow에서 실행들을
# 비교할 수 있습니다.

# %%
import mlflow

mlflow.set_tracking_uri(stack.outputs.mlflow_url)
mlflow.set_experiment("lesson_2")
for name, one in (("zero-shot", first), ("in-context", second)):
    with mlflow.start_run(run_name=name):
        mlflow.log_params({"model": one.approach.model, "shots": one.approach.shots, "items": one.approach.items})
        mlflow.log_metrics({key: score.mean for key, score in one.approach.scores.items()})

# %% [markdown]
# Which examples, and how many? `--examples similar` shows each question its nearest neighbours, and `--choose-shots 1,3,5` chooses
# the number on the validation split. Next: [3. Customizing with LoRA](03-Customizer.ipynb).

# %% [markdown] korean="43c3e0d3"
# 어떤 예시를 몇 개나 보여 줄까요? `--examples similar`는 질문마다 가장 비슷한 예시를 보여 주고, `--choose-shots 1,3,5`는
# 검증 데이터로 개수를 고릅니다. 다음 단원: [3. LoRA로 커스터마이즈하기](03-Customizer.ipynb)
