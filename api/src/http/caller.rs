//! Who asks: a bearer token made into a caller, and the role that a route wants.
//!
//! Extractors run in the order of a handler's arguments, so a handler that names its caller first
//! says nothing about parameters to those who may not ask.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use session_pipeline_pipeline::token::AuthenticatedCaller;
use session_pipeline_store::{Actor, ClientKind, Role};

use super::ServiceState;
use super::denials::RecognizedCaller;
use super::local::LocalCaller;
use super::problem::ApiError;
use crate::problem::ProblemClass;

/// Someone with a good token, of whatever role.
pub(super) struct AnyRole {
    pub(super) caller: AuthenticatedCaller,
    ip: Option<IpAddr>,
    /// The caller in this process, where that is who asks.
    pub(super) local: Option<LocalCaller>,
}

impl AnyRole {
    /// The caller as the audit log names them. Which program a request comes from is nothing that it
    /// is believed about: only the token tells a scheduler.
    pub(super) fn actor(&self) -> Actor {
        if self.local.is_some() {
            return Actor::cli();
        }
        self.caller
            .actor(ClientKind::Web, self.ip.map(|ip| ip.to_string()))
    }

    /// Whether it is the shared secret of an outer scheduler, and no person.
    pub(super) fn is_scheduler(&self) -> bool {
        self.local.is_none() && self.caller.is_scheduler()
    }

    fn of(local: LocalCaller) -> Self {
        Self {
            caller: AuthenticatedCaller {
                role: Role::Admin,
                token_id: None,
                user_id: None,
                email: None,
                is_use_due: false,
            },
            ip: None,
            local: Some(local),
        }
    }

    /// Rejects a caller whose token was revoked, or expired, since the request began.
    ///
    /// # Errors
    /// When it was.
    pub(super) fn check_again(&self, service: &ServiceState) -> Result<(), ApiError> {
        let now = service.clock().now();
        let Some(keyring) = &service.keyring else {
            return Ok(());
        };
        let checked = keyring.recheck(&self.caller, now);
        checked.map_err(|error| ApiError::new(ProblemClass::Unauthenticated, error.to_string()))
    }
}

/// Who sends a request, by its headers alone; the error is for a 401.
#[derive(Clone, Debug)]
pub(super) struct CallerIdentity(pub(super) Result<AuthenticatedCaller, String>);

/// Identifies the caller before anything else of a request is read.
///
/// # Errors
/// When there is no valid token, with what a 401 says.
pub(super) fn identify(
    headers: &HeaderMap,
    service: &ServiceState,
) -> Result<AuthenticatedCaller, String> {
    let token =
        bearer(headers).ok_or("a token is missing: send it as `Authorization: Bearer …`")?;
    let now = service.clock().now();
    let keyring = service.keyring.as_ref();
    let keyring = keyring.ok_or("requests from outside are not accepted here")?;
    let recognised = keyring.authenticate(token, now);
    recognised.map_err(|error| error.to_string())
}

/// More addresses than a request passes on its way.
const HOPS_MAX: usize = 32;

/// Where a request comes from. Each proxy appends to `X-Forwarded-For` who asked it, so the list is
/// read from its end, as long as the addresses are those of trusted proxies; what stands before is
/// what the client says of itself.
pub(super) fn client_address(
    headers: &HeaderMap,
    extensions: &Extensions,
    service: &ServiceState,
) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    let trusted = &service.config().service.trusted_proxies;
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer.ip().to_canonical();
    let forwarded = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = forwarded.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    for _ in 0..HOPS_MAX {
        if !is_trusted(address) {
            break;
        }
        let Some(hop) = hops.next() else { break };
        match hop_address(hop) {
            Some(hop) => address = hop,
            // The caller is unknown there.
            None => break,
        }
    }
    Some(address)
}

/// An address, which some proxies write with a port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let address: Option<IpAddr> = text.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    address
        .or_else(with_port)
        .map(|address| address.to_canonical())
}

/// Someone who may read reports.
pub(super) struct Analyst {
    /// The role of their token, which is at least that of an analyst.
    pub(super) role: Role,
    /// As in [`AnyRole`].
    pub(super) local: Option<LocalCaller>,
}

/// Someone who may do everything.
pub(super) struct Admin(pub(super) AnyRole);

impl FromRequestParts<Arc<ServiceState>> for AnyRole {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<ServiceState>,
    ) -> Result<Self, ApiError> {
        if let Some(local) = parts.extensions.get::<LocalCaller>() {
            return Ok(Self::of(local.clone()));
        }
        let identified = parts.extensions.remove::<CallerIdentity>();
        let caller = identified
            .unwrap_or_else(|| CallerIdentity(identify(&parts.headers, service)))
            .0
            .map_err(|detail| ApiError::new(ProblemClass::Unauthenticated, detail))?;
        let now = service.clock().now();
        if let Some(id) = caller.token_id.clone().filter(|_| caller.is_use_due) {
            let service = Arc::clone(service);
            // Nobody waits for this; a use that can't be written down is no reason to refuse it.
            tokio::task::spawn_blocking(move || {
                let (Some(keyring), Some(store)) = (&service.keyring, service.store()) else {
                    return;
                };
                if let Err(error) = keyring.record_use(store, &id, now) {
                    tracing::warn!("the use of token {id} was not written down: {error}");
                }
            });
        }
        let known = Self {
            caller,
            ip: client_address(&parts.headers, &parts.extensions, service),
            local: None,
        };
        if let Some(recognised) = parts.extensions.get::<RecognizedCaller>() {
            // A second extractor of the same request finds the same caller.
            let _ = recognised.0.set(known.actor());
        }
        Ok(known)
    }
}

impl FromRequestParts<Arc<ServiceState>> for Analyst {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<ServiceState>,
    ) -> Result<Self, ApiError> {
        let known = AnyRole::from_request_parts(parts, service).await?;
        wanted(&known, Role::Analyst)?;
        Ok(Self {
            role: known.caller.role,
            local: known.local,
        })
    }
}

impl FromRequestParts<Arc<ServiceState>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<ServiceState>,
    ) -> Result<Self, ApiError> {
        let known = AnyRole::from_request_parts(parts, service).await?;
        wanted(&known, Role::Admin).map(|()| Self(known))
    }
}

fn wanted(known: &AnyRole, role: Role) -> Result<(), ApiError> {
    if known.caller.role >= role {
        return Ok(());
    }
    let (has, needs) = (known.caller.role.as_str(), role.as_str());
    let detail = format!("this token is of role `{has}`; this needs `{needs}`");
    Err(ApiError::new(ProblemClass::Forbidden, detail))
}

/// The token of a request; the scheme may be spelt in any case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
