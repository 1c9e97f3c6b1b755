//! What passes the gate.

use std::borrow::Cow;
use std::fmt::Debug;

use serde::Serialize;
use wasmtime::component::Val;

use crate::budget::Cost;
use crate::label::Labels;
use crate::policy::{Attribute, Resource};

/// How durable an effect's intent must be before the effect happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It leaves the host: its intent is on the disk first.
    Outside,
    /// It stays inside: its intent is ordered first, and on the disk no later than the next effect that leaves.
    Inside,
    /// It changes the database that the log is in: both are one transaction, made by whoever redeems the permit.
    Shared,
}

/// One use of a capability, as data: what is decided on is exactly what runs.
pub trait Effect: Debug + Serialize + Send + Sync {
    /// The section of the grant manifest that covers it.
    type Grant;
    /// `<grant key>.<verb>`, as in the schema.
    const ACTION: &'static str;
    /// How durable its intent must be.
    const DURABILITY: Durability;

    /// What a guest asked for, by which its answer is found again, where that is not all of the effect: what the host adds may
    /// be spelled otherwise the next time. What cannot be told finds nothing.
    fn asked(&self) -> Option<serde_json::Result<Vec<u8>>> {
        None
    }

    /// What it changes that stays when the task is gone, and is not its own: a task that did that is not run again.
    fn lasts(&self) -> Option<&'static str> {
        None
    }

    /// The action that it is, where one type of effect is of several capabilities.
    fn action(&self) -> &'static str {
        Self::ACTION
    }
    /// What it acts on.
    fn resource(&self) -> Resource;
    /// Its arguments, as the schema types them.
    fn context(&self) -> Vec<(&'static str, Attribute)> {
        Vec::new()
    }
    /// The arguments of a call of a tool, in the order of the parameters.
    fn arguments(&self) -> Option<&[Val]> {
        None
    }
    /// Does the grant list it?
    fn covered(&self, grant: &Self::Grant) -> bool;
    /// The section of the grant that covers it, as a manifest writes it, with no more in it than this needs. Null where it
    /// needs none of its own.
    fn entry(&self, _grant: &Self::Grant) -> serde_json::Value {
        serde_json::Value::Null
    }
    /// The labels that may go where it takes data out of the task; none when it takes none out.
    fn accepts(&self, _grant: &Self::Grant) -> Option<Labels> {
        None
    }
    /// What it takes along that does not stand in its record: it must not hold what the task was lent.
    fn carries(&self) -> Vec<Cow<'_, [u8]>> {
        Vec::new()
    }
    /// Whether a store may take along by it what was revealed to that store: where the task's own labels and a grant bound
    /// who gets it, and it is not the host, another store or another task.
    fn may_show(&self) -> bool {
        false
    }
    /// It in the guest's own words, for the record's field of guest-made text; where there are none, the name of a resource
    /// that no grant lists stands there.
    fn told(&self) -> Option<String> {
        None
    }
    /// It, as a person who is asked about it reads it.
    ///
    /// # Errors
    /// When it cannot be told.
    fn shown(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(self)
    }
    /// What it takes from the task's budget.
    fn cost(&self) -> Cost {
        Cost::default()
    }
}
