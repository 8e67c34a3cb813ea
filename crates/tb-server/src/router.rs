//! Every route, as one table: the router is built from it, and the tests walk it, so that none is forgotten.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderMap, Method, StatusCode, header},
    middleware,
    routing::{MethodRouter, get, post},
};
use tb_core::{ErrorCode, user::Role};

use crate::{app::App, assets, door, error::Failure, events, feedback, files, gate, rpc, stream, upload};

/// One route.
#[derive(Clone)]
pub struct Route {
    /// The method it answers; GET answers HEAD as well.
    pub method: Method,
    /// Its path; `{…}` stands for any one part, `{*…}` for any path that no other route has.
    pub path: &'static str,
    /// Whom it lets in.
    pub to: Admits,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// Whom a route lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// Anybody, but no change from another site's page.
    Anybody,
    /// Everyone who is signed in; what they then may do is their role's.
    Users,
    /// Users with this role or a higher one.
    Role(Role),
}

/// The path of the door, the one route that opens to nobody in particular.
pub(crate) const SIGN_IN: &str = "/sign-in";

/// The path of everything that is no other route: the interface.
const PAGES: &str = "/{*page}";

/// The addresses that are views of the interface as well as operations.
const SHARED: [&str; 2] = ["/feedback", "/feedback/stats"];

/// Whether a request for the route `matched` shows the interface: that of a browser for an address of its own, or for one that the
/// interface shares with an operation.
pub(crate) fn is_view(matched: Option<&str>, method: &Method, headers: &HeaderMap) -> bool {
    match matched {
        None => true,
        Some(path) => SHARED.contains(&path) && method.is_safe() && wants_page(headers),
    }
}

/// Whether the caller is a browser that shows what it gets. Programs, and scripts of a page, do not name HTML.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|v| v.to_str().is_ok_and(|accept| accept.contains("text/html")))
}

/// Every route of the server.
#[must_use]
pub fn routes() -> Vec<Route> {
    let route = |method, path, to, handler| Route { method, path, to, handler };
    vec![
        route(Method::POST, SIGN_IN, Admits::Anybody, || get(door::show).post(door::enter)),
        route(Method::POST, "/sign-out", Admits::Users, || post(door::leave)),
        route(Method::POST, "/rpc/{name}", Admits::Users, || post(rpc::call)),
        route(Method::POST, "/stream/{name}", Admits::Users, || post(stream::open)),
        route(Method::GET, "/events", Admits::Users, || get(events::follow)),
        route(Method::POST, "/upload", Admits::Role(Role::Trainer), || post(upload::receive)),
        route(Method::GET, "/files/{job_id}/{name}", Admits::Users, || get(files::download)),
        route(Method::POST, "/feedback", Admits::Users, || post(feedback::submit).get(assets::serve)),
        route(Method::GET, "/feedback/stats", Admits::Users, || get(feedback::stats)),
        route(Method::GET, PAGES, Admits::Users, || get(assets::serve)),
    ]
}

/// The table as a router, behind the one gate.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let handler = (route.handler)();
        router = match route.path {
            PAGES => router.fallback_service(handler.fallback(wrong_method).with_state(Arc::clone(app))),
            path => router.route(path, handler.fallback(wrong_method)),
        };
    }
    router.layer(middleware::from_fn_with_state(Arc::clone(app), gate::gate)).with_state(Arc::clone(app))
}

async fn wrong_method(method: Method) -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::InvalidArgument,
        format!("Nothing was done: this address does not answer {method}."),
    )
}
