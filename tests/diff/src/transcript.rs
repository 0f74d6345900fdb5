//! What a broker has answered to a case, as text that is kept beside the case.
//!
//! ```text
//! # Apache Kafka 4.3.1 to case 1b2c3d4e
//!
//! Produce 9
//!   responses: [{name: $t, partitionResponses: [{index: 0, errorCode: NONE, …}]}]
//! ```

use anyhow::{Context, Result, ensure};

use crate::text;
use crate::value::Value;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    pub answers: Vec<Answer>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The API and version, and whose it is.
    pub title: String,
    pub value: Value,
}

impl Transcript {
    pub fn write(&self, fingerprint: &str) -> String {
        let mut text = format!("# Apache Kafka {} to case {fingerprint}\n", crate::brokers::KAFKA_VERSION);
        for answer in &self.answers {
            text += &format!("\n{}\n{}", answer.title, answer.value.block());
        }
        text
    }

    /// Reads what was recorded for a case that has not been changed since.
    pub fn read(text: &str, fingerprint: &str) -> Result<Transcript> {
        let head = text.lines().next().unwrap_or_default();
        ensure!(head.ends_with(fingerprint), "the case has been changed since Kafka's answers were recorded");
        let mut blocks: Vec<(String, String)> = Vec::new();
        for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
            match blocks.last_mut() {
                Some((_, block)) if line.starts_with(' ') => {
                    block.push_str(line);
                    block.push('\n');
                }
                _ => blocks.push((line.to_string(), String::new())),
            }
        }
        let answers = blocks.into_iter().map(|(title, block)| {
            let value = text::block(&block).with_context(|| title.clone())?;
            Ok(Answer { title, value })
        });
        Ok(Transcript { answers: answers.collect::<Result<_>>()? })
    }

    /// As it would be read: a text that looks like something else is that afterwards.
    pub fn settled(&self) -> Result<Transcript> {
        Transcript::read(&self.write(""), "")
    }
}
