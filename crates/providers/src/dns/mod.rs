//! Providers that answer for zones.

pub mod zone_file;

use linkflow_model::StackName;

crate::catalogue::catalogue! {
    Dns:
    embedded => Embedded,
    cloudflare => Cloudflare,
    desec => Desec,
}

/// What marks a record as this stack's, where a record can have a comment: `linkflow:shop`.
pub fn marker(stack: &StackName) -> String {
    format!("linkflow:{stack}")
}
