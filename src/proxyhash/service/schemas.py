"""What requests and answers look like; the OpenAPI description is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from proxyhash.codes import code_bytes
from proxyhash.codes.bits import MAX_BITS

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
    "SearchAnswer",
    "SearchOptions",
    "SearchRequest",
    "Status",
    "Upserted",
]

Modality: TypeAlias = Literal["image", "text"]

Hex = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})+$", max_length=2 * code_bytes(MAX_BITS))]
Id = Annotated[str, Field(min_length=1, max_length=512)]
JsonObject = dict[str, Any]

_ONE_QUERY: Any = {"oneOf": [{"required": [name]} for name in ("text", "id", "code")]}


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SearchOptions(_Request):
    """What is looked for, and how much of it."""

    target: Modality | None = Field(None, description="Whose codes are searched.")
    k: int | None = Field(
        12,
        ge=1,
        le=2**31,
        description="Hits at most; null for all within the radius.",
    )
    radius: int | None = Field(None, ge=0, le=2**31, description="No hit is farther, in bits.")
    filter: JsonObject | None = Field(
        None,
        description='Condition on payloads, such as {"field": "labels", "contains": "dog"}.',
    )
    explain: bool = Field(False, description="Also count distances and name the nearest proxies.")


class SearchRequest(SearchOptions):
    """A search by one of text, id and code."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_ONE_QUERY)

    text: str | None = None
    id: Id | None = None
    code: Hex | None = None
    modality: Modality | None = Field(None, description="Which code of the item `id` asks.")

    @model_validator(mode="after")
    def _check(self) -> SearchRequest:
        given = [name for name in ("text", "id", "code") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of text, id and code")
        if self.modality is not None and self.id is None:
            raise ValueError("modality says which code of an item asks; give it beside an id")
        return self


class BatchRequest(_Request):
    """Several searches at once."""

    queries: list[SearchRequest]


class EncodeRequest(_Request):
    """Texts to encode."""

    texts: Annotated[list[str], Field(min_length=1)]


class NewItem(_Request):
    """An item to store; without a text code its text is encoded."""

    id: Id
    text: str | None = None
    codes: dict[str, Hex] = Field(default_factory=dict)
    payload: JsonObject = Field(default_factory=dict)


class ItemsRequest(_Request):
    """Items to store in place of what is stored under their ids."""

    items: list[NewItem]


class Ids(_Request):
    """Ids of items."""

    ids: list[Id]


class Status(BaseModel):
    """Whether the service is well."""

    status: str


class QueryAnswer(BaseModel):
    """What was searched for."""

    kind: Literal["text", "image", "id", "code"]
    modality: Modality | None
    text: str | None
    id: str | None
    code: str


class HitAnswer(BaseModel):
    """One item that was found."""

    id: str
    distance: int
    code: str
    payload: JsonObject
    thumbnail: str | None


class Milliseconds(BaseModel):
    """How long a search took, waiting included."""

    encode: float
    search: float
    total: float


class ProxyAnswer(BaseModel):
    """A class and how far its proxy is from the query."""

    label: str
    distance: int


class Explanation(BaseModel):
    """What the code of a query says."""

    histogram: list[int] = Field(
        description="Searched codes at distance 0, 1, ..., bits; empty where unknown."
    )
    cut: int | None = Field(description="Distance of the last hit.")
    proxies: list[ProxyAnswer]


class SearchAnswer(BaseModel):
    """The items nearest to a query, ordered by distance, then id."""

    query: QueryAnswer
    bits: int
    target: Modality
    searched: int | None
    hits: list[HitAnswer]
    took_ms: Milliseconds
    explain: Explanation | None


class BatchAnswer(BaseModel):
    """Answers in the order of the queries."""

    results: list[SearchAnswer]


class Encoded(BaseModel):
    """Codes, in hex, first bit first."""

    bits: int
    model: str
    codes: list[str]


class Item(BaseModel):
    """What is stored under an id."""

    id: str
    codes: dict[str, str]
    payload: JsonObject


class Upserted(BaseModel):
    """How many items were stored."""

    upserted: int


class Deleted(BaseModel):
    """How many items there were to remove."""

    deleted: int


class ModelInfo(BaseModel):
    """The model that made the codes."""

    fingerprint: str
    image_encoder: str | None
    text_encoder: str | None


class LabelCount(BaseModel):
    """A label and how many items have it."""

    name: str
    count: int


class LimitsInfo(BaseModel):
    """The most that a request may ask for."""

    k: int
    text: int
    upload_bytes: int
    batch: int


class Info(BaseModel):
    """What the service is and holds."""

    version: str
    bits: int
    items: int
    modalities: dict[str, int]
    model: ModelInfo
    labels: list[LabelCount]
    limits: LimitsInfo
    writable: bool
    proxies: bool
    engine: str


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """Every error."""

    error: ErrorDetail
