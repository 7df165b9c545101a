//! The dashboard: pages for people, rendered on the server.
//!
//! The dashboard is a client of the JSON API. Its pages call the routes of the API in this process
//! as the visitor, so the API alone decides what a role can see, and each figure on a page is also
//! available to programs.

mod call;
mod csrf;
mod data;
mod home;
mod origin;
mod page;
mod sign_in;
mod visitor;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::http::{Frontend, ServiceState, audit_failures};

/// The dashboard of a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dashboard;

/// The state that all pages share.
pub(crate) struct DashboardState {
    service: Arc<ServiceState>,
    /// The API, for calls in this process.
    api: Router,
    /// From this, the CSRF tokens of users that a proxy signed in are derived. `None`: the system
    /// has no random numbers, and such users cannot sign in.
    proxy_secret: Option<[u8; 32]>,
}

impl Frontend for Dashboard {
    fn routes(&self, service: Arc<ServiceState>, api: Router) -> Router {
        let mut secret = [0; 32];
        let filled = service.randomness().fill(&mut secret);
        if let Err(error) = &filled {
            tracing::error!("the operating system provides no random numbers: {error}");
        }
        let state = Arc::new(DashboardState {
            service: Arc::clone(&service),
            api,
            proxy_secret: filled.is_ok().then_some(secret),
        });
        // The last layer is the first that a request passes.
        let pages = Router::new()
            .route("/", get(home::show))
            .route("/sign-out", post(sign_in::sign_out))
            .route("/data/{*path}", get(data::mirror))
            .route_layer(middleware::from_fn(csrf::require_token))
            .route_layer(middleware::from_fn_with_state(
                Arc::clone(&state),
                visitor::require,
            ))
            .route_layer(middleware::from_fn_with_state(
                Arc::clone(&state),
                origin::require_own,
            ));
        let open = Router::new()
            .route("/sign-in", get(sign_in::form).post(sign_in::sign_in))
            .route_layer(middleware::from_fn_with_state(
                Arc::clone(&state),
                origin::require_own,
            ));
        let audit = middleware::from_fn_with_state(service, audit_failures);
        pages.merge(open).route_layer(audit).with_state(state)
    }

    fn wrap(&self, routes: Router) -> Router {
        routes.layer(middleware::from_fn(page::finish))
    }
}
