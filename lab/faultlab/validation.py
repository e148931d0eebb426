"""What is wrong with a value that a person wrote, in words and with its place: pydantic's errors made readable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

Where = tuple[str | int, ...]
"""Names of fields and numbers of list items, from the outermost inwards."""


class Misplaced(ValueError):
    """A problem deeper inside the value being validated: `where` says how deep, `inner` what a model there said."""

    def __init__(self, where: Where, message: str = "", inner: ValidationError | None = None) -> None:
        super().__init__(message)
        self.where = where
        self.inner = inner


class ScenarioModel(BaseModel):
    """The base of everything that a scenario file says in fields: frozen, and strict about the fields' names.

    A Python name carries the unit (`pace_ms=5`); in a file the value does (`pace: 5ms`), and the name is without.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        allow_inf_nan=False,
        alias_generator=lambda name: name.removesuffix("_ms"),
    )

    @model_validator(mode="before")
    @classmethod
    def _knows_its_fields(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            refuse_unknown(value, cls)
        return value


def refuse_unknown(given: Iterable[str], model: type[BaseModel], where: Where = ()) -> None:
    """Misplaced for the first name that is no field of `model`, with the names that are."""
    written = {name: field for name, field in model.model_fields.items() if not field.exclude}
    aliases = [field.alias or name for name, field in written.items()]
    for name in given:
        if name not in aliases and name not in model.model_fields:
            raise Misplaced((*where, name), f"no such field; expected one of {', '.join(aliases)}{hint(name, aliases)}")


def hint(name: object, known: Iterable[str]) -> str:
    """`; did you mean loss?`, or nothing."""
    close = get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def problems(error: ValidationError) -> Iterator[tuple[Where, str]]:
    """Each problem's place and what to say of it: what was found, what was expected."""
    for one in error.errors(include_url=False):
        where, cause = one["loc"], one.get("ctx", {}).get("error")
        if isinstance(cause, Misplaced) and cause.inner is not None:
            yield from ((where + cause.where + deeper, text) for deeper, text in problems(cause.inner))
        elif isinstance(cause, Misplaced):
            yield where + cause.where, str(cause)
        elif not _follows_from_another(one):
            yield where, str(cause) if cause is not None else _in_words(one["type"], one)


def _follows_from_another(one: Mapping[str, Any]) -> bool:
    """A list whose items are wrong is too short for pydantic, as it leaves them out before it counts."""
    return bool(one["type"] == "too_short" and len(one["input"]) >= one["ctx"]["min_length"])


def _in_words(kind: str, one: Mapping[str, Any]) -> str:
    found = shown(one["input"])
    context = one.get("ctx", {})
    if kind == "missing":
        return "missing; expected this field; add it"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"found {found}; expected fields, such as {{name: value}}"
    if kind in ("tuple_type", "list_type"):
        return f"found {found}; expected a list, such as [a, b]"
    if kind == "union_tag_invalid":
        return f"found {context['discriminator']}: {context['tag']}; expected one of {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"found no {context['discriminator']}; expected it first; add it"
    if kind == "too_short":
        return f"found {context['actual_length']} entries; expected at least {context['min_length']}"
    expected = one["msg"].replace("Input should be ", "expected ").replace("Input should ", "expected to ")
    return f"found {found}; {expected}"


def shown(value: object) -> str:
    """A value as a file shows it, cut to a length that fits one line."""
    if isinstance(value, Mapping):
        return "fields"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
