//! Capabilities whose types are forgotten: rows of the registry.

use std::any::{Any, TypeId};
use std::future::Future;
use std::marker::PhantomData;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;
use wasmtime::component::Linker;

use super::{Again, Capability, Compared, Names, OpenError, Setting, Target, TaskState};
use crate::gate::Guard;
use crate::manifest::{Section, Sections};
use crate::policy::judged::Judged;
use crate::policy::schema::Action;

/// A capability's state, with the type that it belongs to.
pub(super) type Opened = Option<(TypeId, Box<dyn Any + Send>)>;

fn typed<C: Capability>(state: C::State) -> (TypeId, Box<dyn Any + Send>) {
    (TypeId::of::<C>(), Box::new(state))
}

/// A capability whose types are forgotten.
pub trait Registered: Section {
    /// [`Capability::SUMMARY`].
    fn summary(&self) -> &'static str;
    /// [`Capability::ENTITIES`].
    fn entities(&self) -> &'static str;
    /// [`Capability::ACTIONS`].
    fn actions(&self) -> &'static [Action];
    /// [`Capability::COVERS`].
    fn covers(&self) -> &'static [&'static str];
    /// [`Capability::INTERFACES`].
    fn interfaces(&self) -> &'static [&'static str];
    /// [`Capability::POWERLESS`].
    fn is_powerless(&self) -> bool;
    /// [`Capability::given`].
    fn given(&self, grants: &Sections) -> Vec<String>;
    /// [`Capability::lasting`].
    fn lasting(&self, grants: &Sections) -> Vec<String>;
    /// [`Capability::asked`].
    fn asked(&self, requests: &Sections) -> Vec<String>;
    /// [`Capability::compared`].
    fn compared(&self, grants: &Sections, requests: &Sections) -> Vec<Compared>;
    /// [`Capability::reason`].
    fn reason<'a>(&self, requests: &'a Sections) -> &'a str;
    /// [`Capability::narrow`], for a whole component.
    fn narrow(&self, grants: &Sections, requests: &Sections) -> Option<Arc<dyn Any + Send + Sync>>;
    /// [`Capability::find`].
    fn find(&self, grants: &Sections, action: &str, resource: &str) -> Option<Target>;
    /// [`Capability::again`].
    fn again(&self, grants: &Sections, judged: &Judged) -> Option<Again>;
    /// [`Capability::beyond`].
    fn beyond(&self, grants: &Sections, needed: &Sections) -> Vec<String>;
    /// [`Capability::powerless`].
    fn powerless(&self, setting: &Setting<'_>) -> Opened;
    /// [`Capability::open`], where it is granted.
    fn open<'a>(
        &'a self,
        grants: &'a Sections,
        setting: &'a Setting<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, OpenError>> + Send + 'a>>;
    /// [`Capability::link`].
    ///
    /// # Errors
    /// When an interface is defined twice, which is a bug.
    fn link(&self, linker: &mut Linker<TaskState>) -> wasmtime::Result<()>;
}

pub(super) struct Row<C>(PhantomData<fn() -> C>);

impl<C> Row<C> {
    pub(super) const NEW: Self = Self(PhantomData);
}

impl<C: Capability> Section for Row<C> {
    fn key(&self) -> &'static str {
        C::NAME
    }

    fn grant(&self, value: Spanned<DeValue<'_>>, base: &Path) -> Result<Box<dyn Any + Send + Sync>, toml::de::Error> {
        let mut grant: C::Grant = crate::manifest::read(value)?;
        C::locate(&mut grant, base);
        Ok(Box::new(grant))
    }

    fn request(&self, value: Spanned<DeValue<'_>>) -> Result<Box<dyn Any + Send + Sync>, toml::de::Error> {
        Ok(Box::new(crate::manifest::read::<C::Request>(value)?))
    }

    fn conflict(&self, grants: &Sections) -> Option<(String, &'static str)> {
        C::conflict(grants.get(C::NAME)?, grants)
    }

    fn tools_in_grant(&self, grant: &dyn Any) -> Vec<Spanned<String>> {
        grant.downcast_ref().map(|grant| C::tools_of(Names::Grant(grant))).unwrap_or_default()
    }

    fn tools_in_request(&self, request: &dyn Any) -> Vec<Spanned<String>> {
        request.downcast_ref().map(|request| C::tools_of(Names::Request(request))).unwrap_or_default()
    }
}

impl<C: Capability> Registered for Row<C> {
    fn summary(&self) -> &'static str {
        C::SUMMARY
    }

    fn entities(&self) -> &'static str {
        C::ENTITIES
    }

    fn actions(&self) -> &'static [Action] {
        C::ACTIONS
    }

    fn covers(&self) -> &'static [&'static str] {
        C::COVERS
    }

    fn interfaces(&self) -> &'static [&'static str] {
        C::INTERFACES
    }

    fn is_powerless(&self) -> bool {
        C::POWERLESS
    }

    fn given(&self, grants: &Sections) -> Vec<String> {
        grants.get::<C::Grant>(C::NAME).map(C::given).unwrap_or_default()
    }

    fn lasting(&self, grants: &Sections) -> Vec<String> {
        grants.get(C::NAME).map(C::lasting).unwrap_or_default()
    }

    fn asked(&self, requests: &Sections) -> Vec<String> {
        requests.get::<C::Request>(C::NAME).map(C::asked).unwrap_or_default()
    }

    fn compared(&self, grants: &Sections, requests: &Sections) -> Vec<Compared> {
        C::compared(grants.get::<C::Grant>(C::NAME), requests.get::<C::Request>(C::NAME))
    }

    fn reason<'a>(&self, requests: &'a Sections) -> &'a str {
        requests.get::<C::Request>(C::NAME).map(C::reason).unwrap_or_default()
    }

    fn narrow(&self, grants: &Sections, requests: &Sections) -> Option<Arc<dyn Any + Send + Sync>> {
        let grant = grants.get::<C::Grant>(C::NAME)?;
        let request = requests.get::<C::Request>(C::NAME)?;
        C::narrow(grant, request).map(|grant| Arc::new(grant) as Arc<dyn Any + Send + Sync>)
    }

    fn find(&self, grants: &Sections, action: &str, resource: &str) -> Option<Target> {
        C::find(grants.get::<C::Grant>(C::NAME)?, action, resource)
    }

    fn again(&self, grants: &Sections, judged: &Judged) -> Option<Again> {
        C::again(grants.get::<C::Grant>(C::NAME)?, judged)
    }

    fn beyond(&self, grants: &Sections, needed: &Sections) -> Vec<String> {
        let needed = needed.get::<C::Grant>(C::NAME);
        grants.get::<C::Grant>(C::NAME).map(|grant| C::beyond(grant, needed)).unwrap_or_default()
    }

    fn powerless(&self, setting: &Setting<'_>) -> Opened {
        C::powerless(setting).map(typed::<C>)
    }

    fn open<'a>(
        &'a self,
        grants: &'a Sections,
        setting: &'a Setting<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, OpenError>> + Send + 'a>> {
        Box::pin(async move {
            let Some(grant) = grants.get::<C::Grant>(C::NAME) else { return Ok(None) };
            let guard = Guard::new(setting.gate, setting.actor, Some(grant), 0);
            Ok(Some(typed::<C>(C::open(guard, setting).await?)))
        })
    }

    fn link(&self, linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        C::link(linker)
    }
}
