//! Every route, as one table: the router is built from it, and the tests walk it, so that none is forgotten.

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, StatusCode},
    middleware,
    routing::{MethodRouter, get, post},
};
use tb_core::ErrorCode;

use crate::{app::App, assets, error::Failure, events, files, gate, rpc, stream, upload};

/// One route.
#[derive(Clone)]
pub struct Route {
    /// The method it answers; GET answers HEAD as well.
    pub method: Method,
    /// Its path; `{…}` stands for any one part, `{*…}` for any path that no other route has.
    pub path: &'static str,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// The path of everything that is no other route: the interface.
const PAGES: &str = "/{*page}";

/// Every route of the server.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route { method: Method::POST, path: "/rpc/{name}", handler: || post(rpc::call) },
        Route { method: Method::POST, path: "/stream/{name}", handler: || post(stream::open) },
        Route { method: Method::GET, path: "/events", handler: || get(events::follow) },
        Route { method: Method::POST, path: "/upload", handler: || post(upload::receive) },
        Route { method: Method::GET, path: "/files/{job_id}/{name}", handler: || get(files::download) },
        Route { method: Method::GET, path: PAGES, handler: || get(assets::serve) },
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
