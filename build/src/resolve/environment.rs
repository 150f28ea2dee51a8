//! The two machines that wheels are chosen for.

use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder};

use super::wheel::WheelName;
use crate::error::{Error, Result};

/// The interpreter's version on both machines: that of the recipe `cpython`.
pub const PYTHON: &str = "3.14.5";
const MINOR: u32 = 14;

/// The C library of the oldest supported build machine: glibc 2.36, of Debian 12.
const GLIBC_MINOR: u32 = 36;

/// A machine that Python code runs on.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) markers: MarkerEnvironment,
    pub(super) python: Version,
    /// The architecture as wheels name it; nothing for the guest, which runs no native wheel.
    arch: Option<String>,
}

impl Target {
    /// The guest. Its values are those that `os.name`, `sys.platform` and `platform` give there: wasi-libc's
    /// `uname` says `wasi`, `wasm32` and `0.0.0`.
    ///
    /// # Errors
    /// Never with this interpreter's version.
    pub fn guest() -> Result<Self> {
        Self::new(["wasi", "wasm32", "wasi", "0.0.0"], None)
    }

    /// A Linux build machine with this architecture, such as `x86_64`. The release of its kernel is left
    /// unknown, so that the lock does not depend on it.
    ///
    /// # Errors
    /// Never with this interpreter's version.
    pub fn build_machine(arch: &str) -> Result<Self> {
        Self::new(["linux", arch, "Linux", ""], Some(arch))
    }

    fn new([platform, machine, system, release]: [&str; 4], arch: Option<&str>) -> Result<Self> {
        let builder = MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: PYTHON,
            os_name: "posix",
            platform_machine: machine,
            platform_python_implementation: "CPython",
            platform_release: release,
            platform_system: system,
            platform_version: release,
            python_full_version: PYTHON,
            python_version: "3.14",
            sys_platform: platform,
        };
        let bad = |error: &dyn std::fmt::Display| Error::new(format!("bad interpreter version: {error}"));
        let markers = MarkerEnvironment::try_from(builder).map_err(|error| bad(&error))?;
        let python = PYTHON.parse().map_err(|error| bad(&error))?;
        Ok(Self { markers, python, arch: arch.map(str::to_owned) })
    }

    pub(super) fn is_guest(&self) -> bool {
        self.arch.is_none()
    }

    /// What kind of wheels can be used, for messages.
    pub(super) fn usable(&self) -> String {
        match &self.arch {
            None => "pure-Python (`none-any`)".to_owned(),
            Some(arch) => format!("pure-Python or {arch} Linux"),
        }
    }

    /// How well a wheel fits, 0 being best; nothing when it cannot be used.
    pub(super) fn rank(&self, wheel: &WheelName) -> Option<u32> {
        let mut best = None;
        for (python, abi, platform) in wheel.tags() {
            let rank = match (abi, platform) {
                ("none", "any") => generic_python(python).then_some(3),
                _ if !self.runs(platform) => None,
                ("none", _) => generic_python(python).then_some(2),
                ("abi3", _) => cpython(python).is_some_and(|minor| minor <= MINOR).then_some(1),
                ("cp314", _) => (python == "cp314").then_some(0),
                _ => None,
            };
            best = match (best, rank) {
                (Some(best), Some(rank)) => Some(std::cmp::min::<u32>(best, rank)),
                (best, rank) => best.or(rank),
            };
        }
        best
    }

    fn runs(&self, platform: &str) -> bool {
        let Some(arch) = &self.arch else { return false };
        let Some(baseline) = platform.strip_suffix(arch.as_str()).and_then(|text| text.strip_suffix('_'))
        else {
            return false;
        };
        match baseline {
            "manylinux1" | "manylinux2010" | "manylinux2014" => true,
            // PEP 600: manylinux_2_N runs on glibc 2.N and later.
            _ => baseline
                .strip_prefix("manylinux_2_")
                .and_then(|minor| minor.parse::<u32>().ok())
                .is_some_and(|minor| minor <= GLIBC_MINOR),
        }
    }
}

fn generic_python(tag: &str) -> bool {
    let minor = tag.strip_prefix("py3").or_else(|| tag.strip_prefix("cp3"));
    minor.is_some_and(|minor| minor.is_empty() || minor.parse::<u32>().is_ok_and(|minor| minor <= MINOR))
}

fn cpython(tag: &str) -> Option<u32> {
    tag.strip_prefix("cp3")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(target: &Target, tags: &str) -> Option<u32> {
        target.rank(&WheelName::parse(&format!("pkg-1-{tags}.whl")).unwrap())
    }

    #[test]
    fn the_guest_takes_pure_wheels_only() {
        let guest = Target::guest().unwrap();
        for tags in ["py3-none-any", "py2.py3-none-any", "py310-none-any", "cp314-none-any"] {
            assert_eq!(rank(&guest, tags), Some(3), "{tags}");
        }
        let others = [
            "py2-none-any",
            "py315-none-any",
            "cp314-cp314-manylinux_2_17_x86_64",
            "cp314-cp314-wasi_0_0_0_wasm32",
        ];
        for tags in others {
            assert_eq!(rank(&guest, tags), None, "{tags}");
        }
    }

    #[test]
    fn the_build_machine_prefers_native_wheels() {
        let machine = Target::build_machine("x86_64").unwrap();
        for (tags, expected) in [
            ("cp314-cp314-manylinux_2_17_x86_64.manylinux2014_x86_64", Some(0)),
            ("cp39-abi3-manylinux_2_28_x86_64", Some(1)),
            ("py3-none-manylinux_2_12_x86_64.manylinux2010_x86_64", Some(2)),
            ("py2.py3-none-manylinux1_x86_64", Some(2)),
            ("py3-none-any", Some(3)),
            ("cp314-cp314t-manylinux_2_17_x86_64", None),
            ("cp313-cp313-manylinux_2_17_x86_64", None),
            ("cp315-abi3-manylinux_2_17_x86_64", None),
            ("cp314-cp314-manylinux_2_99_x86_64", None),
            ("cp314-cp314-manylinux_2_17_aarch64", None),
            ("cp314-cp314-musllinux_1_2_x86_64", None),
        ] {
            assert_eq!(rank(&machine, tags), expected, "{tags}");
        }
    }

    #[test]
    fn markers_see_the_guest() {
        let guest = Target::guest().unwrap();
        for (marker, expected) in [
            ("sys_platform == 'wasi'", true),
            ("platform_system == 'wasi'", true),
            ("platform_machine == 'wasm32'", true),
            ("sys_platform == 'emscripten'", false),
            ("python_version >= '3.14' and python_full_version < '3.14.6'", true),
            ("os_name == 'nt' or platform_python_implementation == 'PyPy'", false),
        ] {
            let requirement: super::super::Requirement = format!("x; {marker}").parse().unwrap();
            assert_eq!(requirement.evaluate_markers(&guest.markers, &[]), expected, "{marker}");
        }
    }
}
