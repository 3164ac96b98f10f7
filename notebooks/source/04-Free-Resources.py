# %% [markdown]
# # 4. Freeing resources
#
# Datasets, evaluation jobs and adapters stay on the stack until somebody removes them, and NIM holds an adapter in memory for as
# long as it is served. Every run has written down what it has made, so it can be taken away exactly.

# %% [markdown] korean="3a7e998e"
# # 4. 리소스 정리
#
# 데이터셋, 평가 작업, 어댑터는 누군가 지울 때까지 스택에 남고, NIM은 서빙하는 동안 어댑터를 메모리에 둡니다. 모든 실행은 자신이
# 만든 것을 적어 두므로 정확히 그것만 지울 수 있습니다.

# %%
import time

import matplotlib.pyplot as plt

from workflows.engine.run_directory import RunDirectory
from workflows.notebook import connect
from workflows.results.overview import overview

stack = connect()
runs = overview(stack.runs)
for row in runs:
    print(f"{row.kind:10} {row.state:10} left on the stack: {', '.join(row.kept) or 'nothing'}")

# %% [markdown]
# ## Remove what the runs have left
#
# `nemostack cleanup RUN` does the same at the command line, also for a run that was interrupted: its jobs are stopped first.

# %% [markdown] korean="2489c95f"
# ## 실행이 남긴 것 지우기
#
# 명령줄에서는 `nemostack cleanup RUN`이 같은 일을 합니다. 중단된 실행에도 쓸 수 있으며, 그때는 작업을 먼저 멈춥니다.

# %%
before = stack.clients.nim.models()
removed = [what for row in runs if row.kept for what in stack.clean(RunDirectory.open(row.path)).removed]
print(*removed or ["There was nothing to remove."], sep="\n")

# %%
gone = {what.removeprefix("adapter ") for what in removed}
deadline = time.monotonic() + 60
while gone & set(stack.clients.nim.models()) and time.monotonic() < deadline:
    time.sleep(0.5)  # NIM looks every few seconds
after = stack.clients.nim.models()
figure, axes = plt.subplots(figsize=(5, 2.2))
axes.barh(["after", "before"], [len(after), len(before)], color=["#c2571a", "#2f6f9f"])
axes.set(title="Models that NIM serves", xlim=(0, max(3, len(before)) + 0.5))
axes.xaxis.get_major_locator().set_params(integer=True)
figure.tight_layout()

# %% [markdown]
# ## Stop the stack
#
# The notebook does not stop the stack, for others may use it. `make down` stops the local one and keeps its data; `make clean`
# removes that as well. On a cluster it is `nemostack teardown --stack NAME`, which destroys in a safe order, asks before it deletes
# volumes, and names everything that is left. GPUs cost money until then.

# %% [markdown] korean="8ea1d33d"
# ## 스택 멈추기
#
# 다른 사람이 쓰고 있을 수 있으므로 노트북은 스택을 멈추지 않습니다. 로컬 스택은 `make down`으로 멈추며 데이터는 남습니다.
# `make clean`은 데이터까지 지웁니다. 클러스터에서는 `nemostack teardown --stack NAME`을 쓰십시오. 안전한 순서로 제거하고, 볼륨을
# 지우기 전에 물어보며, 남은 것을 모두 알려 줍니다. 그때까지 GPU 비용이 듭니다.
