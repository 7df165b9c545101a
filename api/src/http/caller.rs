//! Authenticates callers by bearer token, and checks the role that a route requires.
//!
//! Extractors run in the order of a handler's arguments. Handlers take the caller first, so that an
//! unauthorized client gets no errors about parameters.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use session_pipeline_pipeline::identity::directories_of;
use session_pipeline_pipeline::token::{AuthenticatedCaller, Credential};
use session_pipeline_store::{Actor, ClientKind, Role};

use super::ServiceState;
use super::denials::RecognizedCaller;
use super::local::LocalCaller;
use super::problem::ApiError;
use crate::problem::ProblemClass;

/// A caller with a valid token, of any role.
pub(super) struct AnyRole {
    pub(super) authenticated: AuthenticatedCaller,
    ip: Option<IpAddr>,
    /// The caller in this process, for a local command.
    pub(super) local: Option<LocalCaller>,
}

impl AnyRole {
    /// The caller for the audit log. The client kind comes from the token, not from the request, so
    /// that a client cannot pose as a scheduler.
    pub(super) fn actor(&self) -> Actor {
        if self.local.is_some() {
            return Actor::cli();
        }
        self.authenticated
            .actor(ClientKind::Web, self.ip.map(|ip| ip.to_string()))
    }

    /// Whether the caller uses the shared secret of an external scheduler.
    pub(super) fn is_scheduler(&self) -> bool {
        self.local.is_none() && self.authenticated.is_scheduler()
    }

    fn from_local(local: LocalCaller) -> Self {
        Self {
            authenticated: AuthenticatedCaller {
                role: Role::Admin,
                credential: Credential::Local,
                user_id: None,
                email: None,
                is_use_due: false,
            },
            ip: None,
            local: Some(local),
        }
    }

    /// Checks the token again, at the end of a long request.
    ///
    /// # Errors
    /// The token was revoked or has expired since the request started.
    pub(super) fn recheck(&self, service: &ServiceState) -> Result<(), ApiError> {
        let now = service.clock().now();
        let Some(keyring) = &service.keyring else {
            return Ok(());
        };
        let checked = keyring.recheck(&self.authenticated, now);
        checked.map_err(|error| ApiError::new(ProblemClass::Unauthenticated, error.to_string()))
    }
}

/// The result of [`identify`]. The error is the detail of a 401 response.
#[derive(Clone, Debug)]
pub(crate) struct CallerIdentity(pub(crate) Result<AuthenticatedCaller, String>);

/// Identifies the caller by the headers, before the body is read.
///
/// # Errors
/// There is no valid token. The error is the detail of a 401 response.
pub(super) fn identify(
    headers: &HeaderMap,
    service: &ServiceState,
) -> Result<AuthenticatedCaller, String> {
    let token =
        bearer(headers).ok_or("a token is missing: send it as `Authorization: Bearer …`")?;
    let now = service.clock().now();
    let keyring = service.keyring.as_ref();
    let keyring = keyring.ok_or("this command does not accept requests from other processes")?;
    let caller = keyring.authenticate(token, now);
    caller.map_err(|error| error.to_string())
}

/// Maximum number of forwarded addresses to read. Real proxy chains are shorter.
const HOPS_MAX: usize = 32;

/// The address of the client. Each proxy appends the address of its client to `X-Forwarded-For`, so
/// the list is read from its end, as long as the addresses belong to trusted proxies. Earlier
/// entries are controlled by the client.
pub(crate) fn client_address(
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
            // The proxy does not know its client.
            None => break,
        }
    }
    Some(address)
}

/// Parses an address. Some proxies append a port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let address: Option<IpAddr> = text.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    address
        .or_else(with_port)
        .map(|address| address.to_canonical())
}

/// Whose sessions a caller can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallerScope {
    /// All sessions.
    Everyone,
    /// Only those of the user with this id. `None`: no sessions.
    Own(Option<String>),
}

impl CallerScope {
    /// The directories of these sessions, below the sessions root. `None`: all.
    ///
    /// # Errors
    /// The users cannot be read.
    pub(super) fn directories(
        &self,
        service: &ServiceState,
    ) -> Result<Option<Vec<String>>, ApiError> {
        match (self, service.store()) {
            (Self::Everyone, _) => Ok(None),
            (Self::Own(Some(user)), Some(store)) => Ok(Some(directories_of(&store.users()?, user))),
            (Self::Own(_), _) => Ok(Some(Vec::new())),
        }
    }
}

/// A caller of any role, who can read at least figures of the caller's own sessions.
pub(super) struct Member {
    /// The role.
    pub(super) role: Role,
    /// Whose figures the caller can read.
    pub(super) scope: CallerScope,
    /// The caller in this process, for a local command.
    pub(super) local: Option<LocalCaller>,
}

/// A caller who can list sessions, with their figures. A member lists those of its user.
pub(super) struct SessionAccess {
    /// The role.
    pub(super) role: Role,
    /// Whose sessions the caller can list.
    pub(super) scope: CallerScope,
    /// Of whose sessions the caller can read texts: titles, and logs of failures.
    pub(super) texts: CallerScope,
    /// The caller in this process, for a local command.
    pub(super) local: Option<LocalCaller>,
}

