//! The program as a server: commands, events, uploads, downloads and the interface over HTTP, for whoever holds the access
//! token, and for the users of a team. What a command does is tb-api's; here is only who may ask, how much, how long, and in which form.

mod app;
mod assets;
mod body;
mod config;
mod cookie;
mod door;
mod error;
mod events;
mod feedback;
mod files;
mod gate;
mod hosts;
mod live;
mod logins;
mod pages;
mod patient_io;
mod router;
mod rpc;
mod seats;
mod serve;
mod stream;
mod tasks;
mod token;
mod upload;

pub use config::{DEFAULT_PORT, Exposure, Limits, ServerConfig};
pub use error::status;
pub use router::{Admits, Route, routes};
pub use serve::{Ended, Server};
pub use token::FILE as TOKEN_FILE;
