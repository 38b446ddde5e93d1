"""Whether what one stage makes fits what another declares; in doubt, it does."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, is_typeddict

from treadle.outcome import AwaitingReview, Completed, FanOut, Skipped

_OUTCOMES = (Completed, Skipped, AwaitingReview, FanOut)
_UNIONS = (Union, types.UnionType)


def fits(made: Any, declared: Any) -> bool:
    """False only where no value of type ``made`` could be taken for ``declared``."""
    made, declared = _bare(made), _bare(declared)
    if made == declared or _unknown(made) or _unknown(declared):
        return True
    if get_origin(declared) in _UNIONS:
        return any(fits(made, one) for one in get_args(declared))
    if get_origin(made) in _UNIONS:
        # A dependent of `X | None` may well declare X: it asks for the case it can handle.
        return any(fits(one, declared) for one in get_args(made))
    if get_origin(made) is Literal or get_origin(declared) is Literal:
        return _literal_fits(made, declared)
    return _class_fits(_class(made), _class(declared)) and _arguments_fit(get_args(made), get_args(declared))


def artefact_type(returns: Any) -> Any:
    """The type of the artefact among what a stage may return: outcomes are taken out of a union."""
    bare = _bare(returns)
    if get_origin(bare) not in _UNIONS:
        # What `Annotated` says of a type holds for what is stored: constraints and validators stay with it.
        made = returns if get_origin(returns) is Annotated else bare
        return Any if bare in _OUTCOMES else made
    kept = tuple(one for one in get_args(bare) if one not in _OUTCOMES)
    if len(kept) < len(get_args(bare)) and (Completed in get_args(bare) or not kept):
        return Any
    return Union[kept]  # noqa: UP007 - built from a tuple


def element(annotation: Any) -> Any:
    """The type of what a list type holds, ``Any`` if it does not say; ``None`` if it is no type of lists."""
    annotation = _bare(annotation)
    if _unknown(annotation):
        return Any
    if not issubclass(list, _class(annotation)):
        return None
    return (get_args(annotation) or (Any,))[0]


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return type(None) if annotation is None else annotation


def _unknown(annotation: Any) -> bool:
    return (
        annotation is Any
        or annotation is object
        or isinstance(annotation, TypeVar | str)
        or not isinstance(_class(annotation), type)
    )


def _class(annotation: Any) -> Any:
    if is_typeddict(annotation):
        return dict
    if get_origin(annotation) is Literal:
        return type(get_args(annotation)[0])
    return get_origin(annotation) or annotation


def _literal_fits(made: Any, declared: Any) -> bool:
    if get_origin(made) is Literal and get_origin(declared) is Literal:
        return bool(set(get_args(made)) & set(get_args(declared)))
    return _class_fits(_class(made), _class(declared))


def _class_fits(made: type, declared: type) -> bool:
    if declared is float and made is int:
        return True
    if getattr(declared, "_is_protocol", False):
        return True
    try:
        return issubclass(made, declared)
    except TypeError:
        return True


def _arguments_fit(made: Sequence[Any], declared: Sequence[Any]) -> bool:
    if len(made) != len(declared):
        return True
    return all(one is Ellipsis or other is Ellipsis or fits(one, other) for one, other in zip(made, declared, strict=True))