/// A caller who can read transcripts: an admin all of them, any other caller those of its user.
pub(super) struct TranscriptAccess {
    /// The role.
    pub(super) role: Role,
    /// Whose transcripts the caller can read.
    pub(super) scope: CallerScope,
}

/// A caller who can read reports on everyone.
pub(super) struct Analyst {
    /// The role of the token: analyst or admin.
    pub(super) role: Role,
    /// The caller in this process, for a local command.
    pub(super) local: Option<LocalCaller>,
}

/// A caller who can do everything.
pub(super) struct Admin(pub(super) AnyRole);

impl FromRequestParts<Arc<ServiceState>> for AnyRole {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<ServiceState>,
    ) -> Result<Self, ApiError> {
        if let Some(local) = parts.extensions.get::<LocalCaller>() {
            return Ok(Self::from_local(local.clone()));
        }
        let identified = parts.extensions.remove::<CallerIdentity>();
        let caller = identified
            .unwrap_or_else(|| CallerIdentity(identify(&parts.headers, service)))
            .0
            .map_err(|detail| ApiError::new(ProblemClass::Unauthenticated, detail))?;
        let now = service.clock().now();
        if let Some(id) = caller
            .token_id()
            .filter(|_| caller.is_use_due)
            .map(str::to_owned)
        {
            let service = Arc::clone(service);
            // The request does not wait for this. It succeeds even if the use cannot be recorded.
            tokio::task::spawn_blocking(move || {
                let (Some(keyring), Some(store)) = (&service.keyring, service.store()) else {
                    return;
                };
                if let Err(error) = keyring.record_use(store, &id, now) {
                    tracing::warn!("cannot record the use of token `{id}`: {error}");
                }
            });
        }
        let any = Self {
            authenticated: caller,
            ip: client_address(&parts.headers, &parts.extensions, service),
            local: None,
        };
        if let Some(recognized) = parts.extensions.get::<RecognizedCaller>() {
            // Already set if a second extractor runs in the same request. The caller is the same.
            let _ = recognized.0.set(any.actor());
        }
        Ok(any)
    }
}

impl FromRequestParts<Arc<ServiceState>> for Member {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<ServiceState>,
    ) -> Result<Self, ApiError> {
        let any = AnyRole::from_request_parts(parts, service).await?;
        let role = any.authenticated.role;
        let scope = match role {
            Role::Analyst | Role::Admin => CallerScope::Everyone,
            Role::Member => CallerScope::Own(any.authenticated.user_id),
        };
        Ok(Self {
            role,
            scope,
            local: any.local,
        })
    }
}

impl FromRequestParts<Arc<ServiceState>> for SessionAccess {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<ServiceState>,
    ) -> Result<Self, ApiError> {
        let any = AnyRole::from_request_parts(parts, service).await?;
        let (role, user) = (any.authenticated.role, any.authenticated.user_id);
        let (scope, texts) = match role {
            Role::Admin => (CallerScope::Everyone, CallerScope::Everyone),
            Role::Analyst => (CallerScope::Everyone, CallerScope::Own(user)),
            Role::Member => (CallerScope::Own(user.clone()), CallerScope::Own(user)),
        };
        Ok(Self {
            role,
            scope,
            texts,
            local: any.local,
        })
    }
}

impl FromRequestParts<Arc<ServiceState>> for TranscriptAccess {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<ServiceState>,
    ) -> Result<Self, ApiError> {
        let any = AnyRole::from_request_parts(parts, service).await?;
        let role = any.authenticated.role;
        let scope = match (role, any.authenticated.user_id) {
            (Role::Admin, _) => CallerScope::Everyone,
            (Role::Analyst, None) => {
                let detail = "this token has the role `analyst` and no user, so it has no transcripts of its own; the transcripts of others require `admin`";
                return Err(ApiError::new(ProblemClass::Forbidden, detail));
            }
            (Role::Member | Role::Analyst, user) => CallerScope::Own(user),
        };
        Ok(Self { role, scope })
    }
}

impl FromRequestParts<Arc<ServiceState>> for Analyst {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<ServiceState>,
    ) -> Result<Self, ApiError> {
        let any = AnyRole::from_request_parts(parts, service).await?;
        require_role(&any, Role::Analyst)?;
        Ok(Self {
            role: any.authenticated.role,
            local: any.local,
        })
    }
}

impl FromRequestParts<Arc<ServiceState>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<ServiceState>,
    ) -> Result<Self, ApiError> {
        let any = AnyRole::from_request_parts(parts, service).await?;
        require_role(&any, Role::Admin).map(|()| Self(any))
    }
}

fn require_role(any: &AnyRole, role: Role) -> Result<(), ApiError> {
    if any.authenticated.role >= role {
        return Ok(());
    }
    let (has, needs) = (any.authenticated.role.as_str(), role.as_str());
    let detail = format!("this token has the role `{has}`; this request requires `{needs}`");
    Err(ApiError::new(ProblemClass::Forbidden, detail))
}

/// The bearer token of a request. The scheme is case-insensitive.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
