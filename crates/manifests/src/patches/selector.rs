//! Label selectors, in the grammar and with the meaning of Kubernetes, `labels.Parse` in
//! `k8s.io/apimachinery/pkg/labels`.

use serde_json::Value;

use super::scalar;

/// All its requirements.
#[derive(Debug, Default)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Debug)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// Also if the key is missing.
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl Selector {
    /// Reads `text`; the error describes its problem.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Tokens { rest: text };
        let mut requirements = Vec::new();
        if tokens.peek().is_none() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(tokens.requirement()?);
            match tokens.next() {
                None => return Ok(Self(requirements)),
                Some(",") => {}
                Some(other) => return Err(format!("{other:?} stands where a comma was expected")),
            }
        }
    }

    /// Returns whether the mapping of labels or annotations meets it.
    pub(super) fn matches(&self, labels: Option<&Value>) -> bool {
        self.0.iter().all(|Requirement { key, test }| {
            let value = labels.and_then(|labels| labels.get(key)).and_then(scalar);
            let number = || value.as_ref().and_then(|value| value.parse::<i64>().ok());
            match test {
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.iter().any(|it| *it == value)),
                Test::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|it| *it != value))
                }
                Test::Greater(than) => number().is_some_and(|number| number > *than),
                Test::Less(than) => number().is_some_and(|number| number < *than),
            }
        })
    }
}

/// Words and signs, without white space.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn peek(&self) -> Option<&'a str> {
        const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", "<", ">"];
        let rest = self.rest.trim_start();
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            return rest.get(..sign.len());
        }
        let end = rest.find(|c: char| c.is_whitespace() || "=!(),<>".contains(c));
        rest.get(..end.unwrap_or(rest.len())).filter(|word| !word.is_empty())
    }

    fn next(&mut self) -> Option<&'a str> {
        let token = self.peek()?;
        self.rest = self.rest.trim_start().get(token.len()..).unwrap_or_default();
        Some(token)
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let not = self.peek() == Some("!");
        if not {
            self.next();
        }
        let key = key(self.next().unwrap_or_default())?;
        if not {
            return Ok(Requirement { key, test: Test::Missing });
        }
        let test = match self.peek() {
            None | Some(",") => return Ok(Requirement { key, test: Test::Exists }),
            Some(operator) => {
                self.next();
                match operator {
                    "=" | "==" => Test::In(vec![self.value()?]),
                    "!=" => Test::NotIn(vec![self.value()?]),
                    "in" => Test::In(self.values()?),
                    "notin" => Test::NotIn(self.values()?),
                    ">" => Test::Greater(self.number()?),
                    "<" => Test::Less(self.number()?),
                    other => {
                        return Err(format!(
                            "{other:?} is no operator; use =, ==, !=, in, notin, < or >"
                        ));
                    }
                }
            }
        };
        Ok(Requirement { key, test })
    }

    /// Reads a value, which may be empty.
    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            None | Some("," | ")") => Ok(String::new()),
            Some(_) => value(self.next().unwrap_or_default()),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        if self.next() != Some("(") {
            return Err("after in and notin, values in parentheses are expected".to_owned());
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            match self.next() {
                Some(",") => {}
                Some(")") => return Ok(values),
                Some(other) => return Err(format!("{other:?} stands between parentheses")),
                None => return Err("a closing parenthesis is missing".to_owned()),
            }
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let text = self.next().unwrap_or_default();
        text.parse().map_err(|_| format!("{text:?} after < or > is not an integer"))
    }
}

/// Reads a label's key: a name, with or without a DNS name and a slash before it.
fn key(text: &str) -> Result<String, String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let is_domain = |prefix: &str| {
        let part = |part: &str| {
            let may = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !part.is_empty()
                && part.chars().all(may)
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        prefix.len() <= 253 && prefix.split('.').all(part)
    };
    if !name.is_empty() && is_label(name) && prefix.is_none_or(is_domain) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} stands where a label's key was expected"))
}

fn value(text: &str) -> Result<String, String> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} cannot be a value: at most 63 letters, digits, '-', '_' and '.', beginning and \
         ending with a letter or digit"
    ))
}

fn is_label(text: &str) -> bool {
    let may = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.chars().all(may)
        && text.chars().next().is_none_or(is_edge)
        && text.chars().next_back().is_none_or(is_edge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selects_as_kubernetes_does() {
        let labels = json!({"app": "shop", "tier": "web", "n": "5", "empty": "", "x.io/a": "1"});
        for (text, expected) in [
            ("", true),
            ("  ", true),
            ("app", true),
            ("!app", false),
            ("! other", true),
            ("app=shop", true),
            ("app == shop", true),
            ("app=shop,tier!=db", true),
            ("other!=db", true),
            ("app=shop,tier!=web", false),
            ("tier in (db, web)", true),
            ("tier in(db)", false),
            ("tier notin (db),app", true),
            ("other notin (db)", true),
            ("other in (db)", false),
            ("empty=", true),
            ("app=,tier", false),
            ("empty in ()", true),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app>5", false),
            ("x.io/a=1", true),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.matches(Some(&labels)), expected, "{text:?}");
        }
        assert!(Selector::parse("!a").unwrap().matches(None));
        assert!(!Selector::parse("a").unwrap().matches(None));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("a,", "\"\" stands where a label's key was expected"),
            (",a", "\",\" stands where a label's key was expected"),
            ("a b", "\"b\" is no operator"),
            ("a=b c", "\"c\" stands where a comma was expected"),
            ("a=b=c", "\"=\" stands where a comma was expected"),
            ("a in b", "values in parentheses"),
            ("a in (b", "closing parenthesis"),
            ("a in (b c)", "\"c\" stands between"),
            ("a>x", "\"x\" after < or > is not an integer"),
            ("a=-b", "\"-b\" cannot be a value"),
            ("-a", "\"-a\" stands where"),
            ("A.io/x/y", "\"A.io/x/y\" stands where"),
        ] {
            let error = Selector::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
