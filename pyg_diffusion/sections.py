"""Sections of a recipe: pydantic models that take YAML as people write it, and say in one line what is wrong with it."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, core_schema

ENDLESS = 2**63  # what is beyond it would break torch with messages of its own
_EXPECTED = {
    "int_type": "int",
    "int_from_float": "int",
    "float_type": "float",
    "bool_type": "bool",
    "string_type": "str",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
}


class RecipeError(ValueError):
    """A recipe that cannot be used, and why."""


class OneOf:
    """Annotation of a string that is one of some names, which may be known only when the program runs.

    Args:
        names: those.
        own: a function of one's own, `module:function`, may stand in the place of a name.
    """

    def __init__(self, names: Iterable[str], own: bool = False):
        self.names, self.own = names, own

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        names: dict[str, Any] = {"type": "string", "enum": list(self.names)}
        return {"anyOf": [names, {"type": "string", "pattern": "^[^:]+:[^:]+$"}]} if self.own else names

    def _check(self, value: str) -> str:
        names = list(self.names)
        if self.own and ":" in value:
            return value
        if value not in names:
            raise ValueError(f"must be {_one_of(names)}{', or module:function' if self.own else ''}, got {value!r}")
        return value


def _one_of(names: list[str]) -> str:
    return " or ".join(names) if len(names) < 3 else f"one of {', '.join(names)}"


class Section(BaseModel):
    """Values of one section. Types are as annotated, but a number may be written as YAML reads 1e-3, a string; and one value
    in the place of a list of one. A docstring below a field describes it in the schema and the reference."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        return _read(value, cls.model_fields[info.field_name].annotation)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A list of one may be written as that one."""
        found = handler.resolve_ref_schema(handler(schema))
        for name, value in found.get("properties", {}).items():
            if value.get("type") == "array":
                about = {key: value.pop(key) for key in ("title", "description", "default") if key in value}
                found["properties"][name] = {"anyOf": [value, value["items"]], **about}
        return found


def _read(value: Any, annotation: Any) -> Any:
    """A value of YAML on the way to its type."""
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind is list:
        return [_read(v, inner[0]) for v in (value if isinstance(value, list) else [value])]
    if kind is dict:
        return {str(k): _read(v, inner[1]) for k, v in value.items()} if isinstance(value, dict) else value
    if annotation is float and isinstance(value, int | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            return float(value)
    if annotation == int | float and isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    if annotation in (int, float, int | float) and type(value) is int and abs(value) >= ENDLESS:
        raise ValueError(f"expected a finite number that is not beyond all size, got {value!r:.40}")
    return value


S = TypeVar("S", bound=Section)


def validated(kind: type[S], values: object, where: str) -> S:
    """The section of a recipe that is called `where`.

    Raises:
        RecipeError: naming the first key or value that is wrong.
    """
    if not isinstance(values, dict):
        raise RecipeError(f"{where}: expected a mapping, got {values!r}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_line(error, kind, where)) from error


def no_such_key(where: str, key: object, keys: Iterable[str]) -> str:
    """The message of it."""
    return f"{where}{'.' if where else ''}{key}: no such key; there are {', '.join(keys)}"


def _line(error: ValidationError, kind: type[Section], where: str) -> str:
    """The first thing that is wrong, unknown keys before all others."""
    errors = error.errors(include_url=False)
    unknown = sorted(str(e["loc"][-1]) for e in errors if e["type"] == "extra_forbidden")
    if unknown:
        return no_such_key(where, unknown[0], kind.model_fields)
    found = errors[0]
    names = [str(part) for part in found["loc"] if not isinstance(part, int)]
    text = _said(found, kind.model_fields[names[0]] if names else None)
    path = ".".join([where, *names])
    if not names:  # of the section as a whole: such messages name the key themselves
        return f"{where}.{text}"
    return f"{path} {text}" if text.startswith("must ") else f"{path}: {text}"


def _said(found: ErrorDetails, field: FieldInfo | None) -> str:
    kind, value, about = found["type"], found["input"], found.get("ctx", {})
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {value!r}"
    if kind == "finite_number":
        return f"expected a finite number that is not beyond all size, got {value!r:.40}"
    if kind == "value_error":
        return str(about["error"])
    if kind == "literal_error" and field is not None:
        return f"must be {_one_of([str(name) for name in get_args(field.annotation)])}, got {value!r}"
    if field is not None and (limits := bounds(field)):
        return f"must {limits}, got {value}"
    return f"{found['msg']}, got {value!r}"


def bounds(field: FieldInfo) -> str:
    """What the values of a field are held to, such as "be > 0" and "lie in [0, 1)"; "" if to nothing."""
    low = next((m for m in field.metadata if isinstance(m, Ge | Gt)), None)
    high = next((m for m in field.metadata if isinstance(m, Le | Lt)), None)
    if low is None and high is None:
        return ""
    least = "" if low is None else f">= {low.ge}" if isinstance(low, Ge) else f"> {low.gt}"
    most = "" if high is None else f"<= {high.le}" if isinstance(high, Le) else f"< {high.lt}"
    if low is None or high is None:
        return f"be {least or most}"
    left, right = "[" if isinstance(low, Ge) else "(", "]" if isinstance(high, Le) else ")"
    return f"lie in {left}{least.split()[1]}, {most.split()[1]}{right}"
