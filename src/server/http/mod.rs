//! HTTP's side of the port: routes, files, and the way to a WebSocket.
//!
//! Owns what a request is answered. It deliberately knows no socket.

pub mod capabilities;
pub mod check_page;
pub mod cors;
pub mod http1;
pub mod icecast_check;
pub mod identity_cookie;
pub mod lent;
pub mod routes;
pub mod static_files;
pub mod stream;
pub mod upgrade;
