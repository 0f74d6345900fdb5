//! One thing wrong with the file: where, what was found, what was expected, the nearest name.

use std::fmt;

use serde::Serialize;

use crate::place::Place;

/// `flumen.toml:7: unknown key "topcs"; did you mean "topics"?`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub place: Place,
    pub found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl Problem {
    pub fn new(place: Place, found: impl Into<String>) -> Problem {
        Problem { place, found: found.into(), expected: None, nearest: None }
    }

    #[must_use]
    pub fn expected(self, expected: impl Into<String>) -> Problem {
        Problem { expected: Some(expected.into()), ..self }
    }

    /// Adds the candidate that looks most like what was written, if one does.
    #[must_use]
    pub fn near<'a>(self, written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Problem {
        Problem { nearest: nearest(written, candidates).map(str::to_string), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.found)?;
        if let Some(expected) = &self.expected {
            write!(f, "; {expected}")?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean \"{nearest}\"?")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// The candidate within a third of the letters, ends included; ties go to the first.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let keys = ["topics", "broker", "sinks", "from", "to"];
        assert_eq!(nearest("topcs", keys), Some("topics"));
        assert_eq!(nearest("Broker", keys), Some("broker"));
        assert_eq!(nearest("form", keys), Some("from"));
        assert_eq!(nearest("password", keys), None);
    }
}
