"""How each kind of value is taken apart for a snapshot, and put together again."""

import abc
import contextlib
import enum
import functools
import importlib
import io
import marshal
import pickle
import sys
import types
import typing

import _eryx_callbacks

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
# Descriptors and caches that a class makes for itself.
_CLASS_OWN = {"__dict__", "__weakref__", "_abc_impl", "__annotations_cache__"}
_ENUM_OWN = _CLASS_OWN | {
    "_member_names_", "_member_map_", "_member_type_", "_value2member_map_", "_hashable_values_",
    "_unhashable_values_", "_unhashable_values_map_", "_new_member_", "_use_args_", "_value_repr_",
    "_flag_mask_", "_singles_mask_", "_all_bits_", "_boundary_", "_inverted_", "__new__", "__new_member__",
}  # fmt: skip
_ENUM_HOOKS = ("__init__", "_generate_next_value_", "_missing_")
# Objects that are compared by identity but cannot be pickled by name.
_SENTINELS = {
    "dataclasses": ("MISSING", "KW_ONLY", "_FIELD", "_FIELD_CLASSVAR", "_FIELD_INITVAR", "_HAS_DEFAULT_FACTORY"),
}
_KINDS = {
    io.TextIOWrapper: "open file",
    io.BufferedReader: "open file",
    io.BufferedWriter: "open file",
    io.BufferedRandom: "open file",
    io.FileIO: "open file",
    types.GeneratorType: "generator",
    types.CoroutineType: "coroutine",
    types.AsyncGeneratorType: "async generator",
    types.FrameType: "frame",
    types.TracebackType: "traceback",
}


def kind_of(value):
    """What a value is called in an error."""
    return _KINDS.get(type(value)) or type(value).__qualname__


def is_definition(value):
    """Tells whether a value is a function or class that has to be saved by value."""
    return isinstance(value, (type, types.FunctionType)) and not _importable(value)


@contextlib.contextmanager
def hidden_main():
    """Hides `__main__`, so that nothing is saved by a name in it: it is gone when we restore."""
    main = sys.modules.get("__main__")
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _is_known(cls):
    """Whether what instances of a class give for a pickle is taken back by it."""
    package = (getattr(cls, "__module__", None) or "").partition(".")[0]
    return package == "numpy" or (package in sys.stdlib_module_names and not issubclass(cls, BaseException))


