//! Promises of the `unread` port.

use crate::run::checks;

checks! { "unread" needs [unread]: }
