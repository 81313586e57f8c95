//! What a panic said.

use std::any::Any;

/// The words of a panic that was caught.
pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why")
}