class Pickler(pickle.Pickler):
    """Saves by value what the session defined."""

    def __init__(self, file, namespace):
        super().__init__(file, protocol=5)
        #: The object that was taken apart last: when saving fails, it is the one that could not be.
        self.last = None
        #: Whether there were instances of classes that may fail to take back what they gave.
        self.met_instances = False
        self._namespace = namespace
        self._sentinels = _sentinels()
        self._foreign_globals = {}
        self._seen_cells = {}
        self._cells = []
        self._class_bodies = set()

    def take_cells(self):
        """Returns the cells met since the last call that have a content, each with it."""
        cells, self._cells = self._cells, []
        return cells

    def reducer_override(self, obj):
        self.last = obj
        sentinel = self._sentinels.get(id(obj))
        if sentinel is not None:
            return _attribute, sentinel
        if isinstance(obj, type):
            return NotImplemented if _importable(obj) else self._reduce_class(obj)
        reduce = _REDUCERS.get(type(obj))
        if reduce is not None:
            return reduce(self, obj)
        self.met_instances = self.met_instances or not _is_known(type(obj))
        return NotImplemented

    def _reduce_function(self, function):
        callback = getattr(function, "__eryx_callback__", None)
        if callback is not None:
            return _callback, (callback, function.__doc__)
        if _importable(function):
            return NotImplemented
        home, foreign = self._home_of(function)
        cells = function.__closure__ or ()
        # Annotations look names up in the dict of their class, which has descriptors of its own.
        names = function.__code__.co_freevars
        self._class_bodies.update(id(cell) for name, cell in zip(names, cells) if name == "__classdict__")
        state = {
            "__globals__": foreign,
            "__defaults__": function.__defaults__,
            "__kwdefaults__": function.__kwdefaults__,
            "__dict__": function.__dict__,
            "__module__": function.__module__,
            "__doc__": function.__doc__,
            "__qualname__": function.__qualname__,
            "__type_params__": function.__type_params__,
        }
        annotate = function.__annotate__
        state["__annotations__" if annotate is None else "__annotate__"] = annotate or function.__annotations__
        arguments = function.__code__, home, function.__name__, cells
        return _make_function, arguments, state, None, None, _set_function

    def _home_of(self, function):
        """Where a restored function finds its globals, and what has to be put there for it.

        None is the session, a name is that module (a decorator's wrapper comes from there), and a dict
        is a namespace of its own, such as `namedtuple` gives to the functions that it compiles.
        """
        namespace = function.__globals__
        if namespace is self._namespace:
            return None, None
        name = namespace.get("__name__")
        if isinstance(name, str) and getattr(sys.modules.get(name), "__dict__", None) is namespace:
            return name, None
        # One empty dict for each namespace: the pickler's memo makes functions share it again.
        home, _ = self._foreign_globals.setdefault(id(namespace), ({}, namespace))
        used = _names_in(function.__code__) | {"__name__"}
        return home, {name: namespace[name] for name in used if name in namespace}

    def _reduce_cell(self, cell):
        if id(cell) not in self._seen_cells:
            self._seen_cells[id(cell)] = cell
            try:
                content = cell.cell_contents
            except ValueError:
                pass
            else:
                if id(cell) in self._class_bodies:
                    content = {name: value for name, value in content.items() if name not in _CLASS_OWN}
                self._cells.append((cell, content))
        return _make_cell, ()

    def _reduce_module(self, module):
        if module.__dict__ is self._namespace:
            return importlib.import_module, ("__main__",)
        if sys.modules.get(module.__name__) is not module:
            raise pickle.PicklingError("the module cannot be imported")
        return importlib.import_module, (module.__name__,)

    def _reduce_class(self, cls):
        if not cls.__flags__ & _HEAP_TYPE:
            # A type written in C: some have no name in `builtins`, only one in `types`.
            for name, value in vars(types).items():
                if value is cls:
                    return getattr, (types, name)
            return NotImplemented
        if isinstance(cls, enum.EnumType) and cls.__members__:
            return self._reduce_enum(cls)
        own = dict(vars(cls))
        slots = own.pop("__slots__", None)
        if slots is not None:
            names = (slots,) if isinstance(slots, str) else tuple(slots)
            prefix = "_" + cls.__name__.lstrip("_")
            for name in names:
                hidden = name.startswith("__") and not name.endswith("__")
                own.pop(prefix + name if hidden else name, None)
            slots = names
        state = {name: value for name, value in own.items() if name not in _CLASS_OWN}
        arguments = type(cls), cls.__name__, cls.__qualname__, cls.__module__, cls.__bases__, slots
        return _make_class, arguments, state, None, None, _set_class

    def _reduce_enum(self, cls):
        own = vars(cls)
        members = {name: member._value_ for name, member in cls._member_map_.items()}
        hooks = {name: own[name] for name in _ENUM_HOOKS if isinstance(own.get(name), _PLAIN_HOOKS)}
        if "__new_member__" in own:
            hooks["__new__"] = own["__new_member__"]
        skipped = _ENUM_OWN | set(members) | set(hooks)
        state = {name: value for name, value in own.items() if name not in skipped}
        boundary = getattr(cls, "_boundary_", None)
        arguments = (
            type(cls), cls.__name__, cls.__qualname__, cls.__module__, cls.__bases__, hooks, members, boundary,
        )  # fmt: skip
        return _make_enum, arguments, state, None, None, _set_class


class Unpickler(pickle.Unpickler):
    """Restores into the namespace of a module that nobody sees yet."""

    def __init__(self, file, module):
        super().__init__(file)
        self._module = module

    def find_class(self, module, name):
        if module == "__main__":
            raise pickle.UnpicklingError(f"`{name}` was saved by name only")
        found = super().find_class(module, name)
        if found is _make_function:
            return functools.partial(_make_function, namespace=self._module.__dict__)
        return found


