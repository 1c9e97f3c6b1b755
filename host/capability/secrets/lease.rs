//! Leases: a task's right to have a credential attached, to one component's requests to one place.
//!
//! A lease is opened by an effect, `secrets.lease`, which rules decide on and people may be asked about. While it holds,
//! requests need not ask again; that it holds is looked at for each of them: its time, by two clocks; the rules, with what
//! people approved then; and whether the secret still is what it was. It ends with the task.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Broker;
use crate::capability::http::{Attached, Failed, Grant, Lease};
use crate::gate::{Approval, Guard};
use crate::secret::Secret;

/// Which lease: the component, and the credential with its place.
type Key = (String, String);
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

impl Leases {
    /// What goes with a request: under the lease that holds, or a new one.
    ///
    /// # Errors
    /// When the lease is refused, or there is no value that could be attached.
    pub(in crate::capability) async fn attached(
        &self,
        guard: &Guard<'_, Grant>,
        broker: &dyn Broker,
        lease: Lease,
    ) -> Result<Attached, Failed> {
        let key = (guard.actor().principal.component.clone(), format!("{:?} {}", lease.credential, lease.place));
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key).or_default())
        };
        let mut slot = slot.lock().await;
        if !slot.as_ref().is_some_and(|held| held.holds(guard, broker, &lease)) {
            *slot = None;
            *slot = Some(open(guard, broker, lease.clone()).await?);
        }
        let unfit = || Failed::Credential("its value can stand in no header".to_owned());
        slot.as_ref().and_then(|held| lease.credential.attached(&held.value)).ok_or_else(unfit)
    }
}

impl Held {
    fn holds(&self, guard: &Guard<'_, Grant>, broker: &dyn Broker, lease: &Lease) -> bool {
        let (wall, boot) = self.until;
        let in_time = crate::config::wall_clock() < wall && crate::config::since_boot() < boot;
        let is_present = broker.version(&lease.secret).is_ok_and(|version| version == self.version);
        in_time && is_present && guard.still(lease, self.approval.as_ref())
    }
}

/// Asks the gate for a lease, and the broker for the value.
async fn open(guard: &Guard<'_, Grant>, broker: &dyn Broker, lease: Lease) -> Result<Held, Failed> {
    let (name, seconds) = (lease.secret.to_string(), lease.seconds);
    guard
        .run(lease, async |permit| {
            let (notes, approval) = (permit.notes(), permit.approval().cloned());
            let given = async {
                let lent = broker.lend(permit).await.map_err(|unlent| unlent.to_string())?;
                guard.leaks().watch(&name, &lent.value).map_err(|error| error.to_string())?;
                Ok::<_, String>(lent)
            };
            let lent = given.await.map_err(|why| {
                notes.put("error", crate::audit::escaped(&why));
                Failed::Credential(why)
            })?;
            let time = approval.as_ref().map_or(Duration::from_secs(seconds), |approval| approval.ttl);
            let time = lent.lasts.map_or(time, |lasts| lasts.min(time));
            notes.put("seconds", time.as_secs());
            let until = (crate::config::wall_clock() + time, crate::config::since_boot() + time);
            Ok(Held { value: lent.value, version: lent.version, approval, until })
        })
        .await
}
