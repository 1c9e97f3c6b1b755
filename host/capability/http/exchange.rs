//! One request, from the guest's words to the last byte of the response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::LOCATION;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

use super::grant::{Grant, Rule};
use super::headers::{self, Headers, is_spelled_alike};
use super::outflow::{Cut, Watched};
use super::retold::Recording;
use super::target::{BadTarget, Target};
use super::traffic::{Account, Amount, Traffic};
use super::{Arrived, Attached, Failed, Http, Outgoing, Payload, Request, Sender, Unsendable};
use crate::capability::Guarded;
use crate::capability::secrets::lease::Lending;
use crate::gate::{Approval, Code, Denied, Guard, Notes, Permit, cleared};
use crate::label::Labels;
use crate::leak::Found;
use crate::recorder::Question;

/// What a guest asks for, in its own words.
pub(super) struct Wish {
    pub(super) method: Method,
    pub(super) scheme: String,
    pub(super) authority: String,
    pub(super) path_and_query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<WasiBody>,
    pub(super) patience: Patience,
}

impl Wish {
    /// What an answer to it depends on; its body is told by what was answered before.
    pub(super) fn question(&self) -> Question {
        let mut asked = self.told().into_bytes();
        for (name, value) in &self.headers {
            asked.extend([b"\n", name.as_str().as_bytes(), b":", value.as_bytes()].concat());
        }
        Question::new("http.request", &asked)
    }

    fn told(&self) -> String {
        format!("{} {}://{}{}", self.method, self.scheme, self.authority, self.path_and_query)
    }
}

/// How long a guest would wait, where that is shorter than the rule's time.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) between_bytes: Duration,
}

/// A response, as the guest gets it.
pub(super) type Reply = Result<http::Response<WasiBody>, Error>;

/// What an exchange works with.
pub(super) struct Exchange {
    pub(super) guarded: Guarded,
    pub(super) sender: Arc<dyn Sender>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) lending: Lending,
    /// How many run at once.
    pub(super) slots: Arc<Semaphore>,
}

/// Where the guest waits, and what it is given is kept.
struct Delivery {
    head: Option<oneshot::Sender<Reply>>,
    body: Option<mpsc::Sender<Result<Bytes, Error>>>,
    recording: Recording,
}

