"""Items and artefacts to JSON text and back, by their declared types."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args, get_origin, is_typeddict
from uuid import UUID

from treadle.artefact import MAX_INLINE
from treadle.errors import InvalidArtefact, InvalidItem
from treadle.plain_types import WORDS, plain_type

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MAX_DEPTH = 64
MAX_ID_BYTES = 512
ANY: Any = Any
"""The type of a value that was given none: plain JSON."""

_PLAIN: dict[Any, tuple[type, ...]] = {
    dict: (dict,),
    list: (list,),
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (float, int),
    None: (type(None),),
    type(None): (type(None),),
}
"""Types that JSON gives back unchanged, so they need no adapter."""

_SCHEMA_WORDS: dict[Any, str] = {**WORDS, None: WORDS[type(None)], dict: "object", list: "array"}

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def bad_name(text: str) -> str | None:
    """Why ``text`` cannot be an id or a subtask's name, or ``None``. The rule is the same on every store."""
    if text.isascii() and text.isprintable() and 1 <= len(text) <= MAX_ID_BYTES:
        return None
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "it holds a lone surrogate, which is not text"
    if not 1 <= size <= MAX_ID_BYTES:
        return f"it has {size} bytes; 1 to {MAX_ID_BYTES} are allowed"
    for character in text:
        if unicodedata.category(character) == "Cc" or character in _BIDI:
            return f"it holds the control character U+{ord(character):04X}"
    return None


def item_id(value: object) -> str:
    """The id as stores keep it: text. Strings, whole numbers and UUIDs are taken.

    Raises:
        InvalidItem: it is none of these, or breaks the rule for ids.
    """
    text = value if type(value) is str else _written(value)
    if reason := bad_name(text):
        raise InvalidItem(f"{text!r:.80} cannot be an item's id: {reason}")
    return text


def _written(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise InvalidItem(f"{value!r:.80} cannot be an item's id: use a string, a whole number or a UUID")
    try:
        return str(value)
    except Exception as error:
        raise InvalidItem(f"an item's id cannot be written down: {type(error).__name__}: {error}") from error


def dump(value: Any, most: int = MAX_INLINE) -> str:
    """``value`` as JSON text of at most so many bytes that every reader understands.

    Raises:
        ValueError: NaN or infinity, NUL, a lone surrogate, too deep, too large.
        TypeError: something that JSON does not have.
    """
    try:
        text = "".join(_pieces(value, 0))
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    # JSON's escapes are ASCII, so a short ASCII text without "u0000" holds nothing of what follows.
    if len(text) < MAX_DEPTH and text.isascii() and "u0000" not in text:
        return text
    return _checked(text, value, most)


def _checked(text: str, value: Any, most: int) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("it holds a lone surrogate, which is not text") from None
    if size > most:
        raise ValueError(
            f"it has {size:,} bytes as JSON; at most {most:,} are stored: keep the bytes in a file and return its path"
        )
    if "\\u0000" in text and _holds_nul(value):
        raise ValueError("it holds the character NUL, which databases refuse")
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    return text


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple) else []


def _holds_nul(value: Any) -> bool:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and "\x00" in value:
            return True
        waiting += _children(value)
    return False


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [child for parent in level for child in _children(parent)]:
        depth += 1
    return depth


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is not a JSON type; return plain values, or annotate the stage's return type")


def _encoding() -> Callable[[Any, int], Iterable[str]]:
    """How plain values become pieces of text; the number is how deep they are indented.

    ``JSONEncoder.encode`` makes a C encoder for every call, which takes longer than a small value takes to be
    encoded; where the standard library has one (CPython), one serves for all calls.
    """
    whole = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), default=_refuse)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, _: whole.iterencode(value)
    encoder: Callable[[Any, int], Iterable[str]] = make(
        None, _refuse, json.encoder.encode_basestring, None, ":", ",", False, False, False,  # noqa: FBT003 - its signature
    )  # fmt: skip
    return encoder


_pieces = _encoding()


_decode = json.JSONDecoder().raw_decode


def load(text: str) -> Any:
    """The plain value of JSON text.

    What :func:`dump` made has nothing around it, so it is decoded without looking for that first: a third of the time.
    """
    try:
        value, end = _decode(text)
    except ValueError:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


