"""One word per idea, in plain technical English: what is not said, and what is said instead.

Read are identifiers, docstrings, comments, messages, the help of every verb, the docs and the page.
The words themselves are in docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, load_script

_THING = (
    "item|image|text|query|second|minute|step|file|row|line|seed|class|method|worker|core|page|"
    "thread|side|call|bit|modality|direction|gallery|batch|length|column|process|engine|name|"
    "member|group|kind|word|feature|label|key|request|idea|proxy|epoch|pair|time"
)
_MANY = (
    "bytes?|bits?|numbers?|queries|requests|images|items|rows|values?|vectors?|lines?|files?|"
    "columns?|codes?|words?|one|searches|answers|scenes|texts|features|[MkG]B|µs|ms|steps|times|"
    "hits|tensors?|process(?:es)?|cells?|rounds|epochs|labels?|figures?|record|dictionary"
)
_VERBS = (
    "normal|standard|quant|initial|recogn|regular|memor|organ|summar|general|minim|maxim|token|"
    "serial|synchron|special|util|optim|real|binar|random|vector|parallel|emphas"
)


@dataclass(frozen=True)
class Word:
    """A pattern that is not used, what to use instead, and whether tests are read for it too."""

    pattern: str
    instead: str
    everywhere: bool = False


WORDS = [
    Word(r"pictur", "image", everywhere=True),
    Word(r"colour", "color", everywhere=True),
    Word(r"\bcentre|centring", "center", everywhere=True),
    Word(rf"(?:{_VERBS})is(?:e|es|ed|er|ers|ing|ation|ations)\b", "-ize", everywhere=True),
    Word(r"behaviour|neighbour|favour|honour", "-or", everywhere=True),
    Word(r"labelled|relabelled|modelling|travell|signall", "one l", everywhere=True),
    Word(r"\blicence|catalogue|\banalys(?:e|es|ed|ing)\b", "license, catalog, analyze"),
    Word(r"optimizti|centerd", "optimistic, centered", everywhere=True),
    Word(r"categor(?!ical)", "class"),
    Word(r"(?<!there )\b(?:is|are) no (?!longer|more|less|better|faster|larger)\w", "is not a"),
    Word(r"drawn (?:images|image set|scenes)|scenes (?:that are|to be) drawn", "generated"),
    Word(r"most (?:items|images|inputs) (?:a|per) (?:step|batch)", "batch size"),
    Word(r"rounds? over the|one round of passes", "epoch"),
    Word(r"most words in", "vocabulary size"),
    Word(r"course of the learning", "learning-rate schedule"),
    Word(r"(?:items|rows) (?:that|which) may teach|what teaches|\bteachers?\b", "training items"),
    Word(r"\btrain items?\b", "training item"),
    Word(r"pass(?:ed|es|ing)? over(?= |\b)(?! (?:the|all|its|every|an?) \w+)", "ignored"),
    Word(r"g[ia]v\w+ (?:\w+ ){0,2}room back|room (?:\w+ ){0,4}given back", "reclaims disk space"),
    Word(r"\banew\b", "again, or rebuild, rerun, rewrite"),
    Word(r"take (?:a|the) key away", "revoke"),
    Word(r"\bunbroken\b", "uninterrupted"),
    Word(r"the very (?:same|result|rows|file|ones?|bytes)", "the same, identical"),
    Word(r"no such thing|of another kind\b", "not found, unsupported"),
    Word(r"too much waits|not fit for work", "overloaded, problems found"),
    Word(r"everything that is (?:no|not a) query", "everything except the queries"),
    Word(rf"\b(?:{_MANY}) an? (?:{_THING})\b(?! (?:has|is|was|took|at|sees)\b)", "per item"),
]

READ = {".py", ".md", ".js", ".css", ".html", ".toml", ".sh", ".yaml", ".yml", ".cff", ""}

ALLOWED = {
    # The words of COCO, Wikipedia and array files.
    "src/proxyhash/datasets": [r"categor"],
    "docs/datasets.md": [r"categor"],
    # What columns of other people's tables are called.
    "docs/collections.md": [r"`categor"],
    "src/proxyhash/data/gather.py": [r'"categor'],
    "src/proxyhash/data/readers/columns.py": [r'"categor'],
    "src/proxyhash/data/places.py": [r'"pictures"'],
    "src/proxyhash/data/readers/imagefolder.py": [r"categor"],
    # A function of the standard library.
    "src/proxyhash/encoders/words.py": [r"unicodedata\.category"],
    "src/proxyhash/index/words.py": [r"unicodedata\.category"],
    # The old name of a version of COCO.
    "src/proxyhash/datasets/convert.py": [r"labelled"],
    "tests/datasets/converters/test_coco.py": [r"labelled"],
    # A key of the report of version 0.1.0.
    "src/proxyhash/data/check.py": [r'"pictures_read"'],
    "tests/data/test_check.py": [r'"pictures_read"'],
    # A value in databases of version 0.1.0.
    "src/proxyhash/index/store": [r"relabelled"],
    "tests/index/store": [r"relabelled"],
    # A key of model.json since version 0.1.0, and a tensor of its checkpoints.
    "src/proxyhash/networks": [r'"categories"'],
    "src/proxyhash/methods/shared/posterior.py": [r'"categories"'],
    "src/proxyhash/methods/label_codes.py": [r"bit_category"],
    # A word of captions, and a part of the seed of each generated image.
    "src/proxyhash/datasets/scenes/captions.py": [r"a picture of"],
    "src/proxyhash/datasets/scenes/generate.py": [r"} picture"],
    # A name of Python's own.
    "src/proxyhash/evaluation/report.py": [r"unicodedata.category"],
    # A word of HTML.
    "src/proxyhash/service/web/index.html": [r"aria-labelledby"],
}
"""Patterns that may stand in a file, or below a folder."""


def tracked() -> list[str]:
    """The files to read, relative to the repository."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [
        name
        for name in done.stdout.splitlines()
        if Path(name).suffix in READ
        and (ROOT / name).is_file()
        and not name.startswith(("tests/written/", "LICENSE", "tests/test_words.py", "constraints"))
    ]


