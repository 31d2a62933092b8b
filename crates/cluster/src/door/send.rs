//! One request, its attempts, and when another attempt is allowed.
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::Door;
use crate::limit::Pressure;
use crate::observe::RequestSeen;
use crate::trace;
use crate::transport::AnswerBody;
use crate::{ApiError, Outcome, Resource};

/// What is asked.
#[derive(Clone)]
pub(crate) struct Ask<'a> {
    pub verb: &'static str,
    pub method: Method,
    pub resource: &'a Resource,
    pub subresource: Option<&'a str>,
    /// `patch pods ns/name`, for errors.
    pub title: String,
    pub path: String,
    pub content_type: &'static str,
    pub body: Bytes,
    pub again: Again,
    pub deadline: Duration,
    /// Waits for a place among the requests of its kind. Lease renewals do not.
    pub queued: bool,
}

/// When the same request may be sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Whatever happened: reads, and writes that a precondition makes harmless.
    Always,
    /// Only when it was certainly not carried out.
    IfRefused,
    /// Not even then: the answer is the caller's (evictions).
    Never,
}

impl Ask<'_> {
    fn is_write(&self) -> bool {
        !matches!(self.method, Method::GET)
    }
}

/// What happened over all attempts, besides the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trail {
    /// An earlier attempt may have been carried out.
    pub maybe_done: bool,
}

impl Door {
    /// Sends until there is an answer, the policy forbids another attempt, or the deadline is over.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> (Result<Bytes, ApiError>, Trail) {
        let give_up = Instant::now() + ask.deadline;
        let mut trail = Trail::default();
        let mut pause = self.inner.options.backoff.0;
        let mut attempt = 0;
        loop {
            let error = match self.attempt(ask, give_up, attempt).await {
                Ok(answer) => return (Ok(answer), trail),
                Err(error) => error,
            };
            trail.maybe_done |= error.is_unknown() && ask.is_write();
            let wait = error
                .retry_after
                .map_or_else(|| self.jittered(pause), |after| after.max(self.jittered(pause)));
            if !may_repeat(ask, &error) || Instant::now() + wait >= give_up {
                return (Err(self.with_trail(error, trail)), trail);
            }
            tracing::debug!(request = %ask.title, %error, attempt, "sending again");
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(self.inner.options.backoff.1);
            attempt += 1;
        }
    }

    /// One attempt with a whole answer.
    async fn attempt(&self, ask: &Ask<'_>, give_up: Instant, attempt: u32) -> Result<Bytes, ApiError> {
        let asked_at = Instant::now();
        let limiter = ask.queued.then(|| self.limiter(ask.resource, ask.is_write()));
        let place = match &limiter {
            Some(limiter) => {
                let entered = tokio::time::timeout_at(give_up, limiter.enter()).await;
                Some(entered.map_err(|_| {
                    ApiError::local(
                        &ask.title,
                        "Timeout",
                        "no place in flight before the deadline",
                        Outcome::Refused,
                    )
                })?)
            }
            None => None,
        };
        let left = self.leave_to_write(ask, give_up).await?;
        let sent_at = Instant::now();
        let ends = give_up.min(sent_at + self.inner.options.attempt_timeout.min(left));
        let answered = tokio::time::timeout_at(ends, self.exchange(ask))
            .await
            .unwrap_or_else(|_| {
                let waited = (ends - sent_at).as_millis();
                Err(ApiError::local(
                    &ask.title,
                    "Timeout",
                    format!("no answer within {waited} ms"),
                    Outcome::Unknown,
                ))
            });
        if let Some(place) = place {
            place.end(pressure(&answered));
        }
        if let Some(limiter) = limiter.filter(|_| ask.is_write()) {
            self.inner.options.observer.limit(ask.resource, limiter.limit());
        }
        self.inner.options.observer.request(&RequestSeen {
            verb: ask.verb,
            resource: ask.resource,
            subresource: ask.subresource,
            code: answered.as_ref().map_or_else(|error| error.code, |_| 200),
            latency: sent_at.elapsed(),
            queued: sent_at - asked_at,
            attempt,
        });
        answered
    }

    /// How long a write may take, as its gate has it. Asked last, just before sending: all waiting is behind us.
    async fn leave_to_write(&self, ask: &Ask<'_>, give_up: Instant) -> Result<Duration, ApiError> {
        let Some(gate) = self.gate.as_ref().filter(|_| ask.is_write()) else {
            return Ok(Duration::MAX);
        };
        let refused = |reason, why: &str| ApiError::local(&ask.title, reason, why, Outcome::Refused);
        let looked = tokio::time::timeout_at(give_up, gate.look()).await;
        looked
            .unwrap_or_else(|_| Err("not before the deadline".to_owned()))
            .map_err(|why| refused("Unconfirmed", &why))?;
        gate.may_write().map_err(|why| refused("Fenced", &why))
    }

    async fn exchange(&self, ask: &Ask<'_>) -> Result<Bytes, ApiError> {
        let answer = self.open(ask).await?;
        let broken = |message: String| ApiError::local(&ask.title, "Transport", message, Outcome::Unknown);
        collect(answer.into_body(), self.inner.options.max_answer)
            .await
            .map_err(broken)
    }

    /// Sends once and returns a 2xx answer whose body is still to come; anything else is an error.
    pub(crate) async fn open(&self, ask: &Ask<'_>) -> Result<Response<AnswerBody>, ApiError> {
        let request = self.request_of(ask)?;
        let answer = self.inner.transport.send(request).await.map_err(|error| {
            let outcome = if error.unsent {
                Outcome::Refused
            } else {
                Outcome::Unknown
            };
            ApiError::local(&ask.title, "Transport", error.message, outcome)
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let code = answer.status().as_u16();
        let after = retry_after(answer.headers());
        // An error's body is a Status: small. One that is not is cut and then simply not understood.
        let body = collect(answer.into_body(), 1 << 20).await.unwrap_or_default();
        let mut error = ApiError::from_answer(&ask.title, ask.resource, code, after, &body);
        // 429 comes from the gatekeeper before anything is done; a 5xx may come after the commit.
        if code >= 500 && ask.is_write() && !error.is_of_admission() {
            error.outcome = Outcome::Unknown;
        }
        Err(error)
    }

    fn request_of(&self, ask: &Ask<'_>) -> Result<Request<Bytes>, ApiError> {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(&ask.path)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, &self.inner.options.user_agent);
        if !ask.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, HeaderValue::from_static(ask.content_type));
        }
        let mut request = request.body(ask.body.clone()).map_err(|error| {
            ApiError::local(&ask.title, "BadRequest", error.to_string(), Outcome::Refused)
        })?;
        trace::pass_on(request.headers_mut());
        Ok(request)
    }

    /// After an attempt that may have been carried out, no later refusal is the last word.
    fn with_trail(&self, mut error: ApiError, trail: Trail) -> ApiError {
        if trail.maybe_done {
            error.outcome = Outcome::Unknown;
        }
        error
    }
}

