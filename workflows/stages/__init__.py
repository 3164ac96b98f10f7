"""The stages of the pipeline, a module each: what it does, what it gives to later ones, and its `Stage`.

`workflows.pipeline` puts them in order; `workflows.engine.stage` runs them.
"""
