#![doc = include_str!("../README.md")]

mod answer;
mod app;
mod auth;
mod body;
mod drain;
mod error;
mod fetch;
mod format;
pub mod logs;
mod meter;
mod models;
mod multipart;
mod observe;
mod openapi;
mod options;
#[cfg(feature = "otlp")]
mod otlp;
mod page;
mod problem;
mod queue;
mod routes;
mod segment;
mod server;
mod settings;
mod tools;
mod turn;
mod unread;
mod v2;
mod work;

pub use error::Error;
pub use models::Source;
pub use server::Server;
pub use settings::Settings;
