//! The dashboard: pages for people, rendered on the server.
//!
//! The dashboard is a client of the JSON API. Its pages call the routes of the API in this process
//! as the visitor, so the API alone decides what a role can see, and each figure on a page is also
//! available to programs.

mod actions;
mod assets;
mod call;
mod causes;
mod csrf;
mod data;
mod filters;
mod format;
mod frame;
mod knowledge;
mod operations;
mod origin;
mod overview;
mod page;
mod pages;
mod parts;
mod quality;
mod responses;
mod session;
mod sessions;
mod sign_in;
pub mod transcript;
mod visit;
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
    sign_in_failures: sign_in::SignInFailures,
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
            sign_in_failures: sign_in::SignInFailures::default(),
        });
        // The last layer is the first that a request passes.
        let pages = Router::new()
            .route("/", get(pages::overview))
            .route("/overview/{part}", get(pages::overview_part))
            .route("/sessions", get(pages::sessions))
            .route("/sessions/entries", get(pages::entries))
            .route("/sessions/part", get(pages::part))
            .route("/sessions/reprocess", post(actions::reprocess))
            .route("/sessions/{*key}", get(pages::session))
            .route("/causes", get(pages::causes))
            .route("/causes/{part}", get(pages::cause))
            .route("/knowledge", get(pages::knowledge))
            .route("/knowledge/decisions", post(actions::decide_several))
            .route("/knowledge/{id}", get(pages::evidence))
            .route("/knowledge/{id}/{decision}", post(actions::decide))
            .route("/quality", get(pages::quality))
            .route("/operations", get(pages::operations))
            .route("/operations/runs", get(pages::runs))
            .route("/operations/run", post(actions::run))
            .route("/operations/release", post(actions::release))
            .route("/operations/tokens", post(actions::create_token))
            .route("/operations/revoke", post(actions::revoke_token))
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
            .route("/assets/{name}", get(assets::get))
            .route("/sign-in", get(sign_in::form).post(sign_in::sign_in))
            .route_layer(middleware::from_fn_with_state(
                Arc::clone(&state),
                origin::require_own,
            ));
        let audit = middleware::from_fn_with_state(service, audit_failures);
        pages.merge(open).route_layer(audit).with_state(state)
    }

    fn wrap(&self, routes: Router, service: Arc<ServiceState>) -> Router {
        routes.layer(middleware::from_fn_with_state(service, responses::finish))
    }
}
