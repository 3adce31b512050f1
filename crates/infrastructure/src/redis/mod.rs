//! Redis through deadpool-redis: the line, and connections that are shared.

mod line;
mod script;
mod scripts;
mod shared;
mod words;

pub use line::RedisLines;
pub use shared::{RedisConfig, RedisMode, SharedRedis};
