//! Refuses requests for work while the server ends.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::problem::Problem;

/// Answers 503 to requests for work that come while the server ends. Questions, which are no work, are answered.
pub(crate) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    if app.refuses() && request.method() == Method::POST {
        return Problem::unavailable("this server is ending: send the request to another one, or try again")
            .into_response();
    }
    next.run(request).await
}
