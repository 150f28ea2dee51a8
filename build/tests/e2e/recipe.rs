//! A package with a recipe of its own: what the recipe language promises of compilers and linkers.

use std::fs;
use std::path::Path;

use super::{checkout, eryx_in, text};
use eryx_build::digest::Digest;

/// Leaves a function by `longjmp`, and has functions, getters and slots of other types than they are called with, as many
/// packages do.
const C: &str = r#"
#include <Python.h>
#include <setjmp.h>

static jmp_buf place;

static void deeper(int depth) {
    if (depth == 0) longjmp(place, 42);
    deeper(depth - 1);
}

static PyObject *leap(PyObject *self, PyObject *arg) {
    volatile int before = 1;
    int found = setjmp(place);
    if (found) return PyLong_FromLong(found + before);
    before = 2;
    deeper(PyLong_AsLong(arg));
    return NULL;
}

static PyObject *lonely(PyObject *self) { return PyUnicode_FromString("called"); }

static PyObject *nothing(void) { return PyUnicode_FromString("nothing"); }
static PyObject *three(PyObject *self, PyObject *args, PyObject *more) {
    return PyLong_FromSsize_t(PyTuple_Size(args));
}
static PyObject *two(PyObject *self, PyObject *args) { return PyLong_FromSsize_t(PyTuple_Size(args)); }
static PyObject *five(PyObject *a, PyObject *b, PyObject *c, PyObject *d, PyObject *e) { return NULL; }

static PyMethodDef methods[] = {
    {"leap", leap, METH_O, NULL},
    {"lonely", (PyCFunction)lonely, METH_NOARGS, NULL},
    {"nothing", (PyCFunction)nothing, METH_NOARGS, NULL},
    {"single", (PyCFunction)nothing, METH_O, NULL},
    {"three", (PyCFunction)three, METH_VARARGS, NULL},
    {"two", (PyCFunction)two, METH_VARARGS | METH_KEYWORDS, NULL},
    {"five", (PyCFunction)(void (*)(void))five, METH_VARARGS, NULL},
    {NULL}};

typedef struct { PyObject_HEAD PyObject *held; } Thing;
static PyObject *get(PyObject *self) { return PyLong_FromLong(7); }
static int set(PyObject *self, PyObject *value) {
    Py_XSETREF(((Thing *)self)->held, Py_XNewRef(value));
    return 0;
}
static int visit_all(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Thing *)self)->held);
    return 0;
}
static void clear(PyObject *self) { Py_CLEAR(((Thing *)self)->held); }
static void destroy(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}
static PyGetSetDef members[] = {{"x", (getter)get, (setter)set, NULL, NULL}, {NULL}};
static PyMethodDef own[] = {
    {"lonely", (PyCFunction)lonely, METH_NOARGS, NULL}, {"single", (PyCFunction)lonely, METH_O, NULL}, {NULL}};
static PyType_Slot slots[] = {
    {Py_tp_methods, own}, {Py_tp_getset, members}, {Py_tp_traverse, visit_all}, {Py_tp_clear, (void *)clear}, {Py_tp_dealloc, destroy}, {0}};
static PyType_Spec spec = {
    "probe._c.Thing", sizeof(Thing), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "probe._c", NULL, -1, methods};
PyMODINIT_FUNC PyInit__c(void) {
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && PyModule_AddType(made, (PyTypeObject *)PyType_FromSpec(&spec)) < 0) Py_CLEAR(made);
    return made;
}
"#;

/// Throws through frames that have something to destroy, standard exceptions and others.
const CXX: &str = r#"
#include <Python.h>
#include <stdexcept>
#include <string>
#include <vector>

static int alive = 0;
struct Guard { Guard() { ++alive; } ~Guard() { --alive; } };
struct Odd { int value; };

static void thrower(int kind) {
    Guard guard;
    std::vector<int> none;
    if (kind == 0) throw Odd{7};
    if (kind == 1) throw std::runtime_error("thrown on purpose");
    none.at(3);
}