class Codec:
    """Values of one type as JSON text.

    ``decode(encode(value))`` is what dependents see, in the process that made the value too, so that a
    restart changes nothing. Without a type, values are plain JSON. Their text has at most ``most`` bytes.
    """

    def __init__(self, annotation: Any = ANY, *, most: int = MAX_INLINE) -> None:
        self._most = most
        self.annotation: Any = annotation
        self._plain = annotation is ANY or annotation is object or _is_plain(annotation)
        self._accepts = _PLAIN.get(annotation) if self._plain else None
        self._exact = None if self._plain else plain_type(annotation)
        self._is_exact = _never if self._exact is None else self._exact.has
        """Whether a value needs no converter."""
        find = _no_converters if self._plain else _converters if self._exact is None else _late_converters
        self._to_plain, self._from_plain = find(annotation)
        self._is_stable = not self._plain and _json_is_python(annotation)
        """Whether what was checked once is sure to be read back."""

    def encode(self, value: Any, where: str) -> str:
        """``value`` as JSON text; ``where`` begins the message of what goes wrong.

        Raises:
            InvalidArtefact: it does not fit the type, or is not JSON.
        """
        if self._plain:
            if self._accepts is not None and not isinstance(value, self._accepts):
                expected = getattr(self.annotation, "__name__", "None")
                raise InvalidArtefact(where, [f"value: a {type(value).__name__} was given where {expected} is declared"])
            try:
                return dump(value, self._most)
            except (TypeError, ValueError) as error:
                raise InvalidArtefact(where, [f"value: {error}"]) from None
        try:
            if self._is_exact(value):
                return dump(value, self._most)
            text = dump(self._to_plain(value), self._most)
            if not self._is_stable:
                self._from_plain(load(text))
        except Exception as error:
            raise InvalidArtefact(where, _reasons(error)) from error
        return text

    def plain(self, value: Any) -> Any:
        """``value`` as plain JSON values; raises what the type's own check raises."""
        return value if self._is_exact(value) else self._to_plain(value)

    def value(self, plain: Any) -> Any:
        """The value of plain JSON values; raises what the type's own check raises."""
        return plain if self._is_exact(plain) else self._from_plain(plain)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of these values, for forms and for checks without the type; empty where any value will do."""
        if self._plain:
            return {"type": word} if (word := _SCHEMA_WORDS.get(self.annotation)) is not None else {}
        if self._exact is not None:
            return self._exact.schema
        if hasattr(self.annotation, "__struct_fields__"):
            import msgspec

            made: dict[str, Any] = msgspec.json.schema(self.annotation)
            return made
        if hasattr(self.annotation, "__attrs_attrs__"):
            return {}
        return _adapter(self.annotation).json_schema(mode="validation")

    def decode(self, text: str, where: str) -> Any:
        """The value of stored JSON text.

        Raises:
            InvalidArtefact: what is stored does not fit the type (any more).
        """
        try:
            plain = load(text)
            return plain if self._plain else self.value(plain)
        except Exception as error:
            raise InvalidArtefact(where, _reasons(error)) from error


Converter = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _never(_value: Any) -> bool:
    return False


def _reasons(error: Exception) -> list[str]:
    """``path: reason`` for each field, where the error knows them."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return [f"value: {error}" if str(error) else f"value: {type(error).__name__}"]
    listed = errors(include_url=False, include_input=False, include_context=False)
    return [f"{'.'.join(map(str, entry['loc'])) or 'value'}: {entry['msg']}" for entry in listed]


def _no_converters(_annotation: Any) -> tuple[Converter, Converter]:
    return _same, _same


def _late_converters(annotation: Any) -> tuple[Converter, Converter]:
    """Looked for when a value needs them, since that loads pydantic."""

    @lru_cache(maxsize=1)
    def found() -> tuple[Converter, Converter]:
        return _converters(annotation)

    def to_plain(value: Any) -> Any:
        return found()[0](value)

    def from_plain(plain: Any) -> Any:
        return found()[1](plain)

    return to_plain, from_plain


def _converters(annotation: Any) -> tuple[Converter, Converter]:
    """How values of this type become plain JSON values, and come back.

    Raises:
        TypeError: the type cannot be stored as JSON.
    """
    if hasattr(annotation, "__struct_fields__"):
        return _msgspec(annotation)
    if isinstance(annotation, type) and hasattr(annotation, "__attrs_attrs__"):
        return _attrs(annotation)
    adapter = _adapter(annotation)

    if _json_is_python(annotation):
        # The adapter's own method is Python around this, and longer at work than a small value's check.
        validate: Converter = adapter.validator.validate_python
        return validate, validate

    def to_plain(value: Any) -> Any:
        return adapter.dump_python(adapter.validate_python(value), mode="json")

    return to_plain, lambda value: adapter.validate_json(json.dumps(value))


