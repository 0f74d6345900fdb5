//! `sasl.jaas.config`: the user and the password in what Java's clients are configured with.
//!
//! ```text
//! org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="secret";
//! ```
//!
//! Invariant: what is wrong with it is said without a word of it.

use flumen_auth::sasl::login::Password;

/// The user whom the text names. `Err` is what is wrong, and quotes nothing.
pub(crate) fn password(text: &str) -> Result<Password, &'static str> {
    let words = words(text)?;
    let option = |name: &str| {
        let mut options = words.iter().skip(2).filter_map(|word| word.split_once('='));
        options.find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    };
    Ok(Password {
        user: option("username").ok_or("it has no username=\"...\"")?,
        password: option("password").ok_or("it has no password=\"...\"")?,
    })
}

/// The words up to the semicolon, without their quotes.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' | '\'' => quoted(letter, &mut letters, &mut word)?,
            ';' => {
                words.extend((!word.is_empty()).then_some(word));
                return Ok(words);
            }
            space if space.is_whitespace() => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            }
            other => word.push(other),
        }
    }
    Err("it does not end with a semicolon")
}

/// Up to the same quote again; a backslash keeps the letter after it.
fn quoted(
    quote: char,
    letters: &mut impl Iterator<Item = char>,
    word: &mut String,
) -> Result<(), &'static str> {
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.extend(letters.next()),
            end if end == quote => return Ok(()),
            other => word.push(other),
        }
    }
    Err("a quote in it does not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_password_are_found_in_what_people_write() {
        for text in [
            r#"org.apache.kafka.common.security.plain.PlainLoginModule required username="a" password="b c;\"d";"#,
            r#"M  required  password='b c;"d'   username=a serviceName="kafka" ;"#,
        ] {
            let found = password(text).unwrap();
            assert_eq!((&*found.user, &*found.password), ("a", "b c;\"d"), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_words() {
        for text in [
            "",
            r#"M required username="a" password="b""#,
            r#"M required username="a" password="b;"#,
            r#"M required username="a";"#,
            r#"username="a" password="b";"#,
        ] {
            assert!(password(text).is_err(), "{text}");
        }
    }
}
