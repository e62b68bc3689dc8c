//! Why somebody is turned away, before there is a client.
//!
//! Owns the reasons: their names in the metrics, what they are told over HTTP, and what usually is the cause. It
//! deliberately does not know who is asking.

use strum::{EnumCount, IntoStaticStr, VariantArray};
use warp::http::StatusCode;
use warp::http::header::{self, HeaderName};
use warp::reject::Reject;

/// A proxy that was not told to let WebSockets through.
const PROXY: &str = "usually a proxy in front that drops Upgrade: let it pass Upgrade and Connection on, by HTTP/1.1";

/// A program that is no browser.
const CLIENT: &str = "usually a mistake of the client's program";

/// Why somebody is turned away; in the metrics, the variant's name in kebab case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Refused {
    /// Only GET can be upgraded.
    Method,
    /// Only HTTP/1.1 can be upgraded.
    HttpVersion,
    /// There is a key for a WebSocket, and no `Upgrade: websocket`.
    NoUpgrade,
    /// There is `Upgrade: websocket`, and no `Connection: Upgrade`.
    NoConnectionUpgrade,
    /// A body has no place between the request and the first frame.
    Body,
    /// HTTP/1.1 demands a Host.
    NoHost,
    /// What is there is no host, or there are several (RFC 9112 section 3.2).
    MalformedHost,
    /// The version of the WebSocket protocol is not 13, or there are several.
    #[strum(serialize = "websocket-version")]
    WebSocketVersion,
    /// There is no key.
    NoKey,
    /// The key is not 16 bytes in base64, or there are several.
    MalformedKey,
    /// An offered subprotocol is no token.
    MalformedProtocol,
    /// The page that asks is not one of those that may.
    Origin,
    /// As many clients as there may be are here already.
    Full,
    /// The address has as many clients as it may: it is told by close 4008, after the upgrade.
    AddressFull,
    /// The metrics are not for this address.
    Metrics,
    /// TLS was not agreed upon.
    TlsHandshake,
    /// Plain HTTP on a port that speaks TLS.
    PlainOnTls,
    /// TLS on a port that speaks plain HTTP.
    TlsOnPlain,
    /// The PROXY protocol of load balancers, which this server does not speak.
    ProxyProtocol,
    /// Something else than HTTP.
    NotHttp,
    /// A request head over 16 KiB.
    HeadTooLarge,
}

impl Reject for Refused {}

impl Refused {
    /// The HTTP status, where the answer is HTTP.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Metrics => StatusCode::NOT_FOUND,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Why, for a person.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Method => "A WebSocket upgrade must be a GET request",
            Self::HttpVersion => "A WebSocket upgrade needs HTTP/1.1",
            Self::NoUpgrade => "Missing \"Upgrade: websocket\" header",
            Self::NoConnectionUpgrade => "Missing \"Connection: Upgrade\" header",
            Self::Body => "A WebSocket upgrade must not have a body",
            Self::NoHost => "Missing Host header",
            Self::MalformedHost => "Malformed Host header",
            Self::WebSocketVersion => "Unsupported Sec-WebSocket-Version (must be 13)",
            Self::NoKey => "Missing Sec-WebSocket-Key header",
            Self::MalformedKey => "Malformed Sec-WebSocket-Key header",
            Self::MalformedProtocol => "Malformed Sec-WebSocket-Protocol header",
            Self::Origin => "Origin not allowed",
            Self::Full => "Too many clients",
            Self::AddressFull => "Too many connections",
            Self::Metrics => "Not found",
            Self::TlsHandshake => "TLS handshake failed",
            Self::PlainOnTls => "This port speaks TLS: use https:// or wss://",
            Self::TlsOnPlain => "TLS on a port without TLS",
            Self::ProxyProtocol => "The PROXY protocol on a port that takes HTTP",
            Self::NotHttp => "Not an HTTP request",
            Self::HeadTooLarge => "A request head over 16 KiB",
        }
    }

    /// What usually is the cause, and what to do, for the log.
    pub fn cause(self) -> &'static str {
        match self {
            Self::HttpVersion | Self::NoUpgrade | Self::NoConnectionUpgrade => PROXY,
            Self::NoHost | Self::MalformedHost => {
                "usually a proxy or a client that does not name one host (RFC 9112 section 3.2)"
            }
            Self::PlainOnTls => "usually an address that begins with http:// or ws://",
            Self::TlsOnPlain => {
                "usually an address that begins with https:// or wss://: use http:// or ws://, or set TLS_CERT and TLS_KEY"
            }
            Self::ProxyProtocol => {
                "usually a load balancer: turn off its PROXY protocol (send-proxy in HAProxy), let it send \
                 X-Forwarded-For, and name it in TRUSTED_PROXIES"
            }
            Self::NotHttp => "usually a scanner, or a client with the wrong port",
            Self::HeadTooLarge => {
                "usually cookies of other services on the same host name, or a client's mistake"
            }
            _ => CLIENT,
        }
    }

    /// The headers that say what to do instead. A 426 must name the protocol (RFC 9110 section 15.5.22).
    pub fn hints(self) -> &'static [(HeaderName, &'static str)] {
        match self {
            Self::Method => &[(header::ALLOW, "GET")],
            Self::WebSocketVersion => {
                &[(header::SEC_WEBSOCKET_VERSION, "13"), (header::UPGRADE, "websocket")]
            }
            Self::Full => &[(header::RETRY_AFTER, "10")],
            _ => &[],
        }
    }
}
