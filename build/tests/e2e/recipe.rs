//! A package with a recipe of its own: what the recipe language promises of compilers and linkers.

use std::fs;
use std::path::Path;

use super::{checkout, eryx_in, text};
use eryx_build::digest::Digest;

/// Leaves a function by `longjmp`, and has a function of too few parameters, as many packages do.
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

static PyMethodDef methods[] = {
    {"leap", leap, METH_O, NULL}, {"lonely", (PyCFunction)lonely, METH_NOARGS, NULL}, {NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "probe._c", NULL, -1, methods};
PyMODINIT_FUNC PyInit__c(void) { return PyModule_Create(&module); }
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
assert _c.lonely() == "called"
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
