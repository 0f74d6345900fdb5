//! Whom a quota is about: a user, a client id, both, or an address; each by its name, or the default for those that
//! have none of their own.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    Default,
    Named(String),
}

impl Name {
    /// The protocol's null is the default.
    pub fn new(name: Option<&str>) -> Name {
        name.map_or(Name::Default, |name| Name::Named(name.into()))
    }

    pub fn named(&self) -> Option<&str> {
        match self {
            Name::Default => None,
            Name::Named(name) => Some(name),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    User(Name),
    Client(Name),
    UserClient(Name, Name),
    Ip(Name),
}

impl Entity {
    pub const USER: &'static str = "user";
    pub const CLIENT_ID: &'static str = "client-id";
    pub const IP: &'static str = "ip";

    /// From what is said of each kind; `None` if it is about nobody, or an address is not alone.
    pub fn new(user: Option<Name>, client: Option<Name>, ip: Option<Name>) -> Option<Entity> {
        match (user, client, ip) {
            (Some(user), None, None) => Some(Entity::User(user)),
            (None, Some(client), None) => Some(Entity::Client(client)),
            (Some(user), Some(client), None) => Some(Entity::UserClient(user, client)),
            (None, None, Some(ip)) => Some(Entity::Ip(ip)),
            _ => None,
        }
    }

    /// By Kafka's words for the kinds, in its order.
    pub fn parts(&self) -> Vec<(&'static str, &Name)> {
        match self {
            Entity::User(user) => vec![(Entity::USER, user)],
            Entity::Client(client) => vec![(Entity::CLIENT_ID, client)],
            Entity::UserClient(user, client) => vec![(Entity::CLIENT_ID, client), (Entity::USER, user)],
            Entity::Ip(ip) => vec![(Entity::IP, ip)],
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (kind, name)) in self.parts().into_iter().enumerate() {
            let gap = if n > 0 { ", " } else { "" };
            match name.named() {
                Some(name) => write!(f, "{gap}{kind} {name}")?,
                None => write!(f, "{gap}default {kind}")?,
            }
        }
        Ok(())
    }
}
