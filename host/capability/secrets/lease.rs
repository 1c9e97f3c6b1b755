//! Leases: a task's right to have a credential attached, to one component's requests to one place.
//!
//! A lease is opened by an effect, `secrets.lease`, which rules decide on and people may be asked about. While it holds,
//! requests need not ask again; that it holds is looked at for each of them: its time, by two clocks; the rules, with what
//! people approved then; and whether the secret still is what it was. It ends with the task. A token of the task's own
//! identity is lent in the same way, by an effect of its own, `identity.token`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Answer, Broker};
use crate::capability::http::{Attached, Credential, Failed, Grant, Lease, Ticket};
use crate::capability::identity::Minter;
use crate::gate::{Actor, Approval, Effect, Guard, Permit};
use crate::secret::Secret;

/// Where credentials come from.
#[derive(Clone)]
pub(in crate::capability) struct Lending {
    pub(in crate::capability) broker: Arc<dyn Broker>,
    pub(in crate::capability) minter: Arc<dyn Minter>,
    pub(in crate::capability) leases: Arc<Leases>,
}

/// What can be lent for requests to one place.
pub(in crate::capability) trait Loan: Effect<Grant = Grant> + Clone {
    /// What it is called where it is found.
    fn name(&self) -> String;
    /// As the rule writes it.
    fn credential(&self) -> &Credential;
    /// Where to.
    fn place(&self) -> &str;
    /// For how long, if nobody says otherwise.
    fn time(&self) -> Duration;
    /// Whose it is: a component's, in all of its calls; or that of one call.
    fn holder(&self, actor: &Actor, lending: &Lending) -> Arc<str>;
    /// Gives it.
    fn lend(permit: Permit<Self>, lending: &Lending) -> Answer;
    /// Whether it still is what was given.
    fn is_present(&self, version: Option<&str>, lending: &Lending) -> bool;
}

impl Loan for Lease {
    fn name(&self) -> String {
        self.secret.to_string()
    }

    fn credential(&self) -> &Credential {
        &self.credential
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn holder(&self, actor: &Actor, lending: &Lending) -> Arc<str> {
        let of_a_task = lending.broker.is_of_a_task(&self.secret);
        if of_a_task { Arc::clone(&actor.principal.task) } else { Arc::clone(&actor.principal.component) }
    }

    fn lend(permit: Permit<Self>, lending: &Lending) -> Answer {
        lending.broker.lend(permit)
    }

    fn is_present(&self, version: Option<&str>, lending: &Lending) -> bool {
        lending.broker.version(&self.secret).is_ok_and(|present| present.as_deref() == version)
    }
}

impl Loan for Ticket {
    fn name(&self) -> String {
        self.credential.what.to_string()
    }

    fn credential(&self) -> &Credential {
        &self.credential
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// A call is a task of its own, and a token says which.
    fn holder(&self, actor: &Actor, _lending: &Lending) -> Arc<str> {
        Arc::clone(&actor.principal.task)
    }

    fn lend(permit: Permit<Self>, lending: &Lending) -> Answer {
        lending.minter.attach(permit)
    }

    fn is_present(&self, _version: Option<&str>, _lending: &Lending) -> bool {
        true
    }
}

/// Which lease: its holder, and the credential with its place.
type Key = (Arc<str>, String);
/// A lease that is asked for by one request at a time.
type Slot = Arc<tokio::sync::Mutex<Option<Held>>>;

/// The leases of a task.
#[derive(Default)]
pub(in crate::capability) struct Leases(Mutex<BTreeMap<Key, Slot>>);

/// A lease that was given.
struct Held {
    value: Secret,
    version: Option<String>,
    approval: Option<Approval>,
    /// Since the Unix epoch, and since the machine was started: whichever is over first.
    until: (Duration, Duration),
}

impl Lending {
    /// What goes with a request: under the lease that holds, or a new one.
    ///
    /// # Errors
    /// When the lease is refused, or there is no value that could be attached.
    pub(in crate::capability) async fn attached<L: Loan>(
        &self,
        guard: &Guard<'_, Grant>,
        loan: L,
    ) -> Result<Attached, Failed> {
        let key = (loan.holder(guard.actor(), self), format!("{:?} {}", loan.credential(), loan.place()));
        let slot = {
            let mut slots = self.leases.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key).or_default())
        };
        let mut slot = slot.lock().await;
        if !slot.as_ref().is_some_and(|held| held.holds(guard, self, &loan)) {
            *slot = None;
            *slot = Some(self.open(guard, loan.clone()).await?);
        }
        let unfit = || Failed::Credential("its value can stand in no header".to_owned());
        slot.as_ref().and_then(|held| loan.credential().attached(&held.value)).ok_or_else(unfit)
    }

    /// Asks the gate for a lease, and whoever has the value for it.
    async fn open<L: Loan>(&self, guard: &Guard<'_, Grant>, loan: L) -> Result<Held, Failed> {
        let (name, time) = (loan.name(), loan.time());
        let run = guard.run(loan, async |permit| {
            let (notes, approval) = (permit.notes(), permit.approval().cloned());
            let given = async {
                let lent = L::lend(permit, self).await.map_err(|unlent| unlent.to_string())?;
                for value in lent.beside.iter().chain([&lent.value]) {
                    guard.leaks().watch(&name, value).map_err(|error| error.to_string())?;
                }
                Ok::<_, String>(lent)
            };
            let lent = given.await.map_err(|why| {
                notes.put("error", crate::audit::escaped(&why));
                Failed::Credential(why)
            })?;
            // What people approved holds from when they did.
            let time = approval.as_ref().map_or(time, Approval::left);
            let time = lent.lasts.map_or(time, |lasts| lasts.min(time));
            if time.is_zero() {
                let why = "what was approved is over before it could be lent".to_owned();
                notes.put("error", why.clone());
                return Err(Failed::Credential(why));
            }
            notes.put("seconds", time.as_secs());
            let until = (crate::config::wall_clock() + time, crate::config::since_boot() + time);
            Ok(Held { value: lent.value, version: lent.version, approval, until })
        });
        run.await
    }
}

impl Held {
    fn holds<L: Loan>(&self, guard: &Guard<'_, Grant>, lending: &Lending, loan: &L) -> bool {
        let (wall, boot) = self.until;
        let in_time = crate::config::wall_clock() < wall && crate::config::since_boot() < boot;
        in_time && loan.is_present(self.version.as_deref(), lending) && guard.still(loan, self.approval.as_ref())
    }
}
