"""Makes an instance that starts from a saved memory one of its own: no two share a random stream.

Whatever is not random and can be forgotten is forgotten before the memory is saved, so that a start does not
pay for it. Nothing is imported for this: a module that is not there has no state.
"""

import os
import sys
import time

import _eryx

#: What the saved memory holds besides the streams that modules have for themselves.
_generators = []


def prepare():
    """Before the memory is saved: forgets what belongs to this machine and finds every random stream.

    A stream is made anew in every instance whether it was seeded or not; whoever wants one that can be
    repeated seeds it after the start.
    """
    _forget()
    _generators[:] = _find_generators()


def refresh():
    """In an instance that starts from a saved memory, before anything else runs in it."""
    modules = sys.modules
    entropy = os.urandom(40)
    # Python takes the salt of its XML parser from the secret of its hashes, which has to stay as it was saved.
    _eryx.salt_xml(entropy[:8])
    if random := modules.get("random"):
        random._inst.seed(int.from_bytes(entropy[8:]))
    if mtrand := modules.get("numpy.random.mtrand"):
        _renew_numpy(mtrand._rand)
    if logging := modules.get("logging"):
        logging._startTime = time.time_ns()
    for generator in _generators:
        _renew(generator)
    _generators.clear()


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
    if loop := modules.get("_eryx_loop"):
        loop.forget_session_loop()
    # Folders of the embedder may be there later that are not there now.
    for path, finder in list(sys.path_importer_cache.items()):
        if finder is None:
            del sys.path_importer_cache[path]


def _find_generators():
    import gc

    modules = sys.modules
    found, kinds, known = [], [], set()
    if random := modules.get("random"):
        kinds.append(random.Random)
        known.add(id(random._inst))
    if mtrand := modules.get("numpy.random.mtrand"):
        kinds += mtrand.RandomState, modules["numpy.random.bit_generator"].BitGenerator
        known |= {id(mtrand._rand), id(mtrand._rand._bit_generator)}
    for value in gc.get_objects():
        # Not `isinstance`, which asks the object.
        if id(value) not in known and issubclass(type(value), tuple(kinds)):
            found.append(value)
    return found


def _renew(generator):
    """Gives a random stream another seed, where its kind has one."""
    try:
        if hasattr(generator, "get_state"):
            _renew_numpy(generator)
        elif hasattr(generator, "random_raw"):
            # With the sequence of seeds, from which a generator makes others.
            generator.__init__()
        else:
            generator.seed()
    except Exception:
        # A class of the session's own may have no seed to be given.
        pass


def _renew_numpy(state):
    """Gives a `RandomState` another seed; it keeps half of a pair of normal numbers besides."""
    try:
        # Ten times as fast as what follows, and resets that half, too.
        state.seed(sys.modules["numpy"].frombuffer(os.urandom(32), "u4"))
    except TypeError:
        # Only the Mersenne twister can be seeded so.
        state._bit_generator.__init__()
        now = state.get_state(legacy=False)
        state.set_state({**now, "has_gauss": 0, "gauss": 0.0})
