/// Who runs a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Helm 4 as it is by default.
    Helm4,
    /// Helm 4 with `--wait`.
    Helm4Wait,
    Helm3,
    Operator,
}

impl Program {
    /// The letter that marks a line of a transcript as this one's.
    pub(crate) fn mark(self) -> char {
        match self {
            Self::Helm4 => '4',
            Self::Helm4Wait => 'w',
            Self::Helm3 => '3',
            Self::Operator => 'o',
        }
    }

    /// The part of a namespace's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Helm4 => "helm4",
            Self::Helm4Wait => "helm4w",
            Self::Helm3 => "helm3",
            Self::Operator => "ours",
        }
    }
}
