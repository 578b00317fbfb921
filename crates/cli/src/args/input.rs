use std::path::PathBuf;

use clap::Args;

use super::Files;

/// The release that is planned or checked: manifests, or a chart.
#[derive(Args)]
pub(crate) struct Input {
    /// Name of the ReleaseLifecycle; with -f only needed if the files have several. Before a CHART:
    /// name of the release
    #[arg(required_unless_present = "files")]
    pub(crate) name: Option<String>,

    /// Chart: a folder, an archive, or oci://…
    pub(crate) chart: Option<String>,

    /// Manifests: file, folder (its *.yaml, *.yml and *.json), or - for standard input; with a
    /// CHART: file of values, or -. May be repeated
    #[arg(short, long = "filename", value_name = "FILE|FOLDER|-")]
    files: Vec<PathBuf>,

    /// Read subfolders, too
    #[arg(short = 'R', long, requires = "files")]
    recursive: bool,

    #[command(flatten)]
    pub(crate) template: Template,
}

/// The flags for charts, with the names of `helm template`.
#[derive(Args, Default)]
pub(crate) struct Template {
    /// Values for a CHART: file, or - for standard input; the same as -f with a CHART. May be
    /// repeated
    #[arg(long, value_name = "FILE|-", conflicts_with = "files")]
    pub(crate) values: Vec<PathBuf>,

    /// Value for a CHART, such as image.tag=2; several are separated by commas. May be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,

    /// String value for a CHART, in the syntax of --set. May be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set_string: Vec<String>,

    /// Version of a chart in a registry, or a range; default: the newest
    #[arg(long)]
    pub(crate) version: Option<String>,

    /// Connect to the registry over HTTP
    #[arg(long)]
    pub(crate) plain_http: bool,

    /// User name for the registry
    #[arg(long, requires = "password")]
    pub(crate) username: Option<String>,

    /// Password for the registry
    #[arg(long, requires = "username")]
    pub(crate) password: Option<String>,

    /// File of certificate authorities (PEM) for the registry, instead of the usual ones
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Chart for a ReleaseLifecycle, instead of the one in its spec.source
    #[arg(long = "chart", value_name = "CHART", id = "other_chart")]
    pub(crate) other_chart: Option<String>,

    /// Path of the program that renders charts; default: releaselifecycle-engine beside this
    /// program, or in PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) engine: Option<PathBuf>,
}

impl Template {
    /// Returns whether a flag for registries is set.
    pub(crate) fn is_for_registries(&self) -> bool {
        self.version.is_some()
            || self.plain_http
            || self.username.is_some()
            || self.ca_file.is_some()
    }
}

impl Input {
    /// Returns the files of manifests, unless a CHART is named.
    pub(crate) fn manifests(&self) -> Files {
        Files { files: self.files.clone(), recursive: self.recursive }
    }

    /// Returns the first argument that is read: a chart, a file or a folder, or `stdin`.
    pub(crate) fn title(&self) -> String {
        let file = self.files.first().map(|file| file.to_string_lossy().into_owned());
        let argument = self.chart.clone().or(file).or_else(|| self.name.clone());
        argument.filter(|argument| argument != "-").unwrap_or_else(|| "stdin".to_owned())
    }

    pub(crate) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Returns the files with the values of a CHART.
    pub(crate) fn value_files(&self) -> &[PathBuf] {
        if self.files.is_empty() { &self.template.values } else { &self.files }
    }

    pub(crate) fn is_recursive(&self) -> bool {
        self.recursive
    }
}