def _is_plain(annotation: Any) -> bool:
    # Not `in`: an annotation may be unhashable, such as Annotated[int, ["x"]].
    return any(annotation is plain for plain in _PLAIN)


def _json_is_python(annotation: Any) -> bool:
    """Whether lax validation reads this type's plain JSON values as it reads its JSON text."""
    return _is_plain(annotation) or (
        get_origin(annotation) in (dict, list) and all(_is_plain(a) or a is ANY for a in get_args(annotation))
    )


@lru_cache(maxsize=256)
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return _new_adapter(annotation)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(annotation)
    except TypeError:  # unhashable, such as Annotated[int, ["x"]]
        return _new_adapter(annotation)


def _new_adapter(annotation: Any) -> TypeAdapter[Any]:
    from pydantic import PydanticUserError, TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(_modern(annotation))
        adapter.json_schema(mode="serialization")
    except (PydanticUserError, PydanticSchemaGenerationError) as error:
        raise TypeError(str(error).splitlines()[0]) from error
    return adapter


def _modern(annotation: Any) -> Any:
    """``typing.TypedDict`` before Python 3.12 hides what pydantic needs; the same type from typing_extensions does not."""
    if not is_typeddict(annotation) or type(annotation).__module__ == "typing_extensions":
        return annotation
    from typing import get_type_hints

    import typing_extensions as extensions

    hints = get_type_hints(annotation, include_extras=True)
    optional = annotation.__optional_keys__
    fields = {name: extensions.NotRequired[_modern(hint)] if name in optional else _modern(hint) for name, hint in hints.items()}
    return extensions.TypedDict(annotation.__name__, fields)  # type: ignore[operator]  # built from data, not a literal


def _msgspec(annotation: Any) -> tuple[Converter, Converter]:
    import msgspec

    def to_plain(value: Any) -> Any:
        if not isinstance(value, annotation):
            raise TypeError(f"a {type(value).__name__} was given where {annotation.__name__} is declared")
        return msgspec.to_builtins(value)

    return to_plain, lambda plain: msgspec.convert(plain, annotation, strict=False)


def _attrs(annotation: Any) -> tuple[Converter, Converter]:
    import attrs

    annotation = attrs.resolve_types(annotation)
    fields = {f.name: (f.alias, Codec(ANY if f.type is None else f.type)) for f in attrs.fields(annotation) if f.init}

    def to_plain(value: Any) -> Any:
        if not isinstance(value, annotation):
            raise TypeError(f"a {type(value).__name__} was given where {annotation.__name__} is declared")
        return {name: codec.plain(getattr(value, name)) for name, (_, codec) in fields.items()}

    def from_plain(plain: Any) -> Any:
        return annotation(**{alias: fields[name][1].value(plain[name]) for name, (alias, _) in fields.items() if name in plain})

    return to_plain, from_plain


def _shown(item: Any) -> str:
    try:
        return f"{item!r:.120}"
    except Exception:  # noqa: BLE001 - its __repr__ is user code
        return f"a {type(item).__name__}"


class ItemCodec:
    """Items of one type, with their ids."""

    def __init__(self, annotation: Any) -> None:
        self.annotation: Any = annotation
        self._codec = Codec(annotation)

    def encode(self, item: Any) -> tuple[str, str]:
        """The item's id and its JSON text.

        Raises:
            InvalidItem: no id, a bad one, or content that does not fit the type or is not JSON.
        """
        try:
            raw = item["id"] if isinstance(item, dict) else item.id
        except (KeyError, AttributeError):
            name = "it" if self.annotation is ANY else getattr(self.annotation, "__name__", "it")
            raise InvalidItem(f"an item has no id: {_shown(item)}; give {name} a field `id`") from None
        except Exception as error:
            raise InvalidItem(f"an item's id cannot be read: {type(error).__name__}: {error}") from error
        identity = item_id(raw)
        try:
            return identity, self._codec.encode(item, "")
        except InvalidArtefact as error:
            told = InvalidArtefact(f"item {identity!r}", error.problems)
            hint = "" if self.annotation is not ANY else "; say what items are with Workflow(..., item=YourType)"
            raise InvalidItem(f"{told}{hint}") from error

    def decode(self, identity: str, text: str) -> Any:
        """The item of stored JSON text; raises ``InvalidArtefact`` if it no longer fits the type."""
        try:
            return self._codec.decode(text, "")
        except InvalidArtefact as error:
            where = f"item {identity!r} as stored does not fit {getattr(self.annotation, '__name__', 'its type')}"
            raise InvalidArtefact(where, error.problems) from error.__cause__
