//! The trust anchors of Mozilla's root certificates, as the crate `webpki-roots` has them.
//!
//! Crate `eryx` 0.14.0 asks for `webpki-roots` 1.0.11, which is not in the registry. This stands in for it: the
//! same certificates come from `webpki-root-certs` 1.0.11, and are turned into trust anchors on first use.

use std::sync::LazyLock;

use rustls_pki_types::TrustAnchor;

/// Trust anchors for TLS servers. A certificate that cannot be one is left out.
pub static TLS_SERVER_ROOTS: LazyLock<Vec<TrustAnchor<'static>>> = LazyLock::new(|| {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|certificate| Some(webpki::anchor_from_trusted_cert(certificate).ok()?.to_owned()))
        .collect()
});

#[cfg(test)]
mod tests {
    #[test]
    fn every_certificate_is_a_trust_anchor() {
        assert_eq!(super::TLS_SERVER_ROOTS.len(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(super::TLS_SERVER_ROOTS.len() > 100);
    }
}
