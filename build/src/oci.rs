//! A client of OCI registries: what the distribution specification 1.1 needs for pushing and pulling artifacts.
//!
//! Whatever arrives is checked against the digest that named it; what a tag names is checked against what the
//! registry says of it. Failures that may pass are tried again.

mod auth;
mod http;
pub mod model;
mod reference;
mod registry;

pub use auth::{Credentials, ENV_PASSWORD, ENV_USER};
pub use reference::{Reference, is_tag};
pub use registry::{Access, Patience, Pulled, Registry};