static PyObject *attempt(PyObject *, PyObject *arg) {
    try {
        Guard guard;
        thrower((int)PyLong_AsLong(arg));
    } catch (const Odd &odd) {
        return Py_BuildValue("si", "odd", odd.value + alive);
    } catch (const std::out_of_range &error) {
        return Py_BuildValue("si", "range", alive);
    } catch (const std::exception &error) {
        return Py_BuildValue("si", error.what(), alive);
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"attempt", attempt, METH_O, NULL}, {NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "probe._cxx", NULL, -1, methods};
PyMODINIT_FUNC PyInit__cxx(void) { return PyModule_Create(&module); }
"#;

const SETUP: &str = r#"
from setuptools import Extension, setup
setup(
    name="probe",
    version="1.0",
    packages=["probe"],
    ext_modules=[Extension("probe._c", ["c.c"]), Extension("probe._cxx", ["cxx.cpp"], language="c++")],
)
"#;

/// Writes the sdist and gives its digest and size.
fn sdist(file: &Path) -> (Digest, u64) {
    let written = fs::File::create(file).unwrap();
    let gzip = flate2::write::GzEncoder::new(written, flate2::Compression::default());
    let mut archive = tar::Builder::new(gzip);
    let metadata = "Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n";
    for (name, content) in [
        ("PKG-INFO", metadata),
        ("LICENSE", "MIT\n"),
        ("setup.py", SETUP),
        ("c.c", C),
        ("cxx.cpp", CXX),
        ("probe/__init__.py", ""),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("probe-1.0/{name}"), content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
    Digest::of_file(file).unwrap()
}

fn recipe(digest: Digest, size: u64, build: &str) -> String {
    format!(
        r#"[package]
name = "probe"
version = "1.0"
kind = "extension"
imports = ["probe._c", "probe._cxx"]
license = {{ spdx = "MIT", files = ["LICENSE"] }}

[[source]]
pypi = "probe-1.0.tar.gz"
sha256 = "{digest}"
size = {size}

[build]
backend = "setuptools"
{build}

[requires]
build = ["setuptools==84.2.1"]

[check]
smoke = """
from probe import _c, _cxx
assert _c.leap(20) == 44, _c.leap(20)
assert (_c.lonely(), _c.nothing(), _c.three(1, 2), _c.two(1, x=2)) == ("called", "nothing", 2, 1)
# Often enough for the interpreter's loop to have instructions of its own for these calls.
thing = _c.Thing()
for _ in range(100):
    assert (_c.single(1), thing.lonely(), thing.single(1), thing.x) == ("nothing", "called", "called", 7)
try:
    _c.five()
except SystemError as error:
    assert str(error) == "C function takes too many arguments"
import gc, weakref
class Sub(_c.Thing): pass
for kind in _c.Thing, Sub:
    thing = kind()
    assert thing.x == 7
    gone = []
    class Held: pass
    held = Held()
    held.back = thing
    weakref.finalize(held, gone.append, 1)
    thing.x = held
    del thing, held
    gc.collect()
    assert gone == [1]
assert _cxx.attempt(0) == ("odd", 7)
assert _cxx.attempt(1) == ("thrown on purpose", 0)
assert _cxx.attempt(2) == ("range", 0)
"""
"#
    )
}

#[test]
fn exceptions_and_jumps_work_in_an_extension() {
    let folder = tempfile::tempdir().unwrap();
    checkout::copy_locked(folder.path());
    let mirror = folder.path().join("mirror");
    fs::create_dir(&mirror).unwrap();
    let (digest, size) = sdist(&mirror.join("probe-1.0.tar.gz"));
    let place = folder.path().join("recipes/probe");
    fs::create_dir(&place).unwrap();
    let bundle = |build: &str| {
        fs::write(place.join("recipe.toml"), recipe(digest, size, build)).unwrap();
        eryx_in(folder.path(), &[], &["bundle", "probe", "--mirror", mirror.to_str().unwrap()])
    };

    // The smoke code is run by the bundle's last step.
    let output = bundle("setjmp = true\nexceptions = true");
    assert!(output.status.success(), "{}", text(&output.stderr));

    // Without the switches nothing is made that would fail later.
    for (build, missing) in [("exceptions = true", "setjmp"), ("setjmp = true", "with exceptions disabled")] {
        let output = bundle(build);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        let told = text(&output.stderr);
        assert!(told.contains("error: step `extension probe` failed: ") && told.contains(missing), "{told}");
    }
}
