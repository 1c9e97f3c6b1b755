//! The WIT interfaces: `wasi:http/types` as wasmtime has it, and `wasi:http/outgoing-handler` on our own exchanges.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use http::HeaderName;
use http::uri::Scheme;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, oneshot};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource as Handle};
use wasmtime_wasi::p2::Pollable as _;
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, poll_noop, spawn};
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::body::HostFutureTrailers;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::p2::{DEFAULT_OUTGOING_BODY_BUFFER_CHUNKS, HttpError, HttpResult};
use wasmtime_wasi_http::{
    Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
};

use super::exchange::{Exchange, Patience, Reply, Wish};
use super::retold::{Fault, Head, Recording, Retold, Told};
use super::traffic::Traffic;
use super::{Http, Sender, Unsendable, headers};
use crate::capability::secrets::lease::Lending;
use crate::capability::{Guarded, TaskState};
use crate::gate::{Code, Denied};
use crate::recorder::Found;

/// The interface of requests and responses.
const TYPES: &str = "wasi:http/types@0.2.12";
/// The interface that is linked here, in the version of `wasi:http/types`.
const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";
/// The headers of one message, in bytes, with what holding them costs.
const LONGEST_HEADERS: usize = 32 * 1024;
/// The bytes that a guest may write to a body at once.
const LONGEST_WRITE: usize = 64 * 1024;
/// Pieces of a body that are held while what was written before is written again.
const MOST_CHUNKS: usize = 1 << 20;
/// Exchanges of one store that run at once; more wait for their turn.
const MOST_AT_ONCE: usize = 8;
/// Exchanges of one store that are not over, with those that wait for their turn.
const MOST_UNDER_WAY: usize = 64;
/// The longest name of a method, and the longest host with its port (RFC 1035, section 2.3.4), in bytes.
const LONGEST_METHOD: usize = 32;
const LONGEST_AUTHORITY: usize = 300;

/// What a store holds.
pub struct Opened {
    context: WasiHttpCtx,
    hooks: Hooks,
    sender: Arc<dyn Sender>,
    traffic: Arc<Traffic>,
    lending: Lending,
    slots: Arc<Semaphore>,
    running: Vec<Leash>,
    /// Bodies of requests that were sent before: they are read, and go nowhere.
    told: Vec<AbortOnDropJoinHandle<()>>,
}

impl Opened {
    /// Nothing has been asked for yet.
    pub(super) fn new(sender: Arc<dyn Sender>, traffic: Arc<Traffic>, lending: Lending) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(LONGEST_HEADERS);
        let slots = Arc::new(Semaphore::new(MOST_AT_ONCE));
        Self {
            context,
            hooks: Hooks::default(),
            sender,
            traffic,
            lending,
            slots,
            running: Vec::new(),
            told: Vec::new(),
        }
    }
}

pub(super) fn link(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    types::add_to_linker::<_, WasiHttp>(linker, &(&options).into(), view)?;
    bound(linker)?;
    let mut interface = linker.instance(OUTGOING_HANDLER)?;
    interface.func_wrap("handle", |mut store: StoreContextMut<'_, TaskState>, (request, options): Asked| {
        match handle(store.data_mut(), request, options) {
            Ok(response) => Ok((Ok(response),)),
            Err(error) => Ok((Err(error.downcast()?),)),
        }
    })
}

