//! The content of a page of the documentation: its code blocks, its links and its headings.

use anyhow::{Result, bail};

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first word after the fence, such as `sh`; empty if there is none.
    pub language: String,
    /// The words that follow it, such as `file=shop.yaml`; each is `name` or `name=value`.
    pub attributes: Vec<(String, String)>,
    /// The text between the fences.
    pub text: String,
    /// The line of the page where it begins.
    pub line: usize,
}

impl Block {
    /// Returns the value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Returns the fenced blocks of the page, in order.
///
/// # Errors
/// If a block has no end, or another begins in it.
pub fn blocks(page: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(page.lines()) {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (None, None) => {}
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (Some(""), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                let (language, attributes) = info.split_once(',').unwrap_or((info, ""));
                let attribute = |word: &str| {
                    let (name, value) = word.split_once('=').unwrap_or((word, ""));
                    (name.to_owned(), value.to_owned())
                };
                let attributes = attributes.split(',').filter(|word| !word.is_empty());
                open = Some(Block {
                    language: language.to_owned(),
                    attributes: attributes.map(attribute).collect(),
                    text: String::new(),
                    line: number,
                });
            }
            (Some(info), _) => bail!("line {number}: a fence with {info:?} where none belongs"),
        }
    }
    match open {
        Some(block) => bail!("line {}: a block without an end", block.line),
        None => Ok(blocks),
    }
}

/// Returns the page without its fenced blocks and its `code`.
fn prose(page: &str) -> String {
    let mut fenced = false;
    let mut text = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let words = line.split('`').step_by(2);
            text.extend(words.chain(["\n"]));
        }
    }
    text
}

/// Returns the targets of its links.
pub fn links(page: &str) -> Vec<String> {
    // A link's own text may be code, which leaves it as `[ ](…)`.
    let text = prose(page);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// Returns the paths of the repository that it names: `code` that begins with one of its folders.
pub fn paths(page: &str) -> Vec<String> {
    const FOLDERS: [&str; 6] = ["crates/", "crds/", "deploy/", "docs/", "examples/", "tests/"];
    let codes = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let paths = codes.filter(|code| FOLDERS.iter().any(|folder| code.starts_with(folder)));
    paths.map(str::to_owned).collect()
}

/// Returns its headings, without their marks.
pub fn headings(page: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut headings = Vec::new();
    for line in page.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if level > 0 && !fenced {
            headings.push((level, line.trim_matches('#').trim().to_owned()));
        }
    }
    headings
}

/// Returns the anchor that a heading gets.
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_a_language_and_attributes() {
        let page = "a\n```sh\nls\n```\n\n```yaml,file=a.yaml\na: 1\nb: 2\n```\n";
        let found = blocks(page).unwrap();
        assert_eq!((&*found[0].language, &*found[0].text, found[0].line), ("sh", "ls\n", 2));
        assert_eq!(found[1].attribute("file"), Some("a.yaml"));
        assert_eq!(found[1].text, "a: 1\nb: 2\n");
        assert_eq!(blocks("```\nx\n```\n").unwrap()[0].language, "");
        assert!(blocks("```sh\nx\n").is_err());
    }

    #[test]
    fn links_and_headings_are_those_of_the_prose() {
        let page = "# A `b` C\n\n[x](y.md#z) `[no](no)` `docs/src`\n```sh\n# no\n```\n## D\n";
        assert_eq!(links(page), ["y.md#z"]);
        assert_eq!(paths(page), ["docs/src"]);
        assert_eq!(headings(page), [(1, "A `b` C".to_owned()), (2, "D".to_owned())]);
        assert_eq!(anchor("A `b` C"), "a-b-c");
    }
}
