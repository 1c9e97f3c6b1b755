//! A world for tests: folders, a gate that remembers its records, and stores whose guests call the interface.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use wasmtime::component::{Resource as Handle, ResourceTable};

use super::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor as _, NewTimestamp, OpenFlags, PathFlags,
};
use super::*;
use crate::approval::Mode;
use crate::audit::{AuditError, Entry, Head, Kind, Ledger, Ticket};
use crate::budget::Budget;
use crate::bundle::Digest;
use crate::capability::Scope;
use crate::gate::{Actor, Gate, Observer};
use crate::grant::Limits;
use crate::label::Labels;
use crate::policy::Policy;
use crate::policy::in_force::InForce;
use crate::policy::point::Point;
use crate::policy::rules::RuleFiles;
use crate::recorder::{Nowhere, Recorder};
use crate::task::{Clock, TaskId};

/// The builder's own folders are made with ambient authority, as an operator's are.
pub(crate) fn ambient(path: &std::path::Path) -> Dir {
    #[expect(clippy::disallowed_methods, reason = "the test's own temporary folder")]
    Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap()
}

#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<Entry>>);

impl Log {
    /// All that was recorded since the last look.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().drain(..).collect()
    }

    /// The refusals since the last look, as `action code`.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let mut entries = self.0.lock().unwrap();
        let refusals = entries.drain(..).filter(|entry| {
            entry.kind == Kind::Refusal || (entry.kind == Kind::Outcome && ["quota", "refused"].contains(&&*entry.code))
        });
        refusals.map(|entry| format!("{} {}", entry.action, entry.code)).collect()
    }
}

impl Ledger for Log {
    fn append(&self, entry: Entry) -> Result<Ticket, AuditError> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(entry);
        let seq = entries.len() as u64;
        Ok(Box::pin(async move { Ok(Head { seq, ..Head::EMPTY }) }))
    }
}

pub(crate) struct Nobody;

impl Observer for Nobody {
    fn effect(&self, _: &'static str, _: &Resource) {}
}

struct Plain;

impl Folders for Plain {
    fn open(&self, permit: Permit<Mount>) -> io::Result<Opened> {
        let Mount(source) = permit.redeem();
        let folder = Dir::from_std_file(ambient(&source.host).open(".")?.into_std());
        let meter = (source.access == Access::Write).then(|| Meter::measure(&folder)).transpose()?;
        Ok(Opened { folder, meter: meter.map(Arc::new), gathered: None })
    }
}

/// A store that has mounts.
pub(crate) struct Store {
    pub(crate) gate: Arc<Gate>,
    pub(crate) actor: Arc<Actor>,
    pub(crate) grant: Grant,
    pub(crate) log: Arc<Log>,
    pub(crate) mounts: Mounts,
    pub(crate) table: ResourceTable,
}

/// Folders of the host: `m` is mounted, `outside` holds what no guest may reach.
pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) dir: Dir,
    pub(crate) folders: Box<dyn Folders>,
    pub(crate) point: Option<Arc<dyn Point>>,
}

pub(crate) const PERMIT: &str = "permit (principal, action, resource);";

pub(crate) const SECRET: &str = "secret";

impl World {
    /// With folders that are opened as they come, each with a meter of its own.
    pub(crate) fn new() -> Self {
        Self::with(Box::new(Plain))
    }

    pub(crate) fn with(folders: Box<dyn Folders>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = ambient(root.path());
        dir.create_dir("outside").unwrap();
        dir.write("outside/secret", SECRET).unwrap();
        dir.create_dir("m").unwrap();
        Self { root, dir, folders, point: None }
    }

    pub(crate) fn mounted(&self) -> Dir {
        self.dir.open_dir("m").unwrap()
    }

    pub(crate) fn granted(&self, host: &str, guest: &str, quota: impl Into<Option<Quota>>) -> Granted {
        let (host, guest) = (self.root.path().join(host), guest.parse().unwrap());
        let (labels, accepts) = (Labels::default(), Labels::default());
        Granted { ground: Ground::Folder, host, guest, quota: quota.into(), labels, accepts }
    }

