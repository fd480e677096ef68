"""The tables that `proxyhash evaluate` prints."""

from typing import TYPE_CHECKING

from proxyhash.cli import console
from proxyhash.evaluation.report import DIRECTION_WORDS, figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.evaluation import Direction, Evaluation

__all__ = ["print_tables"]


def print_tables(evaluations: "Sequence[Evaluation]", *, title: str) -> None:
    """Print mAP by direction and gallery, the other metrics, bit statistics and what is missing."""
    first = evaluations[0]
    galleries = [each.protocol.gallery for each in evaluations]
    console.table(
        [f"{first.protocol.name}, {first.protocol.ties} ties", *galleries],
        [
            [words, *(figure(each.map[name]) for each in evaluations)]
            for name, words in DIRECTION_WORDS.items()
        ],
        title=title,
        right=galleries,
    )
    for each in evaluations:
        _print_directions(each)
    radius = first.directions["image_to_text"].lookup.radius
    console.out(
        f"\nwmAP: hits weighted by shared labels. lookup: precision within {radius} bits, "
        "0 for\nthe queries that get nothing, whose share is `empty`."
    )
    _print_bits(first)
    _print_left_out(evaluations)


def _print_directions(evaluation: "Evaluation") -> None:
    rows = {words: _figures(evaluation.directions[name]) for name, words in DIRECTION_WORDS.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    console.out("")
    console.table(
        ["direction", *columns],
        [[words, *(row.get(column, "-") for column in columns)] for words, row in rows.items()],
        title=f"{evaluation.protocol.gallery} gallery, "
        f"{max(each.gallery for each in evaluation.directions.values()):,} items",
        right=columns,
    )


def _figures(direction: "Direction") -> dict[str, str]:
    """Return the columns that 80 characters have room for; `--json` has all.

    Those at N are only there for a gallery that large.
    """
    found = direction.lookup
    return {
        **{
            f"{name}@{n}": figure(values[n], digits=3)
            for name, values, n in (
                ("P", direction.precision_at, 10),
                ("P", direction.precision_at, 100),
                ("R", direction.recall_at, 100),
                ("NDCG", direction.ndcg_at, 100),
            )
            if n in values
        },
        "wmAP": figure(direction.weighted_map, digits=3),
        "lookup": figure(found.precision, digits=3),
        "empty": "-" if not direction.queries else f"{found.empty:.0%}",
    }


def _print_bits(evaluation: "Evaluation") -> None:
    statistics = evaluation.bit_statistics
    columns = {
        "codes": "{codes:,}",
        "distinct": "{distinct:,}",
        "balance": "{balance:.3f}",
        "constant": "{constant_bits}",
        "|corr|": "{correlation_mean:.3f}",
        "max": "{correlation_max:.3f}",
        "entropy": "{code_entropy:.2f}",
    }
    console.out("")
    console.table(
        ["codes of", *columns],
        [
            [modality, *(cell.format_map(statistics[modality]) for cell in columns.values())]
            for modality in ("image", "text")
            if statistics[modality]
        ],
        title=f"bits, {evaluation.protocol.gallery} gallery",
        right=list(columns),
    )
    console.out("")
    pairs, proxies = statistics["pairs"], statistics["proxies"]
    if pairs["items"]:
        apart = pairs["mean_distance"]
        console.out(f"An item's image and text lie {apart:.1f} bits apart on average.")
    if proxies:
        console.out(
            f"The {proxies['count']} proxies lie at least {proxies['minimum_distance']} bits "
            f"apart, {proxies['mean_distance']:.1f} on average."
        )


def _print_left_out(evaluations: "Sequence[Evaluation]") -> None:
    """Print what no figure above is about, where there is any."""
    columns = ["nothing relevant", "no such query", "no such item"]
    rows = [
        [
            f"{words}, {each.protocol.gallery}",
            *(f"{count:,}" for count in (each.directions[name].left_out, *each.missing[name])),
        ]
        for each in evaluations
        for name, words in DIRECTION_WORDS.items()
        if each.directions[name].left_out or any(each.missing[name])
    ]
    if rows:
        console.out("")
        console.table(["left out", *columns], rows, right=columns)
        console.out(
            "\nQueries with nothing relevant in the gallery; queries and items without the\n"
            "image or text that the direction needs."
        )
