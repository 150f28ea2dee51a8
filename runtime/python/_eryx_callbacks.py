"""The embedder's callbacks as async functions."""

import builtins

import _eryx


class CallbackError(Exception):
    """The embedder refused a call, or its callback failed."""


CallbackError.__module__ = "eryx"


async def invoke(name, arguments="{}"):
    """Calls the embedder's callback `name` and returns its JSON result as text.

    `arguments` is a JSON object as text, or a dict.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a callback must be a str, not {type(name).__name__}")
    if not isinstance(arguments, str):
        import json

        arguments = json.dumps(arguments)
    import _eryx_loop

    succeeded, text = await _eryx_loop.call(name, arguments)
    if succeeded:
        return text
    raise CallbackError(text)


invoke.__module__ = "eryx"


def callbacks():
    """Returns the callbacks that there are, as a dict of names and descriptions."""
    return {name: description for name, description, _ in _eryx.list_callbacks()}


class _Unset:
    """Stands for an argument that was not given."""

    def __repr__(self):
        return "<not given>"


_UNSET = _Unset()
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
    import json

    arguments = {name: value for name, value in given.items() if value is not _UNSET}
    arguments.update(more)
    if schemas:
        import _eryx_schema

        for name, value in arguments.items():
            if name in schemas:
                _eryx_schema.check(schemas[name], value, f"{callback}() argument {name!r}")
    text = await invoke(callback, json.dumps(arguments))
    return json.loads(text) if text.strip() else None


def make_function(callback, description="", schema="{}"):
    """Makes the async function for a callback; its signature comes from the JSON schema."""
    properties, required, open_ended = _read_schema(schema)
    names = [name for name in properties if _is_name(name)]
    if len(names) < len(properties):
        open_ended = True
    # Real parameters give the usual TypeErrors and a signature, without importing inspect.
    parts = [name if name in required else f"{name}=__eryx_defaults[{name!r}]" for name in names]
    if names:
        parts.insert(0, "*")
    if open_ended:
        parts.append("**__eryx_more")
    function_name = python_name(callback) or "callback"
    source = _TEMPLATE.format(
        name=function_name,
        parameters=", ".join(parts),
        callback=callback,
        given=", ".join(f"{name!r}: {name}" for name in names),
        more="__eryx_more" if open_ended else "{}",
    )
    defaults = {name: _default(properties[name]) for name in names}
    schemas = {name: schema for name, schema in properties.items() if schema not in ({}, True)}
    namespace = {"__name__": "eryx", "__eryx_call": _call, "__eryx_defaults": defaults, "__eryx_schemas": schemas}
    exec(compile(source, f"<eryx callback {callback}>", "exec"), namespace)
    function = namespace[function_name]
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


def python_name(callback):
    """The global name of a callback, or None when it cannot be made into one: then only `invoke` reaches it.

    A name of Python's own stays what it is: code that prints does not mean a callback.
    """
    name = callback.replace("-", "_").replace(".", "_")
    return name if _is_name(name) and not hasattr(builtins, name) else None


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
        """Adds the callbacks and `invoke`; a name that the session uses itself stays its own."""
        namespace.setdefault("invoke", invoke)
        for name, function in self._functions.items():
            namespace.setdefault(name, function)

    def owns(self, name, value):
        """Tells whether a global was put there by `inject`."""
        # Not `get` alone: a global that is None would equal what is not there.
        return value is invoke or (name in self._functions and self._functions[name] is value)


def _functions_of(listed):
    functions = {}
    for callback, description, schema in listed:
        name = python_name(callback)
        if name is None or (name != callback and name in functions):
            continue
        try:
            functions[name] = make_function(callback, description, schema)
        except Exception as error:
            # One that the embedder got wrong is no reason to lose the others, or the code.
            functions[name] = _refusing(callback, f"{type(error).__name__}: {error}")
    return functions


def _refusing(callback, reason):
    """Stands for a callback of which no function can be made."""

    async def refused(**_):
        raise CallbackError(f"the callback {callback!r} cannot be called: its schema is malformed ({reason})")

    refused.__eryx_callback__ = callback
    return refused