    /// A store that reads the folder `m`.
    pub(crate) fn reader(&self) -> Store {
        self.store_of(vec![self.granted("m", "/m", None::<Quota>)], Limits::default(), PERMIT)
    }

    /// A store that writes to the folder `m`.
    pub(crate) fn writer(&self, bytes: u64, files: u64) -> Store {
        self.store_of(vec![self.granted("m", "/m", quota(bytes, files))], Limits::default(), PERMIT)
    }

    /// A gate with rules of Cedar, and its records.
    pub(crate) fn gate(&self, limits: Limits, rules: &str) -> (Arc<Gate>, Arc<Log>) {
        self.dir.write("rules.cedar", rules).unwrap();
        let files = RuleFiles::read(&self.dir, self.root.path()).unwrap();
        let policy = Policy::of(&files, &crate::capability::terms(None)).unwrap();
        let log = Arc::new(Log::default());
        let gate = Gate {
            rules: InForce::new(Digest::of(b""), policy, None),
            budget: Budget::new(limits),
            clock: Arc::new(Clock::start()),
            ledger: Arc::clone(&log) as Arc<dyn Ledger>,
            point: self.point.clone(),
            desk: Arc::new(crate::approval::Closed),
            approvals: Mode::Deny,
            observer: Arc::new(Nobody),
            key: [7; 32],
            effects: AtomicU64::new(0),
            leaks: Arc::default(),
            judgements: Arc::new(crate::policy::judged::Unkept),
            recorder: Arc::new(Recorder::recording(Arc::new(Nowhere), u64::MAX)),
            lost: crate::audit::Lost::default(),
        };
        (Arc::new(gate), log)
    }

    /// Mounts what a grant lists, as the start of a store does.
    fn mount(&self, gate: &Arc<Gate>, grant: &Grant) -> (Arc<Actor>, Result<Mounts, OpenError>) {
        let actor = Arc::new(Actor::new(TaskId::generate(), "desk", "agent", "sha256:0".to_owned(), None));
        let mounted = block_on(mount_all(Guard::new(gate, &actor, Some(grant), 0), &*self.folders, gate, &actor));
        let mounts = mounted.map(|mounted| {
            let mounts = Mounts::default();
            mounts.preopens.add(mounted);
            mounts
        });
        (actor, mounts)
    }

    pub(crate) fn mount_one(&self, gate: &Arc<Gate>, mount: Granted) -> Result<Mounts, OpenError> {
        self.mount(gate, &Grant { mounts: vec![mount] }).1
    }

    pub(crate) fn store_of(&self, mounts: Vec<Granted>, limits: Limits, rules: &str) -> Store {
        let (gate, log) = self.gate(limits, rules);
        let grant = Grant { mounts };
        let (actor, mounts) = self.mount(&gate, &grant);
        log.0.lock().unwrap().clear();
        Store { gate, actor, grant, log, mounts: mounts.unwrap(), table: ResourceTable::new() }
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) type Answer<T> = Result<T, ErrorCode>;

pub(crate) fn answer<T>(result: Result<T, Failed>) -> Answer<T> {
    result.map_err(|failed| failed.into_code().expect("no trap"))
}

pub(crate) const FOLLOW: PathFlags = PathFlags::SYMLINK_FOLLOW;
pub(crate) const READ: DescriptorFlags = DescriptorFlags::READ;
pub(crate) const WRITE: DescriptorFlags = DescriptorFlags::WRITE;
pub(crate) const CREATE: OpenFlags = OpenFlags::CREATE;

pub(crate) fn none() -> PathFlags {
    PathFlags::empty()
}

pub(crate) fn plain() -> OpenFlags {
    OpenFlags::empty()
}

pub(crate) type Descriptors = Handle<Descriptor>;

impl Store {
    pub(crate) fn scope(&mut self) -> Scope<'_, Filesystem> {
        let guard = Guard::new(&self.gate, &self.actor, Some(&self.grant), 1);
        Scope { guard, host: &mut self.mounts, table: &mut self.table }
    }

    pub(crate) fn root_of(&mut self, index: usize) -> Descriptors {
        let mut roots = preopens::Host::get_directories(&mut self.scope()).unwrap();
        roots.remove(index).0
    }