def _importable(obj):
    """Tells whether an object is what an import of its module and name gives."""
    module = getattr(obj, "__module__", None)
    if not isinstance(module, str) or module == "__main__":
        return False
    found = sys.modules.get(module)
    for part in getattr(obj, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is obj


def _sentinels():
    """The identities of all sentinels in modules that have been imported."""
    return {
        id(vars(sys.modules[module])[name]): (module, name)
        for module, names in _SENTINELS.items()
        if module in sys.modules
        for name in names
        if name in vars(sys.modules[module])
    }


def _attribute(module, name):
    return getattr(importlib.import_module(module), name)


def _names_in(code):
    """The global names that a code object and those inside it use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_in(constant)
    return names


def _make_cell():
    return types.CellType()


def _make_proxy(content):
    return types.MappingProxyType(content)


def _make_method(function, owner):
    return types.MethodType(function, owner)


def _make_function(code, home, name, cells, *, namespace):
    if isinstance(home, str):
        namespace = importlib.import_module(home).__dict__
    elif home is not None:
        namespace = home
    # Python compares the number of cells with what the code wants.
    return types.FunctionType(code, namespace, name, None, tuple(cells))


def _set_function(function, state):
    function.__dict__.update(state.pop("__dict__"))
    foreign = state.pop("__globals__")
    if foreign is not None:
        function.__globals__.update(foreign)
    for name, value in state.items():
        setattr(function, name, value)


def _callback(name, description):
    """A callback that a snapshot refers to: whether there is one is known when it is called."""
    return _eryx_callbacks.make_function(name, description or "")


@contextlib.contextmanager
def _without_init_subclass(bases):
    """Classes are made without `__init_subclass__`: what it did is part of what was saved."""
    hooks = []
    for cls in dict.fromkeys(cls for base in bases for cls in base.__mro__):
        if cls.__flags__ & _HEAP_TYPE and "__init_subclass__" in vars(cls):
            hooks.append((cls, vars(cls)["__init_subclass__"]))
            type.__delattr__(cls, "__init_subclass__")
    try:
        yield
    finally:
        for cls, hook in hooks:
            type.__setattr__(cls, "__init_subclass__", hook)


def _make_class(metaclass, name, qualname, module, bases, slots):
    namespace = {"__module__": module, "__qualname__": qualname}
    if slots is not None:
        namespace["__slots__"] = slots
    # What the metaclass's own `__new__` did is part of what was saved too. That of abstract classes
    # makes a registry which they cannot do without.
    new = abc.ABCMeta.__new__ if issubclass(metaclass, abc.ABCMeta) else type.__new__
    with _without_init_subclass(bases):
        return new(metaclass, name, bases, namespace)


def _make_enum(metaclass, name, qualname, module, bases, hooks, members, boundary):
    body = metaclass.__prepare__(name, bases)
    body["__module__"], body["__qualname__"] = module, qualname
    for key, value in {**hooks, **members}.items():
        body[key] = value
    options = {} if boundary is None else {"boundary": boundary}
    with _without_init_subclass(bases):
        return metaclass.__new__(metaclass, name, bases, body, **options)


def _set_class(cls, state):
    abstract = state.pop("__abstractmethods__", None)
    for name, value in state.items():
        if name != "__module__" and name != "__qualname__":
            type.__setattr__(cls, name, value)
    if abstract is not None:
        cls.__abstractmethods__ = abstract


def _make_type_variable(kind, name, arguments, options):
    return kind(name, *arguments, **options)


def _make_type_alias(name, value, parameters):
    return typing.TypeAliasType(name, value, type_params=parameters)


def _reduce_type_variable(_, variable):
    if _importable_by_name(variable):
        return NotImplemented
    options = {}
    for name in ("covariant", "contravariant", "infer_variance"):
        if getattr(variable, f"__{name}__", False):
            options[name] = True
    if getattr(variable, "__bound__", None) is not None:
        options["bound"] = variable.__bound__
    if variable.has_default():
        options["default"] = variable.__default__
    constraints = getattr(variable, "__constraints__", ())
    return _make_type_variable, (type(variable), variable.__name__, constraints, options)


def _importable_by_name(value):
    module = sys.modules.get(value.__module__) if value.__module__ != "__main__" else None
    return getattr(module, value.__name__, None) is value


def _reduce_new_type(_, value):
    if _importable_by_name(value):
        return NotImplemented
    return typing.NewType, (value.__name__, value.__supertype__)


def _reduce_type_alias(_, alias):
    if _importable_by_name(alias):
        return NotImplemented
    return _make_type_alias, (alias.__name__, alias.__value__, alias.__type_params__)


def _reduce_cached(_, wrapper):
    if _importable(wrapper):
        return NotImplemented
    options = wrapper.cache_parameters()
    return _make_cached, (wrapper.__wrapped__, options["maxsize"], options["typed"])


def _make_cached(function, maxsize, typed):
    return functools.lru_cache(maxsize, typed)(function)


def _reduce_member(_, member):
    # The descriptors of slots and of classes written in C are reached through their class.
    return getattr, (member.__objclass__, member.__name__)


_PLAIN_HOOKS = (types.FunctionType, classmethod, staticmethod)
_REDUCERS = {
    types.FunctionType: Pickler._reduce_function,
    types.CellType: Pickler._reduce_cell,
    # Not by name: while a class is being rebuilt it does not have its methods yet.
    types.MethodType: lambda _, method: (_make_method, (method.__func__, method.__self__)),
    types.CodeType: lambda _, code: (marshal.loads, (marshal.dumps(code),)),
    types.ModuleType: Pickler._reduce_module,
    types.MappingProxyType: lambda _, proxy: (_make_proxy, (dict(proxy),)),
    property: lambda _, p: (property, (p.fget, p.fset, p.fdel, p.__doc__)),
    classmethod: lambda _, method: (classmethod, (method.__func__,)),
    staticmethod: lambda _, method: (staticmethod, (method.__func__,)),
    types.MemberDescriptorType: _reduce_member,
    types.GetSetDescriptorType: _reduce_member,
    functools._lru_cache_wrapper: _reduce_cached,
    typing.TypeVar: _reduce_type_variable,
    typing.ParamSpec: _reduce_type_variable,
    typing.TypeVarTuple: _reduce_type_variable,
    typing.NewType: _reduce_new_type,
    typing.TypeAliasType: _reduce_type_alias,
}
