//! The findings about a release at all events, for `lint`. Only its input is read.

use anyhow::bail;
use kube::ResourceExt as _;
use lifecycle::{event::Event, object::ObjectRef, preflight::Check};
use manifests::placed::{Placed, describe};

use super::{
    Contents, Found, Material, Wanted,
    events::{Planner, WARNING},
    from_chart,
    given::{self, Elsewhere, Missing},
    made::{self, RenderedInput},
    meant::{Meant, meant},
    other_chart,
};
use crate::{args::Input, files};

/// The level of a finding, from the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Only a cluster can tell.
    Note,
    /// It can only fail, loses data, or has no effect.
    Warning,
    /// The operator would refuse it.
    Error,
}

impl Level {
    /// Returns its word, which is SARIF's.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A rule that findings break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    pub(crate) level: Level,
    /// Its meaning, in one line.
    pub(crate) meaning: &'static str,
}

const REFUSED: Rule = Rule {
    id: "refused",
    level: Level::Error,
    meaning: "the operator would refuse the release, or could not read it",
};
const MEANINGLESS: Rule = Rule {
    id: "meaningless-annotation",
    level: Level::Warning,
    meaning: "an annotation or a label of Helm's means nothing where it stands",
};
const UNUSED: Rule = Rule {
    id: "rule-without-effect",
    level: Level::Warning,
    meaning: "a rule of spec.hooks.rules, or a part of one, has no effect",
};
const CHART: Rule = Rule {
    id: "chart-warning",
    level: Level::Warning,
    meaning: "Helm warns of something in the chart",
};
const NEEDS_CLUSTER: Rule = Rule {
    id: "needs-cluster",
    level: Level::Note,
    meaning: "an upgrade of the chart can be rendered with a cluster only",
};

const NEEDS_CHART: Rule = Rule {
    id: "needs-chart",
    level: Level::Note,
    meaning: "the chart of a release is not among the files, so that its hooks are not checked",
};

const NEEDS_VALUES: Rule = Rule {
    id: "needs-values",
    level: Level::Note,
    meaning: "an object with values of a release is not among the files, so that its hooks are not \
              checked",
};

const fn of_check(check: Check) -> Rule {
    Rule { id: check.id(), level: Level::Warning, meaning: check.meaning() }
}

/// Every rule.
pub(crate) const RULES: [Rule; 7 + Check::ALL.len()] = {
    let mut rules = [REFUSED; 7 + Check::ALL.len()];
    let [.., meaningless, unused, chart, cluster, elsewhere, values] = &mut rules;
    (*meaningless, *unused, *chart) = (MEANINGLESS, UNUSED, CHART);
    (*cluster, *elsewhere, *values) = (NEEDS_CLUSTER, NEEDS_CHART, NEEDS_VALUES);
    let mut index = 0;
    while index < Check::ALL.len() {
        rules[index + 1] = of_check(Check::ALL[index]);
        index += 1;
    }
    rules
};

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    pub(crate) message: String,
    /// The release, if it is known.
    pub(crate) release: Option<String>,
    /// The namespace of the release, if it is known.
    pub(crate) namespace: Option<String>,
    /// The events at which it holds; none if it is not about an event.
    pub(crate) events: Vec<Event>,
    /// The object as `Kind/name`, if it is about one.
    pub(crate) object: Option<String>,
    /// The file and the line, if they are known.
    pub(crate) place: Option<(String, Option<usize>)>,
}

