"""The offline image set: drawn scenes of several things, with captions and labels.

A scene is planned (`plan`), drawn (`render`, over `backgrounds`, with the things of `sky`,
`nature`, `animals`, `vehicles` and `household`) and told (`captions`); `generate` does it many
times. A new category is a function with the decorator `thing`, its words in `words`, and its name
in the cast of a setting in `settings`.
"""

from proxyhash.datasets.scenes.generate import generate_scenes

__all__ = ["generate_scenes"]
