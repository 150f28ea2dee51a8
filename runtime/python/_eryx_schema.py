"""Checks arguments of a callback against its JSON schema, before the embedder is asked.

The keywords that a schema of arguments needs are checked: types, enumerations, bounds, lengths,
patterns, and what is inside arrays and objects. What is not known is left to the embedder.
"""

_NUMBER = (int, float)
_TYPES = {
    "string": str,
    "integer": int,
    "number": _NUMBER,
    "boolean": bool,
    "array": (list, tuple),
    "object": dict,
    "null": type(None),
}
# Schemas may nest without end; JSON that deep is refused anyway when it is made.
_DEEPEST = 100


def check(schema, value, place, depth=0):
    """Raises TypeError or ValueError, which name the place, if a value does not fit a schema."""
    if schema is False:
        raise ValueError(f"{place} is not allowed")
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return
    _check_type(schema.get("type"), value, place)
    if isinstance(choices := schema.get("enum"), list) and not any(_same(value, one) for one in choices):
        raise ValueError(f"{place} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    if "const" in schema and not _same(value, schema["const"]):
        raise ValueError(f"{place} must be {schema['const']!r}, not {value!r}")
    if isinstance(value, str):
        _check_text(schema, value, place)
    elif isinstance(value, _NUMBER) and not isinstance(value, bool):
        _check_number(schema, value, place)
    elif isinstance(value, (list, tuple)):
        _check_length(schema, "minItems", "maxItems", value, place, "items")
        if "items" in schema:
            for index, item in enumerate(value):
                check(schema["items"], item, f"{place}[{index}]", depth + 1)
    elif isinstance(value, dict):
        _check_object(schema, value, place, depth)
    _check_combined(schema, value, place, depth)


def _check_type(kinds, value, place):
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(kinds, list) or not kinds or not all(kind in _TYPES for kind in map(str, kinds)):
        return
    if not any(_is(kind, value) for kind in kinds):
        raise TypeError(f"{place} must be of type {' or '.join(kinds)}, not {type(value).__name__}")


def _is(kind, value):
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _same(one, other):
    # True is not 1 in JSON.
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _check_text(schema, value, place):
    _check_length(schema, "minLength", "maxLength", value, place, "characters")
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        import re

        try:
            fits = re.search(pattern, value) is not None
        except re.error:
            return  # a pattern of another dialect is left to the embedder
        if not fits:
            raise ValueError(f"{place} must match {pattern!r}, not {value!r}")


def _check_length(schema, least, most, value, place, unit):
    low, high = schema.get(least), schema.get(most)
    if isinstance(low, int) and len(value) < low:
        raise ValueError(f"{place} must have at least {low} {unit}, not {len(value)}")
    if isinstance(high, int) and len(value) > high:
        raise ValueError(f"{place} must have at most {high} {unit}, not {len(value)}")


_BOUNDS = {
    "minimum": ("at least", lambda value, bound: value >= bound),
    "maximum": ("at most", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("more than", lambda value, bound: value > bound),
    "exclusiveMaximum": ("less than", lambda value, bound: value < bound),
}


def _check_number(schema, value, place):
    for keyword, (words, holds) in _BOUNDS.items():
        bound = schema.get(keyword)
        if isinstance(bound, _NUMBER) and not isinstance(bound, bool) and not holds(value, bound):
            raise ValueError(f"{place} must be {words} {bound!r}, not {value!r}")


def _check_object(schema, value, place, depth):
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in value:
            raise ValueError(f"{place} must have {name!r}")
    for name, item in value.items():
        if name in properties:
            check(properties[name], item, f"{place}[{name!r}]", depth + 1)
        elif "additionalProperties" in schema:
            check(schema["additionalProperties"], item, f"{place}[{name!r}]", depth + 1)


def _check_combined(schema, value, place, depth):
    for part in _list(schema.get("allOf")):
        check(part, value, place, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        errors = []
        parts = _list(schema.get(keyword))
        for part in parts:
            try:
                check(part, value, place, depth + 1)
                break
            except (TypeError, ValueError) as error:
                errors.append(error)
        if parts and len(errors) == len(parts):
            raise errors[0]


def _list(value):
    return value if isinstance(value, list) else []
