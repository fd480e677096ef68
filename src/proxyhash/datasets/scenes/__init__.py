"""The generated image set: scenes of several things, with captions and labels.

`plan` decides what a scene shows, `generate` draws it (over `backgrounds`, with the things of
`outdoors`, `animals` and `made`) and `captions` describes it. A new class is a function with the
decorator `thing`, its words in `captions`, and its name in the cast of a setting in `plan`.
"""

from proxyhash.datasets.scenes.generate import generate_scenes

__all__ = ["generate_scenes"]
