//! What kind of trouble an error is: the one vocabulary that the crates share, and that the program turns into an exit code.

/// Decides the exit code (`docs/operate`), and whether a retry can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Usage or configuration, of ours or of a server: exit 2.
    Configuration,
    /// Data that cannot be carried, or a conflict under `stop`: exit 3.
    Data,
    /// A server or the log is out of reach: retried; exit 4 when the retries are used up.
    Unreachable,
    /// A defect of ours: exit 70.
    Defect,
}

/// Every crate's error type says its kind and, where an operator can mend it, how.
pub trait Fault: std::error::Error {
    fn kind(&self) -> Kind;
    /// The statement to run or the option to use, without a trailing full stop.
    fn hint(&self) -> Option<String> {
        None
    }
}
