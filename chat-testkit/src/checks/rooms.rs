//! Promises of the `rooms` port.

use crate::run::checks;

checks! { "rooms" needs [rooms]: }
