//! Promises of the `presence` port.

use crate::run::checks;

checks! { "presence" needs [presence]: }
