//! The layers of this crate: imports go down the list in ARCHITECTURE.md only, and no module depends
//! on itself by a circle of others.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// A module of a layer, such as `records/read`; what is deeper belongs to it.
type Module = String;

#[test]
fn imports_go_down_and_in_no_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let layers = layers(&root.join("../../ARCHITECTURE.md"));
    let arrows = arrows(&root.join("src"));

    let rank = |module: &str| {
        let name = module.split('/').next().unwrap_or(module);
        let rank = layers.iter().position(|layer| layer.iter().any(|it| it == name));
        rank.unwrap_or_else(|| panic!("{name} stands in no layer of ARCHITECTURE.md"))
    };
    let all = arrows.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    let up: Vec<_> = all
        .filter(|(from, to)| rank(from) < rank(to))
        .map(|(from, to)| format!("{from} imports {to}"))
        .collect();
    assert!(up.is_empty(), "imports that go up:\n{}", up.join("\n"));
    let circle = circle(arrows.clone());
    assert!(circle.is_empty(), "modules in a circle, or above one:\n{}", circle.join("\n"));
    println!("{} modules in {} layers, no import goes up", arrows.len(), layers.len());
}

#[test]
fn each_row_of_what_is_believed_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("\n## What is believed\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let names: Vec<_> = rows.map(|row| row.rsplit('`').nth(1).unwrap()).collect();
    assert!(names.len() > 10, "{names:?}");
    let tests: String = files(&root.join("tests/tests"))
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for name in names {
        assert!(tests.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found: Vec<_> = ["crates", "tests"]
        .iter()
        .flat_map(|folder| files(&root.join(folder)))
        .flat_map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let lines = text.lines().enumerate().filter(|(_, line)| begins_with_what(line));
            lines
                .map(|(at, line)| format!("{}:{} {line}", file.display(), at + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "a noun, or \"Returns\", is plainer:\n{}", found.join("\n"));
}

fn begins_with_what(line: &str) -> bool {
    let line = line.trim_start();
    let comment = line.strip_prefix("///").or(line.strip_prefix("//!")).unwrap_or_default();
    ["What", "Whether"].contains(&comment.split_whitespace().next().unwrap_or_default())
}

#[test]
fn a_doc_comment_that_begins_with_what_is_found() {
    let odd = ["    /// What is read.", "//! Whether it is", "///  What"];
    assert!(odd.into_iter().all(begins_with_what));
    let fine = ["/// Returns what is read.", "let what = 1; // What", "/// Whatever is read."];
    assert!(!fine.into_iter().any(begins_with_what));
}

/// The layers from the bottom to the top, each with its modules.
fn layers(architecture: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(architecture).unwrap();
    let (_, section) = text.split_once("\n## Layers\n").unwrap();
    let (_, list) = section.split_once("```text\n").unwrap();
    let (list, _) = list.split_once("```").unwrap();
    let layers: Vec<Vec<_>> =
        list.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    assert!(layers.len() > 5, "{layers:?}");
    layers
}

/// Which modules each module imports.
fn arrows(src: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let files = files(src);
    let path = |file: &Path| -> Vec<String> {
        let relative = file.strip_prefix(src).unwrap().with_extension("");
        relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect()
    };
    let modules: BTreeSet<Module> = files.iter().map(|file| module(&path(file))).collect();
    let mut arrows: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for file in &files {
        let parsed = syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap();
        let mut imports = Imports::default();
        imports.visit_file(&parsed);
        let here = path(file);
        let from = module(&here);
        let to = imports.found.iter().filter_map(|found| target(found, &here, &modules));
        let to: BTreeSet<_> = to.filter(|to| *to != from).collect();
        arrows.entry(from).or_default().extend(to);
    }
    arrows
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match path.extension() {
        _ if path.is_dir() => files(&path),
        Some(extension) if extension == "rs" => vec![path],
        _ => Vec::new(),
    });
    found.collect()
}

fn module(path: &[String]) -> Module {
    path.iter().take(2).cloned().collect::<Vec<_>>().join("/")
}

/// The module that a path of an import leads to; `None` where it leads out of the crate.
fn target(found: &[String], here: &[String], modules: &BTreeSet<Module>) -> Option<Module> {
    let absolute: Vec<String> = match found.first()?.as_str() {
        "crate" => found.get(1..)?.to_vec(),
        "super" => {
            let up = found.iter().take_while(|part| *part == "super").count();
            let base = here.get(..here.len().checked_sub(up)?)?;
            base.iter().chain(found.get(up..)?).cloned().collect()
        }
        _ => return None,
    };
    let parts = [2, 1].map(|length| absolute.get(..length.min(absolute.len())).map(module));
    parts.into_iter().flatten().find(|module| modules.contains(module))
}

/// The paths of a file that begin with `crate` or `super`, but for its tests.
#[derive(Default)]
struct Imports {
    found: Vec<Vec<String>>,
}

impl Imports {
    fn walk(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &dyn ToString| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.walk(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.walk(prefix, tree)),
            UseTree::Name(name) => self.found.push(with(&name.ident)),
            UseTree::Rename(rename) => self.found.push(with(&rename.ident)),
            UseTree::Glob(_) => self.found.push(prefix.to_vec()),
        }
    }
}

impl Visit<'_> for Imports {
    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !item.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        self.walk(&[], &item.tree);
    }

    /// That something is seen by the module above is no import of it.
    fn visit_visibility(&mut self, _: &Visibility) {}

    fn visit_path(&mut self, path: &syn::Path) {
        self.found.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}

/// Returns what remains once every module is taken away that imports none of the others.
fn circle(mut arrows: BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    loop {
        let free: Vec<_> =
            arrows.iter().filter(|(_, to)| to.is_empty()).map(|(from, _)| from.clone()).collect();
        if free.is_empty() {
            return arrows.iter().map(|(from, to)| format!("{from} imports {to:?}")).collect();
        }
        for module in free {
            arrows.remove(&module);
            for to in arrows.values_mut() {
                to.remove(&module);
            }
        }
    }
}
