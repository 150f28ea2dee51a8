"""The embedder's callbacks as async functions."""

import builtins

import _eryx


class CallbackError(Exception):
    """The embedder refused a call, or its callback failed."""


CallbackError.__module__ = "eryx"


async def invoke(name, arguments=None, /, **keywords):
    """Calls the embedder's callback `name`.

    With keyword arguments, or with none at all, returns the answer as a value. With `arguments`, a JSON object as text
    or a dict, returns the answer as JSON text.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a callback must be a str, not {type(name).__name__}")
    if arguments is None:
        return _value(await _invoke(name, _canonical(keywords)))
    if keywords:
        raise TypeError("invoke() takes keyword arguments or an object of arguments, not both")
    return await _invoke(name, arguments if isinstance(arguments, str) else _canonical(arguments))


invoke.__module__ = "eryx"


async def _invoke(name, arguments):
    import _eryx_loop

    succeeded, text = await _eryx_loop.call(name, arguments)
    if succeeded:
        return text
    raise CallbackError(text)


def _canonical(arguments):
    """The one JSON text of the arguments: keys in order, no blanks. NaN and infinities have none: ValueError."""
    import json

    options = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    try:
        return json.dumps(arguments, **options)
    except TypeError:
        # Keys of several types have no order before they are text; what is no JSON fails again.
        return json.dumps(json.loads(json.dumps(arguments, allow_nan=False)), **options)


def _value(text):
    import json

    return json.loads(text) if text.strip() else None


def list_callbacks():
    """Returns the callbacks that there are: dicts with `name`, `description` and `parameters_schema`, a JSON schema."""
    return [
        {"name": name, "description": description, "parameters_schema": _parsed(schema)}
        for name, description, schema in _eryx.list_callbacks()
    ]


list_callbacks.__module__ = "eryx"


def _parsed(schema):
    """A schema as a dict; an empty one instead of what is none."""
    import json

    try:
        value = json.loads(schema)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


class _Unset:
    """Stands for an argument that was not given."""

    def __repr__(self):
        return "<not given>"


_UNSET = _Unset()
#: The same for one that has to be given, where Python allows no parameter without a default.
_MISSING = _Unset()
_TYPES = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": None,
}
_TEMPLATE = """\
async def {name}({parameters}):
    return await __eryx_call({callback!r}, {{{given}}}, {more}, __eryx_schemas)
"""


async def _call(callback, given, more, schemas):
    missing = [name for name, value in given.items() if value is _MISSING]
    if missing:
        raise TypeError(_missing(_as_written(callback), missing))
    arguments = {name: value for name, value in given.items() if value is not _UNSET}
    arguments.update(more)
    if schemas:
        import _eryx_schema

        for name, value in arguments.items():
            if name in schemas:
                _eryx_schema.check(schemas[name], value, f"{callback}() argument {name!r}")
    return _value(await _invoke(callback, _canonical(arguments)))


def _missing(function, names):
    """What Python says when arguments are missing."""
    *first, last = map(repr, names)
    listed = f"{', '.join(first)}{',' if len(first) > 1 else ''} and {last}" if first else last
    return f"{function}() missing {len(names)} required positional argument{'s' if first else ''}: {listed}"


def make_function(callback, description="", schema="{}"):
    """Makes the async function for a callback; its signature comes from the JSON schema, in the schema's order."""
    properties, required, open_ended = _read_schema(schema)
    names = [name for name in properties if _is_name(name)]
    if len(names) < len(properties):
        open_ended = True
    # Real parameters give the usual TypeErrors and a signature, without importing inspect.
    defaults, parts = {}, []
    for name in names:
        if name not in required:
            defaults[name] = _default(properties[name])
        elif defaults:
            defaults[name] = _MISSING
        parts.append(f"{name}=__eryx_defaults[{name!r}]" if name in defaults else name)
    if open_ended:
        parts.append("**__eryx_more")
    function_name = _python_parts(callback)[-1] or "callback"
    source = _TEMPLATE.format(
        name=function_name,
        parameters=", ".join(parts),
        callback=callback,
        given=", ".join(f"{name!r}: {name}" for name in names),
        more="__eryx_more" if open_ended else "{}",
    )
    schemas = {name: schema for name, schema in properties.items() if schema not in ({}, True)}
    namespace = {"__name__": "eryx", "__eryx_call": _call, "__eryx_defaults": defaults, "__eryx_schemas": schemas}
    exec(compile(source, f"<eryx callback {callback}>", "exec"), namespace)
    function = namespace[function_name]
    function.__qualname__ = _as_written(callback)
    function.__doc__ = _documentation(description, properties)
    function.__annotations__ = {name: _annotation(properties[name]) for name in names}
    function.__eryx_callback__ = callback
    return function


def _documentation(description, properties):
    """The description, then those of the arguments that have one."""
    told = [
        f"    {name}: {schema['description']}"
        for name, schema in properties.items()
        if isinstance(schema, dict) and isinstance(schema.get("description"), str)
    ]
    parts = [description] if description else []
    if told:
        parts.append("\n".join(["Arguments:", *told]))
    return "\n\n".join(parts) or None