impl Delivery {
    /// Ends when the guest does not wait for a response any more.
    async fn unwanted(&mut self) {
        match &mut self.head {
            Some(head) => head.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Gives the guest a response, whose body will come in pieces.
    fn begin(&mut self, status: StatusCode, headers: HeaderMap) {
        self.recording.head(status, &headers);
        let (pieces, arriving) = mpsc::channel(1);
        let mut response = http::Response::new(Arriving(arriving).boxed_unsync());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        self.body = Some(pieces);
        if let Some(head) = self.head.take() {
            // Nobody may wait for it any more.
            drop(head.send(Ok(response)));
        }
    }

    /// Gives the guest a piece of the body. False when it does not want more.
    async fn piece(&mut self, piece: Vec<u8>) -> bool {
        let Some(pieces) = &self.body else { return false };
        self.recording.piece(&piece);
        piece.is_empty() || pieces.send(Ok(piece.into())).await.is_ok()
    }

    async fn fail(mut self, failed: Failed) {
        if let Failed::Denied(Denied::Unrecalled(_)) = &failed {
            // The whole task ends.
            std::future::pending::<()>().await;
        }
        self.recording.end(Err(&failed));
        let error = failed.into();
        match (self.head, self.body) {
            (Some(head), _) => drop(head.send(Err(error))),
            (None, Some(body)) => drop(body.send(Err(error)).await),
            (None, None) => {}
        }
    }
}

/// A body that arrives in pieces.
struct Arriving(mpsc::Receiver<Result<Bytes, Error>>);

impl Body for Arriving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// How a request went.
enum Went {
    /// The guest has the response.
    Delivered,
    /// It is to be asked for elsewhere.
    Redirected(StatusCode, String),
}

impl Exchange {
    /// Carries out a wish, and gives the guest what comes of it.
    pub(super) async fn run(self, wish: Wish, head: oneshot::Sender<Reply>, recording: Recording) {
        let mut delivery = Delivery { head: Some(head), body: None, recording };
        // What ends the exchange is settled before the guest hears of it: also the end of a body.
        if let Err(failed) = Box::pin(self.carry_out(wish, &mut delivery)).await {
            if let Failed::Denied(Denied::Exhausted(exhausted)) = &failed {
                self.guarded.guard::<Http>().budget().overdraw(*exhausted);
            }
            delivery.fail(failed).await;
        }
    }

    /// Refuses a wish that cannot even wait for its turn.
    pub(super) fn refuse(&self, wish: &Wish, why: &str) {
        self.guarded.guard::<Http>().refuse_in_passing(Code::Quota, &Unsendable(wish.told()), why);
    }

    async fn carry_out(&self, wish: Wish, delivery: &mut Delivery) -> Result<(), Failed> {
        let _slot = tokio::select! {
            slot = self.slots.acquire() => slot,
            () = delivery.unwanted() => return Err(Failed::Unwanted),
        };
        let guard = self.guarded.guard::<Http>();
        let told = wish.told();
        let target = match Target::read(&wish.scheme, &wish.authority, &wish.path_and_query) {
            Ok(target) => target,
            Err(bad) => return Err(unsendable(&guard, told, &bad).await),
        };
        let Wish { mut method, body, patience, headers, .. } = wish;
        let mut rule = listed(&guard, &method, &target, told).await?;
        let (body, mut stream) = match body {
            Some(body) if rule.stream && has_body(&method) => (Payload::Stream, Some(body)),
            Some(body) => {
                let collected = tokio::select! {
                    collected = self.collect(&guard, rule, &method, &target, body) => collected?,
                    () = delivery.unwanted() => return Err(Failed::Unwanted),
                };
                (Payload::Whole(collected), None)
            }
            None => (Payload::Whole(Bytes::new()), None),
        };
        if let Some(credential) = &rule.credential
            && headers.keys().any(|name| is_spelled_alike(name, &credential.header()))
        {
            let header = Unsendable(format!("header {}", credential.header()));
            return Err(guard.refuse(Code::NotGranted, &header, "no guest sets this header").await.into());
        }
        let most = u64::from(rule.redirects);
        let mut request = Request::under(rule, method.as_str(), target, headers::sent(headers), body);
        loop {
            let follows = request.redirects < most;
            let hop = Hop { exchange: self, guard, rule, patience, follows };
            match hop.take(request.clone(), stream.take(), delivery).await? {
                Went::Delivered => return Ok(()),
                Went::Redirected(status, location) => {
                    let told = format!("redirected to {location}");
                    let target = match request.url.redirected(&location) {
                        Ok(target) => target,
                        Err(bad) => return Err(unsendable(&guard, told, &bad).await),
                    };
                    let body = if keeps_method(status, &method) {
                        request.body
                    } else {
                        method = Method::GET;
                        Payload::Whole(Bytes::new())
                    };
                    let has_body = matches!(&body, Payload::Whole(bytes) if !bytes.is_empty());
                    let headers = headers::redirected(&request.headers, has_body);
                    rule = listed(&guard, &method, &target, told).await?;
                    let redirects = request.redirects + 1;
                    request = Request::under(rule, method.as_str(), target, headers, body).redirected(redirects);
                }
            }
        }
    }

    /// All of a body, up to the rule's cap.
    async fn collect(
        &self,
        guard: &Guard<'_, Grant>,
        rule: &Rule,
        method: &Method,
        target: &Target,
        mut body: WasiBody,
    ) -> Result<Bytes, Failed> {
        let longest = rule.bounds.request;
        let mut collected = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| Failed::Unfinished)?.into_data() else {
                let trailers = Unsendable("trailers".to_owned());
                return Err(guard.refuse(Code::NotGranted, &trailers, "a request has no trailers").await.into());
            };
            if (collected.len() + piece.len()) as u64 > longest {
                let none = Payload::Whole(Bytes::new());
                let request = Request::under(rule, method.as_str(), target.clone(), Headers::default(), none);
                let why =
                    format!("its body is longer than {longest} bytes, which is what `request` of the rule allows");
                // Recorded; what the guest hears is more exact.
                return match guard.refuse(Code::Quota, &request, &why).await {
                    Denied::Refused(_) => Err(Failed::RequestTooLong { longest }),
                    ended => Err(ended.into()),
                };
            }
            collected.extend_from_slice(&piece);
        }
        Ok(collected.freeze())
    }
}

