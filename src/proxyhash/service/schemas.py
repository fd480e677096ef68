"""Bodies of requests and responses; the OpenAPI description is generated from these."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator

from proxyhash.codes import code_bytes
from proxyhash.codes.bits import MAX_BITS
from proxyhash.data import Modality
from proxyhash.index import parse_filter
from proxyhash.index.second_look import RERANKINGS, SHORTLIST
from proxyhash.index.words import WEIGHT
from proxyhash.search import Query, SearchOptions

__all__ = [
    "BatchAnswer",
    "BatchRequest",
    "Deleted",
    "EncodeRequest",
    "Encoded",
    "ErrorAnswer",
    "Ids",
    "Info",
    "Item",
    "ItemsRequest",
    "NewItem",
    "Readiness",
    "Sample",
    "SearchAnswer",
    "SearchParameters",
    "SearchRequest",
    "Status",
    "Upserted",
]

Hex = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})+$", max_length=2 * code_bytes(MAX_BITS))]
# The index checks ids, so that what it says about one is the same everywhere.
Id = Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": 512})]
JsonObject = dict[str, Any]

_QUERIES = ("text", "id", "code", "vector")
_ONE_QUERY: Any = {"oneOf": [{"required": [name]} for name in _QUERIES]}

# Described here and checked by `Query` and `SearchOptions`, which refuse with the same sentence
# everywhere.
_HEX: Any = {"pattern": r"^([0-9a-fA-F]{2})+$"}
_AT_LEAST_1: Any = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}
_AT_LEAST_0: Any = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}


_MOST_KEYS = 64


def _few(value: Any) -> Any:
    """Refuse at once what would have to be refused key by key."""
    if isinstance(value, dict) and len(value) > _MOST_KEYS:
        raise ValueError(f"the object has {len(value)} keys; {_MOST_KEYS} are the most")
    return value


def _numbers(value: Any) -> Any:
    """Refuse at once what would have to be refused number by number."""
    if isinstance(value, list) and any(type(one) not in (int, float) for one in value):
        raise ValueError("it holds something that is not a number")
    return value


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    _few_keys = model_validator(mode="before")(_few)


class SearchParameters(_Request):
    """Options of a search; `proxyhash.search.SearchOptions` checks their values."""

    target: Modality | None = Field(None, description="Modality whose codes are searched.")
    k: int | None = Field(
        12,
        json_schema_extra=_AT_LEAST_1,
        description="Number of hits at most; null for all within the radius.",
    )
    radius: int | None = Field(
        None, json_schema_extra=_AT_LEAST_0, description="Largest distance of a hit, in bits."
    )
    filter: JsonObject | None = Field(
        None,
        description='Condition on payloads, such as {"field": "labels", "contains": "dog"}.',
    )
    rerank: str | None = Field(
        None,
        json_schema_extra={
            "anyOf": [{"type": "string", "enum": [*RERANKINGS]}, {"type": "null"}],
        },
        description="asymmetric: order hits by asymmetric distance; vectors: by the distance to "
        "stored vectors, where the index keeps any; null: by Hamming distance.",
    )
    shortlist: int | None = Field(
        SHORTLIST,
        json_schema_extra=_AT_LEAST_1,
        description="How many of the nearest `rerank` orders; null for all items.",
    )
    mode: str | None = Field(
        None,
        json_schema_extra={
            "anyOf": [{"type": "string", "enum": ["codes", "words", "both"]}, {"type": "null"}]
        },
        description="What a text finds items by; null: both where the index has words, else codes.",
    )
    words_weight: float = Field(
        WEIGHT,
        json_schema_extra={"minimum": 0, "maximum": 1},
        description="Share of the words in the order of mode both.",
    )
    explain: bool = Field(
        False, description="Also count the codes at each distance and name the nearest proxies."
    )

    def options(self) -> SearchOptions:
        """Return the options as values of the package.

        Raises:
            UsageError: one is out of range, or the filter is malformed.
        """
        return SearchOptions(
            target=self.target,
            k=self.k,
            radius=self.radius,
            filter=None if self.filter is None else parse_filter(self.filter),
            rerank=self.rerank,
            shortlist=self.shortlist,
            mode=self.mode,
            words_weight=self.words_weight,
        )


class SearchRequest(SearchParameters):
    """A search by one of text, id, code and vector."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_ONE_QUERY)

    text: str | None = None
    id: Id | None = None
    code: str | None = Field(
        None, json_schema_extra=_HEX, description="Packed code in hex, first bit first."
    )
    vector: Annotated[list[float] | None, BeforeValidator(_numbers)] = Field(
        None, max_length=65_536, description="Features, as the encoder of `modality` returns them."
    )
    modality: Modality | None = Field(
        None, description="Which code of the item `id` asks; which network encodes `vector`."
    )

    @model_validator(mode="after")
    def _check(self) -> SearchRequest:
        given = [name for name in _QUERIES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of text, id, code and vector")
        if self.modality is not None and self.text is not None:
            raise ValueError("give modality beside an id, a code or a vector, never beside a text")
        return self

    def query(self) -> Query:
        """Return the query as a value of the package.

        Raises:
            UsageError: it cannot be searched for.
        """
        return Query(
            text=self.text,
            item=self.id,
            code=self.code,
            vector=None if self.vector is None else _array(self.vector),
            modality=self.modality,
        )


def _array(values: list[float]) -> Any:
    return np.array(values, np.float64)


class BatchRequest(_Request):
    """Several searches at once."""

    queries: Annotated[list[SearchRequest], FailFast()]


class EncodeRequest(_Request):
    """Texts to encode."""

    texts: Annotated[list[str], Field(min_length=1), FailFast()]


class NewItem(_Request):
    """An item to store; without a text code its text is encoded."""

    id: Id
    text: str | None = None
    codes: Annotated[dict[str, Hex], BeforeValidator(_few)] = Field(default_factory=dict)
    payload: JsonObject = Field(default_factory=dict)


class ItemsRequest(_Request):
    """Items to store, replacing those with the same ids."""

    items: Annotated[list[NewItem], FailFast()]


class Ids(_Request):
    """Ids of items."""

    ids: Annotated[list[Id], FailFast()]


class Status(BaseModel):
    """State of the service."""

    status: str


class Readiness(BaseModel):
    """Whether searches are answered."""

    status: str
    warnings: list[str] = Field(description="What is wrong although searches are answered.")


class QueryAnswer(BaseModel):
    """The query that an answer is for."""

    kind: str = Field(description="text, image, id, code or vector")
    modality: Modality | None
    text: str | None
    id: str | None
    payload: JsonObject | None = Field(description="Of the item that asks; null where none does.")
    code: str


class HitAnswer(BaseModel):
    """One item of an answer."""

    id: str
    distance: int
    asymmetric: float | None = Field(
        description="Asymmetric distance, in bits, where hits are ordered by it."
    )
    vector_distance: float | None = Field(
        description="Distance to the stored vector, in bits, where hits are ordered by it."
    )
    fused: float | None = Field(
        description="Score of the ranks by code and words, where hits are ordered by it."
    )
    matched: list[str] = Field(description="Words and phrases of the text that it was found by.")
    code: str
    payload: JsonObject
    thumbnail: str | None


class Milliseconds(BaseModel):
    """Milliseconds that a search took, waiting included."""

    encode: float
    search: float
    total: float


class ProxyAnswer(BaseModel):
    """A class and how far its proxy is from the query."""

    label: str
    distance: int


class Explanation(BaseModel):
    """Distances of all searched codes, and the nearest classes."""

    histogram: list[int] = Field(
        description="Number of searched codes at distance 0, 1, ..., bits; empty if unknown."
    )
    cut: int | None = Field(description="Distance of the last hit.")
    within: int | None = Field(
        description="Number of searched codes at most as far as the last hit; null if unknown. "
        "More than there are hits: others are just as near as the last one."
    )
    proxies: list[ProxyAnswer]


class NoteAnswer(BaseModel):
    """Something about a question that its answer cannot show."""

    kind: str = Field(
        description="unknown_word, unknown_field, other_type, unknown_label or no_words"
    )
    message: str = Field(description="A sentence for the person who asks.")
    subject: str = Field(description="The word, field or label it is about.")
    suggestions: list[str] = Field(description="What may have been meant, most likely first.")


class SearchAnswer(BaseModel):
    """The items found, by distance (that of rerank, if any) or fused score, then by id."""

    query: QueryAnswer
    bits: int
    target: Modality
    searched: int | None
    rerank: str | None
    mode: str = Field(description="codes, words or both: what the hits were found by")
    words: list[str] | None = Field(
        description="Words of the text that the model knows; null if it does not read words."
    )
    notes: list[NoteAnswer] = Field(description="What of the question was not understood.")
    hits: list[HitAnswer]
    took_ms: Milliseconds
    explain: Explanation | None


class BatchAnswer(BaseModel):
    """Answers in the order of the queries."""

    results: list[SearchAnswer]


class Encoded(BaseModel):
    """Codes in hex, first bit first."""

    bits: int
    model: str
    codes: list[str]


class Item(BaseModel):
    """A stored item."""

    id: str
    codes: dict[str, str]
    payload: JsonObject


class SampleItem(BaseModel):
    """An item to look at."""

    id: str
    payload: JsonObject
    thumbnail: str | None


class Sample(BaseModel):
    """Items from all over the index, and the modality that they are shown by."""

    target: Modality
    items: list[SampleItem]


class Upserted(BaseModel):
    """Number of items stored."""

    upserted: int


class Deleted(BaseModel):
    """Number of items deleted."""

    deleted: int


class ModelInfo(BaseModel):
    """The model that made the codes."""

    fingerprint: str
    image_encoder: str | None
    text_encoder: str | None


class LabelCount(BaseModel):
    """A label and the number of items that have it."""

    name: str
    count: int


class LimitsInfo(BaseModel):
    """Limits of one request."""

    k: int
    text: int
    upload_bytes: int
    batch: int


class Info(BaseModel):
    """Version, index, model and limits of the service."""

    version: str
    bits: int
    items: int
    modalities: dict[str, int]
    model: ModelInfo
    labels: list[LabelCount]
    limits: LimitsInfo
    originals: bool = Field(description="Whether /v1/originals has the items' original images.")
    writable: bool
    proxies: bool
    words: bool = Field(description="Whether texts find items by their words, too.")
    engine: str
    vectors: str | None = Field(
        description="How the index keeps vectors, int8 or float, for `rerank`; null: it does not."
    )


class ErrorDetail(BaseModel):
    """One error: a code to compare, a message to read, the id of the request, what to do."""

    code: str
    message: str
    request_id: str
    retry: bool = Field(description="Whether the same request can succeed later.")


class ErrorAnswer(BaseModel):
    """Body of every error response."""

    error: ErrorDetail
