//! Whether somebody may do something, by Kafka's rules (`StandardAuthorizer`).
//!
//! ```text
//! super user -> yes | a deny that matches -> no | an allow that matches -> yes
//!            | no rule for the resource at all -> allow.everyone.if.no.acl.found | else -> no
//! ```
//!
//! `tests/kafka_authorizer.rs` holds it against Kafka's own in ten thousand random cases.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use crate::acl::{Acl, Operation, Pattern, Permission, ResourceType, WILDCARD};
use crate::principal::Principal;

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub principal: &'a Principal,
    /// The address as text.
    pub host: &'a str,
}

/// An address as rules name it, which is as Java writes it: IPv6 with all its zeros.
pub fn host_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|part| format!("{part:x}")).join(":"),
    }
}

/// Rules, found by the resource that they apply to.
#[derive(Clone, Debug, Default)]
pub struct Acls {
    by_type: HashMap<ResourceType, OfType>,
}

#[derive(Clone, Debug, Default)]
struct OfType {
    literal: HashMap<String, Vec<Acl>>,
    prefixed: HashMap<String, Vec<Acl>>,
    /// How long the prefixes are, so that a name is looked up once for each.
    lengths: BTreeSet<usize>,
}

impl FromIterator<Acl> for Acls {
    fn from_iter<I: IntoIterator<Item = Acl>>(acls: I) -> Acls {
        let mut all = Acls::default();
        for acl in acls {
            let of_type = all.by_type.entry(acl.resource).or_default();
            let named = match acl.pattern {
                Pattern::Literal => &mut of_type.literal,
                Pattern::Prefixed => {
                    of_type.lengths.insert(acl.name.len());
                    &mut of_type.prefixed
                }
            };
            named.entry(acl.name.clone()).or_default().push(acl);
        }
        all
    }
}

impl Acls {
    /// Every rule that applies to a resource, whoever it is about.
    fn about<'a>(&'a self, resource: ResourceType, name: &'a str) -> impl Iterator<Item = &'a Acl> {
        self.by_type.get(&resource).into_iter().flat_map(move |of_type| {
            let wildcard = if name == WILDCARD { None } else { of_type.literal.get(WILDCARD) };
            let literal = of_type.literal.get(name).into_iter().chain(wildcard);
            let prefixed =
                of_type.lengths.iter().filter_map(move |length| of_type.prefixed.get(name.get(..*length)?));
            literal.chain(prefixed).flatten()
        })
    }

    fn of_type(&self, resource: ResourceType) -> impl Iterator<Item = &Acl> {
        let of_type = self.by_type.get(&resource).into_iter();
        of_type.flat_map(|of_type| of_type.literal.values().chain(of_type.prefixed.values()).flatten())
    }
}

/// The rules and what holds beside them.
#[derive(Clone, Debug, Default)]
pub struct Authorizer {
    pub acls: Acls,
    /// `super.users`
    pub super_users: HashSet<Principal>,
    /// `allow.everyone.if.no.acl.found`
    pub allow_everyone: bool,
}

impl Authorizer {
    /// Whether the operation on this one resource is allowed.
    pub fn allows(&self, who: Subject<'_>, operation: Operation, resource: ResourceType, name: &str) -> bool {
        if self.super_users.contains(who.principal) {
            return true;
        }
        let (mut found, mut allowed) = (false, false);
        for acl in self.acls.about(resource, name) {
            found = true;
            if !is_about(acl, who) {
                continue;
            }
            match acl.permission {
                Permission::Deny if matches!(acl.operation, Operation::All) || acl.operation == operation => {
                    return false;
                }
                Permission::Allow => allowed |= acl.operation.implies(operation),
                Permission::Deny => {}
            }
        }
        allowed || (!found && self.allow_everyone)
    }

    /// Whether the operation is allowed on at least one resource of a type, existing or not.
    pub fn allows_any(&self, who: Subject<'_>, operation: Operation, resource: ResourceType) -> bool {
        // As Kafka does: a name that nobody has stands for what no rule is about.
        if self.allows(who, operation, resource, "hardcode") {
            return true;
        }
        let mut any = Any::default();
        for acl in self.acls.of_type(resource).filter(|acl| is_about(acl, who)) {
            if acl.operation == operation || acl.operation == Operation::All {
                any.add(acl);
            }
        }
        any.is_allowed()
    }
}

fn is_about(acl: &Acl, who: Subject<'_>) -> bool {
    let host = acl.host == WILDCARD || acl.host == who.host;
    host && acl.principal.split_once(':').is_some_and(|(kind, name)| {
        let everybody = kind == "User" && name == WILDCARD;
        everybody || (kind == who.principal.kind && name == who.principal.name)
    })
}

/// The patterns for one somebody and one operation.
#[derive(Default)]
struct Any<'a> {
    denied_all: bool,
    allowed_all: bool,
    denied: HashSet<&'a str>,
    denied_prefixes: HashSet<&'a str>,
    /// With whether the name is a prefix.
    allowed: Vec<(&'a str, bool)>,
}

impl<'a> Any<'a> {
    fn add(&mut self, acl: &'a Acl) {
        let name = acl.name.as_str();
        let wildcard = acl.pattern == Pattern::Literal && name == WILDCARD;
        match (acl.permission, acl.pattern) {
            (Permission::Deny, _) if wildcard => self.denied_all = true,
            (Permission::Allow, _) if wildcard => self.allowed_all = true,
            (Permission::Deny, Pattern::Literal) => drop(self.denied.insert(name)),
            (Permission::Deny, Pattern::Prefixed) => drop(self.denied_prefixes.insert(name)),
            (Permission::Allow, pattern) => self.allowed.push((name, pattern == Pattern::Prefixed)),
        }
    }

    /// Something allowed is left that no denial covers whole.
    fn is_allowed(&self) -> bool {
        let covered = |name: &str| {
            let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
            ends.into_iter().any(|end| self.denied_prefixes.contains(&name[..end]))
        };
        let is_left =
            |(name, prefix): &(&str, bool)| (*prefix || !self.denied.contains(name)) && !covered(name);
        !self.denied_all && (self.allowed_all || self.allowed.iter().any(is_left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_java_writes_them() {
        for (address, text) in
            [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("::1", "0:0:0:0:0:0:0:1")]
        {
            assert_eq!(host_text(address.parse().unwrap()), text);
        }
    }
}
