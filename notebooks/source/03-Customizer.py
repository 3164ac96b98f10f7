# %% [markdown]
# # 3. Customizing with LoRA
#
# LoRA leaves the weights of the model as they are and learns a small addition to each: instead of a matrix *W* of 4096 × 4096
# the model computes *W + A·B*, where *A* has 4096 × 8 numbers and *B* 8 × 4096. So about 1 % of the parameters are trained, an
# adapter is a small file, and one NIM serves many of them beside the base model.

# %% [markdown] korean="d7c1e948"
# # 3. LoRA로 커스터마이즈하기
#
# LoRA는 모델의 가중치를 그대로 두고 작은 보정을 학습합니다. 4096 × 4096 행렬 *W* 대신 *W + A·B* 를 계산하는데, *A* 는
# 4096 × 8, *B* 는 8 × 4096 개의 수로 되어 있습니다. 그래서 파라미터의 약 1 %만 학습하고, 어댑터는 작은 파일이며, NIM 하나가
# 기본 모델과 함께 여러 어댑터를 서빙합니다.

# %%
import matplotlib.pyplot as plt

from nemostack.models import Hyperparameters
from workflows.data import dataset
from workflows.gate.policy import Policy
from workflows.notebook import connect
from workflows.results.compare_runs import gate_runs
from workflows.settings import Settings
from workflows.stages.customization import Trained

stack = connect()
ITEMS = 32

# %% [markdown]
# ## What it learns from
#
# Rows with a `prompt` and a `completion`, or chats with `messages`. The sample dataset has questions about contracts; the answers
# all follow one house style, which no model knows beforehand.

# %% [markdown] korean="3758295e"
# ## 무엇으로 배우는가
#
# `prompt`와 `completion`이 있는 행이나 `messages`가 있는 채팅으로 배웁니다. 예제 데이터셋은 계약에 관한 질문이고, 답변은 모두
# 어떤 모델도 미리 알 수 없는 한 가지 문체를 따릅니다.

# %%
rows = {"train_rows": 128, "validation_rows": 24}
data = dataset.load(Settings(kind="customize", **rows))
print(data.train[0].prompt, "\n->", data.train[0].completion)

# %% [markdown]
# ## The job
#
# | hyperparameter | start with |
# |---|---|
# | rank (`adapter_dim`) | 8 to 16; 4 to 8 is fast and limited, 64 and more takes more of everything |
# | learning rate | between 1e-5 and 1e-3; small models take more |
# | epochs | 1 to 3, with an eye on the validation loss |
#
# Which values are best is found by trying: `nemostack sweep --ranks 8,16 --learning-rates 1e-4,1e-3`.

# %% [markdown] korean="5db099fb"
# ## 학습 작업
#
# | 하이퍼파라미터 | 시작 값 |
# |---|---|
# | 랭크(`adapter_dim`) | 8~16. 4~8은 빠르지만 제한적이고, 64 이상은 자원이 더 많이 듭니다 |
# | 학습률(learning rate) | 1e-5~1e-3. 작은 모델은 더 크게 |
# | 에포크(epochs) | 1~3, 검증 손실을 보면서 |
#
# 가장 좋은 값은 시험해 보아야 압니다: `nemostack sweep --ranks 8,16 --learning-rates 1e-4,1e-3`

# %%
chosen = Hyperparameters(adapter_dim=8, alpha=32, learning_rate=5e-3, batch_size=8, epochs=2)
training = stack.run("customize", hyperparameters=chosen, judge=False, **rows)
trained = Trained.model_validate(training.stage("customization").outputs)

# %%
figure, axes = plt.subplots(figsize=(6.5, 3.2))
axes.plot(*zip(*((point.step, point.value) for point in trained.train_loss), strict=True), label="training")
axes.plot(*zip(*((point.step, point.value) for point in trained.val_loss), strict=True), "o-", label="validation")
axes.set(xlabel="step", ylabel="loss", title="Loss while it learns", ylim=(0, None))
axes.legend()
figure.tight_layout()

# %% [markdown]
# The training loss says how well it knows the rows it learns from, the validation loss how well it does on others. When the second
# rises while the first falls, the model learns by heart: stop earlier, take fewer epochs, a lower rank or more data. The Customizer
# keeps the weights of the lowest validation loss.

# %% [markdown] korean="3333d4bc"
# 훈련 손실은 배우는 행을 얼마나 잘 아는지, 검증 손실은 다른 행에서 얼마나 잘하는지를 말해 줍니다. 훈련 손실은 줄어드는데 검증
# 손실이 커지면 모델이 외우고 있는 것입니다(과적합). 더 일찍 멈추거나, 에포크를 줄이거나, 랭크를 낮추거나, 데이터를 늘리십시오.
# Customizer는 검증 손실이 가장 낮을 때의 가중치를 남깁니다.

# %% [markdown]
# ## Ask the adapter
#
# NIM finds a new adapter by itself; a client names it as the model.

# %% [markdown] korean="d58fb583"
# ## 어댑터에 질문하기
#
# NIM은 새 어댑터를 스스로 찾습니다. 클라이언트는 모델 이름으로 어댑터를 지정하면 됩니다.

# %%
stack.wait_until_served(trained.model)
item = data.test[0]
print(item.prompt, "\n")
print("before:   ", stack.clients.nim.chat(stack.outputs.base_model, item.prompt, max_tokens=64))
print("after:    ", stack.clients.nim.chat(trained.model, item.prompt, max_tokens=64))
print("reference:", item.completion)

# %% [markdown]
# ## Is it better?
#
# One answer proves nothing. Ask both models the same test questions, and let a policy decide: GO, NO-GO, or INCONCLUSIVE when the
# data cannot tell.

# %% [markdown] korean="aa5b9c39"
# ## 더 나아졌는가?
#
# 답변 하나로는 아무것도 증명되지 않습니다. 두 모델에 같은 시험 문항을 묻고 정책이 결정하게 하십시오. 결과는 GO, NO-GO, 또는
# 데이터로 알 수 없을 때의 INCONCLUSIVE입니다.

# %%
base = stack.run("evaluate", limit=ITEMS, shots=0, judge=False)

# %%
tuned = stack.run("evaluate", model=trained.model, limit=ITEMS, shots=0, judge=False)

# %%
decision = gate_runs([base.path, tuned.path], Policy())
print(decision.outcome)
print(decision.reason)

# %% [markdown]
# A decision for users takes more: 200 items and more, general benchmarks to see what was forgotten, the price of an answer. Write it
# down as a policy (`examples/gate.yaml`), and bring the model into use step by step: `nemostack promote`.
# Next: [4. Freeing resources](04-Free-Resources.ipynb).

# %% [markdown] korean="af25fb67"
# 사용자를 위한 결정에는 더 많은 것이 필요합니다. 200개 이상의 문항, 무엇을 잊었는지 보는 일반 벤치마크, 답변 하나의 가격입니다.
# 이를 정책으로 적어 두고(`examples/gate.yaml`), 모델을 단계적으로 배포하십시오: `nemostack promote`
# 다음 단원: [4. 리소스 정리](04-Free-Resources.ipynb)
