//! Promises of the `cache` port.

use crate::run::checks;

checks! { "cache" needs [cache]: }
