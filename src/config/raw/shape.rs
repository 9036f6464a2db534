//! What a value of a key may look like, noted as keys are read: the schema is made of it, so that it can't say anything
//! else than the code does.

/// One form that a value may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) enum Shape {
    /// Any text.
    Text,
    /// True or false.
    Flag,
    /// A whole number from one to another.
    Integer(i128, i128),
    /// A text such as `30s`.
    Duration,
    /// A text such as `10 MiB`, or octets.
    Size,
    /// One of these.
    Words(Vec<String>),
    /// A list; its elements have shapes of their own.
    List,
    /// A table with known keys.
    Table,
    /// A table whose keys are names that the operator chose.
    Named,
    /// Whatever stands in a table: it is for somebody else.
    Foreign,
}
