"""Names that a user gives: what can be written, and which items they fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.data import Collection, Item
from proxyhash.errors import DataError, UsageError
from proxyhash.labeling import ClassName, find_classes, read_names
from proxyhash.labeling.find import SharedSpace, read_inputs
from proxyhash.labeling.names import parse_names
from proxyhash.labeling.neighbors import centered
from tests.encoders import tiny_models
from tests.labeling.made import inputs_of, topics
from tests.labeling.test_clusters import nearest

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [ClassName("dog", ("dog", "puppy")), ClassName("boat", ("boat", "sailing boat"))]


def test_names_are_read_with_their_synonyms(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# mine\n\ndog: puppy, hound ,dog\n  hot dog\n")
    assert read_names(tmp_path / "names.txt") == [
        ClassName("dog", ("dog", "puppy", "hound")),
        ClassName("hot dog", ("hot dog",)),
    ]


def test_only_a_file_has_comments(tmp_path: Path) -> None:
    assert parse_names([("--name", "#tbt")]) == [ClassName("#tbt", ("#tbt",))]
    (tmp_path / "names.txt").write_text("# mine\n\n")
    with pytest.raises(DataError, match="no names are given"):
        read_names(tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["dog", "dog: puppy"], "line 2: 'dog' is given twice"),
        (["a, b"], "line 1: 'a, b' is not a name with up to 50 synonyms"),
        ([": x"], "line 1: ': x' is not a name"),
        (["dog: !!"], "line 1: '!!' is not a word or phrase"),
        (["x" * 201], "is not a word or phrase"),
        (["dog: " + ",".join(f"w{n}" for n in range(51))], "up to 50 synonyms"),
        ([f"name{n}" for n in range(1001)], "more than 1,000 names"),
        ([], "no names are given"),
        (["  "], "line 1: '' is not a name"),
    ],
)
def test_what_is_not_a_name_is_said(lines: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        parse_names((f"line {row}", line) for row, line in enumerate(lines, 1))


def test_without_a_common_space_words_and_neighbors_decide() -> None:
    texts, subject = topics()
    image = np.arange(60) % 5 != 2
    inputs = inputs_of(texts, subject, spread=1.0, image=image)  # an encoder without sentences
    found = find_classes(inputs, names=NAMES, neighbors=4)
    assert (found.way, found.names) == ("names", ("dog", "boat"))
    own = np.array([[bool({"dog", "puppy"} & set(t.split())), " boat " in f" {t} "] for t in texts])
    values = centered(inputs.features["image"], inputs.positions)
    for row in range(60):
        if image[row]:
            shares = own[nearest(values, image, row, 4)].mean(axis=0)
            expected = (0.5 * own[row] + 0.25 * shares) / 0.75
        else:
            expected = own[row].astype(float)
        assert found.probabilities[row] == pytest.approx(expected, abs=1e-6)
    assert dict(found.classes[0].words)["puppy"] == sum("puppy" in text for text in texts)


def test_similar_texts_are_likely_where_the_words_are_missing() -> None:
    texts, subject = topics()
    centers = {}

    def embed(prompts: list[str]) -> np.ndarray:
        return np.stack([centers[prompt] for prompt in prompts])

    inputs = inputs_of(texts, subject, spread=0.2, embed=embed, image=np.zeros(60, np.bool_))
    values = inputs.features["text"].values
    for place, words in enumerate((("dog", "puppy"), ("boat", "sailing boat"), ("yacht",))):
        centers |= dict.fromkeys(words, values[subject == min(place, 1)].mean(axis=0))
    names = [*NAMES, ClassName("yacht", ("yacht",))]
    found = find_classes(inputs, names=names)
    dog = found.names.index("dog")
    silent = [row for row in range(60) if not {"dog", "puppy"} & set(texts[row].split())]
    alike = [row for row in silent if subject[row] == 0]
    others = [row for row in silent if subject[row] != 0]
    assert found.probabilities[alike, dog].min() > found.probabilities[others, dog].max()
    assert any("fewer than 5 texts have the words of yacht" in note for note in found.notes)
    yacht = found.probabilities[:, found.names.index("yacht")]
    assert yacht[subject == 1].min() > yacht[subject != 1].max()


@pytest.mark.parametrize("bias", [None, -2.0], ids=["clip", "siglip"])
def test_zero_shot_is_the_formula(bias: float | None) -> None:
    texts, subject = topics(30)
    draw = np.random.default_rng(5)
    vectors: dict[str, np.ndarray] = {}

    def embed(prompts: list[str]) -> np.ndarray:
        return np.stack([vectors.setdefault(each, draw.normal(size=8)) for each in prompts])

    space = SharedSpace(scale=6.0, bias=bias)
    image = np.arange(30) != 4
    inputs = inputs_of(texts, subject, embed=embed, space=space, image=image)
    found = find_classes(inputs, names=NAMES, templates=["{}", "one {}."])

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / np.linalg.norm(vector)

    def prompt(words: tuple[str, ...]) -> np.ndarray:
        each = [unit(vectors[form.format(word)]) for word in words for form in ("{}", "one {}.")]
        return unit(np.mean(each, axis=0))

    for row in range(30):
        for column, name in enumerate(NAMES):
            likely = 0.0
            if image[row]:
                own = unit(inputs.features["image"].values[row])
                score = 6 * float(own @ prompt(name.words))
                score += bias if bias is not None else -6 * float(own @ prompt(("something",)))
                likely = 1 / (1 + math.exp(-score))
            has = any(f" {word} " in f" {texts[row]} " for word in name.words)
            expected = 1 - (1 - likely) * (1 - 0.5 * has)
            assert found.probabilities[row, column] == pytest.approx(expected, abs=1e-5)


def test_templates_need_the_place_of_the_name() -> None:
    texts, subject = topics(30)
    with pytest.raises(UsageError, match=r"needs \{\} once, where the name goes"):
        find_classes(inputs_of(texts, subject), names=NAMES, templates=["a photo"])


def test_names_need_texts_or_a_common_space() -> None:
    _, subject = topics(30)
    with pytest.raises(DataError, match="its image encoder knows no words; give a model of images"):
        find_classes(inputs_of([None] * 30, subject), names=NAMES)


@pytest.mark.slow
def test_the_towers_of_one_model_share_a_space(scenes: Collection, tmp_path: Path) -> None:
    clip = str(tiny_models.save_clip(tmp_path / "clip"))
    bert = str(tiny_models.save_bert(tmp_path / "bert"))
    some = Collection.of(scenes.path, scenes.items[:12])
    both = read_inputs(some, encoders={"image": clip, "text": clip})
    assert both.space is not None
    assert both.space.bias is None
    assert both.space.scale == pytest.approx(math.exp(2.6592), rel=1e-3)  # as CLIP begins
    found = find_classes(both, names=[ClassName("boat", ("boat",)), ClassName("dog", ("dog",))])
    assert found.notes == ("images were matched with the names by the model itself",)
    assert read_inputs(some, encoders={"image": clip, "text": bert}).space is None
    assert read_inputs(some, encoders={"image": clip, "text": "bow"}).space is None


def test_too_few_items_are_refused(tmp_path: Path) -> None:
    few = Collection.of(tmp_path / "items.jsonl", [Item("a", {"text": "a"}, ())])
    with pytest.raises(DataError, match="has 1 item to learn from; at least 10 are needed"):
        read_inputs(few, encoders={})
