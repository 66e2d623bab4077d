//! Providers that stand in front of the edge.

crate::catalogue::catalogue! {
    Cdn:
    embedded => Embedded,
    cloudflare => Cloudflare,
}
