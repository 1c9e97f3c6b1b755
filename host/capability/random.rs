//! `random`: numbers that nobody can foresee.
//!
//! Granted, a store's generator grows from fresh entropy; not granted, from a seed that the bundle and the input give, so
//! that an identical run is identical. `--seed` decides for both. Either way the task draws from one recorded seed, and
//! `wasi:random/insecure*` from the same generator.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::Serialize;
use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::switch::{Granted, Request};
use super::{Capability, Lens, OpenError, Scope, Setting, Target, TaskState};
use crate::gate::{Durability, Effect, Guard};
use crate::policy::Resource;
use crate::policy::schema::Action;

/// See the module.
pub struct Random;

/// Bytes that one call may ask for.
const LONGEST: u64 = 4 << 10;

/// A store's generator is seeded with entropy.
#[derive(Debug, Serialize)]
struct Seed;

impl Effect for Seed {
    type Grant = Granted;
    const ACTION: &'static str = "random.seed";
    const DURABILITY: Durability = Durability::Inside;

    fn resource(&self) -> Resource {
        Resource::new("Generator", "task")
    }

    fn covered(&self, _grant: &Granted) -> bool {
        true
    }

    fn entry(&self, _grant: &Granted) -> serde_json::Value {
        true.into()
    }
}

impl Capability for Random {
    const NAME: &'static str = "random";
    const SUMMARY: &'static str = "random numbers that nobody can foresee";
    const ENTITIES: &'static str = "entity Generator;";
    const ACTIONS: &'static [Action] = &[Action { name: "random.seed", resource: "Generator", context: "" }];
    const INTERFACES: &'static [&'static str] =
        &["wasi:random/random", "wasi:random/insecure", "wasi:random/insecure-seed"];
    const POWERLESS: bool = true;
    type Grant = Granted;
    type Request = Request;
    type State = ChaCha20Rng;

    fn given(_grant: &Granted) -> Vec<String> {
        vec!["fresh entropy".to_owned()]
    }

    fn asked(_request: &Request) -> Vec<String> {
        vec!["fresh entropy".to_owned()]
    }

    fn reason(request: &Request) -> &str {
        &request.reason
    }

    fn narrow(grant: &Granted, _request: &Request) -> Option<Granted> {
        Some(*grant)
    }

    fn find(grant: &Granted, _action: &str, resource: &str) -> Option<Target> {
        Target::of(&Seed, grant)?.named(resource)
    }

    fn powerless(setting: &Setting<'_>) -> Option<ChaCha20Rng> {
        let seed = setting.seeds.fixed.derive(&setting.actor.task, "random");
        Some(ChaCha20Rng::from_seed(seed.bytes()))
    }

    async fn open(guard: Guard<'_, Granted>, setting: &Setting<'_>) -> Result<ChaCha20Rng, OpenError> {
        let seed = setting.seeds.granted.derive(&setting.actor.task, "random");
        let open = guard.answer(Seed, async |permit| {
            permit.redeem();
            Ok::<_, OpenError>(())
        });
        open.await.map(|()| ChaCha20Rng::from_seed(seed.bytes()))
    }

    fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
        random::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)?;
        insecure::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)?;
        insecure_seed::add_to_linker::<_, Lens<Self>>(linker, TaskState::scope::<Self>)
    }
}

impl Scope<'_, Random> {
    fn bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.guard.in_time().map_err(wasmtime::Error::new)?;
        if length > LONGEST {
            wasmtime::bail!("{length} random bytes at once are more than {LONGEST}");
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        self.host.fill_bytes(&mut bytes);
        Ok(bytes)
    }
}

impl random::Host for Scope<'_, Random> {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.host.next_u64())
    }
}

impl insecure::Host for Scope<'_, Random> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.host.next_u64())
    }
}

impl insecure_seed::Host for Scope<'_, Random> {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.host.next_u64(), self.host.next_u64()))
    }
}