/// What cannot be sent at all is refused; what the guest hears is more exact.
async fn unsendable(guard: &Guard<'_, Grant>, told: String, why: &BadTarget) -> Failed {
    match guard.refuse(Code::NotGranted, &Unsendable(told), &why.to_string()).await {
        Denied::Refused(_) => Failed::Target,
        ended => ended.into(),
    }
}

/// The rule that lists a request; one that none lists is refused.
async fn listed<'a>(
    guard: &Guard<'a, Grant>,
    method: &Method,
    target: &Target,
    told: String,
) -> Result<&'a Rule, Failed> {
    match guard.grant().and_then(|grant| grant.rule(method.as_str(), target)) {
        Some(rule) => Ok(rule),
        None => Err(guard.refuse(Code::NotGranted, &Unsendable(told), "the grant does not cover it").await.into()),
    }
}

/// Whether requests of a method have bodies whose length need not be known.
fn has_body(method: &Method) -> bool {
    *method != Method::GET && *method != Method::HEAD
}

/// Whether a redirect is followed with the same method and body (RFC 9110, section 15.4).
fn keeps_method(status: StatusCode, method: &Method) -> bool {
    match status {
        StatusCode::SEE_OTHER => *method == Method::HEAD,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *method != Method::POST,
        _ => true,
    }
}

/// One request of an exchange.
struct Hop<'a> {
    exchange: &'a Exchange,
    guard: Guard<'a, Grant>,
    rule: &'a Rule,
    patience: Patience,
    /// Whether a redirect would be followed.
    follows: bool,
}

