"""The stages of the pipeline, a module each: what it does, what it gives to later ones, and its `Stage`.

`workflows.pipeline` puts them in order; `workflows.stage` runs them. The cleanup and the load test, which also have
a life outside of a run, are `workflows.cleanup` and `workflows.load_test`.
"""
