//! What a request makes of a resource's settings: single changes, or all of them anew.

use flumen_protocol::messages::incremental_alter_configs_request::AlterableConfig;

use crate::config_file::Texts;

const SET: i8 = 0;
pub(crate) const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Changes(Vec<AlterableConfig>),
    /// What is not named goes back to its default.
    All(Texts),
}

impl Edit {
    /// The settings that it says something of.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Edit::Changes(changes) => changes.iter().map(|change| &*change.name).collect(),
            Edit::All(texts) => texts.keys().map(String::as_str).collect(),
        }
    }

    /// `list` is what holds of a setting that is a list and is not among `texts`; `None` of others. An error is
    /// what is wrong, in words.
    pub(crate) fn apply(
        &self,
        texts: &mut Texts,
        list: impl Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        match self {
            Edit::Changes(changes) => changes.iter().try_for_each(|change| apply(texts, change, &list)),
            Edit::All(all) => {
                texts.clone_from(all);
                Ok(())
            }
        }
    }
}

fn apply(
    texts: &mut Texts,
    change: &AlterableConfig,
    list: &impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let name = &*change.name;
    if change.config_operation == DELETE {
        texts.remove(name);
        return Ok(());
    }
    let value = change.value.as_deref().ok_or_else(|| format!("\"{name}\" has no value"))?;
    let now = || {
        let otherwise = list(name).ok_or_else(|| format!("\"{name}\" is not a list"))?;
        Ok::<_, String>(texts.get(name).cloned().unwrap_or(otherwise))
    };
    let new = match change.config_operation {
        SET => value.to_string(),
        APPEND => {
            let now = now()?;
            let mut all: Vec<_> = parts(&now).collect();
            let fresh: Vec<_> = parts(value).filter(|part| !all.contains(part)).collect();
            all.extend(fresh);
            all.join(",")
        }
        SUBTRACT => {
            let now = now()?;
            parts(&now).filter(|part| !parts(value).any(|gone| gone == *part)).collect::<Vec<_>>().join(",")
        }
        other => return Err(format!("{other} is not an operation on a setting")),
    };
    texts.insert(name.to_string(), new);
    Ok(())
}

fn parts(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use flumen_protocol::message;

    use super::*;

    fn after(operation: i8, name: &str, value: Option<&str>) -> Result<Option<String>, String> {
        let mut texts = Texts::from([("cleanup.policy".into(), "compact".into())]);
        let change = message!(AlterableConfig {
            name: name.into(),
            config_operation: operation,
            value: value.map(Into::into),
        });
        let list = |name: &str| name.ends_with("policy").then(|| "delete".to_string());
        Edit::Changes(vec![change]).apply(&mut texts, list)?;
        Ok(texts.get(name).cloned())
    }

    #[test]
    fn values_are_set_removed_and_lists_grow_and_shrink() {
        assert_eq!(after(SET, "retention.ms", Some("5")), Ok(Some("5".into())));
        assert_eq!(after(DELETE, "cleanup.policy", None), Ok(None));
        assert_eq!(
            after(APPEND, "cleanup.policy", Some("delete,compact")),
            Ok(Some("compact,delete".into()))
        );
        assert_eq!(after(APPEND, "other.policy", Some("compact")), Ok(Some("delete,compact".into())));
        assert_eq!(after(SUBTRACT, "cleanup.policy", Some("compact")), Ok(Some("".into())));
    }

    #[test]
    fn what_cannot_be_is_said() {
        assert!(after(APPEND, "retention.ms", Some("5")).unwrap_err().contains("not a list"));
        assert!(after(SET, "retention.ms", None).unwrap_err().contains("no value"));
        assert!(after(9, "retention.ms", Some("5")).unwrap_err().contains("not an operation"));
    }

    #[test]
    fn all_is_all() {
        let mut texts = Texts::from([("a".into(), "1".into())]);
        let all = Texts::from([("b".into(), "2".into())]);
        Edit::All(all.clone()).apply(&mut texts, |_| None).unwrap();
        assert_eq!(texts, all);
    }
}
