"""The local stack on NVIDIA GPUs, measured.

`checks` compares training with the CPU's, `pipeline` runs the product as a user would, `training` stands beside a plain
PEFT loop, `serving` is NIM beside bare vLLM, `saturation` is `nemostack load` with adapters and many streams, `several`
uses more than one GPU. Ratios are measured within one run, in turns. A model of Llama-3.2-3B's shape has random weights
here: its speed is real, its text is not, and every report says so. `--device cpu --tiny` rehearses everything on a
machine without a GPU.
"""
