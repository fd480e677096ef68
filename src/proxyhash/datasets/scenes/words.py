"""The words that captions are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COLOR_WORDS", "HOUR_WORDS", "PLACE_WORDS", "WORDS", "Words", "plural"]


@dataclass(frozen=True, slots=True)
class Words:
    """What one category is called.

    Attributes:
        nouns: names that say exactly this category; the first is the most common.
        vague: names that would do for others too.
        doing: what it may be said to do or be.
        colored: whether its color is ever mentioned.
    """

    nouns: tuple[str, ...]
    vague: tuple[str, ...] = ()
    doing: tuple[str, ...] = ()
    colored: bool = True


def _words(nouns: str, vague: str = "", doing: str = "", *, colored: bool = True) -> Words:
    def split(text: str) -> tuple[str, ...]:
        return tuple(each.strip() for each in text.split(",") if each.strip())

    return Words(split(nouns), split(vague), split(doing), colored)


WORDS: Mapping[str, Words] = {
    "ball": _words("ball, beach ball, toy ball", "toy", "lying there, rolling along"),
    "balloon": _words("hot-air balloon, balloon", "", "floating by, rising, up high"),
    "bicycle": _words("bicycle, bike, cycle", "", "standing there, waiting, left alone"),
    "bird": _words("bird, songbird, little bird", "animal", "flying, flapping by, in the air"),
    "boat": _words("boat, ship, little boat", "vessel", "sailing, at anchor, floating"),
    "bus": _words("bus, coach, city bus", "vehicle", "driving, waiting, passing by"),
    "cactus": _words("cactus, tall cactus", "plant", "standing there, full of spines"),
    "car": _words("car, automobile, motorcar", "vehicle", "parked, driving, passing by"),
    "cat": _words("cat, kitty, kitten", "animal, pet", "sitting, watching, resting"),
    "clock": _words("alarm clock, clock", "", "ticking, about to ring"),
    "cloud": _words("cloud, puffy cloud", "", "drifting, overhead", colored=False),
    "cup": _words("cup, mug, cup of coffee", "drink", "steaming, full to the brim"),
    "duck": _words("duck, duckling", "bird, animal", "resting, quacking, looking around"),
    "fish": _words("fish, striped fish, little fish", "animal", "swimming, gliding by"),
    "flower": _words("flower, blossom, bloom", "plant", "blooming, in bloom"),
    "house": _words("house, cottage, home", "building", "standing there, with a chimney"),
    "kite": _words("kite, toy kite", "toy", "flying, dancing in the wind, up high"),
    "lamp": _words("lamp, lantern, light", "", "shining, glowing"),
    "moon": _words("moon", "", "glowing, shining, up high", colored=False),
    "mountain": _words("mountain, snowy peak, peak", "", "far away, with snow on top"),
    "mushroom": _words("mushroom, toadstool", "", "with a spotted cap, growing"),
    "snowman": _words("snowman", "", "with a hat, with a carrot nose, smiling", colored=False),
    "star": _words("star, bright star", "light", "twinkling, shining, sparkling", colored=False),
    "sun": _words("sun", "", "shining, up high, smiling", colored=False),
    "tree": _words("tree, leafy tree", "plant", "standing there, in leaf"),
    "umbrella": _words("umbrella, parasol, sunshade", "", "opened wide, standing there"),
}
"""Each category's words."""

PLACE_WORDS: Mapping[str, tuple[str, ...]] = {
    "meadow": ("in a meadow", "on the grass", "in a green field", "in the countryside", "outside"),
    "beach": ("on the beach", "by the sea", "on the sand", "at the seaside", "on the shore"),
    "city": ("in the city", "on a street", "in town", "in front of tall buildings", "outside"),
    "snow": ("in the snow", "in winter", "on a cold day", "on snowy ground", "outside"),
    "sea": ("at sea", "on the ocean", "in the water", "in the waves", "out on the water"),
    "desert": ("in the desert", "in the sand", "between dunes", "in a dry place"),
    "room": ("in a room", "on the floor", "in the living room", "indoors", "at home"),
    "table": ("on a table", "in the kitchen", "on the table top", "indoors", "at home"),
}
"""How each setting is told."""

HOUR_WORDS: Mapping[str, tuple[str, ...]] = {
    "day": ("in daylight", "in the daytime"),
    "dusk": ("at sunset", "in the evening", "under a red sky"),
    "night": ("at night", "in the dark", "late at night"),
}
"""How each tone is told."""

COLOR_WORDS: Mapping[str, tuple[str, ...]] = {
    "red": ("red", "red", "bright red", "scarlet"),
    "orange": ("orange", "orange", "bright orange"),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "bright green"),
    "turquoise": ("turquoise", "teal"),
    "blue": ("blue", "blue", "deep blue"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "pink", "rosy"),
    "white": ("white",),
    "grey": ("grey", "gray"),
    "brown": ("brown",),
    "black": ("black", "black", "dark"),
}
"""Names of each color, the common ones more often."""

_PLURALS = {"fish": "fish", "cactus": "cacti", "snowman": "snowmen", "cup": "cups"}


def plural(noun: str) -> str:
    """The plural of a noun; of its head, where an `of` follows."""
    head, of, rest = noun.partition(" of ")
    before, space, last = head.rpartition(" ")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return before + space + last + of + rest
