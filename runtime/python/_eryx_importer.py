"""Lets Python import the runtime's own modules, whose sources lie inside the library.

It runs once, right after Python has started. The other modules are compiled when they are first
imported, so that a program that never awaits anything does not pay for asyncio.
"""

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder

import _eryx



class Importer:
    """Finder and loader in one; it has no state."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "asyncio":
            return _asyncio_spec()
        if name == "pyexpat":
            import _eryx_fresh

            _eryx_fresh.salt_xml()
        if name == "_ssl" and not _eryx.has_import("eryx:net/tcp#connect"):
            return None
        if _eryx.source(name) is None:
            return None
        return ModuleSpec(name, cls, origin=f"<eryx {name}>")

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        spec = module.__spec__
        code = compile(_eryx.source(spec.name), spec.origin, "exec", dont_inherit=True)
        exec(code, module.__dict__)

    @staticmethod
    def get_source(name):
        return _eryx.source(name)


def _asyncio_spec():
    """The real asyncio, which gets our event loop as soon as it has been imported."""
    spec = PathFinder.find_spec("asyncio")
    if spec is None:
        return None
    run = spec.loader.exec_module

    def exec_module(module):
        run(module)
        import _eryx_loop

        _eryx_loop.install()

    spec.loader.exec_module = exec_module
    return spec


sys.meta_path.insert(0, Importer)
