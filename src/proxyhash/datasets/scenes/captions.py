"""One sentence on a scene, as a person in a hurry might write it.

It leaves things out, calls the same thing by different names, sometimes by one that fits others as
well, and names a color or a place now and then: text and labels overlap, and do not coincide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.datasets.scenes.words import COLOR_WORDS, HOUR_WORDS, PLACE_WORDS, WORDS, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.datasets.scenes.dice import Dice
    from proxyhash.datasets.scenes.plan import Actor, Scene

__all__ = ["write_caption"]

_NUMBERS = {2: ("two", "two", "a pair of"), 3: ("three", "three", "some"), 4: ("four", "some")}
_MANY = ("several", "many", "some", "a group of")
_ONLY_ONE = frozenset({"sun", "moon"})
_SMALL, _LARGE = 0.2, 0.44


@dataclass(frozen=True, slots=True)
class _Subject:
    """All actors of one category, told as one."""

    name: str
    actors: tuple[Actor, ...]

    @property
    def first(self) -> Actor:
        return self.actors[0]


def write_caption(scene: Scene, dice: Dice) -> str:
    """Return a sentence on the scene; at least one of its categories is in it."""
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
    opening = dice.choice(("", "", "an image of ", "a drawing of ", "a scene with "))
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
