"""The numbers of a run, the rules that make it a measurement at all, and the objectives it is judged by."""
