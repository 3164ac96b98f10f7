"""Other load tools beside ours, on one server: whether they measure the same, and what reading costs each of them."""
