"""One sentence on a scene, as a person in a hurry might write it, and the words for it.

It leaves things out, calls the same thing by different names, sometimes by one that fits others as
well, and names a color or a place now and then: text and labels overlap, and do not coincide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.datasets.scenes.dice import Dice
    from proxyhash.datasets.scenes.plan import Actor, Scene

__all__ = ["COLOR_WORDS", "HOUR_WORDS", "PLACE_WORDS", "WORDS", "Words", "plural", "write_caption"]


@dataclass(frozen=True, slots=True)
class Words:
    """Words for one class.

    Attributes:
        nouns: names of exactly this class; the first is the most common.
        vague: names that would do for others too.
        doing: what it may do or be.
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
"""The words of each class."""

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
"""Phrases for each setting."""

HOUR_WORDS: Mapping[str, tuple[str, ...]] = {
    "day": ("in daylight", "in the daytime"),
    "dusk": ("at sunset", "in the evening", "under a red sky"),
    "night": ("at night", "in the dark", "late at night"),
}
"""Phrases for each tone."""

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


_NUMBERS = {2: ("two", "two", "a pair of"), 3: ("three", "three", "some"), 4: ("four", "some")}
_MANY = ("several", "many", "some", "a group of")
_ONLY_ONE = frozenset({"sun", "moon"})
_SMALL, _LARGE = 0.2, 0.44


@dataclass(frozen=True, slots=True)
class _Subject:
    """All actors of one class."""

    name: str
    actors: tuple[Actor, ...]

    @property
    def first(self) -> Actor:
        return self.actors[0]


def write_caption(scene: Scene, dice: Dice) -> str:
    """Return a sentence on the scene; at least one of its classes is in it."""
    subjects = dice.shuffled(_subjects(scene))
    told = [subject for subject in subjects if dice.chance(0.82)] or subjects[:1]
    where = _where(scene, dice)
    patterns = {_enumerate: 0.3, _doing: 0.4, _there_is: 0.3}
    if len(told) >= 2:
        patterns[_related] = 0.5
    sentence = dice.weighted(patterns)(told, where, dice)
    sentence = sentence[0].upper() + sentence[1:] if dice.chance(0.7) else sentence
    return sentence + ("." if dice.chance(0.5) else "")


def _subjects(scene: Scene) -> list[_Subject]:
    return [
        _Subject(name, tuple(actor for actor in scene.actors if actor.thing.name == name))
        for name in scene.labels
    ]


def _where(scene: Scene, dice: Dice) -> str:
    """Place and hour, either of which may be left out."""
    parts = []
    if dice.chance(0.65):
        parts.append(dice.choice(PLACE_WORDS[scene.setting]))
    outdoors = len({"sky"} & {actor.zone for actor in scene.actors}) > 0 or scene.tone != "day"
    if outdoors and dice.chance(0.15 if scene.tone == "day" else 0.6):
        parts.append(dice.choice(HOUR_WORDS[scene.tone]))
    return " ".join(parts)


def _enumerate(told: Sequence[_Subject], where: str, dice: Dice) -> str:
    opening = dice.choice(("", "", "a picture of ", "a drawing of ", "a scene with "))
    return _join(opening + _list([_phrase(subject, dice) for subject in told]), where)


def _doing(told: Sequence[_Subject], where: str, dice: Dice) -> str:
    first, *rest = told
    sentence = _join(_phrase(first, dice), dice.choice(WORDS[first.name].doing))
    sentence = _join(sentence, where)
    if not rest:
        return sentence
    link = dice.choice((" with ", ", and ", ", together with ", " and also "))
    return sentence + link + _list([_phrase(subject, dice) for subject in rest])


def _there_is(told: Sequence[_Subject], where: str, dice: Dice) -> str:
    names = [_phrase(subject, dice) for subject in told]
    verb = "is" if names[0].startswith(("a ", "an ", "the ")) else "are"
    if where and dice.chance(0.5):
        return f"{where} there {verb} {_list(names)}"
    return _join(f"there {verb} {_list(names)}", where)


def _related(told: Sequence[_Subject], where: str, dice: Dice) -> str:
    first, second, *rest = told
    relation = _relation(first.first, second.first, dice)
    sentence = f"{_phrase(first, dice)} {relation} {_phrase(second, dice)}"
    if rest:
        names = [_phrase(subject, dice) for subject in rest]
        sentence += dice.choice((", ", " and ")) + _list(names)
    return _join(sentence, where)


def _relation(one: Actor, other: Actor, dice: Dice) -> str:
    if one.zone != other.zone and "sky" in (one.zone, other.zone):
        return dice.choice(("above", "over") if one.zone == "sky" else ("under", "below"))
    if one.zone == "back" and other.zone == "front":
        return dice.choice(("behind", "in the distance, near"))
    if one.zone == "front" and other.zone == "back":
        return dice.choice(("in front of", "near"))
    return dice.choice(("next to", "beside", "near", "by", "close to"))


def _phrase(subject: _Subject, dice: Dice) -> str:
    """Article or number, perhaps size and color, and a noun."""
    words, actor, count = WORDS[subject.name], subject.first, len(subject.actors)
    if words.vague and dice.chance(0.12):
        noun = dice.choice(words.vague)
    else:
        noun = words.nouns[0] if dice.chance(0.6) else dice.choice(words.nouns)
    adjectives = []
    if dice.chance(0.3) and not _SMALL < actor.size < _LARGE and subject.name not in _ONLY_ONE:
        small = actor.size <= _SMALL
        adjectives.append(dice.choice(("small", "tiny") if small else ("big", "large")))
    if words.colored and dice.chance(0.42):
        adjectives.append(dice.choice(COLOR_WORDS[actor.color]))
    if count > 1:
        number = dice.choice(_NUMBERS.get(count, _MANY))
        return " ".join([number, *adjectives, plural(noun)])
    if subject.name in _ONLY_ONE:
        return f"the {noun}"
    name = " ".join([*adjectives, noun])
    article = "an" if name[0] in "aeiou" else "a"
    if subject.name == "snowman" and dice.chance(0.3):
        name += f" with a {dice.choice(COLOR_WORDS[actor.color])} scarf"
    return f"{article} {name}"


def _list(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _join(sentence: str, more: str) -> str:
    return f"{sentence} {more}" if more else sentence
