//! Stock `warp::ws()`: what a server costs that takes the WebSocket as warp has it.
//!
//! Owns welcome and pong by way of types and serde. It deliberately does not know rooms, limits or logs.

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use warp::Filter;
use warp::ws::{Message, WebSocket, Ws};

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ClientMessage {
    Ping,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ServerMessage {
    Welcome { message: &'static str },
    Pong { timestamp: u128 },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("Listening on {}", listener.local_addr()?);
    let routes = warp::path::end()
        .and(warp::ws())
        .map(|upgrade: Ws| upgrade.on_upgrade(|socket| async { drop(session(socket).await) }));
    warp::serve(routes).incoming(listener).run().await;
    Ok(())
}

async fn session(mut socket: WebSocket) -> anyhow::Result<()> {
    let message = "Connected to OpenStudio signaling server";
    socket.send(text(&ServerMessage::Welcome { message })?).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        let Ok(json) = message.to_str() else { continue };
        let ClientMessage::Ping = serde_json::from_str(json)?;
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        socket.send(text(&ServerMessage::Pong { timestamp })?).await?;
    }
    Ok(())
}

fn text(message: &ServerMessage) -> serde_json::Result<Message> {
    serde_json::to_string(message).map(Message::text)
}
