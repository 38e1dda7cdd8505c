//! Promises of the `users` port.

use crate::run::checks;

checks! { "users" needs [users]: }