def _as_written(callback):
    """A callback's name as code writes it."""
    return callback.replace("-", "_")


def _python_parts(callback):
    """A callback's name as code writes it, by its dots; None for what Python cannot take."""
    return [part if _is_name(part) else None for part in _as_written(callback).split(".")]


class Namespace:
    """Callbacks whose names begin alike: `search.dashboards` is `dashboards` of `search`."""

    def __init__(self, name):
        self.__eryx_namespace__ = name

    def __repr__(self):
        return f"<callbacks {self.__eryx_namespace__}.*>"

    def __reduce__(self):
        # Whether there are such callbacks is known when they are called.
        return _namespace, (self.__eryx_namespace__, [*_callbacks_in(self)])


Namespace.__module__ = "eryx"


def _callbacks_in(space):
    """The names of the callbacks below a namespace or a function."""
    for value in vars(space).values():
        if callback := getattr(value, "__eryx_callback__", None):
            yield callback
        if callback or isinstance(value, Namespace):
            yield from _callbacks_in(value)


def _namespace(name, callbacks):
    inside = _tree((callback, make_function(callback)) for callback in callbacks)
    for part in _python_parts(name):
        space = inside[part]
        inside = vars(space)
    return space


def _tree(functions):
    """The globals for functions by the names of their callbacks.

    A name of Python's own stays what it is: code that prints does not mean a callback. Only `invoke` reaches that one, as
    it does any whose name Python cannot take.
    """
    names = {}
    # One that is spelt as code writes it comes before one that is only read so.
    for callback, function in sorted(functions, key=lambda item: "-" in item[0]):
        parts = _python_parts(callback)
        if None in parts or hasattr(builtins, parts[0]):
            continue
        *spaces, last = parts
        inside, path = names, []
        for part in spaces:
            path.append(part)
            if part not in inside:
                inside[part] = Namespace(".".join(path))
            inside = vars(inside[part])
        known = inside.get(last)
        if isinstance(known, Namespace):
            # It is a callback and the beginning of others at once.
            vars(function).update((name, value) for name, value in vars(known).items() if name != "__eryx_namespace__")
        elif known is not None:
            continue
        inside[last] = function
    return names


def _is_name(name):
    """Whether Python takes a name as it is written, and does not use it itself."""
    import keyword

    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        return False
    if name.isascii():
        return True
    import unicodedata

    # What is read as another name would be that one.
    return unicodedata.normalize("NFKC", name) == name


def _read_schema(schema):
    import json

    try:
        value = json.loads(schema)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return {}, set(), True
    properties = value.get("properties")
    required = value.get("required")
    properties = properties if isinstance(properties, dict) else {}
    required = set(filter(properties.__contains__, required)) if isinstance(required, list) else set()
    open_ended = not properties or bool(value.get("additionalProperties", False))
    if value.get("additionalProperties") is False:
        open_ended = False
    return properties, required, open_ended


def _default(schema):
    return schema["default"] if isinstance(schema, dict) and "default" in schema else _UNSET


def _annotation(schema):
    kind = schema.get("type") if isinstance(schema, dict) else None
    return _TYPES.get(kind, object) if isinstance(kind, str) else object


class Registry:
    """The callbacks as globals of a namespace, rebuilt only when the embedder's list changes."""

    def __init__(self):
        self._listed = None
        self._functions = {}

    def refresh(self, namespace):
        """Asks for the list, and brings the namespace up to date with it."""
        listed = _eryx.list_callbacks()
        # The same object as before unless the embedder's list has changed.
        if listed is not self._listed:
            old, self._functions = self._functions, _functions_of(listed)
            for name, function in old.items():
                if namespace.get(name) is function:
                    del namespace[name]
            self._listed = listed
            self.inject(namespace)

    def inject(self, namespace):
        """Adds the callbacks, `invoke` and `list_callbacks`; a name that the session uses itself stays its own."""
        namespace.setdefault("invoke", invoke)
        namespace.setdefault("list_callbacks", list_callbacks)
        for name, function in self._functions.items():
            namespace.setdefault(name, function)

    def owns(self, name, value):
        """Tells whether a global was put there by `inject`."""
        # Not `get` alone: a global that is None would equal what is not there.
        return value is invoke or value is list_callbacks or (name in self._functions and self._functions[name] is value)


def _functions_of(listed):
    return _tree((callback, _function_of(callback, description, schema)) for callback, description, schema in listed)


def _function_of(callback, description, schema):
    try:
        return make_function(callback, description, schema)
    except Exception as error:
        # One that the embedder got wrong is no reason to lose the others, or the code.
        return _refusing(callback, f"{type(error).__name__}: {error}")


def _refusing(callback, reason):
    """Stands for a callback of which no function can be made."""

    async def refused(*_, **__):
        raise CallbackError(f"the callback {callback!r} cannot be called: its schema is malformed ({reason})")

    refused.__eryx_callback__ = callback
    return refused