    pub(crate) fn root(&mut self) -> Descriptors {
        self.root_of(0)
    }

    pub(crate) fn open(
        &mut self,
        path: &str,
        follow: PathFlags,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> Answer<Descriptors> {
        let root = self.root();
        answer(block_on(self.scope().open_at(root, follow, path.to_owned(), open, flags)))
    }

    pub(crate) fn create(&mut self, path: &str) -> Answer<Descriptors> {
        self.open(path, FOLLOW, CREATE, READ | WRITE)
    }

    pub(crate) fn write(&mut self, file: &Descriptors, bytes: &[u8], offset: u64) -> Answer<u64> {
        answer(block_on(self.scope().write(again(file), bytes.to_vec(), offset)))
    }

    pub(crate) fn read(&mut self, file: &Descriptors) -> String {
        let (bytes, _) = answer(self.scope().read(again(file), 1 << 20, 0)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    pub(crate) fn drop(&mut self, descriptor: Descriptors) {
        super::types::HostDescriptor::drop(&mut self.scope(), descriptor).unwrap();
    }

    pub(crate) fn make_folder(&mut self, path: &str) -> Answer<()> {
        let root = self.root();
        answer(block_on(self.scope().create_directory_at(root, path.to_owned())))
    }

    pub(crate) fn unlink(&mut self, path: &str) -> Answer<()> {
        let root = self.root();
        answer(block_on(self.scope().unlink_file_at(root, path.to_owned())))
    }

    pub(crate) fn remove_folder(&mut self, path: &str) -> Answer<()> {
        let root = self.root();
        answer(block_on(self.scope().remove_directory_at(root, path.to_owned())))
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Answer<()> {
        let root = self.root();
        answer(block_on(self.scope().rename_at(again(&root), from.to_owned(), again(&root), to.to_owned())))
    }

    pub(crate) fn link(&mut self, from: &str, to: &str) -> Answer<()> {
        let root = self.root();
        answer(block_on(self.scope().link_at(again(&root), none(), from.to_owned(), again(&root), to.to_owned())))
    }

    pub(crate) fn symlink(&mut self, target: &str, path: &str) -> Answer<()> {
        let root = self.root();
        answer(block_on(self.scope().symlink_at(root, target.to_owned(), path.to_owned())))
    }

    pub(crate) fn set_size(&mut self, file: &Descriptors, size: u64) -> Answer<()> {
        answer(block_on(self.scope().set_size(again(file), size)))
    }

    pub(crate) fn set_times(&mut self, path: &str, follow: PathFlags) -> Answer<()> {
        let root = self.root();
        let times = (NewTimestamp::Now, NewTimestamp::NoChange);
        answer(block_on(self.scope().set_times_at(root, follow, path.to_owned(), times.0, times.1)))
    }

    pub(crate) fn kind(&mut self, path: &str, follow: PathFlags) -> Answer<DescriptorType> {
        let root = self.root();
        answer(block_on(self.scope().stat_at(root, follow, path.to_owned()))).map(|stat| stat.type_)
    }

    pub(crate) fn read_link(&mut self, path: &str) -> Answer<String> {
        let root = self.root();
        answer(block_on(self.scope().readlink_at(root, path.to_owned())))
    }

    pub(crate) fn used(&self) -> Amount {
        self.mounts.preopens.all()[0].writing.as_ref().unwrap().meter.used()
    }

    /// See [`Log::refusals`].
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.log.refusals()
    }

    pub(crate) fn assert_refused(&self, what: &str) {
        assert_eq!(self.refusals(), [what]);
    }
}

pub(crate) fn again(descriptor: &Descriptors) -> Descriptors {
    Handle::new_borrow(descriptor.rep())
}

pub(crate) const OUTSIDE: &str = "filesystem.mount not-granted";
pub(crate) const UNGRANTED: &str = "filesystem.write not-granted";
pub(crate) const FULL: &str = "filesystem.write quota";

pub(crate) fn quota(bytes: u64, files: u64) -> Quota {
    Quota { bytes: crate::manifest::ByteSize::new(bytes), files }
}
