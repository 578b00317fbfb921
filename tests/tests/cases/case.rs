use crate::{program::Program, script::Script, transcript};

/// One of the cases that say what Helm does.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) verdict: Verdict,
    /// The script; `None` where nothing can be run.
    pub(crate) script: Option<fn() -> Script>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As every Helm that it was compared with.
    Pass,
    /// As Helm 3, where Helm 4 is different.
    AsHelm3,
    /// As Helm 4, where Helm 3 is different.
    AsHelm4,
    /// On purpose: what Helm does, and what is done here.
    Differs { helm: &'static str, here: &'static str },
    /// Something that a simulated node does not have; the other program of tests that runs it.
    InContainers { here: &'static str, test: &'static str },
}

pub(crate) const fn pass(number: u8, title: &'static str, script: fn() -> Script) -> Case {
    Case { number, title, verdict: Verdict::Pass, script: Some(script) }
}

pub(crate) const fn differs(
    number: u8,
    title: &'static str,
    (helm, here): (&'static str, &'static str),
    script: fn() -> Script,
) -> Case {
    Case { number, title, verdict: Verdict::Differs { helm, here }, script: Some(script) }
}

pub(crate) const fn in_containers(
    number: u8,
    title: &'static str,
    here: &'static str,
    test: &'static str,
) -> Case {
    Case { number, title, verdict: Verdict::InContainers { here, test }, script: None }
}

impl Case {
    /// A case that is as in one of the Helms alone.
    pub(crate) const fn but(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }
}

impl Verdict {
    /// Returns whether the transcript shows it.
    pub(crate) fn agrees(self, helms: &[Program], text: &str) -> bool {
        // What is said of a failure is nobody's to copy.
        let did = |program| -> Vec<String> {
            let lines = transcript::of(program, text).into_iter();
            lines.map(|line| line.split(", says ").next().unwrap_or_default().to_owned()).collect()
        };
        let ours = did(Program::Operator);
        let as_helm = |program| did(program) == ours;
        match self {
            Self::Pass => helms.iter().all(|helm| as_helm(*helm)),
            Self::AsHelm3 => as_helm(Program::Helm3) && !as_helm(Program::Helm4),
            Self::AsHelm4 => as_helm(Program::Helm4) && !as_helm(Program::Helm3),
            Self::Differs { .. } => helms.iter().any(|helm| !as_helm(*helm)),
            Self::InContainers { .. } => false,
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::Pass => "pass".to_owned(),
            Self::AsHelm3 => "pass (as Helm 3; Helm 4 is different)".to_owned(),
            Self::AsHelm4 => "pass (as Helm 4; Helm 3 is different)".to_owned(),
            Self::Differs { helm, here } => format!("differs (Helm: {helm}; here: {here})"),
            Self::InContainers { here, test } => {
                format!("pass ({here}; `{test}`, with real containers)")
            }
        }
    }
}