impl Hop<'_> {
    /// Asks the gate, sends the request, and delivers the response, unless it is a redirect that is followed.
    async fn take(&self, request: Request, stream: Option<WasiBody>, delivery: &mut Delivery) -> Result<Went, Failed> {
        let budget = self.guard.budget();
        let account = Account::with(&request.url.host, self.rule.budget, &self.exchange.traffic, budget);
        let time = request.bounds.time();
        let more = Amount { requests: 1, sent: request.size(), received: 0 };
        if let Err(spent) = account.fits(more) {
            return Err(self.guard.refuse(Code::Quota, &request, &spent.to_string()).await.into());
        }
        // What is decided on is decided for what the task carries now: more of it cuts a body off that flows, also when it
        // is gained while the decision waits for the disk.
        let labels = self.guard.actor().labels.now();
        let again = request.credential.is_some().then(|| request.clone());
        let slot = delivery.recording.slot().cloned();
        let key = self.guard.idempotency_key(request.redirects);
        self.guard
            .run_at(slot.as_ref(), request, async |permit| {
                let notes = permit.notes();
                let cut = Cut::default();
                // Not before it is known that the request may be made: people can be asked about that for longer than a
                // lease holds.
                let credential = self.credential(again, permit.approval()).await.inspect_err(|failed| {
                    notes.put("error", crate::audit::escaped(&failed.to_string()));
                })?;
                let sent = async {
                    account.take(more)?;
                    notes.put("sent", more.sent);
                    let stream = stream.map(|body| self.watched(body, &account, labels, notes.clone(), &cut));
                    self.send(permit, stream, (credential, key), delivery, &account).await
                };
                let result = tokio::select! {
                    result = timeout(time, sent) => result.unwrap_or(Err(Failed::Timeout)),
                    // Whoever carries what the host may not know does not even read on: how fast it does would tell.
                    () = self.uncleared() => Err(Failed::Gained),
                };
                let result = cut.why().map_or(result, Err);
                if let Err(failed) = &result {
                    if failed.is_told_by_the_host() {
                        self.guard.gain(&self.rule.labels);
                    }
                    notes.put("error", crate::audit::escaped(&failed.to_string()));
                }
                if !matches!(result, Ok(Went::Redirected(..))) {
                    delivery.recording.end(result.as_ref().map(drop));
                }
                result
            })
            .await
    }

    /// What goes along with a request that bears a credential, under a lease that holds.
    async fn credential(
        &self,
        request: Option<Request>,
        approval: Option<&Approval>,
    ) -> Result<Option<Attached>, Failed> {
        let Some(request) = request else { return Ok(None) };
        let (lending, host) = (&self.exchange.lending, &request.url.host);
        let subject = Some(self.guard.subject());
        let attached = match (self.rule.lease(host, subject.clone()), self.rule.ticket(host, subject)) {
            (Some(lease), _) => lending.attached(&self.guard, lease).await?,
            (None, Some(ticket)) => lending.attached(&self.guard, ticket).await?,
            (None, None) => return Err(Failed::Credential("the rule has another credential".to_owned())),
        };
        // People can have been asked about the lease for an hour: what was decided on then is decided on once more.
        let in_time = approval.is_none_or(|approval| !approval.left().is_zero());
        if in_time && self.guard.still(&request, approval) { Ok(Some(attached)) } else { Err(Failed::Changed) }
    }

    /// Ends when the task carries what the host may not know.
    async fn uncleared(&self) {
        let (labels, accepted) = (&self.guard.actor().labels, self.rule.accepted());
        labels.until(|carried| cleared(carried, &accepted).is_err()).await;
    }

    async fn send(
        &self,
        permit: Permit<Request>,
        stream: Option<WasiBody>,
        (credential, idempotency_key): (Option<Attached>, String),
        delivery: &mut Delivery,
        account: &Account,
    ) -> Result<Went, Failed> {
        let notes = permit.notes();
        let outgoing = Outgoing { stream, connect: self.patience.connect, credential, idempotency_key };
        let sending = timeout(self.patience.first_byte, self.exchange.sender.send(permit, outgoing));
        let Arrived { status, headers, mut body, address } = tokio::select! {
            arrived = sending => arrived.unwrap_or(Err(Failed::Timeout))?,
            () = delivery.unwanted() => return Err(Failed::Unwanted),
        };
        // Whatever the guest learns from here on, it learns from this host.
        self.guard.gain(&self.rule.labels);
        notes.put("status", status.as_u16());
        notes.put("address", address.to_string());
        let mut received = 0;
        let mut receive = |bytes: u64| {
            received += bytes;
            notes.put("received", received);
            account.take(Amount { received: bytes, ..Amount::default() })
        };
        receive(headers::size(&headers))?;
        if self.follows
            && let Some(location) = location(status, &headers)
        {
            return Ok(Went::Redirected(status, location));
        }
        let mut found = Found::new();
        delivery.begin(status, headers::covered(headers::shown(headers), self.guard.leaks(), &mut found));
        note(&notes, &found);
        let mut flow = self.guard.leaks().flow();
        let mut length = 0;
        let longest = self.rule.bounds.response;
        while let Some(frame) = timeout(self.patience.between_bytes, body.frame()).await.map_err(|_| Failed::Timeout)? {
            let Ok(piece) = frame?.into_data() else { continue };
            length += piece.len() as u64;
            if length > longest {
                return Err(Failed::ResponseTooLong { longest });
            }
            receive(piece.len() as u64)?;
            let (piece, more) = flow.pass(&piece);
            found.extend(more);
            note(&notes, &found);
            if !delivery.piece(piece).await {
                // The guest has read as much as it wanted.
                return Ok(Went::Delivered);
            }
        }
        delivery.piece(flow.end()).await;
        Ok(Went::Delivered)
    }

    /// A body that is cut off when it outgrows what it may have, or when the task gains labels that were not there when it
    /// was decided on.
    fn watched(&self, body: WasiBody, account: &Account, labels: Labels, notes: Notes, cut: &Cut) -> WasiBody {
        let (gate, actor) = (Arc::clone(self.exchange.guarded.gate()), Arc::clone(self.guard.actor()));
        let (before, longest, flow) = (notes.number("sent"), self.rule.bounds.request, Some(gate.leaks.flow()));
        let (account, cut) = (account.clone(), cut.clone());
        Watched { body, flow, gate, actor, labels, account, longest, length: 0, before, notes, cut }.boxed_unsync()
    }
}

/// What the task was lent came back, and was covered.
fn note(notes: &Notes, found: &Found) {
    if !found.is_empty() {
        notes.put("covered", serde_json::json!(found));
    }
}

/// Where a response redirects to.
fn location(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    redirects.then(|| headers.get(LOCATION)?.to_str().ok().map(ToOwned::to_owned)).flatten()
}
