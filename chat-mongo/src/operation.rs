//! What an operation is called, and whether it changes anything.

/// An operation of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    /// `port.method`, in metrics, spans and errors.
    pub(crate) name: &'static str,
    pub(crate) writes: bool,
}

impl Operation {
    pub(crate) const fn read(name: &'static str) -> Self {
        Self { name, writes: false }
    }

    /// An operation that changes something. It repeats harmlessly, like every write of this family.
    pub(crate) const fn write(name: &'static str) -> Self {
        Self { name, writes: true }
    }
}
