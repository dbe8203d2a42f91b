//! `/api/v1`: what programs ask and order. Every answer is JSON, every error [`Problem`].
//!
//! Times are RFC 3339 in UTC, money is text in yuan, values are JSON numbers with the text they were read as beside
//! them; a value without good quality is still shown, with its quality and the time at which it was true.

mod field;
mod look;
mod orders;
mod top_up;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::http::Web;
use crate::http::problem::{Code, Problem};

/// The rows a list returns at most.
const LIST_MAX: u32 = 500;

/// Every route below `/api/v1`.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/top-ups", post(top_up::post))
        .route("/top-ups/{key}", get(top_up::get))
        .route("/service-points", get(look::service_points))
        .route("/service-points/{id}", get(look::service_point))
        .route("/service-points/{id}/permit-close", post(orders::permit_close))
        .route("/service-points/{id}/credits/{receipt}/settle", post(orders::settle_credit))
        .route("/service-points/{id}/explain-difference", post(orders::explain_difference))
        .route("/service-points/{id}/statement", get(look::statement))
        .route("/meter-credits", get(look::meter_credits))
        .route("/devices", get(look::devices))
        .route("/devices/{id}", get(look::device))
        .route("/devices/{id}/points/{point}/explain", get(field::explain))
        .route("/lines", get(field::lines))
        .route("/lines/{line}/trace", get(field::trace))
        .route("/alarms", get(look::alarms))
        .route("/alarms/{device}/{alarm}/reset", post(orders::reset))
        .route("/incidents", get(look::incidents))
        .route("/incidents/{id}", get(look::incident))
        .route("/incidents/{id}/acknowledge", post(orders::acknowledge))
        .route("/incidents/{id}/close", post(orders::close))
        .fallback(async || Problem::new(Code::NotFound, "the paths are listed in the documentation of the API"))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed, "use the documented method"))
}

/// The JSON of a request body.
fn body<T: DeserializeOwned>(bytes: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let bytes = bytes.map_err(|rejection| match rejection.status().as_u16() {
        413 => Problem::new(Code::TooLarge, format!("at most {} bytes", crate::http::BODY_MAX)),
        _ => Problem::new(Code::BadRequest, "the body did not arrive whole"),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::new(Code::BadRequest, error.to_string()))
}
