"""Makes an instance that starts from a saved memory one of its own: no two share a random stream.

Whatever is not random and can be forgotten is forgotten before the memory is saved, so that a start does not
pay for it. Nothing is imported for this: a module that is not there has no state.
"""

import os
import sys

import _eryx

#: The random streams that each instance has to seed; the others are marked, and seed themselves when first used.
_generators = []
#: What else each instance has to do, see `find_duties`.
_duties = []
#: The length of a Mersenne twister's state. A position behind its end marks a state that must not be used: CPython and
#: numpy are patched so that they then seed it from the system (`0006-late-seed.patch`, `0002-late-seed.patch`).
_LENGTH = 624
_MARK = _LENGTH + 1


def prepare():
    """Before the memory is saved: forgets what belongs to this machine and finds every random stream.

    A stream is made anew in every instance whether it was seeded or not; whoever wants one that can be
    repeated seeds it after the start.
    """
    _forget()
    _generators[:] = _mark(_find_generators())
    find_duties()


def find_duties():
    """Finds what instances have to do. Which modules there are is known by now, so that none of them has to look."""
    duties = {"pyexpat": salt_xml, "multiprocessing.process": _renew_key}
    _duties[:] = [duty for module, duty in duties.items() if module in sys.modules]


def refresh():
    """In an instance that starts from a saved memory, before anything else runs in it."""
    for duty in _duties:
        duty()
    if _generators:
        for generator in _generators:
            _renew(generator)
        _generators.clear()


class _FirstRecord:
    """In the place of the time that `logging` counts from, until there is a record: not each instance logs anything."""

    def __rsub__(self, now):
        sys.modules["logging"]._startTime = now
        return 0


def salt_xml():
    """Before an instance makes its first XML parser; if the parsers' module was not saved, when it is imported.

    Python takes their salt from the secret of its hashes, which has to stay as it was saved.
    """
    _eryx.salt_xml(os.urandom(8))


def _renew_key():
    """Gives the process another key by which `multiprocessing` knows its own."""
    process = sys.modules["multiprocessing.process"]
    process.current_process().authkey = os.urandom(32)


def _forget():
    modules = sys.modules
    if tempfile := modules.get("tempfile"):
        tempfile._name_sequence = None
        # A folder that the session chose itself stays.
        if tempfile.tempdir in map(os.path.abspath, tempfile._candidate_tempdir_list()):
            tempfile.tempdir = None
    if uuid := modules.get("uuid"):
        uuid._node = None
        for name in [name for name in vars(uuid) if name.startswith("_last_timestamp")]:
            setattr(uuid, name, None)
    if sqlite := modules.get("_sqlite3"):
        sqlite._forget_randomness()
    if logging := modules.get("logging"):
        logging._startTime = _FirstRecord()
    if loop := modules.get("_eryx_loop"):
        loop.forget_session_loop()
    # Folders of the embedder may be there later that are not there now.
    for path, finder in list(sys.path_importer_cache.items()):
        if finder is None:
            del sys.path_importer_cache[path]


def _find_generators():
    import gc

    modules = sys.modules
    kinds = []
    if random := modules.get("random"):
        kinds.append(random.Random)
    if mtrand := modules.get("numpy.random.mtrand"):
        kinds += mtrand.RandomState, modules["numpy.random.bit_generator"].BitGenerator
    # Not `isinstance`, which asks the object.
    return [value for value in gc.get_objects() if issubclass(type(value), tuple(kinds))]


def _mark(generators):
    """Marks the streams that can seed themselves; returns the others."""
    done = set()
    for generator in generators:
        try:
            if type(generator) is sys.modules["random"].Random:
                generator.setstate((generator.VERSION, (0,) * _LENGTH + (_MARK,), None))
                done.add(id(generator))
            elif type(getattr(generator, "_bit_generator", None)).__name__ == "MT19937":
                _mark_numpy(generator)
                done |= {id(generator), id(generator._bit_generator)}
        except ValueError:
            pass  # it knows no such mark
    return [generator for generator in generators if id(generator) not in done]


def _mark_numpy(state):
    # Other streams are made from the sequence of seeds, which a seed of this kind takes away.
    state.seed([0])
    marked = state.get_state(legacy=False)
    marked["state"]["pos"] = _MARK
    state.set_state(marked)
    if state.get_state(legacy=False)["state"]["pos"] == _MARK:
        raise ValueError("numpy knows no such mark")
    state.set_state(marked)


def _renew(generator):
    """Gives a random stream another seed, where its kind has one."""
    try:
        if hasattr(generator, "get_state"):
            # It keeps half of a pair of normal numbers besides.
            generator._bit_generator.__init__()
            now = generator.get_state(legacy=False)
            generator.set_state({**now, "has_gauss": 0, "gauss": 0.0})
        elif hasattr(generator, "random_raw"):
            # With the sequence of seeds, from which a generator makes others.
            generator.__init__()
        else:
            generator.seed()
    except Exception:
        # A class of the session's own may have no seed to be given.
        pass