/// What a guest gives a request to keep has bounds: wasmtime has none for these, and the host's memory holds them.
#[expect(clippy::disallowed_methods, reason = "the same functions of the same interface, within bounds")]
fn bound(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    type Kept<T> = (Handle<HostOutgoingRequest>, T);
    linker.allow_shadowing(true);
    let mut interface = linker.instance(TYPES)?;
    interface.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, TaskState>, (request, method): Kept<types::Method>| {
            let is_long = matches!(&method, types::Method::Other(name) if name.len() > LONGEST_METHOD);
            let mut view = view(store.data_mut());
            Ok((if is_long { Err(()) } else { types::HostOutgoingRequest::set_method(&mut view, request, method)? },))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, TaskState>, (request, authority): Kept<Option<String>>| {
            let is_long = authority.as_ref().is_some_and(|authority| authority.len() > LONGEST_AUTHORITY);
            let mut view = view(store.data_mut());
            Ok((if is_long {
                Err(())
            } else {
                types::HostOutgoingRequest::set_authority(&mut view, request, authority)?
            },))
        },
    )?;
    answered(&mut interface)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Whether an answer is there yet depends on how fast the world is: where it was not, that is recorded.
fn answered(interface: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    interface.func_wrap(
        "[method]future-incoming-response.get",
        |mut store: StoreContextMut<'_, TaskState>, (future,): (Promised,)| {
            let (guarded, mut view) = seen(store.data_mut());
            let get = |_| types::HostFutureIncomingResponse::get(&mut view, future);
            Ok((guarded.guard::<Http>().there_yet("future-incoming-response.get", get)?,))
        },
    )?;
    interface.func_wrap(
        "[method]future-trailers.get",
        |mut store: StoreContextMut<'_, TaskState>, (future,): (Handle<HostFutureTrailers>,)| {
            let (guarded, mut view) = seen(store.data_mut());
            let get = |was_there: bool| {
                if was_there {
                    // It is still, but has to be looked at.
                    let _ = poll_noop(std::pin::pin!(view.table.get_mut(&future)?.ready()));
                }
                types::HostFutureTrailers::get(&mut view, future)
            };
            Ok((guarded.guard::<Http>().there_yet("future-trailers.get", get)?,))
        },
    )
}

/// What a guest hands over: a request, and what it would wait for.
type Asked = (Handle<HostOutgoingRequest>, Option<Handle<RequestOptions>>);
/// What it is given at once.
type Promised = Handle<HostFutureIncomingResponse>;

/// What `wasi:http/types` works on.
fn view(state: &mut TaskState) -> WasiHttpCtxView<'_> {
    seen(state).1
}

fn seen(state: &mut TaskState) -> (Guarded, WasiHttpCtxView<'_>) {
    let (guarded, opened, table) = state.detached::<Http>();
    opened.hooks.guarded = Some(guarded.clone());
    (guarded, WasiHttpCtxView { ctx: &mut opened.context, hooks: &mut opened.hooks, table })
}

/// Which headers are the guest's to set.
#[derive(Default)]
struct Hooks {
    /// Who calls.
    guarded: Option<Guarded>,
    /// Headers that it tried to set, and were refused: each is recorded once.
    refused: BTreeSet<String>,
}

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        let is_forbidden = headers::is_forbidden(name);
        // There are as many names as a guest likes that begin with `proxy-`.
        if is_forbidden
            && let Some(guarded) = &self.guarded
            && self.refused.len() < 32
            && self.refused.insert(name.to_string())
        {
            let header = Unsendable(format!("header {name}"));
            guarded.guard::<Http>().refuse_in_passing(Code::NotGranted, &header, "no guest sets this header");
        }
        is_forbidden
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(headers::is_forbidden)
    }

    /// Never asked: requests leave through [`handle`] alone.
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _errors: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Worker), Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        LONGEST_WRITE
    }

    /// What was written before is written again without waiting: how much that is, was bounded then.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        let recalls = self.guarded.as_ref().is_some_and(|guarded| guarded.guard::<Http>().recalls());
        if recalls { MOST_CHUNKS } else { DEFAULT_OUTGOING_BODY_BUFFER_CHUNKS }
    }
}

