"""The stages of a run, each a function on a Workspace: files of the run in, files of the run and a Report out.

`mdcompress run` and the single commands call the same functions. Nothing here imports torch before a stage needs it.
"""