/// Returns the findings about the releases in files, or about a chart.
///
/// # Errors
/// If the arguments do not fit together, or something cannot be read.
pub(crate) async fn check(input: &Input, namespace: Option<&str>) -> anyhow::Result<Vec<Finding>> {
    let mut found = Findings::default();
    match meant(input)? {
        Meant::Release(name) => bail!(
            "lint reads files (-f) and charts, and no cluster: a single argument is a CHART if it \
             has a / in it, ends with .tgz, or is . or ..; `kubectl lifecycle plan {name}` checks a \
             release of the cluster"
        ),
        Meant::Chart { name, chart } => {
            let material = from_chart(input, name, chart, namespace)?;
            found.of(input, material, &Places::default()).await?;
        }
        Meant::Files(name) => {
            let files::Read { objects, problems } = files::read(&input.manifests())?;
            found.refused(problems, &Places::default());
            if objects.is_empty() || !found.all.is_empty() {
                return Ok(found.all);
            }
            let keys = given::keys(&objects, name, namespace);
            let elsewhere = given::keys(&objects, name, None);
            if let (true, Some(namespace), false) =
                (keys.is_empty(), namespace, elsewhere.is_empty())
            {
                let there: Vec<_> = elsewhere.iter().map(given::Key::title).collect();
                let problem = format!(
                    "the files have no such ReleaseLifecycle in namespace {namespace}; there: {}",
                    there.join(", ")
                );
                found.refused(vec![problem], &Places::default());
                return Ok(found.all);
            }
            if keys.is_empty() {
                // Objects without a ReleaseLifecycle, or none that is meant.
                let wanted = Wanted { name, namespace, other: other_chart(input)?, fetches: false };
                let material = given::choose(objects, wanted).await;
                found.of(input, material, &Places::of_release(name, namespace)).await?;
                return Ok(found.all);
            }
            for key in keys {
                let objects = given::only(&objects, &key, namespace);
                let (name, namespace) = (key.name.as_str(), key.namespace.as_deref());
                let places = Places::of_release(Some(name), namespace);
                let other = other_chart(input)?;
                if let Some(elsewhere) = given::elsewhere(&objects, other.is_some()) {
                    found.elsewhere(elsewhere, places);
                    continue;
                }
                let wanted = Wanted { name: Some(name), namespace, other, ..Wanted::default() };
                let material = given::choose(objects, wanted).await;
                found.of(input, material, &places).await?;
            }
        }
    }
    Ok(found.all)
}

/// The places of the objects of one release.
#[derive(Default)]
struct Places {
    /// The name of the release.
    release: Option<String>,
    /// Its namespace.
    namespace: Option<String>,
    /// The place of its ReleaseLifecycle.
    own: Option<String>,
    /// The chart as the command line names it.
    chart: Option<String>,
    /// The objects as `Kind/name`, and their places.
    objects: Vec<(String, String)>,
}

impl Places {
    fn of(material: &Material) -> Self {
        let objects = match &material.contents {
            Contents::Objects(objects) => {
                let named = |it: &Placed| (describe(&it.manifest), it.place.clone());
                objects.iter().map(named).collect()
            }
            Contents::Chart { .. } => Vec::new(),
        };
        let chart = match &material.contents {
            Contents::Chart { origin, .. } => origin.argument().map(str::to_owned),
            Contents::Objects(_) => None,
        };
        let places = Self::of_release(None, material.object.metadata.namespace.as_deref());
        let release = Some(material.object.name_any());
        Self { release, own: material.place.clone(), chart, objects, ..places }
    }

    fn of_release(name: Option<&str>, namespace: Option<&str>) -> Self {
        let (release, namespace) = (name.map(str::to_owned), namespace.map(str::to_owned));
        Self { release, namespace, ..Self::default() }
    }

    /// Returns the file and the line of the object or, without one, of the place that the message
    /// begins with.
    fn find(&self, object: Option<&str>, message: &str) -> Option<(String, Option<usize>)> {
        let named = || self.objects.iter().find(|(name, _)| Some(&**name) == object);
        let quoted = || {
            let is_it = |(_, place): &&(String, String)| {
                message
                    .strip_prefix(&**place)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
            };
            self.objects.iter().filter(is_it).max_by_key(|(_, place)| place.len())
        };
        let place = named().or_else(quoted).map(|(_, place)| place);
        place
            .and_then(|place| self.file(place))
            .or_else(|| self.own())
            .or_else(|| unreadable(message).or_else(|| file(message)))
    }

