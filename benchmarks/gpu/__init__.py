"""The local stack on NVIDIA GPUs, measured: training beside a plain PEFT loop, NIM beside bare vLLM, the pipeline.

Ratios are measured within one run, in turns. A model of Llama-3.2-3B's shape has random weights here: its speed is
real, its text is not, and every report says so. `--device cpu --tiny` rehearses everything on a machine without a GPU.
"""
