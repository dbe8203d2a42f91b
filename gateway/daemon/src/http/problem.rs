//! Errors of the API: `application/problem+json` (RFC 9457) that a technician can act on, in both languages.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Seconds after which a caller may try again when the gateway could not do its work.
const RETRY_AFTER_SECONDS: u64 = 5;

/// What went wrong, as a closed set of codes. A program branches on the code; people read the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request cannot be read as what it should be.
    BadRequest,
    /// There is no usable bearer token.
    Unauthorized,
    /// The token may not do this.
    Forbidden,
    /// The request came from a page of another origin.
    CrossOrigin,
    /// There is no such thing.
    NotFound,
    /// There is such a page, but not for this method.
    MethodNotAllowed,
    /// It contradicts the state of things.
    Conflict,
    /// The body is larger than any request here needs to be.
    TooLarge,
    /// The idempotency key belongs to another request.
    KeyReused,
    /// The store or a task cannot answer now.
    Unavailable,
    /// It took too long; whether it took effect is unknown.
    TimedOut,
    /// A defect.
    Internal,
}

impl Code {
    /// The status, the stable word, and both titles.
    fn parts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Code::BadRequest => (StatusCode::BAD_REQUEST, "bad_request", "The request is not valid", "请求无效"),
            Code::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "unauthorized", "A valid bearer token is needed", "需要有效的访问令牌")
            }
            Code::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "This client may not do that", "该客户端无此权限"),
            Code::CrossOrigin => {
                (StatusCode::FORBIDDEN, "cross_origin", "The request came from another site", "请求来自其他站点")
            }
            Code::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is no such thing", "找不到该对象"),
            Code::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not with this method", "不支持该方法")
            }
            Code::Conflict => (StatusCode::CONFLICT, "conflict", "Not in the present state", "当前状态下不可执行"),
            Code::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too large", "请求过大"),
            Code::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The idempotency key belongs to another request",
                "幂等键已用于另一请求",
            ),
            Code::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Not available now, repeat the request unchanged",
                "暂不可用,请原样重试",
            ),
            Code::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "timed_out",
                "It took too long, repeat the request unchanged",
                "处理超时,请原样重试",
            ),
            Code::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A defect in the gateway", "网关内部错误")
            }
        }
    }
}

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
}

impl Problem {
    /// `detail` says what to do next.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, title, title_zh) = self.code.parts();
        let body = json!({
            "type": "about:blank",
            "status": status.as_u16(),
            "code": code,
            "title": title,
            "title_zh": title_zh,
            "detail": self.detail,
        });
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.code {
            Code::Unavailable | Code::TimedOut => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            Code::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl From<guanjia_store::StoreError> for Problem {
    fn from(error: guanjia_store::StoreError) -> Self {
        use guanjia_store::StoreError;
        let code = match &error {
            StoreError::Unavailable(_) | StoreError::Busy | StoreError::Closed => Code::Unavailable,
            StoreError::UnknownServicePoint(_) | StoreError::NotFound { .. } => Code::NotFound,
            StoreError::Invalid(_) => Code::BadRequest,
            StoreError::Conflict(_) | StoreError::StaleVersion { .. } => Code::Conflict,
            _ => {
                tracing::error!(%error, "the store answered with a defect");
                Code::Internal
            }
        };
        Self::new(code, error.to_string())
    }
}

impl From<crate::live::DeskRefusal> for Problem {
    fn from(refusal: crate::live::DeskRefusal) -> Self {
        use crate::live::DeskRefusal;
        let code = match refusal {
            DeskRefusal::Unknown => Code::NotFound,
            DeskRefusal::Closed
            | DeskRefusal::AlreadyAcknowledged { .. }
            | DeskRefusal::NotAcknowledged
            | DeskRefusal::NotWaiting
            | DeskRefusal::NoCreditWaits(_)
            | DeskRefusal::StillActive => Code::Conflict,
            DeskRefusal::NoReason(_) => Code::BadRequest,
            DeskRefusal::Store(_) => Code::Unavailable,
        };
        Self::new(code, refusal.to_string())
    }
}