def as_prose(text: str) -> str:
    """The text with its lines joined, across comment signs and the quotes of adjacent strings."""
    text = re.sub(r"""["']\s*\n\s*[rf]{0,2}["']""", "", text)
    return re.sub(r"\s*\n\s*(?:#+|//|\*)?\s*", " ", text)


def found_in(name: str, text: str) -> list[str]:
    """What is said that should not be, with some words around it."""
    prose = as_prose(text)
    allowed = [each for place, some in ALLOWED.items() if name.startswith(place) for each in some]
    for pattern in allowed:
        prose = re.sub(pattern, "", prose, flags=re.IGNORECASE)
    return [
        f"{name}: ...{prose[max(0, hit.start() - 30) : hit.end() + 20]}... (say: {word.instead})"
        for word in WORDS
        if word.everywhere or not name.startswith("tests/")
        for hit in re.finditer(word.pattern, prose, re.IGNORECASE)
    ]


def test_plain_words_are_used():
    names = tracked()
    assert len(names) > 500
    found = [
        each
        for name in names
        for each in found_in(name, (ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found, "\n".join([f"{len(found)} found", *found])


@pytest.mark.parametrize("place", ALLOWED)
def test_what_is_allowed_is_there(place: str):
    path = ROOT / place
    files = [path] if path.is_file() else list(path.rglob("*.py"))
    text = "\n".join(each.read_text(encoding="utf-8") for each in files)
    assert all(re.search(pattern, as_prose(text), re.IGNORECASE) for pattern in ALLOWED[place])


def test_the_help_of_every_verb_uses_plain_words():
    assert not found_in("--help", load_script("generate_cli").render())


@pytest.mark.parametrize(
    "text",
    [
        "takes 12 bytes an item",
        "the picture_size",
        "this is no number",
        '"this is no "\n    "number"',
        "# the very\n# same",
        "normalised",
        "a category of things",
        "ids that are not stored are passed over.",
    ],
)
def test_words_are_found_across_lines_and_inside_identifiers(text: str):
    assert found_in("somewhere.md", text)


@pytest.mark.parametrize(
    "text",
    [
        "there is no number",
        "a pass over the gallery",
        "one pass over all items",
        "is no longer there",
        "an optimistic, categorical list of items",
        "12 bytes per item",
    ],
)
def test_plain_words_are_not_found(text: str):
    assert not found_in("somewhere.md", text)


QUESTIONS = re.compile(r"(What|How|Where|Which|Who|When|Why)\b")


def first_lines(name: str) -> list[tuple[str, str]]:
    """The first line of each docstring of a module, with the name it belongs to."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [
        (getattr(node, "name", "module"), ast.get_docstring(node))
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]
    return [(owner, text.splitlines()[0]) for owner, text in texts if text]


def test_docstrings_say_what_a_thing_is_or_does():
    found = [
        f"{name}: {owner}: {line}"
        for name in tracked()
        if name.startswith("src/") and name.endswith(".py")
        for owner, line in first_lines(name)
        if QUESTIONS.match(line)
    ]
    assert not found, "\n".join([f"{len(found)} found", *found])