/// The whole of a body, if it is not too large.
async fn collect(mut body: AnswerBody, max: usize) -> Result<Bytes, String> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("answer cut off: {error}"))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if first.len() + whole.len() + chunk.len() > max {
            return Err(format!("an answer of more than {max} bytes"));
        }
        match (first.is_empty(), whole.is_empty()) {
            // Most answers are one chunk, and are not copied.
            (true, true) => first = chunk,
            (false, true) => {
                whole.extend_from_slice(&std::mem::take(&mut first));
                whole.extend_from_slice(&chunk);
            }
            _ => whole.extend_from_slice(&chunk),
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn may_repeat(ask: &Ask<'_>, error: &ApiError) -> bool {
    let worth_it = error.is_transient() && error.reason != "BadRequest";
    match ask.again {
        Again::Always => worth_it,
        Again::IfRefused => worth_it && error.outcome == Outcome::Refused,
        Again::Never => false,
    }
}

fn pressure(answered: &Result<Bytes, ApiError>) -> Pressure {
    match answered {
        Err(error) if matches!(error.code, 429 | 503 | 504) => Pressure::Back(error.retry_after),
        Err(error) if error.code == 0 => Pressure::Back(None),
        _ => Pressure::Fine,
    }
}

fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    // A server that says "in an hour" is asked again sooner.
    Some(Duration::from_secs(seconds.min(60)))
}