    fn own(&self) -> Option<(String, Option<usize>)> {
        let of_chart = |chart: &String| {
            // A folder has no lines, and code scanning refuses it.
            let is_folder = std::path::Path::new(chart).is_dir();
            let folder = chart.trim_end_matches('/');
            let file = if is_folder { format!("{folder}/Chart.yaml") } else { chart.clone() };
            (file, None)
        };
        self.own.as_deref().and_then(file).or_else(|| self.chart.as_ref().map(of_chart))
    }

    /// Returns the file of a place; that of a template is in the folder of its chart.
    fn file(&self, place: &str) -> Option<(String, Option<usize>)> {
        let Some(chart) = &self.chart else { return file(place) };
        let is_folder = std::path::Path::new(chart).is_dir();
        match place.split_once('/').filter(|_| is_folder) {
            Some((_, template)) => {
                let template = template.split(' ').next().unwrap_or(template);
                Some((format!("{}/{template}", chart.trim_end_matches('/')), None))
            }
            None => None,
        }
    }
}

/// Returns the file and the line of a place such as `shop/job.yaml line 12 items[0]`.
fn file(place: &str) -> Option<(String, Option<usize>)> {
    let (file, rest) = place.split_once(" line ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    // A place in a ConfigMap has a line, too.
    let is_file = !file.contains(" key ") && !file.contains(": ") && file != files::STDIN;
    is_file.then(|| (file.to_owned(), digits.parse().ok()))
}

/// Returns the file and the line of a document that cannot be read.
fn unreadable(message: &str) -> Option<(String, Option<usize>)> {
    let (file, rest) = message.split_once(": document ")?;
    let line = rest.split_once("(line ").map(|(_, rest)| rest);
    let digits = line.and_then(|line| line.split(|c: char| !c.is_ascii_digit()).next());
    let line = digits.and_then(|digits| digits.parse().ok());
    (file != files::STDIN).then(|| (file.to_owned(), line))
}

#[derive(Default)]
struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    async fn of(
        &mut self,
        input: &Input,
        material: Found<Material>,
        release: &Places,
    ) -> anyhow::Result<()> {
        let mut material = match material {
            Ok(material) => material,
            Err(problems) => {
                self.refused(problems, release);
                return Ok(());
            }
        };
        let mut places = Places::of(&material);
        match made::make(&input.template, &mut material, &Event::ALL).await? {
            Ok(made) => {
                places.objects.extend(made.templates.iter().cloned());
                self.of_made(&material, &made, &places);
            }
            Err(problems) => self.refused(problems, &places),
        }
        Ok(())
    }

    /// Notes that the chart of a release, or its values, are not here.
    fn elsewhere(&mut self, release: Found<Elsewhere>, places: Places) {
        let Elsewhere { object, missing, own } = match release {
            Ok(found) => found,
            Err(problems) => return self.refused(problems, &places),
        };
        let release = Some(object.name_any());
        let places = Places { release, own: Some(own), ..places };
        let (rule, message) = match missing {
            Missing::Chart(chart) => (
                NEEDS_CHART,
                format!(
                    "its hooks are not checked: {chart} is not read; name the chart with --chart: a \
                     folder, an archive or oci://…"
                ),
            ),
            Missing::Values(values) => (
                NEEDS_VALUES,
                format!(
                    "its hooks are not checked: its values are also in {}, which is not in these \
                     files; name its file with one more -f",
                    values.join(", ")
                ),
            ),
        };
        self.add(rule, message, None, None, &places);
    }

    fn of_made(&mut self, material: &Material, made: &RenderedInput, places: &Places) {
        for remark in made.remarks() {
            self.add(MEANINGLESS, remark, None, None, places);
        }
        for warning in material.notes.iter().filter_map(|note| note.strip_prefix(WARNING)) {
            self.add(CHART, warning.to_owned(), None, None, places);
        }
        for event in Event::ALL {
            let desired = match made.at(event) {
                Ok(desired) => desired,
                // Anything else was rendered.
                Err(problems) if event == Event::Upgrade => {
                    let message = format!("the upgrade is not checked: {}", problems.join("; "));
                    self.add(NEEDS_CLUSTER, message, Some(event), None, places);
                    continue;
                }
                Err(problems) => {
                    self.refused(problems.to_vec(), places);
                    continue;
                }
            };
            if event == Event::Delete && material.object.keeps_objects() {
                continue;
            }
            let planner = Planner { object: &material.object, desired };
            let plan = match planner.plan(event, planner.selected(event)) {
                Ok(plan) => plan,
                Err(problems) => {
                    self.refused(problems, places);
                    continue;
                }
            };
            for warning in planner.preflight(&plan) {
                let about = Some(&warning.about);
                self.add(of_check(warning.check), warning.message, Some(event), about, places);
            }
            for message in planner.of_rules(&plan) {
                self.add(UNUSED, message, Some(event), None, places);
            }
        }
    }

    fn refused(&mut self, problems: Vec<String>, places: &Places) {
        for problem in problems {
            self.add(REFUSED, problem, None, None, places);
        }
    }

    /// Adds a finding, or its event to the same finding at another event.
    fn add(
        &mut self,
        rule: Rule,
        message: String,
        event: Option<Event>,
        about: Option<&ObjectRef>,
        places: &Places,
    ) {
        let is_known = |it: &&mut Finding| {
            (&it.message, &it.release, &it.namespace)
                == (&message, &places.release, &places.namespace)
        };
        if let Some(known) = self.all.iter_mut().find(is_known) {
            known.events.extend(event.filter(|event| !known.events.contains(event)));
            return;
        }
        let object = about.map(ToString::to_string);
        let place = places.find(object.as_deref(), &message);
        let (release, namespace) = (places.release.clone(), places.namespace.clone());
        let events = event.into_iter().collect();
        self.all.push(Finding { rule, message, release, namespace, events, object, place });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_rule_has_a_name_of_its_own() {
        let ids: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), RULES.len(), "{ids:?}");
        assert!(ids.contains("refused") && ids.contains("needs-cluster"), "{ids:?}");
    }

    #[test]
    fn a_finding_is_at_its_object_or_at_its_release() {
        let objects = [("Job/a", "shop/job.yaml line 12"), ("Job/b", "spec.source.objects[1]")];
        let objects = objects.map(|(name, place)| (name.to_owned(), place.to_owned())).to_vec();
        let own = Some("release.yaml line 3".to_owned());
        let places = Places { own, objects, ..Places::default() };
        let at = |object, message| places.find(object, message);
        assert_eq!(at(Some("Job/a"), ""), Some(("shop/job.yaml".to_owned(), Some(12))));
        assert_eq!(at(Some("Job/b"), ""), Some(("release.yaml".to_owned(), Some(3))));
        let quoted = at(None, "shop/job.yaml line 12 (Job/a): it is wrong");
        assert_eq!(quoted, Some(("shop/job.yaml".to_owned(), Some(12))));
        let longer = at(None, "shop/job.yaml line 120 (Job/x): it is wrong");
        assert_eq!(longer, Some(("release.yaml".to_owned(), Some(3))));
        assert_eq!(file("a b.yaml line 7 items[2]"), Some(("a b.yaml".to_owned(), Some(7))));
        assert_eq!(file("ConfigMap/shop key a.yaml line 2"), None);
        assert_eq!(file("standard input line 2"), None);
        let chart = Some(env!("CARGO_MANIFEST_DIR").to_owned());
        let folder = Places { chart, ..Places::default() }.own();
        let expected = format!("{}/Chart.yaml", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(folder, Some((expected, None)));
        let find = |message| Places::default().find(None, message);
        assert_eq!(find("no place"), None);
        let bad = "b.yaml: document 2 (line 7, column 4 of the manifest): unclosed bracket";
        assert_eq!(find(bad), Some(("b.yaml".to_owned(), Some(7))));
    }
}
