use crate::{program::Program, script::Script, transcript};

/// One of the cases that say what Helm does.
pub(crate) struct Case {
    pub(crate) number: u8,
    pub(crate) title: &'static str,
    pub(crate) verdict: Verdict,
    /// What is run, and what comes of it; `None` where nothing can be.
    pub(crate) shown: Option<Shown>,
}

#[derive(Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) script: fn() -> Script,
    /// See [`transcript`].
    pub(crate) transcript: &'static str,
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
    /// Templates, subcharts or folders of a chart, which are not served yet.
    NeedsChart(&'static str),
    /// Something else that is not served yet.
    Later(&'static str),
}

type ScriptOf = fn() -> Script;

pub(crate) fn pass(
    number: u8,
    title: &'static str,
    script: ScriptOf,
    transcript: &'static str,
) -> Case {
    Case { number, title, verdict: Verdict::Pass, shown: Some(Shown { script, transcript }) }
}

pub(crate) fn differs(
    number: u8,
    title: &'static str,
    (helm, here): (&'static str, &'static str),
    script: ScriptOf,
    transcript: &'static str,
) -> Case {
    let verdict = Verdict::Differs { helm, here };
    Case { number, title, verdict, shown: Some(Shown { script, transcript }) }
}

pub(crate) fn needs_chart(number: u8, title: &'static str, why: &'static str) -> Case {
    Case { number, title, verdict: Verdict::NeedsChart(why), shown: None }
}

pub(crate) fn later(number: u8, title: &'static str, why: &'static str) -> Case {
    Case { number, title, verdict: Verdict::Later(why), shown: None }
}

impl Case {
    /// A case that passed as one of the Helms alone.
    pub(crate) fn but(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }

    /// The line that is printed for it.
    pub(crate) fn line(&self) -> String {
        format!("case {} {}", self.number, self.verdict.text())
    }
}

impl Shown {
    /// Whether the transcript is what the verdict says.
    pub(crate) fn agrees(&self, verdict: Verdict) -> bool {
        let as_helm = |program: Program| {
            transcript::of(program, self.transcript)
                == transcript::of(Program::Operator, self.transcript)
        };
        let helms = (self.script)().helms;
        match verdict {
            Verdict::Pass => helms.iter().all(|helm| as_helm(*helm)),
            Verdict::AsHelm3 => as_helm(Program::Helm3) && !as_helm(Program::Helm4),
            Verdict::AsHelm4 => as_helm(Program::Helm4) && !as_helm(Program::Helm3),
            Verdict::Differs { .. } => helms.iter().any(|helm| !as_helm(*helm)),
            Verdict::NeedsChart(_) | Verdict::Later(_) => false,
        }
    }
}

impl Verdict {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Pass => "pass".to_owned(),
            Self::AsHelm3 => "pass (as Helm 3; Helm 4 is different)".to_owned(),
            Self::AsHelm4 => "pass (as Helm 4; Helm 3 is different)".to_owned(),
            Self::Differs { helm, here } => format!("differs (Helm: {helm}; here: {here})"),
            Self::NeedsChart(why) => format!("needs a chart ({why})"),
            Self::Later(why) => format!("not yet ({why})"),
        }
    }
}
