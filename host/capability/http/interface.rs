//! The WIT interfaces: `wasi:http/types` as wasmtime has it, and `wasi:http/outgoing-handler` on our own exchanges.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use http::HeaderName;
use http::uri::Scheme;
use tokio::sync::{Semaphore, oneshot};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource as Handle};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::p2::{HttpError, HttpResult};
use wasmtime_wasi_http::{
    Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
};

use super::exchange::{Exchange, Patience, Wish};
use super::traffic::Traffic;
use super::{Http, Sender, Unsendable, headers};
use crate::capability::secrets::lease::Lending;
use crate::capability::{Guarded, TaskState};
use crate::gate::{Code, Denied};

/// The interface of requests and responses.
const TYPES: &str = "wasi:http/types@0.2.12";
/// The interface that is linked here, in the version of `wasi:http/types`.
const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";
/// The headers of one message, in bytes, with what holding them costs.
const LONGEST_HEADERS: usize = 32 * 1024;
/// The bytes that a guest may write to a body at once.
const LONGEST_WRITE: usize = 64 * 1024;
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
}

impl Opened {
    /// Nothing has been asked for yet.
    pub(super) fn new(sender: Arc<dyn Sender>, traffic: Arc<Traffic>, lending: Lending) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(LONGEST_HEADERS);
        let slots = Arc::new(Semaphore::new(MOST_AT_ONCE));
        Self { context, hooks: Hooks::default(), sender, traffic, lending, slots, running: Vec::new() }
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
    linker.allow_shadowing(false);
    Ok(())
}

/// What a guest hands over: a request, and what it would wait for.
type Asked = (Handle<HostOutgoingRequest>, Option<Handle<RequestOptions>>);
/// What it is given at once.
type Promised = Handle<HostFutureIncomingResponse>;

/// What `wasi:http/types` works on.
fn view(state: &mut TaskState) -> WasiHttpCtxView<'_> {
    let (guarded, opened, table) = state.detached::<Http>();
    opened.hooks.guarded = Some(guarded);
    WasiHttpCtxView { ctx: &mut opened.context, hooks: &mut opened.hooks, table }
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
    let Opened { sender, traffic, lending, slots, running, .. } = opened;
    let (sender, traffic, slots) = (Arc::clone(sender), Arc::clone(traffic), Arc::clone(slots));
    let exchange = Exchange { guarded, sender, traffic, lending: lending.clone(), slots };
    let (head, arriving) = oneshot::channel();
    running.retain(Leash::holds);
    if running.len() >= MOST_UNDER_WAY {
        let why = format!("{MOST_UNDER_WAY} requests are under way");
        exchange.refuse(&wish, &why);
        return Err(types::ErrorCode::ConnectionLimitReached.into());
    }
    running.push(Leash::on(exchange.run(wish, head)));
    let response = spawn(async move {
        // The exchange answers, or the store is gone.
        let response = arriving.await.unwrap_or(Err(Error::ConnectionTerminated))?;
        Ok((response, spawn(std::future::ready(()))))
    });
    Ok(table.push(HostFutureIncomingResponse::Pending(response))?)
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