type Worker = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Begins an exchange. The guest goes on while its request is decided on, sent and answered: its body may not be written
/// yet.
fn handle(
    state: &mut TaskState,
    request: Handle<HostOutgoingRequest>,
    options: Option<Handle<RequestOptions>>,
) -> HttpResult<Promised> {
    let (guarded, opened, table) = state.detached::<Http>();
    guarded.guard::<Http>().budget().overdrawn().map_err(|spent| HttpError::trap(Denied::from(spent)))?;
    let options = options.map(|options| table.delete(options)).transpose()?.unwrap_or_default();
    let request = table.delete(request)?;
    let wish = wish(request, &options)?;
    let Opened { sender, traffic, lending, slots, running, told, .. } = opened;
    let (sender, traffic, slots) = (Arc::clone(sender), Arc::clone(traffic), Arc::clone(slots));
    let guard = guarded.guard::<Http>();
    let mut strand = guard.strand();
    let slot = match guard.ask_flowing::<Told<Head>, Fault>(&mut strand, wish.question()).map_err(HttpError::trap)? {
        Found::Recalled(Err(Fault::TooMany)) => return Err(types::ErrorCode::ConnectionLimitReached.into()),
        Found::Recalled(head) => {
            told.extend(wish.body.map(|body| spawn(read_out(body))));
            let response = Retold { guarded, traffic, strand }.response(head);
            return Ok(table.push(promised(response))?);
        }
        Found::New(slot) => slot,
    };
    let recording = Recording::new(guarded.clone(), Arc::clone(&traffic), strand, slot);
    let exchange = Exchange { guarded, sender, traffic, lending: lending.clone(), slots };
    let (head, arriving) = oneshot::channel();
    running.retain(Leash::holds);
    if running.len() >= MOST_UNDER_WAY {
        let why = format!("{MOST_UNDER_WAY} requests are under way");
        exchange.refuse(&wish, &why);
        recording.fail(Fault::TooMany);
        return Err(types::ErrorCode::ConnectionLimitReached.into());
    }
    running.push(Leash::on(exchange.run(wish, head, recording)));
    let response = spawn(async move {
        // The exchange answers, or the store is gone.
        let response = arriving.await.unwrap_or(Err(Error::ConnectionTerminated))?;
        Ok((response, spawn(std::future::ready(()))))
    });
    Ok(table.push(HostFutureIncomingResponse::Pending(response))?)
}

/// A response that was had before is there at once; one that nobody waited for never is.
fn promised(response: Option<Reply>) -> HostFutureIncomingResponse {
    match response {
        Some(response) => {
            let response = response.map(|response| (response, spawn(std::future::ready(()))));
            HostFutureIncomingResponse::Ready(response)
        }
        None => HostFutureIncomingResponse::Pending(spawn(std::future::pending())),
    }
}

async fn read_out(mut body: WasiBody) {
    while let Some(Ok(_)) = body.frame().await {}
}

fn wish(request: HostOutgoingRequest, options: &RequestOptions) -> HttpResult<Wish> {
    let method = request.method.try_into().map_err(|_| types::ErrorCode::HttpRequestMethodInvalid)?;
    let scheme = match request.scheme {
        None | Some(types::Scheme::Https) => Scheme::HTTPS.to_string(),
        Some(types::Scheme::Http) => Scheme::HTTP.to_string(),
        Some(types::Scheme::Other(other)) => other,
    };
    let long = Duration::from_secs(3600);
    let patience = Patience {
        connect: options.connect_timeout.unwrap_or(long),
        first_byte: options.first_byte_timeout.unwrap_or(long),
        between_bytes: options.between_bytes_timeout.unwrap_or(long),
    };
    Ok(Wish {
        method,
        scheme,
        authority: request.authority.unwrap_or_default(),
        path_and_query: request.path_with_query.unwrap_or_default(),
        headers: request.headers.into(),
        body: request.body,
        patience,
    })
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future that a task of its own polls, and that is dropped with its owner and not a moment later: so that what it has
/// begun is settled before its store is gone.
struct Leash {
    held: Arc<Mutex<Option<Running>>>,
    _polling: AbortOnDropJoinHandle<()>,
}

impl Leash {
    fn on(future: impl Future<Output = ()> + Send + 'static) -> Self {
        let held = Arc::new(Mutex::new(Some(Box::pin(future) as Running)));
        let polled = Arc::clone(&held);
        let polling = spawn(std::future::poll_fn(move |context| {
            let mut held = polled.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(future) = held.as_mut() {
                ready!(future.as_mut().poll(context));
                *held = None;
            }
            Poll::Ready(())
        }));
        Self { held, _polling: polling }
    }

    fn holds(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let future = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(future);
    }
}
