//! Vendors that collect errors of the product.

crate::catalogue::catalogue! {
    Errors:
    sentry => Sentry,
}
