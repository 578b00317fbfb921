//! Which functions templates have, read from the sources of the Helm that is pinned, of Sprig and
//! of Go; and that the charts here call each.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::charts;

/// Functions whose values differ from run to run; the charts compare the shape of what they answer.
const RANDOM: [&str; 21] = [
    "ago",
    "bcrypt",
    "buildCustomCert",
    "encryptAES",
    "genCA",
    "genCAWithKey",
    "genPrivateKey",
    "genSelfSignedCert",
    "genSelfSignedCertWithKey",
    "genSignedCert",
    "genSignedCertWithKey",
    "htpasswd",
    "now",
    "randAlpha",
    "randAlphaNum",
    "randAscii",
    "randBytes",
    "randInt",
    "randNumeric",
    "shuffle",
    "uuidv4",
];

/// Functions that Helm takes away again.
const REMOVED: [&str; 2] = ["env", "expandenv"];

/// Makes sure that each function is called; those of which only the shape is compared.
///
/// # Errors
/// With the functions that no chart calls.
pub(crate) fn check() -> Result<Vec<String>> {
    let mut called = BTreeSet::new();
    collect(&charts::folder(), &mut called)?;
    let missing: Vec<_> = all()?.into_iter().filter(|name| !called.contains(name)).collect();
    ensure!(
        missing.is_empty(),
        "no chart of tests/charts calls {}: add {} to tests/charts/functions",
        missing.join(", "),
        if missing.len() == 1 { "it" } else { "them" },
    );
    Ok(RANDOM.map(str::to_owned).to_vec())
}

/// Every function of a template.
fn all() -> Result<BTreeSet<String>> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster");
    let dir = |module_name: &str| -> Result<PathBuf> {
        Ok(go(&module, &["list", "-m", "-f", "{{.Dir}}", module_name])?.into())
    };
    let helm = dir("helm.sh/helm/v4")?.join("pkg/engine/funcs.go");
    let sprig = dir("github.com/Masterminds/sprig/v3")?.join("functions.go");
    let root = PathBuf::from(go(&module, &["env", "GOROOT"])?);
    let builtin = root.join("src/text/template/funcs.go");
    let maps = [
        (helm, "extra := template.FuncMap{", "include", 25),
        (sprig, "var genericMap = map[string]interface{}{", "upper", 190),
        (builtin, "return FuncMap{", "printf", 19),
    ];
    let mut all = BTreeSet::new();
    for (path, begin, known, least) in maps {
        let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let names = keys(&source, begin);
        // The sources may come to look otherwise, and then nothing would be checked.
        ensure!(
            names.contains(known) && names.len() >= least,
            "{} does not list its functions as before",
            path.display(),
        );
        all.extend(names);
    }
    all.retain(|name| !REMOVED.contains(&name.as_str()));
    let unknown: Vec<_> = RANDOM.iter().filter(|name| !all.contains(**name)).collect();
    ensure!(unknown.is_empty(), "excluded, but no functions: {unknown:?}");
    Ok(all)
}

/// The keys of the map that begins so, each on a line of its own, up to the brace below its begin.
fn keys(source: &str, begin: &str) -> BTreeSet<String> {
    let mut lines = source.lines().skip_while(|line| !line.contains(begin));
    let first = lines.next().unwrap_or_default();
    let end = format!("{}}}", first.strip_suffix(first.trim_start()).unwrap_or_default());
    let key = |line: &str| {
        let (key, _) = line.trim().strip_prefix('"')?.split_once("\":")?;
        Some(key.to_owned())
    };
    lines.take_while(|line| *line != end).filter_map(key).collect()
}

fn go(module: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("go").args(args).current_dir(module).output().context("run go")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "go {}: {said}", args.join(" "));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The words that templates under a folder use as functions.
fn collect(folder: &Path, called: &mut BTreeSet<String>) -> Result<()> {
    for path in charts::children(folder)? {
        if path.is_dir() {
            collect(&path, called)?;
        } else if path.components().any(|part| part.as_os_str() == "templates")
            && let Ok(text) = fs::read_to_string(&path)
        {
            for action in text.split("{{").skip(1) {
                let action = action.split("}}").next().unwrap_or_default();
                called.extend(words(action));
            }
        }
    }
    Ok(())
}

/// The words of an action that are neither in a text nor a field or a variable.
fn words(action: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quote, mut escaped, mut before) = (None, false, ' ');
    for c in action.chars().chain([' ']) {
        match quote {
            Some(end) => {
                if !escaped && c == end {
                    quote = None;
                }
                escaped = !escaped && c == '\\' && end == '"';
            }
            None if c == '"' || c == '`' => quote = Some(c),
            None if c.is_alphanumeric() || c == '_' => {
                if word.is_empty() && (before == '.' || before == '$') {
                    // A field's name or a variable's: everything up to its end.
                    word.push('.');
                }
                word.push(c);
            }
            None => {
                let done = std::mem::take(&mut word);
                if !done.is_empty() && !done.starts_with('.') {
                    words.push(done);
                }
            }
        }
        before = c;
    }
    words
}

#[test]
fn fields_variables_and_texts_are_no_calls() {
    let action = r#"- if and .a.b $c.d (has "upper \" lower" `title`) | quote "#;
    assert_eq!(words(action), ["if", "and", "has", "quote"]);
}
