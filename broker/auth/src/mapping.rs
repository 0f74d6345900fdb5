//! `ssl.principal.mapping.rules`: from a certificate's name to a user's.
//!
//! ```text
//! RULE:pattern/replacement/[LU], ... , DEFAULT
//! ```
//!
//! The first rule whose pattern fits the whole name decides. `$1` is the pattern's first group, `L` and
//! `U` change the letters' case, `DEFAULT` takes the name as it is. A slash inside is written `\/`.
//! Patterns are Rust's, which know no look-around.

use regex::{Captures, Regex};

#[derive(Clone, Debug)]
pub struct MappingRules(Vec<Rule>);

#[derive(Clone, Debug)]
enum Rule {
    Default,
    Replace { pattern: Regex, replacement: String, letters: Letters },
}

#[derive(Clone, Copy, Debug)]
enum Letters {
    AsTheyAre,
    Lower,
    Upper,
}

impl Default for MappingRules {
    fn default() -> MappingRules {
        MappingRules(vec![Rule::Default])
    }
}

impl MappingRules {
    /// What is wrong with the text, if something is.
    pub fn parse(text: &str) -> Result<MappingRules, String> {
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (rule, behind) = first(rest)?;
            rules.extend(rule);
            rest = behind.trim_start();
            if let Some(next) = rest.strip_prefix(',') {
                rest = next.trim_start();
            } else if !rest.is_empty() {
                return Err(format!("\"{rest}\" stands behind a rule without a comma"));
            }
        }
        Ok(MappingRules(rules))
    }

    /// `None`: no rule fits.
    pub fn apply(&self, name: &str) -> Option<String> {
        self.0.iter().find_map(|rule| rule.apply(name))
    }
}

impl Rule {
    fn apply(&self, name: &str) -> Option<String> {
        let Rule::Replace { pattern, replacement, letters } = self else { return Some(name.into()) };
        let mapped = expand(replacement, &pattern.captures(name)?);
        Some(match letters {
            Letters::AsTheyAre => mapped,
            Letters::Lower => mapped.to_lowercase(),
            Letters::Upper => mapped.to_uppercase(),
        })
    }
}

/// The first rule and what follows it; no rule where there are only commas.
fn first(text: &str) -> Result<(Option<Rule>, &str), String> {
    if let Some(rest) = text.strip_prefix("DEFAULT") {
        return Ok((Some(Rule::Default), rest));
    }
    if text.starts_with(',') {
        return Ok((None, text));
    }
    let expected = || format!("\"{text}\" is no rule; expected DEFAULT or RULE:pattern/replacement/");
    let rest = text.strip_prefix("RULE:").ok_or_else(expected)?;
    let (pattern, rest) = until_slash(rest).ok_or_else(expected)?;
    let (replacement, rest) = until_slash(rest).ok_or_else(expected)?;
    let (letters, rest) = match rest.split_at_checked(1) {
        Some(("L", rest)) => (Letters::Lower, rest),
        Some(("U", rest)) => (Letters::Upper, rest),
        _ => (Letters::AsTheyAre, rest),
    };
    // The whole name has to fit.
    let pattern = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
        // The lines before draw the pattern.
        let error = error.to_string();
        format!("\"{pattern}\" is no pattern: {}", error.lines().last().unwrap_or_default())
    })?;
    Ok((Some(Rule::Replace { pattern, replacement: replacement.into(), letters }), rest))
}

fn until_slash(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '/' if !escaped => return Some((&text[..at], &text[at + 1..])),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    None
}

/// As Java replaces: `$12` is group 12 if there are so many, else group 1 and a 2; `\x` is x.
fn expand(replacement: &str, groups: &Captures<'_>) -> String {
    let mut text = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => text.extend(rest.next()),
            '$' => {
                let mut group = None;
                while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
                    let next = group.unwrap_or(0) * 10 + digit as usize;
                    if next >= groups.len() {
                        break;
                    }
                    group = Some(next);
                    rest.next();
                }
                match group {
                    Some(group) => text.push_str(groups.get(group).map_or("", |found| found.as_str())),
                    None => text.push('$'),
                }
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rules: &str, name: &str) -> Option<String> {
        MappingRules::parse(rules).unwrap().apply(name)
    }

    #[test]
    fn rules_map_as_kafkas_documentation_says() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L, \
                     RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/U,DEFAULT";
        for (name, user) in [
            ("CN=serviceuser,OU=ServiceUsers,O=Unknown,L=Unknown,ST=Unknown,C=Unknown", "serviceuser"),
            ("CN=AdminUser,OU=Admin,O=Unknown,L=Unknown,ST=Unknown,C=Unknown", "adminuser@admin"),
            ("OU=x,CN=abc,O=y", "ABC"),
            ("O=y", "O=y"),
        ] {
            assert_eq!(map(rules, name).as_deref(), Some(user), "{name}");
        }
        assert_eq!(map("RULE:^CN=(.*)$/$1/", "O=y"), None, "without DEFAULT");
    }

    #[test]
    fn the_whole_name_has_to_fit_and_groups_are_javas() {
        assert_eq!(map("RULE:CN=(.)/$1/", "CN=ab"), None);
        assert_eq!(map("RULE:CN=(.)(.)/$12$3\\$/", "CN=ab").as_deref(), Some("a2$3$"));
        assert_eq!(map("RULE:CN=a\\/(.*)/$1/", "CN=a/b").as_deref(), Some("b"));
        assert_eq!(map("", "CN=a"), None);
    }

    #[test]
    fn what_is_no_rule_is_told() {
        assert!(MappingRules::parse("RULE:x").unwrap_err().contains("RULE:x"));
        assert!(MappingRules::parse("RULE:(/a/").unwrap_err().contains("("));
        assert!(MappingRules::parse("DEFAULT x").unwrap_err().contains("comma"));
    }
}
